"""Thoughts that become shorter: what each way to ask for it costs.

  python -m experiments.sweep --all \\
      --study=experiments/ablations/short_thoughts.py

S-GRPO (arXiv 2505.07686) pays answers from early exits of one thought, the
first right one most; HAPO (2505.11225) pays for being shorter than any right
response before; Train Long, Think Short (2508.08940) tightens a budget as
training goes on, and claims to be more accurate so than with the last budget
from the start; HBPO (2507.15844) compares rows with several budgets, and claims
that thoughts then are as long as a question is hard. All claim much shorter
thoughts at about the accuracy of GRPO.

A thought is made of steps and idle tokens until it stops. A question needs 1 to
8 steps, two questions each; stopping with fewer, or not within 48 tokens, is
wrong. The policy is a table of logits by question and by steps done. It begins
as a model that thinks well and too long: three of ten tokens are steps, one in
a hundred stops before the steps are done and one in ten after, so that 0.78 of
the thoughts are right, after 23 tokens. HBPO's budgets of 6, 12, 18 and 30
tokens add logits that all questions share; it is measured without them. S-GRPO
also with the mean over all tokens, since a mean within each row gives tokens of
the shortest exits the most weight; and so with the exit learned as the token
that stops, which is put there. Groups of 8 (S-GRPO 9, HBPO 16), Adam at 0.05,
400 iterations. The budget tightens from 48 to 12 in five steps, or is 12 all
along. Measured, exactly: accuracy, tokens, and tokens over steps needed, at the
end, for the four hardest and the four easiest questions too. Expected: as
claimed.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax

from experiments.ablations import tables
from experiments.ablations.study import Figure, over
from jaxrl_llm import compose, recipes
from jaxrl_llm.tabular import policy
from jaxrl_llm.training.step import Program
from jaxrl_llm.types import Spec, Stats

STEP, IDLE, STOP = range(3)
NEEDED = jnp.repeat(jnp.arange(1, 9), 2)
TASKS, TOKENS, NODES = len(NEEDED), 48, 12
STEPS, EVERY, RATE = 400, 10, 0.05
BUDGETS, LAST, STAGE = (6, 12, 18, 30), 12.0, 80
# Of a step, an idle token and the end, before and after the steps needed.
BEFORE, AFTER = (0.3, 0.69, 0.01), (0.3, 0.6, 0.1)
DECAY = (LAST / TOKENS) ** 0.25  # 48 to 12 in five steps

LEARNERS: dict[str, dict[str, Any]] = {
  'grpo': {'kl_weight': 0.0, 'samples': 8},
  's_grpo': {},
  's_grpo by tokens': {},
  's_grpo by tokens, stopping': {},
  'history_aware': {'kl_weight': 0.0, 'samples': 8},
  'train_long_think_short': {'start': 48.0, 'decay': DECAY, 'every': STAGE},
  'train_long_think_short fixed': {'start': LAST, 'decay': 1.0},
  'hbpo': {'budgets': BUDGETS, 'longest': TOKENS, 'minibatches': 1},
}
FIGURE = Figure(
  y='tokens along training',
  x='iteration',
  series='learner',
  title='mean tokens of a thought',
)


def cells():
  return over(learner=list(LEARNERS), seed=range(4))


def start(key):
  """Logits of questions [TASKS, NODES, 3], and what budgets add to them."""
  known = (jnp.arange(NODES) >= NEEDED[:, None])[..., None]
  chance = jnp.where(known, jnp.array(AFTER), jnp.array(BEFORE))
  noise = 0.3 * jax.random.normal(key, (TASKS, NODES, 3))
  told = jnp.zeros((len(BUDGETS), NODES, 3))
  return {'question': jnp.log(chance) + noise, 'told': told}


def done(response):
  """i32[N, T]: steps before each token, as the policy sees them."""
  step = (response == STEP) * 1
  return jnp.minimum(jnp.cumsum(step, axis=1) - step, NODES - 1)


def score(params, rows, needs=frozenset()):
  del needs
  response, mask = rows.content.response, rows.response_mask
  node = done(response)
  logits = params['question'][rows.task[:, None], node]
  if 'beginning' in rows.extras:
    logits += params['told'][rows.extras['beginning'][:, None], node]
  said = jax.nn.log_softmax(logits)
  logp = jnp.take_along_axis(said, response[..., None], axis=-1)[..., 0]
  entropy = -jnp.sum(jnp.exp(said) * said, axis=-1)
  return Stats(
    logp=jnp.where(mask, logp, 0), entropy=jnp.where(mask, entropy, 0)
  )


def sample(params, key, task, group, extras):
  """A thought to each of task i32[N], and whether it stopped."""
  logits = params['question'][task]
  if 'beginning' in extras:
    logits += params['told'][extras['beginning']]

  def step(carry, key):
    count, going = carry
    here = jnp.minimum(count, NODES - 1)[:, None, None]
    here = jnp.take_along_axis(logits, here, axis=1)[:, 0]
    token = jnp.where(going, jax.random.categorical(key, here), IDLE)
    count += going & (token == STEP)
    return (count, going & (token != STOP)), (token, going)

  begin = jnp.zeros(len(task), int), jnp.ones(len(task), bool)
  keys = jax.random.split(key, TOKENS)
  (_, going), (tokens, mask) = jax.lax.scan(step, begin, keys)
  rows = policy.as_rollouts(tokens.T, mask.T, task=task, group=group)
  return rows.replace(extras=extras, truncated=going)


def right(rows):
  """f32[N]: 1 where a thought that has ended has the steps it needs."""
  mask, said = rows.response_mask, rows.content.response
  steps = jnp.sum(mask & (said == STEP), axis=1)
  return ((steps >= NEEDED[rows.task]) & ~rows.truncated) * 1.0


def broken_off(rows, key, samples, stops):
  """Whole thoughts [TASKS], and before each of them its early exits.

  Args:
    stops: whether an exit is the token that stops, as of the policy's own.
  """
  early = samples - 1
  drawn = jax.random.uniform(key, (TASKS, early))
  length = rows.length - ~rows.truncated
  cut = jnp.minimum((drawn * length[:, None]).astype(int) + 1, length[:, None])
  cut = jnp.concatenate([jnp.sort(cut, 1), rows.length[:, None]], axis=1)
  both = jax.tree.map(lambda x: jnp.repeat(x, samples, axis=0), rows)
  cut, column = cut.reshape(-1, 1), jnp.arange(TOKENS)
  mask = column < cut
  place = jnp.tile(jnp.arange(samples, dtype=jnp.int32), TASKS)
  if stops:
    put = (column == cut) & (place < early)[:, None]
    said = jnp.where(put, STOP, both.content.response)
    both = both.replace(content=both.content.replace(response=said))
    mask |= put
  return both.replace(
    response_mask=mask,
    action_mask=mask,
    group=jnp.repeat(jnp.arange(TASKS, dtype=jnp.int32), samples),
    truncated=both.truncated & (place == early),
    extras={'exit': place},
  )


def collect(learner, samples, params, key, step):
  """The rows of an iteration, as the recipe's plan would make them."""
  name, values = learner.split()[0], LEARNERS[learner]
  draw, where = jax.random.split(key)
  each = 1 if name == 's_grpo' else samples
  task = jnp.repeat(jnp.arange(TASKS, dtype=jnp.int32), each)
  group, extras = jnp.arange(TASKS * each, dtype=jnp.int32) // each, {}
  if name == 'hbpo':
    place = jnp.arange(samples, dtype=jnp.int32)
    extras['beginning'] = jnp.tile(place // (samples // len(BUDGETS)), TASKS)
  if name == 'train_long_think_short':
    every = values.get('every', STEPS)
    budget = values['start'] * values['decay'] ** (step // every)
    extras['budget'] = jnp.full(len(task), budget)
  rows = sample(params, draw, task, group, extras)
  if name == 's_grpo':
    rows = broken_off(rows, where, samples, 'stopping' in learner)
  return rows.replace(logp=score(params, rows).logp)


@jax.jit
def measure(params):
  """The chance to be right, and mean tokens, of every question: exact."""
  chance = jax.nn.softmax(params['question'])
  enough = jnp.arange(TOKENS + 1) >= NEEDED[:, None]
  node = jnp.minimum(jnp.arange(TOKENS + 1), NODES - 1)
  step, idle, stop = jnp.moveaxis(chance[:, node], -1, 0)

  def token(alive, _):
    ended = jnp.sum(alive * stop * enough, axis=1)
    moved = jnp.roll(alive * step, 1, axis=1).at[:, 0].set(0.0)
    return alive * idle + moved, (ended, jnp.sum(alive, axis=1))

  begin = jnp.zeros((TASKS, TOKENS + 1)).at[:, 0].set(1.0)
  _, (ended, alive) = jax.lax.scan(token, begin, length=TOKENS)
  return jnp.sum(ended, axis=0), jnp.sum(alive, axis=0)


def run(seeds, *, learner):
  """Accuracy and tokens."""
  name, values = learner.split()[0], LEARNERS[learner]
  recipe = recipes.build(name, **values)
  if 'by tokens' in learner:
    recipe = compose.compose(recipe, aggregate='token_mean')
  program = Program(recipe, score, optax.adam(RATE))
  samples = program.recipe.plan.contract.samples
  spec = Spec(TASKS * samples, samples, 1, TOKENS, tasks=TASKS)
  gather = functools.partial(collect, learner, samples)

  def train(key):
    make, learn = jax.random.split(key)

    def iterate(state, step):
      draw, update = jax.random.split(jax.random.fold_in(learn, step))
      rows = gather(state.params, draw, step)
      state, _ = tables.learn(program, state, rows, right(rows), update)
      return state, measure(state.params)

    state = program.init(start(make), spec)
    return jax.lax.scan(iterate, state, jnp.arange(STEPS))[1]

  accuracy, tokens = tables.over_seeds(train, seeds)
  last, hard = slice(-1, None), slice(-4, None)
  shown = slice(EVERY - 1, None, EVERY)
  return {
    'iteration': jnp.tile(jnp.arange(EVERY, STEPS + 1, EVERY), (len(seeds), 1)),
    'tokens along training': tokens.mean(2)[:, shown],
    'accuracy': accuracy[:, last].mean((1, 2)),
    'accuracy over training': accuracy.mean((1, 2)),
    'tokens': tokens[:, last].mean((1, 2)),
    'tokens a needed step': (tokens / NEEDED)[:, last].mean((1, 2)),
    'hard accuracy': accuracy[:, last, hard].mean((1, 2)),
    'hard tokens': tokens[:, last, hard].mean((1, 2)),
    'easy tokens': tokens[:, last, :4].mean((1, 2)),
  }
