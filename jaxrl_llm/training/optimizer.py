"""The optimiser chain: clip, AdamW, and a schedule of iterations' steps."""

from __future__ import annotations

import jax
import optax

_SCHEDULES = ('constant', 'linear', 'cosine')


def rate_of(
  name: str, *, learning_rate: float, warmup: int, total: int
) -> optax.Schedule:
  """Linear warm-up to the learning rate, then what the name says.

  Args:
    name: 'constant', or 'linear' or 'cosine' decay to 0 at `total`.
    learning_rate: the peak. warmup, total: in optimizer steps.

  Raises:
    ValueError: an unknown name, or a warm-up that never ends.
  """
  if name not in _SCHEDULES:
    raise ValueError(
      f'unknown optimizer.schedule {name!r}; known: {", ".join(_SCHEDULES)}'
    )
  if warmup and warmup >= total:
    raise ValueError(
      f'optimizer.warmup of {warmup} steps does not end within the run of '
      f'{total}; use at most {total - 1}'
    )
  rest = total - warmup
  after = {
    'constant': lambda: optax.constant_schedule(learning_rate),
    'linear': lambda: optax.linear_schedule(learning_rate, 0.0, rest),
    'cosine': lambda: optax.cosine_decay_schedule(learning_rate, rest),
  }[name]()
  if not warmup:
    return after
  # From 1 / warmup of the peak: a first step of 0 would learn nothing.
  rise = optax.linear_schedule(
    learning_rate / warmup, learning_rate, max(warmup - 1, 1)
  )
  return optax.join_schedules([rise, after], [warmup])


def adamw(
  *,
  learning_rate: float,
  schedule: str,
  warmup: int,
  total: int,
  b1: float,
  b2: float,
  epsilon: float,
  weight_decay: float,
  clip_norm: float,
) -> optax.GradientTransformation:
  """Global-norm clipping and AdamW; kernels decay, norms and biases do not.

  Args:
    clip_norm: the largest gradient norm; math.inf turns clipping off.
    weight_decay: per unit of learning rate, on kernels alone.
  """
  rate = rate_of(
    schedule, learning_rate=learning_rate, warmup=warmup, total=total
  )
  return optax.chain(
    optax.clip_by_global_norm(clip_norm),
    optax.adamw(
      rate,
      b1=b1,
      b2=b2,
      eps=epsilon,
      weight_decay=weight_decay,
      mask=_decays,
    ),
  )


def _decays(params):
  """True for kernels: their names say so, whatever axes they have."""

  def decays(path, leaf):
    del leaf
    return path[-1].key in ('kernel', 'lora_a', 'lora_b')

  return jax.tree_util.tree_map_with_path(decays, params)
