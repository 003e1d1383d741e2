"""Questions that the policy makes itself stay at the edge of what it can do.

  python -m experiments.sweep --all \\
      --study=experiments/ablations/own_questions.py

Dr. Zero (arXiv 2601.07055) claims that a proposer who is paid for questions
that some solvers answer and some do not makes a curriculum for the solver, and
that comparing proposals with those of as many hops (HRPO) is a baseline enough,
without several proposals to a document.

A question of level l asks for the first l symbols of one sequence of six, each
of seven, so that who answers one level has the beginning of the next. Half of
the documents have one hop, and questions of all levels, half three, and none
below level 3. The first word of a proposal is its level, or no question. One
table of logits proposes and answers, 0 at first: level 6 is right once in
117,649 answers. 32 documents and 5 solvers an iteration, 200 iterations, Adam
at 0.05. `dr_zero` compares proposals by hops, `dr_zero, one baseline` with all
others; the rest learn from answers alone, to questions of a uniform level, to
those of level 6, and to each level in turn for a sixth of the run. Measured,
exactly: the chance of the whole sequence, and the mean of the chances at all
levels; and the mean level of the proposals. Expected: the level rises with what
can be answered, and the whole sequence is known before uniform questions teach
it; by hops sooner than beside one baseline; the hardest alone teach nothing.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.ablations import tables
from experiments.ablations.study import Figure, over
from jaxrl_llm.tabular import policy

VOCAB, LEVELS, SOLVERS = 7, 6, 5
TARGET = np.array([3, 1, 4, 1, 5, 2])
# Rows of the table: proposals to documents of either kind, and answers.
LEAST, SOLVER = np.array([1, 3]), 2
DOCUMENTS, STEPS, EVERY = 32, 200, 10
LEARNERS = (
  'dr_zero',
  'dr_zero, one baseline',
  'uniform levels',
  'level 6',
  'a level at a time',
)

FIGURE = Figure(
  y='right', x='iteration', series='learner', title='the whole sequence'
)


def cells():
  return over(learner=LEARNERS, seed=range(5))


def levels(learner, words, key, time):
  """i32[B]: the level of each question."""
  if learner == 'uniform levels':
    return jax.random.randint(key, words.shape, 1, LEVELS + 1)
  if learner == 'level 6':
    return jnp.full_like(words, LEVELS)
  if learner == 'a level at a time':
    return jnp.full_like(words, 1) + time * LEVELS // STEPS
  return words + 1


def rows(params, key, learner, time):
  """Proposals and their answers, what each earns, and the level proposed."""
  draw, choose, solve = jax.random.split(key, 3)
  kind = jnp.arange(DOCUMENTS, dtype=jnp.int32) % 2
  said = policy.sample(params, draw, kind, samples=1)
  words = said.content.response[:, 0]
  own = learner.startswith('dr_zero')
  asks = (words < LEVELS) | (not own)
  level = levels(learner, words, choose, time)
  level = jnp.maximum(level, jnp.asarray(LEAST)[kind]) if own else level
  answers = policy.sample(
    params, solve, jnp.full(DOCUMENTS, SOLVER), samples=SOLVERS
  )
  column = jnp.arange(LEVELS)
  asked = column < jnp.repeat(level, SOLVERS)[:, None]
  good = answers.content.response == jnp.asarray(TARGET)
  right = (good | ~asked).all(axis=1) * 1.0
  there = jnp.repeat(asks, SOLVERS)
  share = jnp.mean((right * there).reshape(-1, SOLVERS), axis=1)
  first = jnp.broadcast_to(column < 1, (DOCUMENTS, LEVELS))
  tokens = jnp.concatenate([said.content.response, answers.content.response])
  mask = jnp.concatenate([first, asked])
  document = jnp.arange(DOCUMENTS, dtype=jnp.int32)
  solving = jnp.repeat(document, SOLVERS)
  hops = jnp.where(learner == 'dr_zero', -1 - kind, -1)
  found = policy.as_rollouts(
    tokens,
    mask,
    task=jnp.concatenate([kind, jnp.full(len(solving), SOLVER)]),
    group=jnp.concatenate([document, solving]),
  )
  found = found.replace(
    logp=jnp.concatenate([said.logp, answers.logp]) * mask,
    valid=jnp.concatenate([jnp.full(DOCUMENTS, own), there]),
    extras={
      'proposed': (proposal := jnp.arange(len(tokens)) < DOCUMENTS),
      'agent': proposal.astype(jnp.int32),
      'form': jnp.concatenate([asks * 1.0, jnp.zeros(len(solving))]),
      'compared': jnp.concatenate([hops, solving]).astype(jnp.int32),
    },
  )
  return found, jnp.concatenate([share, right]), jnp.mean(level * 1.0)


def chances(params):
  """f32[LEVELS]: of a right answer at each level, exact."""
  node, found, chance = 0, [], jnp.float32(1)
  for symbol in TARGET.tolist():
    logp = jax.nn.log_softmax(params['logits'][SOLVER, node])
    chance, node = chance * jnp.exp(logp[symbol]), VOCAB * node + symbol + 1
    found.append(chance)
  return jnp.stack(found)


def run(seeds, *, learner):
  """What is known along training."""
  program = tables.program_of('dr_zero', tx=optax.adam(0.05), kl_weight=0.0)

  def train(key):
    nodes = policy.states(VOCAB, LEVELS)
    start = {
      'logits': jnp.zeros((SOLVER + 1, nodes, VOCAB)),
      'values': jnp.zeros((1, nodes)),
    }

    def step(state, given):
      time, key = given
      draw, update = jax.random.split(key)
      made, earned, level = rows(state.params, draw, learner, time)
      state, _ = tables.learn(program, state, made, earned, update)
      found = chances(state.params)
      return state, (found[-1], found.mean(), level)

    state = tables.begin(program, start, prompts=DOCUMENTS)
    keys = jax.random.split(key, STEPS)
    return jax.lax.scan(step, state, (jnp.arange(STEPS), keys))[1]

  right, known, level = tables.over_seeds(train, seeds)
  steps = np.arange(EVERY, STEPS + 1, EVERY)
  return {
    'iteration': np.tile(steps, (len(right), 1)),
    'right': right[:, EVERY - 1 :: EVERY],
    'at the end': right[:, -1],
    'over training': right.mean(axis=1),
    'of all levels': known.mean(axis=1),
    'level at first': level[:, :10].mean(axis=1),
    'level at the end': level[:, -10:].mean(axis=1),
  }
