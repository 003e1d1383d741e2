import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.ablations import quiz, tables
from jaxrl_llm.tabular import policy


@pytest.fixture(scope='module')
def made():
  return quiz.make(jax.random.key(0), questions=3, solves=[0.0, 0.1, 1.0])


def test_answers_are_numbered_in_the_order_of_all_responses():
  tokens, _ = policy.all_responses(quiz.VOCAB, quiz.LENGTH)
  np.testing.assert_array_equal(quiz.number(tokens), np.arange(quiz.ANSWERS))


def test_every_question_has_a_right_answer_and_the_share_asked_for(made):
  _, worth = made
  assert jnp.sum(worth[0]) == 1
  assert 0.02 < jnp.mean(worth[1]) < 0.2
  assert jnp.all(worth[2] == 1)


def test_chances_and_entropy_equal_the_loop(made):
  params, worth = made
  logits = np.asarray(params['logits'], np.float64)
  expected = np.zeros((3, quiz.ANSWERS))
  for a in range(3):
    words = itertools.product(range(quiz.VOCAB), repeat=quiz.LENGTH)
    for i, word in enumerate(words):
      node, chance = 0, 1.0
      for token in word:
        row = np.exp(logits[a, node])
        chance *= row[token] / row.sum()
        node = quiz.VOCAB * node + token + 1
      expected[a, i] = chance
  np.testing.assert_allclose(quiz.chances(params), expected, rtol=1e-4)
  entropy = -np.mean(np.sum(expected * np.log(expected), axis=1))
  np.testing.assert_allclose(quiz.entropy(params), entropy, rtol=1e-5)
  np.testing.assert_allclose(
    quiz.rates(params, worth), np.sum(expected * worth, axis=1), rtol=1e-4
  )


def test_learning_raises_the_rate_of_right_answers():
  params, worth = quiz.make(jax.random.key(1), questions=4, solves=0.1)
  program = tables.program_of('grpo', tx=optax.sgd(40.0), kl_weight=0.0)
  rates = quiz.learn(
    program,
    params,
    worth,
    jax.random.key(2),
    steps=30,
    prompts=4,
    measure=lambda state, _: jnp.mean(quiz.rates(state.params, worth)),
  )
  assert rates.shape == (30,)
  assert rates[-1] > jnp.mean(quiz.rates(params, worth)) + 0.2


def test_a_curve_is_read_when_the_reward_first_reaches_a_level():
  reward = np.array([[0.1, 0.6, 0.4, 0.9], [0.1, 0.2, 0.3, 0.4]])
  curve = np.arange(8).reshape(2, 4)
  np.testing.assert_array_equal(quiz.when(reward, curve, 0.5), [1, 7])
