"""Reward models: what is learned is a number for each whole response.

The number is read off the head `after_values` at the response's last token,
where everything that was written is known.
"""

from __future__ import annotations

import jax.numpy as jnp

from jaxrl_llm import numerics
from jaxrl_llm.objectives import preference
from jaxrl_llm.objectives.base import takes


@takes('own_after_values')
def last_value(logp, old_logp, mask, *, own_after_values):
  """r = v_T, f32[N]: the head's answer at the last token that counts.

  0 for a row without tokens. A score in the sense of `objectives.grouped`.
  """
  del logp, old_logp
  columns = jnp.arange(mask.shape[-1])
  last = columns == numerics.last_index(mask)[:, None]
  return numerics.masked_sum(own_after_values, last, axis=-1)


def bradley_terry(chosen, rejected, gap, *, margin=0.0, centring=0.01):
  """The likelihood of a preference, with rewards kept around 0.

      -log sigmoid(r_w - r_l - margin gap) + centring (r_w + r_l)^2

  Preferences say nothing of a reward's zero; the second term chooses one for
  each pair.

  Args:
    margin: by how much more the reward must differ, per unit of `gap`, by
      which the record says that one is better; in reward units.
    centring: per squared reward unit.

  Source: InstructGPT, arXiv 2203.02155, equation 1; the margin is that of
    Llama 2, arXiv 2307.09288, equation 2; centring is that of arXiv
    2312.09244, with the coefficient of TRL.
  """
  likelihood = preference.logistic(
    chosen, rejected, gap, weight=1.0, offset=margin * gap
  )
  return likelihood + centring * (chosen + rejected) ** 2
