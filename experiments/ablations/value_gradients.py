"""A model too small for all that is seen, fitted to what the value depends on.

  python -m experiments.sweep --all \\
      --study=experiments/ablations/value_gradients.py

VaGraM (arXiv 2204.01464) claims that squared errors weighed by the value's
gradient let a small model serve control where distracting dimensions take all
of one that is fitted to observations; and that the value's own error to first
order, whose slopes may cancel (`taylor`), is too loose to be optimised.

A cart on rails, to be brought to rest, beside four pairs of numbers that turn
in circles of radius 4 and are nothing to the cost: 10 dimensions. The model is
linear of rank 2, 4 or 10, s' = (s, u) W_1 W_2. Four rounds of: 64 episodes of
20 steps with the policy of the model and noise 1, at first without policy; 600
steps of Adam from the last model on all that was seen; the best policy of the
model, and its value, by the Riccati recursion. Slopes are of that value, in the
first round of the cost alone. Measured: what an episode of the last policy
costs beyond the optimum, by the exact expectation in the true system, in shares
of what doing nothing costs and at most 1; the squared error a dimension of the
predicted state; and that of the optimum's value at it, over the variance of
that value. Expected: with rank 2 the optimum for the weighted errors and little
learned for squared ones; no difference with rank 10.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.ablations import tables
from experiments.ablations.study import Figure, over
from jaxrl_llm.environments import quadratic
from jaxrl_llm.learners import model_errors

PAIRS, RADIUS, KEPT = 4, 4.0, 0.95
TASKS, HORIZON, ROUNDS, STEPS = 64, 20, 4, 600
ERRORS = {
  'squared': model_errors.squared,
  'value_weighted': model_errors.value_weighted,
  'taylor': model_errors.taylor,
}

FIGURE = Figure(
  y='cost',
  x='rank',
  series='error',
  log='y',
  title='control by a small model',
)


def cells():
  return over(
    error=list(ERRORS),
    rank=[2, 4, 10],
    seed=range(6),
  )


@functools.cache
def world() -> quadratic.Quadratic:
  """The cart with its company."""
  cart = quadratic.double_integrator(horizon=HORIZON)
  size = 2 * PAIRS
  turning = np.zeros((size, size))
  for pair, angle in enumerate(np.linspace(0.4, 2.0, PAIRS)):
    cos, sin = np.cos(angle), np.sin(angle)
    turning[2 * pair :, 2 * pair :][:2, :2] = [[cos, -sin], [sin, cos]]
  shaken = RADIUS * (1 - KEPT**2) ** 0.5
  rng = np.random.default_rng(0)
  starts = rng.normal(size=(TASKS, 2 + size)) * ([1.0] * 2 + [RADIUS] * size)

  def both(first, second):
    first, second = np.asarray(first), np.asarray(second)
    top = np.hstack([first, np.zeros((len(first), second.shape[1]))])
    below = np.hstack([np.zeros((len(second), first.shape[1])), second])
    return tuple(map(tuple, np.vstack([top, below]).tolist()))

  free = np.zeros((size, size))
  return quadratic.Quadratic(
    dynamics=both(cart.dynamics, KEPT * turning),
    control=both(cart.control, np.zeros((size, 0))),
    noise=both(cart.noise, shaken * np.eye(size)),
    state_cost=both(cart.state_cost, free),
    action_cost=cart.action_cost,
    final_cost=both(cart.final_cost, free),
    starts=tuple(map(tuple, starts.tolist())),
    horizon=HORIZON,
  )


def planned(transition):
  """Gains f32[T, m, n] and costs f32[T, n, n] of a model [n + m, n]."""
  here = world()
  a, b = transition[: len(here.dynamics)].T, transition[len(here.dynamics) :].T
  q, r, f = (
    jnp.asarray(x, jnp.float32)
    for x in (here.state_cost, here.action_cost, here.final_cost)
  )

  def back(p, _):
    gain = jnp.linalg.solve(r + b.T @ p @ b, b.T @ p @ a)
    p = q + a.T @ p @ (a - b @ gain)
    return (p + p.T) / 2, (gain, p)

  _, (gains, costs) = jax.lax.scan(back, f, length=HORIZON)
  return gains[::-1], costs[::-1]


def walked(gains, key):
  """States and actions of episodes, and what followed, [T * tasks, ...]."""
  here = world()
  state = here.reset(jnp.arange(TASKS), key)

  def step(state, given):
    gain, key = given
    noise = jax.random.normal(key, (TASKS, gain.shape[0]))
    action = noise - state.x @ gain.T
    after, _ = here.step(state, action, jax.random.fold_in(key, 1))
    # States that a bad policy throws far away would be all that is fitted.
    after = after.replace(x=jnp.clip(after.x, -20.0, 20.0))
    seen = jnp.concatenate([state.x, action], axis=1)
    return after, (seen, after.x)

  keys = jax.random.split(key, HORIZON)
  found = jax.lax.scan(step, state, (gains, keys))[1]
  return jax.tree.map(lambda x: x.reshape(-1, x.shape[-1]), found)


def trained(error, rank, key):
  """The model after all rounds, and transitions of its last policy."""
  here = world()
  n, m = np.shape(here.control)
  tx = optax.adam(optax.cosine_decay_schedule(0.02, STEPS))
  names = jax.random.split(key, ROUNDS + 3)
  model = (
    jax.random.normal(names[-1], (n + m, rank)) / (n + m) ** 0.5,
    jax.random.normal(names[-2], (rank, n)) / rank**0.5,
  )
  gains = jnp.zeros((HORIZON, m, n))
  cost = jnp.asarray(here.state_cost, jnp.float32)
  kept = []
  for number in range(ROUNDS):
    kept.append(walked(gains, names[number]))
    seen, after = (jnp.concatenate(x) for x in zip(*kept))
    slopes = model_errors.clipped(-2 * (after @ cost)[None])

    def loss(model, seen=seen, after=after, slopes=slopes):
      errors = seen @ model[0] @ model[1] - after
      return jnp.mean(error(errors, slopes))

    def step(carry, _, loss=loss):
      model, moments = carry
      moved, moments = tx.update(jax.grad(loss)(model), moments)
      return (optax.apply_updates(model, moved), moments), None

    first = model, tx.init(model)
    (model, _), _ = jax.lax.scan(step, first, length=STEPS)
    gains, costs = planned(model[0] @ model[1])
    cost = costs[0]
  return model[0] @ model[1], walked(gains, names[-3])


def run(seeds, *, error, rank):
  """Costs and errors of the last model."""
  here = world()
  train = functools.partial(trained, ERRORS[error], rank)
  models, (seen, after) = tables.over_seeds(train, seeds)
  best = quadratic.riccati(
    *(here.dynamics, here.control, here.state_cost),
    *(here.action_cost, here.final_cost, HORIZON),
  )[1][0]
  nothing = np.zeros((HORIZON, *np.shape(here.control)[::-1]))
  idle = np.mean(here.optimal_return - here.expected_return(nothing))
  found: dict[str, list] = {'cost': [], 'state error': [], 'value error': []}
  for transition, x, y in zip(np.asarray(models, np.float64), seen, after):
    gains = np.float64(planned(jnp.asarray(transition, jnp.float32))[0])
    lost = np.mean(here.optimal_return - here.expected_return(gains))
    guess = np.asarray(x) @ transition
    worth, guessed = (
      np.einsum('bi,ij,bj->b', s, best, s) for s in (np.asarray(y), guess)
    )
    found['cost'].append(min(lost / idle, 1.0))
    found['state error'].append(np.mean((guess - y) ** 2))
    found['value error'].append(np.mean((guessed - worth) ** 2) / worth.var())
  return {name: np.array(values) for name, values in found.items()}
