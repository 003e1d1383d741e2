"""What the states of a model say, beside the log-probs made of them."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp

from jaxrl_llm.policies.language import transformer
from jaxrl_llm.policies.language.config import Config


@dataclasses.dataclass(frozen=True)
class Square:
  """f(params, rollouts): |h|^2 of the state that each token is drawn from.

  h is what the output layer multiplies: the last hidden state, normalised.

  Attributes:
    config: of the decoder. dtype: of its arithmetic.

  Returns:
    f32[N, T]; 0 off `response_mask`.
  """

  config: Config
  dtype: str = 'float32'

  def __call__(self, params, rollouts):
    x = transformer.hidden(
      params,
      self.config,
      jnp.concatenate(
        [rollouts.content.prompt, rollouts.content.response], axis=1
      ),
      jnp.concatenate(
        [rollouts.content.prompt_mask, rollouts.response_mask], axis=1
      ),
      dtype=jnp.dtype(self.dtype),
    )
    x = x[:, rollouts.content.prompt.shape[1] - 1 : -1].astype(jnp.float32)
    square = jnp.sum(x**2, axis=-1)
    return jnp.where(rollouts.response_mask, square, 0.0)
