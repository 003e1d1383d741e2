"""Update rules: from gradients to new parameters.

    f(grad_fn, tx, params, opt, batch) -> (params, opt, metrics)

`grad_fn(params, batch) -> (grads, metrics)` already sums over microbatches and
devices. A rule that evaluates it away from the parameters of the iteration's
start must clear `batch.fresh` there, because only at the start are the
proximal log-probs the parameters' own. One whose metrics have `bad_steps` has
itself left out the step that is not finite, and left everything as it was.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax
from jax.scipy.sparse import linalg

from jaxrl_llm import in_place
from jaxrl_llm.types import Array


def single(grad_fn, tx, params, opt, batch):
  """One optimizer step along one gradient.

  An optimizer that asks for it also gets `hessian_product(point, vector)`, of
  the loss on the same batch.
  """
  grads, metrics = grad_fn(params, batch)
  if isinstance(tx, in_place.Separable) and in_place.pays(params):
    healthy = jnp.isfinite(metrics['loss'])
    params, opt, found = in_place.step(tx, params, opt, grads, healthy)
    return params, opt, metrics | found

  def hessian_product(point, vector):
    away = batch.replace(fresh=jnp.zeros_like(batch.fresh))
    return jax.jvp(lambda p: grad_fn(p, away)[0], (point,), (vector,))[1]

  tx = optax.with_extra_args_support(tx)
  updates, opt = tx.update(grads, opt, params, hessian_product=hessian_product)
  return optax.apply_updates(params, updates), opt, metrics | norms(grads)


def within(grad_fn, tx, params, opt, batch, *, limit=0.01):
  """One optimizer step while the policy is near the old one, none after.

      a step if  E[r - 1 - log r] <= limit,   r = policy / old

  over the tokens of the step. Parameters and optimiser stay as they are where
  no step is taken; `steps/taken` is the share of steps that are.

  Args:
    limit: nats per token.

  Source: the early stop of PPO in OpenAI Spinning Up. There the step that finds
    the limit passed is the last one taken; here it is not taken.
  """
  grads, metrics = grad_fn(params, batch)
  updates, after = tx.update(grads, opt, params)
  near = metrics['policy/kl'] <= limit

  def chosen(new, old):
    return jax.tree.map(lambda a, b: jnp.where(near, a, b), new, old)

  moved = chosen(optax.apply_updates(params, updates), params)
  metrics = metrics | norms(grads) | {'steps/taken': near * 1.0}
  return moved, chosen(after, opt), metrics


def norms(grads):
  """The l2 and l1 norms of a gradient, as metrics."""
  return {
    'grad/norm': optax.tree.norm(grads),
    'grad/norm_l1': optax.tree.norm(grads, ord=1),
  }


def trust_region(
  grad_fn,
  tx,
  params,
  opt,
  batch,
  *,
  limit=0.01,
  solves=10,
  damping=0.1,
  tries=10,
  shrink=0.5,
):
  """The largest step along the natural gradient within a KL ball.

      x = (F + damping I)^-1 g                by conjugate gradients
      step = sqrt(2 limit / x' (F + damping I) x) x
      shrunk until KL(old || new) is at most the limit, or what it was, and
      the policy loss has fallen

  F is the curvature, at the old policy, of the objective's cost `trust`,
  which must be `costs.trust_kl` with coefficient 1. Products with F come from
  differentiating `grad_fn` with all advantages set to 0, so the surrogate
  itself does not enter them.

  The step is handed to the optimiser as its gradient: with plain SGD of rate
  1 it is taken as it is.

  Args:
    limit: nats per token. solves: conjugate-gradient iterations.
    damping: added to F. tries: of the line search; when all fail the step
      is 0. shrink: of the step between them, in (0, 1).

  Source: TRPO, arXiv 1502.05477, appendix C; constants of OpenAI Baselines
    (`trpo_mpi`, for MuJoCo), but that its search accepts 1.5 limit, and
    OpenAI Spinning Up, which shrinks by 0.8, no more than the limit.
  """
  grads, metrics = grad_fn(params, batch)
  if 'loss/trust' not in metrics:
    raise ValueError(
      'update.trust_region needs the cost trust=Cost(costs.trust_kl); the '
      f'objective has {sorted(k for k in metrics if k.startswith("loss/"))}'
    )
  silent = jnp.zeros_like(batch.credit.advantages)
  flat = batch.replace(credit=batch.credit.replace(advantages=silent))

  def curvature(vector):
    product = jax.jvp(lambda p: grad_fn(p, flat)[0], (params,), (vector,))[1]
    return jax.tree.map(lambda f, v: f + damping * v, product, vector)

  natural, _ = linalg.cg(curvature, grads, maxiter=solves)
  size = optax.tree.vdot(natural, curvature(natural))
  scale = jnp.where(
    size > 0, jnp.sqrt(2 * limit / jnp.where(size > 0, size, 1.0)), 0.0
  )
  # A step that starts outside the ball must not be asked to end inside it.
  most = jnp.maximum(limit, metrics['loss/trust'])
  away = batch.replace(fresh=jnp.zeros_like(batch.fresh))

  def accepted(length):
    point = jax.tree.map(lambda p, x: p - length * x, params, natural)
    _, there = grad_fn(point, away)
    fell = there['loss/policy'] < metrics['loss/policy']
    return fell & (there['loss/trust'] <= most)

  length, number = _line_search(accepted, scale, tries, shrink)
  step = jax.tree.map(lambda x: length * x, natural)
  updates, opt = tx.update(step, opt, params)
  metrics = metrics | {
    **norms(grads),
    'trust/tries': number * 1.0,
    'trust/step': optax.tree.norm(step),
  }
  return optax.apply_updates(params, updates), opt, metrics


def _line_search(accepted, length, tries, shrink) -> tuple[Array, Array]:
  """The first length that is accepted, shrunk each time, else 0; and tries."""

  def search(state):
    length, number, _ = state
    good = accepted(length)
    return jnp.where(good, length, length * shrink), number + 1, good

  length, number, good = jax.lax.while_loop(
    lambda state: ~state[2] & (state[1] < tries),
    search,
    (length, jnp.int32(0), jnp.bool_(False)),
  )
  return jnp.where(good, length, 0.0), number
