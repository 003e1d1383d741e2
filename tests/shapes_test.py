"""Arrays that would broadcast to a wrong result are refused."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm import grouping, numerics
from jaxrl_llm.advantages import group
from jaxrl_llm.objectives import (
  adaptive,
  aggregate,
  critics,
  gates,
  grouped,
  offline,
  ranked,
  regression,
  sequence,
  surrogates,
)
from jaxrl_llm.rewards import combine, learned
from jaxrl_llm.selection import rejection, weights
from jaxrl_llm.tabular import policy

ROWS, TOKENS = 3, 4
ARRAYS = {
  **dict.fromkeys(
    ('logp', 'old_logp', 'advantages', 'share', 'ref_logp', 'sampler_logp'),
    np.zeros((ROWS, TOKENS), np.float32),
  ),
  **dict.fromkeys(('mask', 'guide', 'earlier'), np.ones((ROWS, TOKENS), bool)),
  **dict.fromkeys(('item', 'turn'), np.zeros((ROWS, TOKENS), np.int32)),
  **dict.fromkeys(
    ('rewards', 'keep', 'chosen', 'rejected', 'x'), np.ones(ROWS, np.float32)
  ),
  **dict.fromkeys(('valid', 'where'), np.ones(ROWS, bool)),
  **dict.fromkeys(('group', 'resampled'), np.zeros(ROWS, np.int32)),
  'components': np.ones((ROWS, 2), np.float32),
  'weights': np.ones(2, np.float32),
  'logits': np.zeros((ROWS, 5), np.float32),
  'distribution': np.full((ROWS, 5), 0.2, np.float32),
  'support': np.arange(5, dtype=np.float32),
  **dict.fromkeys(
    ('state_values', 'after_values', 'targets'), np.zeros(ROWS, np.float32)
  ),
}
TOKENWISE = ('logp', 'old_logp', 'advantages', 'mask')
# A function, the names of the arrays it takes, and how many of them, from the
# first, must agree in shape.
FUNCTIONS = [
  *(
    (fn, TOKENWISE, 4)
    for fn in (
      surrogates.score_function,
      surrogates.importance,
      gates.two_side,
      sequence.sequence_clip,
      sequence.geometric_clip,
    )
  ),
  (adaptive.balanced_clip, (*TOKENWISE, 'share'), 5),
  (ranked.item_clip, (*TOKENWISE, 'item'), 5),
  (regression.normalised_log_ratio, (*TOKENWISE, 'group', 'valid'), 4),
  (gates.exponential_advantage, ('logp', 'advantages', 'old_logp', 'mask'), 2),
  (
    gates.truncated_importance,
    ('old_logp', 'sampler_logp', 'mask', 'logp', 'advantages'),
    3,
  ),
  (
    gates.own_tokens,
    ('logp', 'mask', 'guide', 'old_logp', 'advantages'),
    3,
  ),
  (
    grouped.to_iterate_in_turn,
    ('logp', 'turn', 'old_logp', 'mask', 'resampled'),
    2,
  ),
  (
    offline.contrastive,
    ('logp', 'ref_logp', 'mask', *TOKENWISE[1:3], 'rewards', 'group', 'valid'),
    3,
  ),
  (critics.cross_entropy, ('logits', 'distribution'), 2),
  (critics.expectation, ('support', 'logits'), 1),
  (critics.pessimistic_error, ('state_values', 'after_values', 'targets'), 3),
  (learned.bradley_terry, ('chosen', 'rejected'), 2),
  (group.reward, ('rewards', 'group', 'valid'), 3),
  (group.centre, ('rewards', 'group', 'valid'), 3),
  (numerics.group_sum, ('where', 'x', 'group'), 2),
]


@pytest.mark.parametrize(
  ('fn', 'names', 'wrong'),
  [
    pytest.param(fn, names, name, id=f'{fn.__name__}-{name}')
    for fn, names, agree in FUNCTIONS
    for name in names[:agree]
  ],
)
def test_an_array_that_would_broadcast_is_refused(fn, names, wrong):
  arrays = {name: ARRAYS[name] for name in names}
  fn(**arrays)
  with pytest.raises(AssertionError):
    fn(**arrays | {wrong: ARRAYS[wrong][..., :1]})


def test_ids_of_groups_are_refused_in_two_dimensions():
  where = ARRAYS['where'][:, None]
  ids = ARRAYS['group'][:, None]
  for fn in (numerics.group_sum, group.reward):
    with pytest.raises(AssertionError):
      fn(ARRAYS['x'][:, None], ids, where)
  with pytest.raises(AssertionError):
    grouping.joint(ids, ids)


def test_ids_of_another_number_of_rows_are_refused():
  with pytest.raises(AssertionError):
    grouping.joint(ARRAYS['group'], ARRAYS['group'][:1])


@pytest.mark.parametrize(
  'fn', [aggregate.token_mean, aggregate.sequence_mean, aggregate.sequence_sum]
)
def test_weights_of_rows_are_refused_in_two_dimensions(fn):
  mask, keep = ARRAYS['mask'], ARRAYS['keep']
  with pytest.raises(AssertionError):
    fn(mask, keep[:, None], ARRAYS['group'])


def test_weights_of_another_number_of_rows_are_refused():
  with pytest.raises(AssertionError):
    aggregate.sequence_sum(
      ARRAYS['mask'], ARRAYS['keep'][:1], ARRAYS['group'][:1]
    )


def test_preferences_of_another_number_of_rows_are_refused():
  rewards = np.zeros((2, 3), np.float32)
  with pytest.raises(AssertionError):
    grouped.of_preferences(rewards, preference=np.zeros((2, 1, 3)))


@pytest.mark.parametrize(
  'fn',
  [
    combine.weighted_sum,
    combine.least_served,
    combine.worst_model,
    combine.certain_models,
  ],
)
def test_one_weight_for_several_components_is_refused(fn):
  rollouts = policy.as_rollouts(ARRAYS['item'], ARRAYS['mask'])
  components, each = ARRAYS['components'], ARRAYS['weights']
  fn(components, each, rollouts)
  with pytest.raises(AssertionError):
    fn(components, each[:1], rollouts)


@pytest.mark.parametrize(
  'fn',
  [
    combine.weighted_sum,
    functools.partial(combine.decoupled, fn=group.reward),
  ],
)
def test_components_of_one_dimension_are_refused(fn):
  rollouts = policy.as_rollouts(ARRAYS['item'], ARRAYS['mask'])
  with pytest.raises(AssertionError):
    fn(ARRAYS['x'], np.ones(ROWS, np.float32), rollouts)


@pytest.mark.parametrize(
  'fn',
  [
    critics.gaussian_bins,
    critics.two_hot,
    lambda x: rejection.accepted(jax.random.key(0), x, count=1),
  ],
  ids=['gaussian_bins', 'two_hot', 'accepted'],
)
def test_whole_numbers_are_refused(fn):
  fn(jnp.arange(3.0))
  with pytest.raises(AssertionError):
    fn(jnp.arange(3))


def test_one_score_for_all_tokens_is_refused():
  rollouts = policy.as_rollouts(ARRAYS['item'], ARRAYS['mask'])
  extras = {
    'hidden_square': ARRAYS['logp'],
    weights.OWN_SCORE: np.zeros((3, 1, 2)),
  }
  with pytest.raises(AssertionError):
    weights.small_curvature(
      ARRAYS['advantages'], rollouts.replace(extras=extras)
    )
