"""A mode that changes as fast as answers is settled before they are learned.

  python -m experiments.sweep --all \\
      --study=experiments/ablations/thinkless_modes.py

Thinkless (arXiv 2505.13379) says that GRPO, for which the token that chooses
the mode is one among others, collapses into one mode early, and that weighing
the mode apart, by a small alpha, lets a model learn to answer in both before
it chooses.

Every question has a table of its own: a first token, short or think, and an
answer of four. At first either mode is as likely; thinking is right nine times
in ten, and a short answer is a guess, which can be learned. A right short
answer earns 1, a right thought 0.5, anything wrong -1, so that thinking is
better at first and a short answer in the end. The learner is the recipe's,
without its KL, with SGD; the answer has the weight 1, and alpha = 1 is the mean
over tokens, GRPO without the spread. Measured over 300 iterations: the least
chance of a short answer on the way, on average over questions, the chance at
the end, how often a short answer is then right, and the reward. Expected: with
a small alpha the short answer is learned, and then chosen; with alpha = 1 it is
given up before.
"""

import jax
import jax.numpy as jnp
import optax

from experiments.ablations import tables
from experiments.ablations.study import Figure, over
from jaxrl_llm.tabular import policy

QUESTIONS, VOCAB, STEPS = 32, 4, 300
SHORT, THINK = 0, 1
RATE = 2.0  # of SGD, on the mean over questions
TRACED = ('alpha',)

FIGURE = Figure(
  y='short',
  x='iteration',
  series='alpha',
  title='chance of a short answer',
)


def cells():
  return over(alpha=[0.001, 0.01, 0.03, 0.1, 0.3, 1.0], seed=range(4))


def start(key):
  """Tables f32[questions, nodes, VOCAB], and the right answers i32."""
  params = policy.init(key, tasks=QUESTIONS, vocab=VOCAB, length=2, scale=0.0)
  answer = jax.random.randint(key, (QUESTIONS,), 0, VOCAB)
  right = jax.nn.one_hot(answer, VOCAB)
  logits = params['logits'].at[:, 0, THINK + 1 :].set(-4.0)
  # Of four, the right one has odds of 27 to each of the others.
  thought = _node(THINK)
  logits = logits.at[:, thought].set(right * jnp.log(27.0))
  return params | {'logits': logits}, answer


def _node(mode):
  """The row of the table that is read after a mode."""
  both = jnp.array([[mode, 0]])
  return policy.prefix_states(both, VOCAB)[0, 1]


def run(seeds, *, alpha):
  """Chances and rewards of the modes, exact."""

  def train(key, alpha):
    program = tables.program_of(
      'thinkless',
      tx=optax.sgd(RATE * QUESTIONS),
      first_weight=alpha,
      kl_weight=0.0,
      minibatches=1,
    )
    params, answer = start(key)
    question = jnp.arange(QUESTIONS)
    samples = program.recipe.plan.contract.samples

    def step(state, key):
      sample, learn = jax.random.split(key)
      rollouts = policy.sample(state.params, sample, question, samples=samples)
      mode, said = rollouts.content.response.T
      correct = said == answer[rollouts.task]
      state, _ = tables.learn(
        program,
        state,
        rollouts.with_extras(beginning=mode),
        correct.astype(jnp.float32),
        learn,
      )
      return state, measure(state.params, answer)

    state = tables.begin(program, params, prompts=QUESTIONS)
    return jax.lax.scan(step, state, jax.random.split(key, STEPS))[1]

  short, solved, reward = tables.over_seeds(train, seeds, alpha)
  return {
    'iteration': jnp.tile(jnp.arange(STEPS), (len(seeds), 1)),
    'short': short,
    'least short': short.min(axis=1),
    'short at the end': short[:, -1],
    'short answers right': solved[:, -1],
    'reward': reward[:, -1],
    'mean reward': reward.mean(axis=1),
  }


def measure(params, answer):
  """The chance of a short answer, that it is right, and the reward."""
  chances = jax.nn.softmax(params['logits'])
  rows = jnp.arange(QUESTIONS)
  short, think = chances[:, 0, SHORT], chances[:, 0, THINK]
  solved = chances[rows, _node(SHORT), answer]
  thought = chances[rows, _node(THINK), answer]
  right = short * solved + think * thought
  reward = short * solved + 0.5 * think * thought - (1 - right)
  return jnp.mean(short), jnp.mean(solved), jnp.mean(reward)
