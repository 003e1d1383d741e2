"""Decisions that are paid for being argued well, by agents that learned to.

  python -m experiments.sweep --all \\
      --study=experiments/ablations/justified_decisions.py

Reward Design for Justifiable Sequential Decision-Making (arXiv 2402.15826)
claims that agents which learn to debate by self-play show evidence that holds
against an adversary, where one that learns to argue alone does not; and that
paying a decision in part for winning its debate with a baseline's makes
decisions preferred by a judge of everything, almost as paying for that judge's
verdict does, at little cost of performance.

The environment `debate` with 16 states of 6 features and 3 decisions, of which
4 features are shown: its judge is fitted to pairs, anew for each seed. Arguing
is learned by `flow_grpo_agent`, 16 debates of each of the 96 pairs, 300
iterations of Adam at 0.05, by both sides or by one alone. Each decision has a
reward, uniform in [0, 1]; the baseline's is that of the largest. Then decisions
are learned by `justifiable`, 200 iterations with groups of 8, Adam at 0.05, a
share of 0.5 for being preferred to the baseline's beside evidence that is drawn
at random, shown by one who argues for the decision alone, by a debate, or that
is everything; or of 0. Measured, exactly: how often the right decision is
upheld by evidence that its side shows in turns with an adversary who replies
best; rewards over the best; how often the judge of everything prefers the
decision to the baseline's, and how often it is right.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.ablations import tables
from experiments.ablations.study import Figure, over
from experiments.configs import team
from jaxrl_llm.environments.debate import Debate
from jaxrl_llm.plans import acted
from jaxrl_llm.policies import acting
from jaxrl_llm.policies.categorical import Categorical
from jaxrl_llm.policies.protocol import initial
from jaxrl_llm.problems import pure
from jaxrl_llm.tabular import policy as table
from jaxrl_llm.training import compact

ARGUED, DECIDED, RATE, SHARE = 300, 200, 0.05, 0.5
EVIDENCE = 'none', 'random', 'alone', 'debate', 'everything'
FIGURE = Figure(
  y='preferred',
  x='evidence',
  title='decisions that a judge of everything prefers to the baseline',
)


def cells():
  return over(evidence=EVIDENCE, seed=range(4))


def arguing(environment, seed):
  """f[tasks, 2^F, F], the chances of what is shown next, as was learned."""
  config = team.get_config('flow_grpo_agent')
  with config.unlocked():
    config.recipe.update({'samples': 16, 'kl_weight': 0.0, 'minibatches': 1})
    config.recipe.turns = environment.arguments
    config.steps, config.sample.prompts = ARGUED, environment.spec.tasks
    config.optimizer.learning_rate = RATE
  recipe = pure.recipe_of(
    config, functools.partial(acted.acted, spec=environment.spec)
  )
  policy = Categorical(
    environment.spec.tasks << environment.features,
    environment.features,
    critic=False,
  )
  session, _ = pure.assembled(
    config,
    lambda recipe: policy,
    lambda policy: functools.partial(acting.played, policy, environment),
    tasks=environment.spec.tasks,
    columns=environment.arguments,
    optimum=np.nan,
    abstract=False,
    recipe=recipe,
  )
  state = session.init(initial(policy.table(), jax.random.key(seed)))
  state, _ = compact.iterations(session, state, ARGUED, jnp.int32(seed))
  shown = np.arange(policy.states)
  bits = (shown[:, None] >> np.arange(environment.features)) & 1
  chances = np.exp(policy.log_probs(state.params, shown, bits == 0))
  return chances.reshape(environment.spec.tasks, -1, environment.features)


def upheld(environment, chances):
  """How often the right decision wins against the best replies of a side."""
  state, first, _ = environment.pairs.T
  right = environment.world[1][state] == first
  values = environment.replied(chances, fixed=0)
  return float(np.mean(values[right] + 1) / 2)


def shown_by(environment, chances):
  """i[tasks]: the features that the likeliest arguments show, as bits."""
  every = np.arange(environment.spec.tasks)
  shown = np.zeros_like(every)
  for _ in range(environment.arguments):
    shown |= 1 << np.argmax(chances[every, shown], axis=1)
  return shown


def preferred(environment, shown):
  """f[S, D, D]: whether a judge prefers a decision to another, 0 to itself."""
  state, first, other = environment.pairs.T
  won = np.zeros((environment.states, *2 * [environment.decisions]))
  margins = environment.margins[np.arange(len(state)), shown]
  won[state, first, other] = margins > 0
  return won


def decided(environment, justified, seed):
  """Rewards over the best, preferred and right decisions, after training."""
  everything = np.full(environment.spec.tasks, environment.all_shown)
  judged = preferred(environment, everything)
  share = 0.0 if justified is None else SHARE
  paid = jnp.asarray(judged if justified is None else justified)
  right = environment.world[1]
  every = jnp.arange(environment.states)

  def start(key):
    shape = environment.states, environment.decisions
    params = table.init(
      key, tasks=shape[0], vocab=shape[1], length=1, scale=0.0
    )
    return params, jax.random.uniform(key, shape)

  def earned(worth, rows, key):
    del key
    own, base = rows.content.response[:, 0], jnp.argmax(worth, axis=1)
    extra = paid[rows.task, own, base[rows.task]]
    return {'justified': extra * 1.0}, worth[rows.task, own]

  def measure(worth, params):
    chance = jax.nn.softmax(params['logits'][:, 0])
    base = jnp.argmax(worth, axis=1)
    better = jnp.asarray(judged)[every, :, base]
    return {
      'reward over the best': jnp.sum(chance * worth) / worth.max(1).sum(),
      'preferred': jnp.mean(jnp.sum(chance * better, axis=1)),
      'right': jnp.mean(chance[every, right]),
    }

  program = tables.program_of('justifiable', tx=optax.adam(RATE), share=share)
  found = tables.course(
    [program], start, earned, measure, [seed], steps=DECIDED
  )
  return {name: float(x[0, -1]) for name, x in found.items()}


def at_random(environment, seed):
  """Arguments that are as likely as any, and the features one draw shows."""
  tasks, count = environment.spec.tasks, environment.features
  shown = np.arange(1 << count)[:, None] >> np.arange(count) & 1
  left = np.broadcast_to(1 - shown, (tasks, *shown.shape))
  chances = left / np.maximum(left.sum(axis=2, keepdims=True), 1)
  rng = np.random.default_rng(seed)
  order = rng.permuted(np.tile(np.arange(count), (tasks, 1)), axis=1)
  return chances, np.sum(1 << order[:, : environment.arguments], axis=1)


def one(seed, evidence):
  """What a seed gives."""
  environment = Debate(seed=seed)
  if evidence == 'none':
    return decided(environment, None, seed)
  if evidence == 'everything':
    shown = np.full(environment.spec.tasks, environment.all_shown)
    return decided(environment, preferred(environment, shown), seed)
  if evidence == 'random':
    chances, shown = at_random(environment, seed)
  else:
    chances = arguing(Debate(seed=seed, alone=evidence == 'alone'), seed)
    shown = shown_by(environment, chances)
  won = preferred(environment, shown)
  held = upheld(environment, chances)
  return {'upheld': held, **decided(environment, won, seed)}


def run(seeds, *, evidence):
  """How arguments hold, and what decisions are worth."""
  found = [one(int(seed), evidence) for seed in seeds]
  return {name: np.array([each[name] for each in found]) for name in found[0]}
