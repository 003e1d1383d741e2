import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.rewards import behaviour
from jaxrl_llm.types import Scores, Spec, initial_credit
from tests.advantages import cases
from tests.oracles import rewards as oracle


@pytest.mark.parametrize('seed', range(3))
def test_unlikely_first_equals_its_oracle(seed):
  rollouts = cases.rollouts(seed)
  rewards = np.random.default_rng(seed).integers(0, 2, 16).astype(np.float32)
  mask, valid = np.asarray(rollouts.loss_mask), np.asarray(rollouts.valid)
  logp = np.asarray(rollouts.logp, np.float64)
  mean = [x[m].mean() if m.any() else 0.0 for x, m in zip(logp, mask)]
  ours = behaviour.unlikely_first(rewards, rollouts, penalty=0.4)
  group = np.asarray(rollouts.group)
  expected = oracle.unlikely(rewards, mean, group, valid, 0.4)
  np.testing.assert_allclose(ours[valid], expected[valid], rtol=1e-5)


def test_least_likely_response_keeps_its_reward():
  rollouts = cases.rollouts()
  mask = rollouts.loss_mask
  logp = jnp.where(mask, -1.0 * jnp.arange(16)[:, None], 0)
  rollouts = rollouts.replace(logp=logp)
  ours = behaviour.unlikely_first(np.ones(16, 'f'), rollouts, penalty=0.4)
  np.testing.assert_allclose(ours[8:12], [0.7, 0.8, 0.9, 1.0], rtol=1e-6)


def test_responses_as_likely_as_each_other_earn_alike():
  rollouts = cases.rollouts()
  rollouts = rollouts.replace(logp=jnp.where(rollouts.loss_mask, -0.5, 0))
  ours = behaviour.unlikely_first(np.ones(16, 'f'), rollouts, penalty=0.4)
  np.testing.assert_allclose(ours[8:], 1 - 0.4 * 1.5 / 4, rtol=1e-6)


@pytest.mark.parametrize('fewest', [0, 1, 3])
@pytest.mark.parametrize('calls', [0, 1, 3, 7])
def test_tool_factor_equals_its_oracle(calls, fewest):
  ours = behaviour.tool_economy(
    jnp.float32(calls), jnp.float32(fewest), budget=4.0
  )
  expected = oracle.tool_factor(calls, fewest, 4.0)
  np.testing.assert_allclose(ours, expected, atol=1e-6)


def test_tool_economy_remembers_the_fewest_calls_of_a_correct_response():
  stage = behaviour.ToolEconomy(budget=4.0)
  state = stage.init(Spec(16, 4, 1, 6, tasks=4))
  for calls, fewest in ((3, 3), (5, 3), (2, 2), (4, 2)):
    rollouts = cases.rollouts(tool_calls=np.full(16, calls, np.int32))
    ones = jnp.where(rollouts.valid, 1.0, 0.0)
    credit = initial_credit(rollouts, Scores(ones[:, None], jnp.ones(1)))
    credit = credit.replace(rewards=ones)
    credit, state = jax.jit(stage.update)(credit, rollouts, state)
    np.testing.assert_array_equal(state, np.full(4, fewest))
    expected = oracle.tool_factor(calls, fewest, 4.0)
    np.testing.assert_allclose(credit.rewards[0], expected, rtol=1e-6)
    assert credit.rewards[5] == 0  # not valid


@pytest.mark.parametrize('reward', [0.0, 0.4])
def test_wrong_responses_set_no_example_and_earn_no_more_than_they_had(reward):
  stage = behaviour.ToolEconomy()
  state = stage.init(Spec(16, 4, 1, 6, tasks=4))
  rollouts = cases.rollouts(tool_calls=np.ones(16, np.int32))
  credit = initial_credit(rollouts, Scores(jnp.zeros((16, 1)), jnp.ones(1)))
  credit = credit.replace(rewards=jnp.full(16, reward))
  credit, state = stage.update(credit, rollouts, state)
  # While nothing better is known, what a response needed is what it takes.
  expected = np.where(rollouts.valid, reward, 0)
  np.testing.assert_allclose(credit.rewards, expected, rtol=1e-6)
  np.testing.assert_array_equal(state, stage.init(Spec(16, 4, 1, 6, tasks=4)))


def test_agreement_is_added_by_weight():
  rollouts = cases.rollouts(agreement=np.linspace(0, 1, 16).astype('f'))
  ours = behaviour.agreement(
    np.ones(16, 'f'), rollouts, weight=2.0, accuracy_weight=0.5
  )
  np.testing.assert_allclose(ours, 2 * np.linspace(0, 1, 16) + 0.5, rtol=1e-6)


def test_mean_similarity_looks_at_other_wordings_of_the_question_only():
  rng = np.random.default_rng(0)
  similarity = rng.random((8, 8)).astype(np.float32)
  question = np.array([0, 0, 0, 0, 1, 1, 2, 2], np.int32)
  wording = np.array([0, 0, 1, 1, 2, 3, 4, 4], np.int32)
  ours = behaviour.mean_similarity(similarity, question, wording)
  expected = [
    np.mean([
      similarity[i, j] for j in range(8)
      if question[j] == question[i] and wording[j] != wording[i]
    ] or [0.0])
    for i in range(8)
  ]  # fmt: skip
  np.testing.assert_allclose(ours, expected, rtol=1e-6)


def test_stable_information_pays_for_entropy_and_charges_its_swing():
  information = np.random.default_rng(0).random(16).astype(np.float32)
  rollouts = cases.rollouts(information=information)
  ours = behaviour.stable_information(
    np.ones(16, 'f'), rollouts, information_weight=0.3, stability_weight=2.0
  )
  valid, group = np.asarray(rollouts.valid), np.asarray(rollouts.group)
  for i in np.flatnonzero(valid):
    mean = information[valid & (group == group[i])].mean()
    swing = abs(information[i] - mean)
    expected = 1 + 0.3 * information[i] - 2.0 * swing
    np.testing.assert_allclose(ours[i], expected, rtol=1e-5)


def test_question_earns_most_when_a_single_solver_is_right():
  form = np.full(16, 0.5, np.float32)
  rollouts = cases.rollouts(form=form, proposed=np.arange(16) != 15)
  right = np.arange(16) % 6
  ours = behaviour.solvable_but_hard(
    (right / 5).astype('f'), rollouts, solvers=5, form_weight=0.4
  )
  expected = [0.2 + {1: 1, 2: 0.75, 3: 0.5, 4: 0.25}.get(k, 0) for k in right]
  # The last row is no proposal.
  expected[-1] = 3 / 5
  np.testing.assert_allclose(ours, expected, rtol=1e-5)


def test_a_flawed_right_answer_is_good_until_clean_ones_outnumber_wrong_ones():
  def advantage(clean, wrong):
    rewards = np.array([1.0] * (clean + 1) + [0.0] * wrong, np.float32)
    flawed = np.array([1.0] + [0.0] * (clean + wrong))
    rollouts = cases.rollouts(samples=8, groups=1, flawed=flawed)
    shaped = behaviour.unflawed(rewards, rollouts)
    return float(shaped[0] - shaped.mean())

  assert advantage(clean=2, wrong=5) > 0
  assert advantage(clean=5, wrong=2) < 0


@pytest.mark.parametrize(
  ('used', 'bonus'),
  [
    ([1, 1, 0, 0], 0.5),
    ([0, 0, 1, 1], -0.5),
    ([1, 0, 1, 0], 0.0),
    ([1, 1, 1, 1], 0.0),
  ],
)
def test_a_device_pays_where_it_helps_its_group(used, bonus):
  rewards = np.array([1.0, 1.0, 0.0, 0.0], np.float32)
  rollouts = cases.rollouts(groups=1, auxiliary=np.array(used, np.float32))
  rollouts = rollouts.replace(valid=jnp.ones(4, bool))
  ours = behaviour.contrasted(rewards, rollouts, length_weight=0.0)
  np.testing.assert_allclose(ours - rewards, bonus * np.array(used))


@pytest.mark.parametrize(
  'wrong', [{'decay': 1.0}, {'formal': 9, 'retrieving': 3}]
)
def test_phases_of_retrieval_that_make_no_sense_are_refused(wrong):
  with pytest.raises(ValueError, match=r'decay 1.0|set retrieving to 9'):
    behaviour.RetrievalPhases(**wrong)
