"""Update rules: from gradients to new parameters.

    f(grad_fn, tx, params, opt, batch) -> (params, opt, metrics)

`grad_fn(params, batch) -> (grads, metrics)` already sums over microbatches and
devices. A rule that evaluates it away from the parameters of the iteration's
start must clear `batch.fresh` there, because only at the start are the
proximal log-probs the parameters' own.
"""

from __future__ import annotations

import optax


def single(grad_fn, tx, params, opt, batch):
  """One optimiser step along one gradient."""
  grads, metrics = grad_fn(params, batch)
  updates, opt = tx.update(grads, opt, params)
  metrics = metrics | {'grad/norm': optax.global_norm(grads)}
  return optax.apply_updates(params, updates), opt, metrics
