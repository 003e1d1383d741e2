"""Whether a policy learns to think only where that helps.

  python -m experiments.sweep --all \\
      --study=experiments/ablations/mode_choice.py

LHRM (arXiv 2505.14631) compares rows within their mode and modes with each
other, A2FM (2510.12838) pays less for other modes where answering at once is
right, and TON (2505.16854) imitates thoughts half of which were dropped, so
that GRPO afterwards finds out where they may be left out. All claim that
thoughts are spent by difficulty, at little cost of accuracy; TON also that
without the drops GRPO never skips a thought.

20 questions of 5 levels: an answer at once is right with the chance of its
level, 0.05 to 0.95, one after a thought with 0.95. A response is the mode,
which is all that is decided, and one more token at once or 32 after a thought;
these count as tokens of the policy's, so that a mean within each row weighs a
mode the more the shorter its rows are. A policy begins with even chances, or,
where it has imitated thoughts, with what the recipe `ton` makes in 100
iterations, a share of 0 or 0.5 dropped; GRPO is paid for right answers alone.
HGPO's groups have 4 rows, the others' 8, A2FM's 12 of which 4 are free. Adam at
0.05, 300 iterations. Measured, exactly: chance to think by level, accuracy and
tokens. Expected: HGPO and A2FM think at the hard levels alone; GRPO everywhere
that thinking is any better; TON's drops let it skip.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from experiments.ablations import tables
from experiments.ablations.study import Figure, over
from jaxrl_llm import recipes
from jaxrl_llm.tabular import policy
from jaxrl_llm.training.step import Program
from jaxrl_llm.types import Spec, Stats

AT_ONCE, THINK = 0, 1
LEVELS = jnp.array([0.05, 0.2, 0.5, 0.8, 0.95])
RIGHT = jnp.stack([jnp.repeat(LEVELS, 4), jnp.full(20, 0.95)], axis=1)
LENGTH = jnp.array([2, 33])
TASKS, TOKENS, STEPS, IMITATED, RATE = 20, 33, 300, 100, 0.05

LEARNERS: dict[str, dict[str, Any]] = {
  'grpo': {'kl_weight': 0.0},
  'thinkless': {'kl_weight': 0.0, 'minibatches': 1},
  'hgpo_modes': {'kl_weight': 0.0},
  'adaptive_modes': {'names': ('at once', 'thinking')},
  'grpo after thoughts': {'kl_weight': 0.0},
  'grpo after ton': {'kl_weight': 0.0},
}
FIGURE = Figure(
  y='chance to think',
  x='right at once',
  series='learner',
  title='chance to think, by that of a right answer at once',
)


def cells():
  return over(learner=list(LEARNERS), seed=range(4))


def score(params, rows, needs=frozenset()):
  del needs
  said = jax.nn.log_softmax(params[rows.task])
  mode = rows.content.response[:, :1]
  first = jnp.arange(TOKENS) == 0
  logp = jnp.take_along_axis(said, mode, axis=1)
  entropy = -jnp.sum(jnp.exp(said) * said, axis=1, keepdims=True)
  return Stats(
    logp=jnp.where(first, logp, 0), entropy=jnp.where(first, entropy, 0)
  )


def written(mode, samples):
  """Responses of those modes i32[N], `samples` to each question."""
  place = jnp.arange(TOKENS)
  response = jnp.where(place == 0, mode[:, None], 0)
  rows = jnp.arange(len(mode), dtype=jnp.int32) // samples
  mask = place < LENGTH[mode][:, None]
  return policy.as_rollouts(response, mask, task=rows, group=rows)


def collect(name, samples, params, key):
  """Rows as the plan of a recipe makes them: some modes are assigned."""
  task = jnp.repeat(jnp.arange(TASKS), samples)
  mode = jax.random.categorical(key, params[task])
  place, extras = jnp.tile(jnp.arange(samples), TASKS), {}
  assigned = jnp.zeros(len(task), bool)
  if name == 'hgpo_modes':
    mode, assigned = (place >= samples // 2) * 1, jnp.ones(len(task), bool)
    mode = jnp.where(mode == 0, THINK, AT_ONCE)
    extras['beginning'] = (mode == AT_ONCE) * 1
  elif name == 'adaptive_modes':
    kind = place // (samples // 3)
    assigned = kind < 2
    mode = jnp.where(assigned, kind, mode)
  rows = written(mode, samples)
  begun = assigned[:, None] & (jnp.arange(TOKENS) == 0)
  extras = {'beginning': mode, 'assigned': assigned, 'begun': begun} | extras
  given = begun if name == 'adaptive_modes' else jnp.zeros_like(begun)
  rows = rows.replace(action_mask=rows.action_mask & ~given, extras=extras)
  logp = jnp.where(given, 0.0, score(params, rows).logp)
  return rows.replace(logp=logp)


def imitated(share):
  """Logits after thoughts, of which a share was dropped, were imitated."""
  program = Program(recipes.build('ton'), score, optax.adam(RATE))
  state = program.init(jnp.zeros((TASKS, 2)), Spec(TASKS, 1, 1, TOKENS))

  def step(state, key):
    dropped = jax.random.bernoulli(key, share, (TASKS,))
    rows = written(jnp.where(dropped, AT_ONCE, THINK), 1)
    return tables.learn(program, state, rows, jnp.ones(TASKS), key)

  keys = jax.random.split(jax.random.key(0), IMITATED)
  return jax.lax.scan(step, state, keys)[0].params


def run(seeds, *, learner):
  """Chances to think, accuracy and tokens."""
  name, after = learner.split()[0], learner.split()[-1]
  program = Program(
    recipes.build(name, **LEARNERS[learner]), score, optax.adam(RATE)
  )
  samples = program.recipe.plan.contract.samples
  begin = jnp.zeros((TASKS, 2))
  if after != name:
    begin = imitated(0.5 if after == 'ton' else 0.0)

  def train(key):
    def step(state, key):
      draw, judge, update = jax.random.split(key, 3)
      rows = collect(name, samples, state.params, draw)
      chance = RIGHT[rows.task, rows.content.response[:, 0]]
      right = jax.random.bernoulli(judge, chance) * 1.0
      state, _ = tables.learn(program, state, rows, right, update)
      return state, jax.nn.softmax(state.params)

    state = program.init(begin, Spec(TASKS * samples, samples, 1, TOKENS))
    return jax.lax.scan(step, state, jax.random.split(key, STEPS))[1]

  chance = tables.over_seeds(train, seeds)
  last = chance[:, -1]
  think = last[..., THINK].reshape(len(seeds), len(LEVELS), -1).mean(2)
  return {
    'right at once': jnp.tile(LEVELS, (len(seeds), 1)),
    'chance to think': think,
    **{f'at {level:g}': think[:, i] for i, level in enumerate(LEVELS.tolist())},
    'at first': jnp.full(len(seeds), jax.nn.softmax(begin)[:, THINK].mean()),
    'accuracy': (last * RIGHT).sum(2).mean(1),
    'tokens': (last * LENGTH).sum(2).mean(1),
  }
