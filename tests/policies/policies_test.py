"""What every policy keeps to: one density, its gradient, inert padding."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm import policies
from jaxrl_llm.environments.base import row_keys
from jaxrl_llm.environments.grid import Grid
from jaxrl_llm.environments.pendulum import Pendulum
from jaxrl_llm.environments.quadratic import double_integrator
from jaxrl_llm.environments.ranks import Ranks
from jaxrl_llm.environments.research import Research
from jaxrl_llm.environments.teams import Teams
from jaxrl_llm.policies import acting
from jaxrl_llm.policies.categorical import Categorical, Softmax
from jaxrl_llm.policies.flow import Flow
from jaxrl_llm.policies.gaussian import Gaussian
from jaxrl_llm.policies.graph import GraphBuilder
from jaxrl_llm.policies.hyperbolic import Hyperbolic
from jaxrl_llm.policies.language.config import Config
from jaxrl_llm.policies.masked import Masked
from jaxrl_llm.policies.protocol import initial
from jaxrl_llm.policies.several import Several
from jaxrl_llm.problems import flow as flow_problem
from jaxrl_llm.problems import masked as masked_problem
from jaxrl_llm.training import widths
from tests import members

KEY = jax.random.key(0)
ROWS = 6
SMALL_GRID = Grid(rows=('..G', 'S.X'), horizon=12)

SMALL_RANKS = Ranks(
  sequences=3,
  horizon=4,
  length=6,
  width=4,
  intrinsic=(1, 3),
  ranks=(1, 2, 4),
  tolerance=1.5,
)


def masked(**changed):
  decoder = Config(4, 8, 1, 2, 2, 4, 16)
  return Masked(decoder, **{'length': 3, 'steps': 2} | changed)


@dataclasses.dataclass(frozen=True)
class Case:
  """A policy with what writes its rows, and how near its two programs are."""

  policy: object
  write: object
  gap: float


CASES = {
  'gaussian': Case(
    policy := Gaussian(2, 1, widths=(8,)),
    functools.partial(acting.unroll, policy, double_integrator(horizon=5)),
    1e-5,
  ),
  'bounded': Case(
    policy := Gaussian(3, 1, widths=(8,)),
    functools.partial(acting.unroll, policy, Pendulum(horizon=5)),
    1e-5,
  ),
  'categorical': Case(
    policy := Categorical(6, 4),
    functools.partial(acting.unroll, policy, SMALL_GRID),
    0.0,
  ),
  'softmax': Case(
    policy := Softmax(9, 3, widths=(8,)),
    functools.partial(acting.unroll, policy, SMALL_RANKS),
    1e-5,
  ),
  'graph': Case(
    policy := GraphBuilder(31, 20, width=4),
    functools.partial(acting.unroll, policy, Teams()),
    1e-5,
  ),
  'several': Case(
    policy := Several(12, 3, agents=(9, 3)),
    functools.partial(acting.unroll, policy, Research(documents=2, words=2)),
    0.0,
  ),
  'hyperbolic': Case(
    policy := Hyperbolic(9, 3, widths=(8,)),
    functools.partial(acting.unroll, policy, SMALL_RANKS),
    1e-5,
  ),
  'flow': Case(
    policy := Flow(2, 2, steps=4, widths=(8,)),
    functools.partial(flow_problem.walks, policy, 8),
    1e-5,
  ),
  'masked': Case(
    policy := masked(critic=True),
    functools.partial(masked_problem.responses, policy),
    1e-6,
  ),
  'masked_elbo': Case(
    policy := masked(order='random', estimate='elbo', readings=2),
    functools.partial(masked_problem.responses, policy),
    1e-6,
  ),
}
each = pytest.mark.parametrize('name', CASES)


def params_of(policy):
  """Parameters away from the start, where some policies are uniform."""
  params = initial(policy.table(), KEY)
  leaves, tree = jax.tree.flatten(params)
  keys = jax.random.split(jax.random.key(1), len(leaves))
  moved = [
    x + 0.3 * jax.random.normal(k, x.shape) for k, x in zip(keys, leaves)
  ]
  return jax.tree.unflatten(tree, moved)


@functools.cache
def written(name, key=0):
  case = CASES[name]
  tasks = jnp.zeros(ROWS, jnp.int32)
  uids = jnp.arange(ROWS, dtype=jnp.int32)
  return case.write(params_of(case.policy), tasks, uids, jax.random.key(key))


def scored(name, rollouts, params=None):
  policy = CASES[name].policy
  params = params_of(policy) if params is None else params
  return policy.score(params, rollouts, policy.gives - {'log_probs'})


def test_every_policy_is_here():
  """But for language models, whose tests are a folder."""
  found = {type(case.policy) for case in CASES.values()}
  assert found == members.classes(policies, 'score')


@each
def test_sampler_and_scorer_agree_on_every_decision(name):
  rollouts = written(name)
  logp = scored(name, rollouts).on(rollouts.loss_mask).logp
  np.testing.assert_allclose(logp, rollouts.logp, atol=CASES[name].gap)
  assert np.any(np.asarray(rollouts.logp))


@each
def test_rows_depend_on_their_identity_alone(name):
  case, whole = CASES[name], written(name)
  uids = jnp.array([4, 2], jnp.int32)
  few = case.write(params_of(case.policy), 0 * uids, uids, KEY)
  for x, y in zip(jax.tree.leaves(few.content), jax.tree.leaves(whole.content)):
    np.testing.assert_allclose(x, y[uids], rtol=1e-5, atol=1e-5)


@each
def test_gradients_are_slopes(name):
  """Along a random direction, by central differences."""
  rollouts = written(name)
  params = params_of(CASES[name].policy)

  def total(params):
    stats = scored(name, rollouts, params).on(rollouts.loss_mask)
    found = jnp.sum(jnp.sin(stats.logp)) + jnp.sum(stats.entropy)
    if stats.values is not None:
      found += jnp.sum(stats.values)
    if stats.last_value is not None:
      found += jnp.sum(stats.last_value)
    return found

  leaves, tree = jax.tree.flatten(params)
  keys = jax.random.split(jax.random.key(2), len(leaves))
  way = tree.unflatten(
    [jax.random.normal(k, x.shape) for k, x in zip(keys, leaves)]
  )
  products = jax.tree.map(
    lambda a, b: jnp.sum(a * b), jax.grad(total)(params), way
  )
  slope, size = sum(jax.tree.leaves(products)), 3e-3

  def at(distance):
    return total(jax.tree.map(lambda x, w: x + distance * w, params, way))

  ahead, behind = at(size), at(-size)
  np.testing.assert_allclose(slope, (ahead - behind) / (2 * size), rtol=2e-2)


@each
def test_what_stands_after_the_end_changes_nothing(name):
  rollouts = written(name)
  live = jnp.arange(rollouts.logp.shape[1]) < 2
  mask = rollouts.action_mask & live
  cut = rollouts.replace(action_mask=mask, response_mask=mask)

  def spoiled(x, narrow):
    if x.shape[:2] != mask.shape or x.shape == narrow.shape:
      return x
    there = mask.reshape(mask.shape + (1,) * (x.ndim - 2))
    return jnp.where(there, x, 1 if x.dtype == jnp.int32 else True)

  content = cut.content
  content = jax.tree.map(spoiled, content, content.narrowed(1))
  other = cut.replace(content=content)
  kept = scored(name, cut).on(mask), scored(name, other).on(mask)
  jax.tree.map(np.testing.assert_array_equal, *kept)


@each
def test_first_columns_alone_say_the_same(name):
  rollouts = written(name)
  live = rollouts.response_mask & (jnp.arange(rollouts.logp.shape[1]) < 2)
  cut = rollouts.replace(action_mask=live, response_mask=live)
  narrow = scored(name, widths.narrowed(cut, 2)).on(live[:, :2]).logp
  whole = scored(name, cut).on(live).logp[:, :2]
  np.testing.assert_allclose(narrow, whole, atol=1e-6)


def test_gaussian_density_integrates_to_one():
  policy = Gaussian(2, 1, widths=(8,))
  params = params_of(policy)
  actions = jnp.linspace(-12, 12, 4001)
  mean = policy.mode(params, jnp.ones((1, 2)))
  density = jnp.exp(policy._logp(params, mean, actions[:, None]))
  assert abs(float(jnp.trapezoid(density, actions)) - 1) < 1e-4
  found = scored('gaussian', written('gaussian')).entropy[0, 0]
  wanted = -jnp.trapezoid(density * jnp.log(density + 1e-30), actions)
  np.testing.assert_allclose(found, wanted, rtol=1e-4)


def test_legal_actions_have_all_the_chance():
  policy = CASES['categorical'].policy
  params = params_of(policy)
  legal = jnp.asarray(SMALL_GRID.legal_moves)
  rows = jnp.exp(policy.log_probs(params, jnp.arange(6), legal))
  np.testing.assert_allclose(rows.sum(axis=1), 1, rtol=1e-6)
  assert not rows[~legal].any()


def test_flow_density_integrates_to_one():
  policy = Flow(1, 1, steps=2, widths=(8,))
  params = params_of(policy)
  x, time = jnp.zeros((1, 1)), jnp.array([0.5])
  mean, spread = policy.step(params, x, time, jnp.ones((1, 1)))
  after = jnp.linspace(-10, 10, 4001)
  density = jnp.exp(-((after - mean[0, 0]) ** 2) / (2 * spread[0] ** 2)) / (
    spread[0] * math.sqrt(2 * math.pi)
  )
  assert abs(float(jnp.trapezoid(density, after)) - 1) < 1e-4


@dataclasses.dataclass(frozen=True)
class Known(Flow):
  """The exact velocity to N(mean, deviation^2), one number."""

  mean: float = 1.0
  deviation: float = 0.5

  def velocity(self, params, x, time, condition):
    t = time[..., None]
    variance = t**2 * self.deviation**2 + (1 - t) ** 2
    pull = (t * self.deviation**2 - (1 - t)) / variance
    return self.mean + pull * (x - t * self.mean)


@pytest.mark.parametrize('noise', [0.1, 0.7, 1.4])
def test_any_spread_of_the_walk_leaves_its_marginals(noise):
  policy = Known(1, 1, steps=100, noise=noise)
  keys = row_keys(KEY, jnp.arange(20000))
  path, _ = jax.jit(policy.walk)({}, jnp.zeros((20000, 1)), keys)
  for at, t in ((50, 0.5), (100, 1.0)):
    x = np.asarray(path.state[:, at, 0])
    spread = math.sqrt(t**2 * 0.25 + (1 - t) ** 2)
    np.testing.assert_allclose(x.mean(), t, atol=0.02)
    np.testing.assert_allclose(x.std(), spread, atol=0.02)
