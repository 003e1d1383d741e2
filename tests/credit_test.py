from functools import partial

import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm import credit, recipe
from jaxrl_llm.advantages import group
from jaxrl_llm.objectives import aggregate, regions
from jaxrl_llm.reads import reads, reads_of
from jaxrl_llm.tabular import policy
from jaxrl_llm.types import Scores, Spec, initial_credit

SPEC = Spec(4, 2, 1, 3)


def start():
  """Four rows of three tokens: one padding row, one token of a tool."""
  mask = np.array([[1, 1, 1], [1, 1, 0], [1, 0, 0], [1, 1, 1]], bool)
  rollouts = policy.as_rollouts(
    np.zeros((4, 3), np.int32), mask, group=jnp.array([0, 0, 1, 1])
  )
  rollouts = rollouts.replace(
    valid=jnp.array([True, True, True, False]),
    action_mask=rollouts.action_mask.at[0, 1].set(False),
  )
  scores = Scores(jnp.array([[1.0], [2.0], [3.0], [jnp.nan]]), jnp.ones(1))
  first = initial_credit(rollouts, scores)
  return rollouts, first.replace(rewards=first.components[:, 0])


def apply(stage):
  rollouts, before = start()
  after, state = stage.update(before, rollouts, stage.init(SPEC))
  assert state == ()
  return rollouts, before, after


def test_shape_changes_rewards_of_valid_rows_only():
  _, _, after = apply(credit.shape(lambda rewards, rollouts: rewards + 1))
  np.testing.assert_array_equal(after.rewards, [2, 3, 4, 0])


def test_weigh_multiplies_what_rows_count():
  _, before, after = apply(credit.weigh(lambda r, group, valid: r))
  np.testing.assert_array_equal(after.keep, before.keep * before.rewards)


def test_weights_of_several_stages_multiply():
  by_reward = credit.weigh(lambda r, group, valid: r)
  third = credit.weigh(lambda r, group, valid: jnp.full(4, 1 / 3))
  uneven = credit.weigh_tokens(lambda a, rollouts: jnp.arange(3.0) + 0 * a)
  halves = credit.weigh_tokens(lambda a, rollouts: jnp.full(a.shape, 0.5))
  rollouts, before = start()
  stage = credit.chain(by_reward, uneven, third, halves)
  after, _ = stage.update(before, rollouts, stage.init(SPEC))
  np.testing.assert_allclose(after.keep[:3], np.r_[1:4] / 3, rtol=1e-6)
  wanted = np.array([0, 0.5, 1.0]) * np.asarray(rollouts.loss_mask)
  np.testing.assert_array_equal(after.token_keep, wanted)


def test_what_is_not_kept_leaves_the_counts_as_well_as_the_surrogate():
  rollouts, before = start()
  old = jnp.where(rollouts.loss_mask, rollouts.logp, 0.0)
  old = old.at[1].add(0.5)
  rollouts = rollouts.replace(extras={'old_logp': old})
  stage = credit.KeepTokens(partial(regions.ratio_band, high=1.1))
  assert stage.reads == {'old_logp', 'sampler_logp'}
  after, _ = stage.update(before, rollouts, stage.init(SPEC))
  kept = np.array(before.token_keep)
  assert kept[1].any()
  kept[1] = 0
  np.testing.assert_array_equal(after.token_keep, kept)


def of_episodes():
  """Two groups of two episodes, of 2, 1, 3 and 1 rows; one row is padding."""
  episode = jnp.array([0, 0, 1, 1, 2, 2, 2, 3])
  mask = np.tril(np.ones((8, 8), bool))[:, :4]
  rollouts = policy.as_rollouts(
    np.zeros((8, 4), np.int32), mask, group=jnp.array([0] * 4 + [1] * 4)
  )
  rollouts = rollouts.replace(
    valid=jnp.arange(8) != 3, extras={'episode': episode}
  )
  rewards = jnp.array([1.0, 5.0, 2.0, 7.0])[episode]
  first = initial_credit(rollouts, Scores(rewards[:, None], jnp.ones(1)))
  return rollouts, first.replace(rewards=rewards)


def test_an_episode_of_several_rows_is_compared_once():
  rollouts, before = of_episodes()
  stage = credit.EstimateByEpisode(group.centre)
  after, _ = stage.update(before, rollouts, stage.init(SPEC))
  wanted = np.array([-2, -2, 2, 0, -2.5, -2.5, -2.5, 2.5])[:, None]
  mask = np.asarray(rollouts.loss_mask)
  np.testing.assert_allclose(after.advantages, wanted * mask)
  alone = rollouts.replace(extras={'episode': jnp.arange(8)})
  plain = credit.estimate(group.centre).apply(before, alone)
  found = stage.apply(before, alone)
  np.testing.assert_allclose(found.advantages, plain.advantages)


def test_an_episode_of_several_rows_weighs_as_one_in_means_over_rows():
  rollouts, before = of_episodes()
  after = credit.WeighByEpisode().apply(before, rollouts)
  mask = np.asarray(rollouts.loss_mask)
  weights = aggregate.sequence_mean(mask, after.keep, rollouts.group)
  tokens = np.array([3, 3, 3, 1, 12, 12, 12, 4])[:, None]
  np.testing.assert_allclose(weights, mask / tokens / 4, rtol=1e-6)


def test_weigh_tokens_multiplies_what_tokens_count():
  halves = credit.weigh_tokens(lambda a, rollouts: jnp.full(a.shape, 0.5))
  rollouts, _, after = apply(halves)
  np.testing.assert_array_equal(after.token_keep, 0.5 * rollouts.loss_mask)


def test_estimate_gives_every_chosen_token_the_advantage_of_its_row():
  rollouts, _, after = apply(credit.estimate(lambda r, group, valid: 10 + r))
  wanted = np.array([[11], [12], [13], [0]]) * np.asarray(rollouts.loss_mask)
  np.testing.assert_array_equal(after.advantages, wanted)


@pytest.mark.parametrize('lift', [credit.estimate_tokens, credit.refine])
def test_token_advantages_are_zero_off_the_loss_mask(lift):
  rollouts, _, after = apply(lift(lambda x, rollouts: jnp.full((4, 3), 7.0)))
  np.testing.assert_array_equal(after.advantages, 7.0 * rollouts.loss_mask)


@pytest.mark.parametrize(
  'lift',
  [
    *(credit.shape, credit.weigh, credit.weigh_tokens),
    *(credit.estimate, credit.estimate_tokens, credit.refine),
  ],
)
def test_wrong_shape_is_refused(lift):
  with pytest.raises(ValueError, match=r'lambda.* shape \[1\].* one number'):
    apply(lift(lambda *arrays: jnp.zeros(1)))


def test_hyper_parameters_are_bound_by_name():
  def scaled(rewards, rollouts, *, factor):
    return factor * rewards

  stage = credit.shape(scaled, factor=3.0)
  assert isinstance(stage.fn, partial) and stage.fn.keywords == {'factor': 3.0}
  np.testing.assert_array_equal(apply(stage)[2].rewards, [3, 6, 9, 0])


def test_a_row_earns_what_it_was_paid_and_the_rest_with_its_last_decision():
  rollouts, _ = start()
  # What stands at the tool's token is not paid for a decision.
  paid = jnp.array([[0.5, 9.0, 0.25], [1, 0, 9], [0, 9, 9], [0, 0, 0]])
  found = credit.earned(jnp.arange(1.0, 5.0), rollouts.replace(paid=paid))
  wanted = [[0.5, 0, 0.5], [1, 1, 0], [3, 0, 0], [0, 0, 0]]
  np.testing.assert_array_equal(found, wanted)


class Counter:
  """A stage with memory: adds how often it ran."""

  def init(self, spec):
    return jnp.float32(spec.rows)

  def update(self, given, rollouts, state):
    del rollouts
    return given.replace(rewards=given.rewards + state), state + 1


def test_chain_runs_in_order_and_keeps_the_state_of_each():
  rollouts, before = start()
  double = credit.shape(lambda r, rollouts: 2 * r)
  stage = credit.chain(Counter(), double, Counter())
  state = stage.init(SPEC)
  after, state = stage.update(before, rollouts, state)
  np.testing.assert_array_equal(after.rewards[:3], 2 * (np.r_[1:4] + 4) + 4)
  assert state == (5, (), 5)


def test_chain_refuses_the_state_of_another_chain():
  rollouts, before = start()
  stage = credit.chain(Counter(), Counter())
  with pytest.raises(AssertionError):
    stage.update(before, rollouts, (jnp.float32(0),))


def test_marks_pass_through_partials_stages_and_chains():
  @reads('ref_logp', 'answer')
  def part(rewards, rollouts, *, weight):
    return rewards

  stage = credit.shape(partial(part), weight=1.0)
  wanted = {'ref_logp', 'answer'}
  assert stage.reads == wanted
  assert credit.chain(Counter(), credit.chain(stage)).reads == wanted
  assert reads_of(lambda: None) == frozenset()


def test_a_mark_of_a_partial_adds_to_that_of_its_function():
  @reads('ref_logp')
  @reads('group')
  def part(**arrays):
    return arrays

  more = reads('old_values', 'answer')(partial(part))
  assert reads_of(partial(more)) == {
    'ref_logp',
    'group',
    'old_values',
    'answer',
  }
  assert reads_of(part) == {'ref_logp', 'group'}


def test_a_mark_of_a_stage_adds_to_that_of_what_it_holds():
  @reads('answer')
  class Own(credit.Shape):
    """Reads an answer whatever its function reads."""

  @reads('ref_logp')
  def part(rewards, rollouts):
    return rewards

  assert Own(part).reads == {'answer', 'ref_logp'}
  assert credit.shape(part).reads == {'ref_logp'}


def test_what_a_combiner_reads_is_computed():
  @reads('ref_logp')
  def combine(components, weights, rollouts):
    return components @ weights + rollouts.extras['ref_logp'][:, 0]

  assert 'ref_logp' in recipe.Recipe(combine=combine).needs
