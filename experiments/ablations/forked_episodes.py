"""Episodes that part after calls of tools save calls, and learn as well.

  python -m experiments.sweep --all \\
      --study=experiments/ablations/forked_episodes.py

ARPO (arXiv 2507.19849) claims that half of a group's episodes may go on from
turns of the other half, the rather where the policy has become unsure, and that
this learns more from fewer calls of tools than as many whole episodes do.

A question is of one of eight kinds. An episode has four turns, each a call of
one of six tools, and is right if all four are; at first the policy, a table of
logits for every history, says the right tool of the first two with a chance of
0.97, and any of the six in the others. 16 questions an iteration, 120
iterations, Adam at 0.05. `arpo` plays 8 episodes of 16 from the prompt; after
turn t of one another goes on with the chance base + weight (H_t - H_1), H_t the
entropy of the turn in nats, with the published numbers, 0.5 and 0.2 / log 6; at
`weight 0` it does wherever the policy is sure as well, and `base 0.1` parts
seldom but where it is unsure (weight 0.5). The others are GRPO of 16 whole
episodes, and of 12. Measured: the chance of a right episode, exact, along
training and against the calls that were made. Expected: as much is learned an
iteration with fewer calls; since early turns fill a group first, entropy
matters where the base is small.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.ablations import tables
from experiments.ablations.study import Figure, over
from jaxrl_llm.tabular import policy

KINDS, VOCAB, TURNS = 8, 6, 4
QUESTIONS, SAMPLES, FIRST = 16, 16, 8
ITERATIONS, EVERY, SURE = 120, 5, 5.0
RIGHT = np.random.default_rng(0).integers(0, VOCAB, (KINDS, TURNS))
# Base and weight of a fork, or how many whole episodes.
LEARNERS: dict[str, tuple[float, float] | int] = {
  'arpo': (0.5, 0.2 / np.log(VOCAB)),
  'arpo, weight 0': (0.5, 0.0),
  'arpo, base 0.1': (0.1, 0.5),
  'grpo of 16': 16,
  'grpo of 12': 12,
}

FIGURE = Figure(
  y='right', x='calls', series='learner', title='episodes that part'
)


def cells():
  return over(learner=list(LEARNERS), seed=range(5))


def start():
  """Logits that know the first two turns of every kind."""
  logits = np.zeros((KINDS, policy.states(VOCAB, TURNS), VOCAB))
  for kind, right in enumerate(RIGHT):
    logits[kind, 0, right[0]] = SURE
    logits[kind, right[0] + 1, right[1]] = SURE
  return {
    'logits': jnp.asarray(logits, jnp.float32),
    'values': jnp.zeros((1, logits.shape[1])),
  }


def played(params, key, kind, before, cut):
  """i32[N, TURNS] tools, those of `before` up to a turn, and entropies."""
  node, said, entropy = jnp.zeros_like(kind), [], []
  for turn in range(TURNS):
    logp = jax.nn.log_softmax(params['logits'][kind, node])
    drawn = jax.random.categorical(jax.random.fold_in(key, turn), logp)
    tool = jnp.where(turn < cut, before[:, turn], drawn).astype(jnp.int32)
    node = VOCAB * node + tool + 1
    said.append(tool)
    entropy.append(-jnp.sum(jnp.exp(logp) * logp, axis=1))
  return jnp.stack(said, axis=1), jnp.stack(entropy, axis=1)


def parted(entropy, key, base, weight):
  """Which first episode each late one goes on from, and behind which turn.

  The order is that of `plans.forked`: by turns, and in them by episodes.
  """
  chance = base + weight * (entropy - entropy[:, :1])
  parts = jax.random.uniform(key, chance.shape) < chance
  parts = parts.at[:, -1].set(False).T.reshape(-1)
  place = jnp.argsort(~parts, stable=True)[: SAMPLES - FIRST]
  there = parts[place]
  return place % FIRST, jnp.where(there, place // FIRST + 1, 0)


def group(params, key, kind, how):
  """The rows of one question, and the calls that they took."""
  begin, fork, after = jax.random.split(key, 3)
  count = how if isinstance(how, int) else FIRST
  nothing = jnp.zeros((count, TURNS), jnp.int32)
  said, entropy = played(
    params, begin, jnp.full(count, kind), nothing, jnp.zeros(count)
  )
  calls = count * TURNS
  if isinstance(how, int):
    return said, calls
  source, cut = parted(entropy, fork, *how)
  late = jnp.full(SAMPLES - FIRST, kind)
  more, _ = played(params, after, late, said[source], cut)
  return jnp.concatenate([said, more]), calls + jnp.sum(TURNS - cut)


def chance(params):
  """f32: of a right episode, over all kinds."""
  node, total = jnp.zeros(KINDS, jnp.int32), jnp.zeros(KINDS)
  for right in jnp.asarray(RIGHT).T:
    logp = jax.nn.log_softmax(params['logits'][jnp.arange(KINDS), node])
    total += logp[jnp.arange(KINDS), right]
    node = VOCAB * node + right.astype(jnp.int32) + 1
  return jnp.mean(jnp.exp(total))


def run(seeds, *, learner):
  """The chance of a right episode, and calls, along training."""
  how = LEARNERS[learner]
  samples = how if isinstance(how, int) else SAMPLES
  whole = isinstance(how, int)
  values: dict[str, Any] = {'first': FIRST, 'turns': TURNS}
  if whole:
    values = {'kl_weight': 0.0}
  program = tables.program_of(
    'grpo' if whole else 'arpo',
    tx=optax.adam(0.05),
    samples=samples,
    minibatches=1,
    **values,
  )

  def train(key):
    def step(state, key):
      ask, draw, update = jax.random.split(key, 3)
      kind = jax.random.randint(ask, (QUESTIONS,), 0, KINDS)
      said, calls = jax.vmap(
        lambda key, kind: group(state.params, key, kind, how)
      )(jax.random.split(draw, QUESTIONS), kind)
      said, task = said.reshape(-1, TURNS), jnp.repeat(kind, samples)
      rows = policy.as_rollouts(
        said,
        jnp.ones(said.shape, bool),
        task=task,
        group=jnp.arange(len(task), dtype=jnp.int32) // samples,
      )
      rows = rows.replace(logp=policy.score(state.params, rows).logp)
      right = (said == jnp.asarray(RIGHT)[task]).all(axis=1) * 1.0
      state, _ = tables.learn(program, state, rows, right, update)
      return state, (chance(state.params), jnp.sum(calls))

    state = tables.begin(program, start(), prompts=QUESTIONS)
    return jax.lax.scan(step, state, jax.random.split(key, ITERATIONS))[1]

  right, calls = tables.over_seeds(train, seeds)
  spent = np.cumsum(calls, axis=1)
  half = np.argmax(right >= 0.5, axis=1)
  return {
    'calls': spent[:, EVERY - 1 :: EVERY],
    'right': right[:, EVERY - 1 :: EVERY],
    'over training': right.mean(axis=1),
    'at the end': right[:, -1],
    'calls an iteration': calls.mean(axis=1),
    'iterations to 0.5': half + 1.0,
    'calls to 0.5': spent[np.arange(len(half)), half],
  }
