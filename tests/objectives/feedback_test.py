"""The score of BNF on logits: what its docstring says of slopes."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_llm.digests import Seen
from jaxrl_llm.objectives import feedback

TOKEN, GROUP = jnp.array([[1, 0], [2, 1]]), jnp.zeros(2, jnp.int32)
LOGITS = jnp.array(
  [[[0.3, 1.0, -0.5], [-1.0, 0.2, 0.1]], [[0.0, 0.4, 0.9], [2.0, -1.0, 0.0]]]
)
REF = jnp.log(jnp.array([[0.1, 0.9], [0.8, 0.2]]))
ALL = jnp.ones(2, bool)


def scored(logits, mask, valid=ALL):
  log_probs = jax.nn.log_softmax(logits)
  seen = Seen(TOKEN, mask, GROUP, valid)
  logp = jnp.take_along_axis(log_probs, TOKEN[..., None], -1)[..., 0]
  return feedback.bounded_by_reference(
    logp,
    logp,
    mask,
    ref_logp=REF,
    group=GROUP,
    valid=valid,
    **{feedback.OTHERS: feedback.others(log_probs, seen)},
  )


def test_slope_is_the_target_less_the_chance_over_the_shortest_length():
  mask = jnp.array([[True, True], [True, False]])
  slope = jax.jacobian(scored)(LOGITS, mask)
  p = jax.nn.softmax(LOGITS)
  for row, token in [(0, 0), (0, 1), (1, 0)]:
    own = int(TOKEN[row, token])
    chance = float(p[row, token, own])
    target = min(chance / float(jnp.exp(REF[row, token])), 1)
    found = slope[row, row, token, own]  # of one token: L is that of row 1
    np.testing.assert_allclose(found, target - chance, rtol=1e-4)
  np.testing.assert_array_equal(slope[1, 1, 1], 0)
  np.testing.assert_array_equal(slope[0, 1], 0)


def test_rows_without_tokens_or_count_score_zero_and_have_no_slope():
  mask = jnp.array([[True, True], [False, False]])
  for valid in (ALL, jnp.array([False, False])):
    score, slope = (
      scored(LOGITS, mask, valid),
      jax.jacobian(scored)(LOGITS, mask, valid),
    )
    assert float(score[1]) == 0 and np.all(np.isfinite(slope))
    np.testing.assert_array_equal(slope[1], 0)


def test_an_entry_without_a_chance_has_no_slope():
  logits = LOGITS.at[0, 0, 2].set(-jnp.inf)
  mask = jnp.array([[True, False], [True, False]])
  assert np.all(np.isfinite(jax.grad(lambda x: scored(x, mask).sum())(logits)))
