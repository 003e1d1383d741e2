"""What every solver on tables keeps to, whatever it solves.

Axes of `ACTIONS` are those of actions (or of points): no other axis here has
that many entries, so that renaming them needs no table of which is which.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.catalogue.pieces import pieces
from jaxrl_llm.tabular import (
  bilevel,
  games,
  information,
  mirror,
  optimism,
  outcomes,
  pareto,
  poker,
  regret,
)

ACTIONS, WEIGHT, SIZE = 5, 0.5, 0.2
RNG = np.random.default_rng(0)
# No action beats all others, so that equilibria are mixed.
GAME = 1 / (1 + np.exp(0.5 * (a := RNG.normal(size=(5, 5))).T - 0.5 * a))
GAINS = jnp.asarray(RNG.normal(size=ACTIONS), jnp.float32)
LEVEL = jnp.full(ACTIONS, 0.3)
UNIFORM = jnp.full(ACTIONS, -jnp.log(5.0))
POLICY, REFERENCE = (
  jnp.log(jnp.asarray(RNG.dirichlet(np.ones(ACTIONS)), jnp.float32))
  for _ in range(2)
)
EQUILIBRIUM = jnp.asarray(
  games.regularised_equilibrium(GAME, REFERENCE, weight=WEIGHT), jnp.float32
)
GAME = jnp.asarray(GAME, jnp.float32)
OPTIMUM = jax.nn.log_softmax(REFERENCE + GAINS / WEIGHT)
LOSSES = jnp.asarray(RNG.random((3, ACTIONS)), jnp.float32)
POINTS = RNG.random((ACTIONS, 2))


@dataclasses.dataclass(frozen=True)
class Solver:
  """A solver with what it is given, and where its answer is known.

  Attributes:
    call: f(*given) -> PyTree. known: other arguments, with their answer.
    near: how far that answer may be away. host: it runs in NumPy.
  """

  call: Callable
  given: tuple
  known: tuple[tuple, Any]
  near: float = 1e-5
  host: bool = False


def in_game(step):
  """A step f(policy, reference, game, size), which rests at the equilibrium."""
  given = POLICY, REFERENCE, GAME, SIZE
  return Solver(step, given, ((EQUILIBRIUM, *given[1:]), EQUILIBRIUM))


def on_gains(step, rest):
  """A step f(policy, reference, gains, size), which rests at `rest`."""
  given = POLICY, REFERENCE, GAINS, SIZE
  return Solver(step, given, ((rest, *given[1:]), rest))


def anchored(policy, reference, game, size):
  gain = games.win_rate(game, policy)
  return games.anchored_step(
    policy, reference, gain, step_size=size, weight=WEIGHT
  )


def mirror_prox(policy, reference, game, size):
  return games.nash_mp_step(
    game, policy, reference, weight=WEIGHT, step_size=size
  )


def extragradient(policy, reference, game, size):
  return games.egpo_step(game, policy, reference, step_size=size, weight=WEIGHT)


def mixed(policy, reference, game, size):
  return games.nash_md_step(
    game, policy, reference, step_size=size, weight=WEIGHT
  )


def magnetic(policy, reference, gains, size):
  return mirror.magnetic_step(
    policy, reference, gains, step_size=size, weight=WEIGHT
  )


def soft(policy, reference, gains, size):
  del reference
  return mirror.soft_mirror_step(
    policy, gains, kl_weight=1 / size, entropy_weight=WEIGHT
  )


def accelerated(policy, before, gains, size):
  return games.accelerated_step(
    policy, before, gains, weight=1 / size, momentum=0.5
  )


def matching(regrets, log_average, game, number):
  return games.regret_matching_step(
    regrets, lambda sigma: game @ sigma, log_average, number
  )


def hypergradient(features, lower):
  """Of what a policy of log-probabilities `lower` earns, held by its square."""
  return bilevel.hypergradient(
    lambda upper, lower: jnp.sum(upper**2) + jnp.sum(jnp.sin(lower)),
    lambda upper, lower: -jnp.sum((lower - features @ upper) ** 2) / 2,
    jnp.array([0.3, -0.4]),
    lower,
  )


def fronts(points):
  return (
    pareto.undominated(points),
    pareto.crowding_distance(points),
    pareto.hypervolume(points, np.zeros(2)),
    pareto.expected_utility(points, parts=10),
    pareto.sparsity(points),
  )


def said(rounds):
  """What is done in poker by texts that never bet, sometimes, and always."""
  chances = 0.0, 0.5, 1.0
  bets = dict.fromkeys(poker.solve(1), chances)
  found = poker.latent(rounds, bets)
  return {key: float(p @ chances) for key, p in found.items()}


def planned(*given):
  return optimism.planned(*given, weight=WEIGHT)


DYNAMICS = jnp.asarray(RNG.dirichlet(np.ones(3), (2, 3, ACTIONS)), jnp.float32)
PAID, SEEN = jnp.asarray(RNG.random((2, 2, 3, ACTIONS)), jnp.float32)
CLONE = jax.nn.log_softmax(5 * SEEN)
at_once = (
  jax.nn.log_softmax(CLONE + PAID / WEIGHT),
  jnp.concatenate(
    [
      mirror.soft_value(PAID, CLONE, weight=WEIGHT),
      jnp.zeros((1, 3)),
    ]
  ),
)

STEPS = {
  'games.anchored_step': in_game(anchored),
  'games.egpo_step': in_game(extragradient),
  'games.nash_mp_step': in_game(mirror_prox),
  # It plays against a mixture, and rests as near as its step is short.
  'games.nash_md_step': dataclasses.replace(in_game(mixed), near=SIZE**2),
  'mirror.magnetic_step': on_gains(magnetic, OPTIMUM),
  'mirror.soft_mirror_step': on_gains(soft, jax.nn.log_softmax(GAINS / WEIGHT)),
}
FEATURES = jnp.asarray(RNG.normal(size=(ACTIONS, 2)), jnp.float32)
SOLVERS = STEPS | {
  'games.accelerated_step': Solver(
    accelerated,
    (POLICY, REFERENCE, GAINS, SIZE),
    ((POLICY, POLICY, LEVEL, SIZE), (POLICY, POLICY)),
  ),
  'games.regret_matching_step': Solver(
    matching,
    (GAINS, POLICY, GAME, 2.0),
    # Nothing is regretted of a game in which all are equal.
    ((LEVEL, UNIFORM, jnp.full((5, 5), 0.5), 9.0), (LEVEL, UNIFORM)),
  ),
  'games.exploitability': Solver(
    games.exploitability,
    (GAME, POLICY),
    ((GAME, jnp.log(jnp.asarray(games.equilibrium(GAME)) + 1e-30)), 0.0),
  ),
  'games.regularised_gap': Solver(
    lambda *given: games.regularised_gap(*given, weight=WEIGHT),
    (GAME, POLICY, REFERENCE),
    ((GAME, EQUILIBRIUM, REFERENCE), 0.0),
  ),
  'mirror.soft_value': Solver(
    lambda q, reference: mirror.soft_value(q, reference, weight=WEIGHT),
    (GAINS, REFERENCE),
    ((LEVEL, REFERENCE), 0.3),
  ),
  'optimism.planned': Solver(
    planned,
    (DYNAMICS, PAID, SEEN, CLONE),
    # The last steps pay what their actions do, whatever they lead to.
    ((0 * DYNAMICS, PAID, SEEN * 0, CLONE), at_once),
  ),
  'optimism.owed': Solver(
    lambda counts: optimism.owed(counts, scale=SIZE),
    (9.0 * PAID,),
    ((4 + 0 * PAID,), SIZE * jnp.array([2.0, 1])[:, None, None] / 2 + 0 * PAID),
  ),
  'mirror.cloned': Solver(
    mirror.cloned, (jnp.arange(5.0),), ((jnp.zeros(5),), UNIFORM)
  ),
  'information.differential': Solver(
    information.differential,
    (POLICY, REFERENCE),
    ((POLICY, POLICY), UNIFORM),
  ),
  'information.rejected': Solver(
    information.rejected, (POLICY, REFERENCE), ((POLICY, POLICY), POLICY)
  ),
  'information.sampled': Solver(
    information.sampled, (GAINS,), ((LEVEL,), (0.0, 5.0))
  ),
  'regret.regret': Solver(
    regret.regret,
    (LOSSES, jnp.exp(jnp.stack([POLICY, REFERENCE, UNIFORM]))),
    ((LOSSES, jax.nn.one_hot([jnp.argmin(LOSSES.sum(0))] * 3, 5)), 0.0),
  ),
  'regret.regret_loss': Solver(
    regret.regret_loss, (GAINS,), ((-jnp.abs(GAINS),), 0.0)
  ),
  'regret.regularised_leader': Solver(
    regret.regularised_leader,
    (LOSSES,),
    ((jnp.ones((2, 5)),), jnp.full((2, 5), 0.2)),
  ),
  'bilevel.hypergradient': Solver(
    hypergradient,
    (FEATURES, FEATURES @ jnp.array([0.3, -0.4])),
    ((0 * FEATURES, 0 * GAINS), jnp.array([0.6, -0.8])),
  ),
  'outcomes.balance': Solver(
    outcomes.balance,
    (GAINS, POLICY, REFERENCE, LEVEL),
    ((LEVEL, UNIFORM, UNIFORM, LEVEL), 0 * LEVEL),
  ),
  'outcomes.teleported': Solver(
    outcomes.teleported,
    (GAINS, POLICY, REFERENCE, LEVEL, GAINS),
    ((LEVEL, UNIFORM, UNIFORM, 0 * LEVEL, LEVEL), 0 * LEVEL),
  ),
  'outcomes.extracted': Solver(
    outcomes.extracted,
    (PAID[0, :, 0], PAID[..., 0], jnp.moveaxis(SEEN, 1, 2)),
    # One way to all outcomes is the way to any.
    (
      (PAID[0, :, 0], PAID[..., 0], jnp.tile(POLICY[:, None], (2, 1, 3))),
      jnp.tile(POLICY, (2, 1)),
    ),
  ),
  'outcomes.amortised': Solver(
    outcomes.amortised,
    (GAINS, POLICY, LEVEL, REFERENCE, UNIFORM),
    ((LEVEL, UNIFORM, LEVEL, UNIFORM, 0 * LEVEL), 0 * LEVEL),
  ),
  'pareto': Solver(
    fronts,
    (POINTS,),
    (
      (np.ones((5, 2)),),
      (np.ones(5, bool), np.zeros(5), 1.0, 1.0, 0.0),
    ),
    host=True,
  ),
  'poker.solve': Solver(
    lambda rounds: poker.value(poker.solve(rounds)),
    (3,),
    ((300,), -1 / 18),
    near=0.01,
    host=True,
  ),
  'poker.latent': Solver(
    lambda rounds: poker.value(said(rounds)),
    (3,),
    ((300,), -1 / 18),
    near=0.01,
    host=True,
  ),
}
each = pytest.mark.parametrize('name', SOLVERS)
compiled = pytest.mark.parametrize(
  'name', [name for name, case in SOLVERS.items() if not case.host]
)


@functools.cache
def program(name):
  """The solver, compiled once for all tests."""
  case = SOLVERS[name]
  return case.call if case.host else jax.jit(case.call)


def close(found, expected, near=1e-5):
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=near),
    found,
    expected,
  )


def renamed(tree, order):
  """With the entries of every axis of actions in another order."""

  def of(x):
    for axis, size in enumerate(np.shape(x)):
      if size == ACTIONS:
        x = np.take(np.asarray(x), order, axis)
    return x

  return jax.tree.map(of, tree)


def test_every_listed_solver_is_here():
  listed = {piece.name for piece in pieces() if piece.kind == 'solver'}
  assert {f'tabular.{name}' for name in SOLVERS} == listed


@each
def test_the_answer_is_known_somewhere(name):
  case = SOLVERS[name]
  given, answer = case.known
  close(program(name)(*given), answer, case.near)


@each
def test_names_of_actions_do_not_matter(name):
  given, order = SOLVERS[name].given, np.array([3, 0, 4, 2, 1])
  found = program(name)(*renamed(given, order))
  close(found, renamed(program(name)(*given), order))


@compiled
def test_many_at_once_are_each_alone(name):
  case = SOLVERS[name]
  other = renamed(case.given, np.array([1, 2, 3, 4, 0]))
  stacked = jax.tree.map(lambda *x: jnp.stack(x), case.given, other)
  found = jax.jit(jax.vmap(case.call))(*stacked)
  for row, given in enumerate((case.given, other)):
    close(jax.tree.map(lambda x, r=row: x[r], found), program(name)(*given))


@pytest.mark.parametrize('name', STEPS)
def test_steps_of_any_size_are_one_program_and_lead_to_the_rest(name):
  case = STEPS[name]
  (rest, *_), _ = case.known
  policy, *given, _ = case.given
  step = program(name)
  programs = step._cache_size()

  def far(policy):
    return float(games.kl(rest, policy))

  before = far(policy)
  for number in range(40):
    policy = step(policy, *given, SIZE if number % 2 else SIZE / 2)
    np.testing.assert_allclose(jax.nn.logsumexp(policy), 0, atol=1e-5)
  assert step._cache_size() <= max(programs, 1)
  assert far(policy) < 0.1 * before


@pytest.mark.parametrize('name', STEPS)
def test_an_action_that_is_never_taken_makes_nothing_undefined(name):
  policy, *given = STEPS[name].given
  never = jax.nn.log_softmax(policy.at[0].set(-1e4))
  found = program(name)(never, *given)
  assert np.all(np.isfinite(found)) and found[0] < -1e3
