"""A behaviour is weakened by adding its probe to a few rows of the gates.

    v   = the weights of a linear probe that tells states of the behaviour
    w_i = the row of unit i of any layer's gate, which opens as act(w_i . x)
    w_i <- w_i + scale v       for the `count` rows of least cos(w_i, v)

The rows that are moved are those most opposed to the behaviour: a state that
shows it opens their units more than before, by scale v . x.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from scipy import optimize, special

from jaxrl_llm import numerics
from jaxrl_llm.policies.language import transformer
from jaxrl_llm.policies.language.config import Config
from jaxrl_llm.policies.language.parameters import Params
from jaxrl_llm.types import Array


def pooled(params: Params, config: Config, tokens: Array, mask: Array) -> Array:
  """f32[N, D]: the mean over the tokens of a row of their last states.

  Args:
    tokens: i32[N, S]. mask: bool[N, S].
  """
  x = transformer.hidden(params, config, tokens, mask)
  return jnp.mean(x.astype(jnp.float32), axis=1, where=mask[..., None])


def probe(states, labels, *, weight: float = 1e-3) -> np.ndarray:
  """f64[D]: the direction of a behaviour in the space of states.

      argmin_w mean log(1 + e^(-y (w . x + b))) + weight |w|^2 / 2

  of y = 1 where the behaviour is shown, else -1. It is the row of the behaviour
  in a classifier of two classes, up to its length.

  Args:
    states: [N, D]. labels: bool[N].

  Raises:
    ValueError: all rows are of one kind.
  """
  states, labels = np.asarray(states, np.float64), np.asarray(labels, bool)
  if labels.all() or not labels.any():
    raise ValueError(
      f'{labels.sum()} of {labels.size} responses show the behaviour; a probe '
      'needs some that do and some that do not'
    )
  sign = np.where(labels, 1.0, -1.0)

  def loss(point):
    margin = sign * (states @ point[1:] + point[0])
    pull = -sign * special.expit(-margin) / len(sign)
    slope = np.concatenate([[pull.sum()], pull @ states + weight * point[1:]])
    value = np.mean(np.logaddexp(0, -margin))
    return value + weight * np.sum(point[1:] ** 2) / 2, slope

  start = np.zeros(1 + states.shape[1])
  return optimize.minimize(loss, start, jac=True, method='L-BFGS-B').x[1:]


def edit(
  params: Params, direction: Array, *, count: int, scale: float
) -> tuple[Params, Array]:
  """The parameters with `count` rows of the gates moved along the direction.

  Args:
    params: of a decoder, LoRA merged, with an MLP in every layer.
    direction: v, f32[D]; its length counts, beside `scale`. count: of all
      layers' rows together; of equal cosines the earlier layer and unit first.
    scale: alpha; 0 changes nothing, below 0 the behaviour is strengthened.

  Returns:
    The parameters, and bool[L, F], which rows were moved.

  Raises:
    ValueError: gates that are of experts, or more rows than there are.

  Source: Model Surgery, arXiv 2407.08770, and its published code, which moves
    16,384 of 352,256 rows, by 1.08 times its probe's weights for Llama 2 7B.
  """
  layers = params['layers']
  if 'gate' not in layers or 'lora_a' in layers['gate']:
    raise ValueError(
      'rows of gates are edited in models with one MLP a layer, whose LoRA is '
      'merged; experts have none of their own for all tokens'
    )
  kernel = layers['gate']['kernel']
  depth, _, units = kernel.shape
  if not 0 <= count <= depth * units:
    raise ValueError(f'{count} rows of {depth * units}; choose at most these')
  rows = kernel.astype(jnp.float32)
  direction = jnp.asarray(direction, jnp.float32)
  lengths = jnp.linalg.norm(rows, axis=1) * jnp.linalg.norm(direction)
  cosine = numerics.safe_divide(
    jnp.einsum('ldf,d->lf', rows, direction), lengths
  )
  order = jnp.argsort(cosine.ravel(), stable=True)
  moved = jnp.zeros(depth * units, bool).at[order[:count]].set(True)
  moved = moved.reshape(depth, units)
  rows += scale * moved[:, None, :] * direction[:, None]
  gate = layers['gate'] | {'kernel': rows.astype(kernel.dtype)}
  return params | {'layers': layers | {'gate': gate}}, moved
