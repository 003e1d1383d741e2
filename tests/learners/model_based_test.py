import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.environments import pendulum, quadratic
from jaxrl_llm.environments.base import Outcome
from jaxrl_llm.learners import model_based, model_errors
from jaxrl_llm.learners.base import play
from tests.oracles import models as oracle

KEY = jax.random.key(0)
SPEC = pendulum.Pendulum(tasks=4, horizon=5).spec
SMALL = model_based.ModelBased(
  members=3,
  model_widths=(6,),
  widths=(5,),
  capacity=16,
  explore=4,
  updates=1,
  batch=12,
  quantile=0.7,
)


@functools.cache
def known():
  """A state with transitions, of which some are not known, and a batch."""
  state = SMALL.init(SPEC, KEY)
  rng = np.random.default_rng(0)
  kept = jax.tree.map(
    lambda x: jnp.asarray(rng.normal(size=x.shape), jnp.float32), state.kept
  )
  kept = kept.replace(
    known=jnp.arange(16) % 3 > 0, action=jnp.tanh(kept.action), open=kept.known
  )
  moved = jax.tree.map(lambda x: x + 0.3, state.targets)
  state = state.replace(
    kept=kept,
    targets=moved,
    count=jnp.int32(2000),
    mean=jnp.array([0.1, -0.2, 0.3]),
    spread=jnp.array([0.5, 2.0, 1.5]),
  )
  return state, jax.tree.map(lambda x: x[:12], kept)


def networks(params):
  """As the oracle has them."""
  layers = [jax.tree.map(np.float64, layer) for layer in params]
  return [
    [(layer['kernel'][k], layer['bias'][k, 0]) for layer in layers]
    for k in range(len(layers[0]['kernel']))
  ]


def imagination(params, state):
  return oracle.Imagination(
    models=networks(params['model']),
    critics=networks(params['critics']),
    targets=networks(state.targets),
    actor=networks(params['actor'])[0],
    alpha=float(np.exp(params['temperature'])),
    mean=np.float64(state.mean),
    spread=np.float64(state.spread),
  )


def in_numpy(batch):
  return {k: np.float64(v) for k, v in vars(batch).items()}


def test_what_followed_an_unknown_step_is_not_heeded():
  """Not even by the bound of the slopes of the others."""
  state, batch = known()
  loss = jax.jit(
    lambda batch: SMALL.model_loss(state.params['model'], state, batch)
  )
  far = jnp.where(batch.known[:, None], batch.after, -batch.after[::-1])
  np.testing.assert_allclose(
    loss(batch), loss(batch.replace(after=far)), rtol=1e-6
  )
  assert loss(batch.replace(known=jnp.zeros_like(batch.known))) == 0


@pytest.mark.parametrize('name', ['squared', 'value_weighted', 'taylor'])
@pytest.mark.parametrize('early', [False, True])
def test_the_model_s_loss_and_its_slope_are_the_formula_s(name, early):
  state, batch = known()
  state = state.replace(count=jnp.int32(500 if early else 2000))
  learner = dataclasses.replace(SMALL, error=getattr(model_errors, name))
  found, grads = jax.jit(
    jax.value_and_grad(lambda model: learner.model_loss(model, state, batch))
  )(state.params['model'])
  error = getattr(oracle, name)
  again = imagination(state.params, state)

  def loss():
    return again.model_loss(in_numpy(batch), error, 0.7, plain=early)

  np.testing.assert_allclose(found, loss(), rtol=1e-5)
  for layer, place in [(0, (1, 2)), (1, (3, 0)), (1, (2, 3))]:
    kernel, sides = again.models[1][layer][0], []
    for step in (1e-5, -2e-5):
      kernel[place] += step
      sides.append(loss())
    kernel[place] += 1e-5
    expected = (sides[0] - sides[1]) / 2e-5
    got = grads[layer]['kernel'][(1, *place)]
    np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-5)


def test_slopes_are_those_of_the_values_with_the_action_held():
  state, batch = known()
  again = imagination(state.params, state)
  after = np.float64(batch.after)
  action = np.tanh(again.law(after)[0])
  expected = [
    oracle.slopes(lambda s, c=critic: again.value(c, s, action), after)
    for critic in [*again.critics, *again.targets]
  ]
  found = SMALL.slopes(state, batch.after)
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_all_losses_together_are_the_formula_s_each_of_its_own():
  state, batch = known()
  params = state.params | {'temperature': jnp.log(0.3)}
  key = jax.random.key(3)
  found, grads = jax.jit(jax.value_and_grad(SMALL.loss))(
    params, state, batch, key
  )
  drawing, choosing, following = jax.random.split(key, 3)
  again = imagination(params, state)
  parts = again.policy_losses(
    np.float64(batch.observation),
    np.asarray(jax.random.randint(choosing, (12,), 0, 3)),
    np.float64(jax.random.normal(drawing, (12, 1))),
    np.float64(jax.random.normal(following, (12, 1))),
    0.99,
  )
  model = again.model_loss(
    in_numpy(batch), oracle.value_weighted, 0.7, plain=False
  )
  np.testing.assert_allclose(found, sum(parts) + model, rtol=1e-4)
  # Neither the actor nor the critics' targets move the model.
  alone = jax.grad(lambda m: SMALL.model_loss(m, state, batch))(params['model'])
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5),
    grads['model'],
    alone,
  )
  np.testing.assert_allclose(grads['temperature'], parts[1], rtol=1e-4)


def test_a_transition_is_known_once_its_end_is_seen_in_the_same_episode():
  state = SMALL.init(SPEC, KEY)
  no = jnp.zeros(2, bool)
  told = jax.jit(SMALL._remembered)
  for t in range(11):
    seen = jnp.full((2, 3), float(t)) + jnp.array([[0.0], [0.5]])
    ended = jnp.array([t == 8, False])
    outcome = Outcome(jnp.float32([t, t]), no, ended, jnp.zeros(2, jnp.int32))
    state = told(state, seen, jnp.full((2, 1), 3.0), outcome)
  # 22 transitions in 16 places: the last 8 steps, of which the newest is open.
  kept = state.kept
  known = np.asarray(kept.known)
  np.testing.assert_array_equal(kept.after[known], kept.observation[known] + 1)
  first = np.sort(np.asarray(kept.observation)[known, 0])
  expected = [3, 3.5, 4, 4.5, 5, 5.5, 6, 6.5, 7, 7.5, 8.5, 9, 9.5]
  np.testing.assert_array_equal(first, expected)
  np.testing.assert_array_equal(kept.action, np.ones((16, 1)))
  np.testing.assert_allclose(state.mean, np.full(3, 6.75))
  np.testing.assert_allclose(
    state.spread, np.std([t + h for t in range(3, 11) for h in (0, 0.5)])
  )


def test_nothing_is_learned_before_it_has_explored():
  state = SMALL.init(SPEC, KEY)
  seen, action = jnp.arange(6.0).reshape(2, 3) ** 2, jnp.zeros((2, 1))
  no = jnp.zeros(2, bool)
  outcome = Outcome(jnp.zeros(2), no, no, jnp.zeros(2, jnp.int32))
  update = jax.jit(SMALL.update)
  for _ in range(2):
    after = update(state, seen, action, outcome)
    jax.tree.map(np.testing.assert_array_equal, after.params, state.params)
    state = after
  after = update(state, seen, action, outcome)
  changed = jax.tree.map(
    lambda a, b: np.any(a != b), after.params, state.params
  )
  assert all(any(jax.tree.leaves(part)) for part in changed.values())


def test_actions_fill_the_bounds_and_other_spaces_are_refused():
  state = SMALL.init(SPEC, KEY)
  found, _ = SMALL.act(state, jnp.zeros((500, 3)), KEY)
  assert -2 <= found.min() < -1.9 and 1.9 < found.max() <= 2
  with pytest.raises(ValueError, match='actions with bounds'):
    SMALL.init(quadratic.double_integrator().spec, KEY)
  rows = jnp.zeros((9, 3))
  with pytest.raises(ValueError, match='9 rows .* make it at least 18'):
    SMALL.update(state, rows, rows[:, :1], None)


@pytest.mark.slow
def test_it_swings_a_pendulum_up():
  learner = dataclasses.replace(
    SMALL,
    model_widths=(64,),
    widths=(64, 64),
    capacity=8192,
    explore=800,
    updates=2,
    batch=128,
    rate=1e-3,
    discount=0.97,
    averaging=0.01,
    quantile=0.95,
    plain=1600,
  )
  environment = pendulum.Pendulum(tasks=64, horizon=100)
  played = jax.jit(
    functools.partial(play, learner, environment, 1500, tasks=jnp.arange(8) * 8)
  )
  reward = np.asarray(played(KEY).outcome.reward[0])
  returns = reward.reshape(15, 100, 8).sum(axis=1).mean(axis=1)
  # At random about -500.
  assert returns[0] < -400 and returns[-2:].mean() > -200
