"""Feedback on spans of a response, against one number for all of it.

  python -m experiments.sweep --all \\
      --study=experiments/ablations/span_rewards.py

Text2Grad (arXiv 2505.22338) claims that rewards of the spans which feedback
calls good or poor teach faster than one reward for the response, as in PPO.

16 questions, answered by words of 5 symbols of 4; a symbol of the right word at
its place is good, any other poor. `text2grad` hears of every symbol, of one in
three, or of every one with one in four of the remarks wrong; PPO earns the mean
over symbols of the same +1 and -1 with the last one. Both have tables of logits
and of values, 8 answers to a question an iteration, one step on them, no KL,
Adam at 0.05, 100 iterations. Measured, exactly: the share of right symbols
along training, and iterations until it is 0.9. Expected: Text2Grad first, also
with few remarks; wrong ones cost little.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.ablations import tables
from experiments.ablations.study import Figure, over
from jaxrl_llm.tabular import policy

QUESTIONS, SYMBOLS, LENGTH, STEPS, EVERY, RATE = 16, 4, 5, 100, 5, 0.05
HEARD = {
  'ppo': (1.0, 0.0),
  'text2grad': (1.0, 0.0),
  'text2grad, one in three': (1 / 3, 0.0),
  'text2grad, a quarter wrong': (1.0, 0.25),
}
FIGURE = Figure(
  y='right', x='iteration', series='learner', title='share of right symbols'
)


def cells():
  return over(learner=list(HEARD), seed=range(4))


def start(key):
  params = policy.init(
    key, tasks=QUESTIONS, vocab=SYMBOLS, length=LENGTH, scale=0.0
  )
  return params, jax.random.randint(key, (QUESTIONS, LENGTH), 0, SYMBOLS)


def run(seeds, *, learner):
  """Right symbols along training."""
  name, (share, wrong) = learner.split(',')[0], HEARD[learner]
  more = {'kl_weight': 0.0} if name == 'text2grad' else {'minibatches': 1}
  program = tables.program_of(
    name, tx=optax.adam(RATE), samples=8, epochs=1, value_weight=0.5, **more
  )
  tokens, _ = policy.all_responses(SYMBOLS, LENGTH)
  nodes = policy.prefix_states(jnp.asarray(tokens), SYMBOLS)

  def earned(word, rows, key):
    hear, turn = jax.random.split(key)
    good = rows.content.response == word[rows.task]
    said = jnp.where(good, 1.0, -1.0)
    heard = jax.random.bernoulli(hear, share, said.shape)
    turned = jax.random.bernoulli(turn, wrong, said.shape)
    spans = jnp.where(heard, jnp.where(turned, -said, said), 0.0)
    return {'span_reward': spans}, jnp.mean(said, axis=1)

  def measure(word, params):
    logp = jax.nn.log_softmax(params['logits'])[:, nodes, tokens].sum(-1)
    right = jnp.mean(tokens == word[:, None], axis=2)
    return jnp.sum(jnp.exp(logp) * right) / QUESTIONS

  right = tables.course([program], start, earned, measure, seeds, steps=STEPS)
  late = np.where(right.max(1) < 0.9, STEPS, (right >= 0.9).argmax(1) + 1)
  return {
    'iteration': np.tile(np.arange(EVERY, STEPS + 1, EVERY), (len(seeds), 1)),
    'right': right[:, EVERY - 1 :: EVERY],
    'at the end': right[:, -1],
    'over training': right.mean(1),
    'iterations to 0.9': late,
  }
