"""Steps on preference games against the equilibria that solvers find."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.tabular import games, mirror

ROCK_PAPER_SCISSORS = np.array([[0.5, 1, 0], [0, 0.5, 1], [1, 0, 0.5]])
START = np.log([0.05, 0.15, 0.8])
UNIFORM = np.full(3, -np.log(3))


def random_game(size=5, seed=0):
  strength = np.random.default_rng(seed).standard_normal((size, size))
  return 1 / (1 + np.exp(strength.T - strength))


def run(step, start, count):
  """f[count + 1, A]: the start and the policies after each step."""

  def body(policy, _):
    new = step(policy)
    return new, new

  start = jnp.asarray(start, jnp.float32)
  _, path = jax.jit(lambda p: jax.lax.scan(body, p, None, length=count))(start)
  return np.concatenate([np.asarray(start)[None], np.asarray(path)])


def divergences(target, path):
  """KL(target || each policy) in float64."""
  target, path = np.asarray(target, 'd'), np.asarray(path, 'd')
  return np.sum(np.exp(target) * (target - path), axis=-1)


# Equilibria.


def test_known_games_have_their_known_equilibria():
  np.testing.assert_allclose(
    games.equilibrium(ROCK_PAPER_SCISSORS), np.full(3, 1 / 3), atol=1e-8
  )
  condorcet = np.array([[0.5, 0.6, 0.7], [0.4, 0.5, 0.1], [0.3, 0.9, 0.5]])
  np.testing.assert_allclose(games.equilibrium(condorcet), [1, 0, 0], atol=1e-8)
  a, b, c = 0.1, 0.3, 0.2  # edges 1 > 2, 2 > 3 and 3 > 1
  weighted = 0.5 + np.array([[0, a, -c], [-a, 0, b], [c, -b, 0]])
  np.testing.assert_allclose(
    games.equilibrium(weighted), np.array([b, c, a]) / (a + b + c), atol=1e-8
  )


@pytest.mark.parametrize('seed', range(4))
def test_nothing_beats_an_equilibrium_and_something_beats_the_rest(seed):
  game = random_game(seed=seed)
  best = games.equilibrium(game)
  np.testing.assert_allclose(np.max(game @ best), 0.5, atol=1e-8)
  log_best = np.log(np.maximum(best, 1e-30))
  assert abs(games.exploitability(game, log_best)) < 1e-5
  assert games.exploitability(game, np.full(5, -np.log(5))) > 1e-3


def test_a_matrix_that_is_no_game_is_refused():
  with pytest.raises(ValueError, match='must be 1'):
    games.equilibrium(np.ones((2, 2)))


@pytest.mark.parametrize('weight', [0.05, 0.5])
@pytest.mark.parametrize('seed', range(3))
def test_regularised_equilibrium_is_its_own_best_response(seed, weight):
  game = random_game(seed=seed)
  reference = np.log(np.random.default_rng(seed).dirichlet(np.ones(5)))
  found = games.regularised_equilibrium(game, reference, weight=weight)
  logits = reference + game @ np.exp(found) / weight
  logits -= np.log(np.sum(np.exp(logits - logits.max()))) + logits.max()
  np.testing.assert_allclose(found, logits, atol=1e-10)
  response = games.best_response(game, found, reference, weight=weight)
  np.testing.assert_allclose(response, found, atol=1e-3)
  gap = games.regularised_gap(game, found, reference, weight=weight)
  assert abs(gap) < 1e-5
  away = games.regularised_gap(game, reference, reference, weight=weight)
  assert away > 1e-4


def test_regularised_gap_is_the_largest_gain_over_policies():
  game, reference = random_game(3, 1), np.log([0.2, 0.3, 0.5])
  policy = np.log([0.6, 0.3, 0.1])
  grid = np.linspace(0.002, 0.996, 250)
  best = -np.inf
  for a in grid:
    for b in grid[grid < 1 - a]:
      p = np.array([a, b, 1 - a - b])
      if p[2] <= 0:
        continue
      gain = p @ game @ np.exp(policy) - 0.3 * p @ (np.log(p) - reference)
      best = max(best, gain + 0.3 * np.exp(policy) @ (policy - reference))
  gap = games.regularised_gap(game, policy, reference, weight=0.3)
  np.testing.assert_allclose(gap, 2 * (best - 0.5), atol=1e-3)


# Steps.


def test_nash_mp_keeps_its_bound_and_plain_descent_breaks_it():
  """Two queries an iteration, so (1 + 2 beta)^(-N / 2) after N queries."""
  weight, count = 0.02, 150
  target = games.regularised_equilibrium(
    ROCK_PAPER_SCISSORS, UNIFORM, weight=weight
  )
  hyper = {'weight': weight}
  path = run(
    lambda p: games.nash_mp_step(
      ROCK_PAPER_SCISSORS, p, jnp.asarray(UNIFORM, 'f'), **hyper
    ),
    START,
    count,
  )
  far = divergences(target, path)
  bound = far[0] * (1 + 2 * weight) ** -np.arange(count + 1.0)
  assert np.all(far <= bound * (1 + 1e-3) + 1e-7)

  def half(p):
    gain = games.win_rate(ROCK_PAPER_SCISSORS, p)
    return mirror.magnetic_step(
      p, jnp.asarray(UNIFORM, 'f'), gain, step_size=2.0, weight=weight
    )

  plain = divergences(target, run(half, START, count))
  assert plain[-1] > 100 * bound[-1]
  twice = run(
    lambda p: games.nash_mp_step(
      ROCK_PAPER_SCISSORS,
      p,
      jnp.asarray(UNIFORM, 'f'),
      weight=weight,
      step_size=4 * weight,
    ),
    START,
    count,
  )
  far_twice = divergences(target, twice)
  faster = far[0] * (1 + 4 * weight) ** -np.arange(count + 1.0)
  assert far_twice[-1] > 100 * faster[-1]


def test_extragradient_keeps_its_rate_and_plain_descent_does_not():
  weight, count = 0.02, 1000
  step_size = 1 / (weight + 3)
  reference = jnp.asarray(UNIFORM, 'f')
  target = games.regularised_equilibrium(
    ROCK_PAPER_SCISSORS, UNIFORM, weight=weight
  )
  hyper = {'step_size': step_size, 'weight': weight}
  path = run(
    lambda p: games.egpo_step(ROCK_PAPER_SCISSORS, p, reference, **hyper),
    START,
    count,
  )
  far = divergences(target, path)
  bound = far[0] * (1 - step_size * weight) ** np.arange(count + 1.0)
  assert np.all(far <= bound * (1 + 1e-3) + 1e-7)
  plain = run(
    lambda p: games.anchored_step(
      p, reference, games.win_rate(ROCK_PAPER_SCISSORS, p), **hyper
    ),
    START,
    count,
  )
  assert divergences(target, plain)[-1] > 2 * bound[-1]


def test_noisy_wins_hold_extragradient_at_a_floor_of_their_variance():
  """The KL falls to about 0.41 noise^2 and stays there."""
  weight, count = 0.1, 400
  reference = jnp.asarray(UNIFORM, 'f')
  hyper = {'step_size': 1 / (weight + 3), 'weight': weight}

  def step(policy, noise):
    def toward(opponent, noise):
      gain = games.win_rate(ROCK_PAPER_SCISSORS, opponent)
      return games.anchored_step(policy, reference, gain + noise, **hyper)

    new = toward(toward(policy, noise[0]), noise[1])
    return new, games.kl(reference, new)

  @jax.jit
  @jax.vmap
  def paths(noise):
    return jax.lax.scan(step, jnp.asarray(START, 'f'), noise)[1]

  drawn = np.random.default_rng(0).standard_normal((16, count, 2, 3))
  for noise in (0.05, 0.1):
    far = paths(jnp.asarray(noise * drawn, 'f'))[:, 200:]
    # 16 paths of 200 correlated steps: about 8 % of standard error.
    np.testing.assert_allclose(jnp.mean(far) / noise**2, 0.41, rtol=0.3)
    assert jnp.max(far) < 20 * noise**2


def test_lighter_weights_lead_mirror_prox_to_the_exact_equilibrium():
  """Within weight log A of unbeaten, and at what linear programming finds."""
  game = np.array([[0.5, 0.9, 0.2], [0.1, 0.5, 0.7], [0.8, 0.3, 0.5]])
  exact, reference = games.equilibrium(game), jnp.asarray(UNIFORM, 'f')
  distance = []
  for weight in (0.3, 0.1, 0.03, 0.01):
    last = run(
      lambda p, w=weight: games.nash_mp_step(game, p, reference, weight=w),
      START,
      1000,
    )[-1]
    beaten = games.exploitability(game, last)
    # float32 resolves win rates of about 1e-6.
    assert beaten <= weight * np.log(3) + 1e-5
    distance.append(np.sum(np.abs(np.exp(last) - exact)) / 2)
  assert np.all(np.diff(distance) < 0)
  assert distance[-1] < 0.02


@pytest.mark.parametrize('seed', range(3))
def test_nash_mp_is_extragradient_with_a_shorter_step(seed):
  game = random_game(seed=seed)
  policy, reference = (
    np.log(np.random.default_rng(seed + k).dirichlet(np.ones(5)))
    for k in (10, 20)
  )
  weight, eta = 0.3, 0.8
  first = games.nash_mp_step(
    game, policy, reference, weight=weight, step_size=eta
  )
  second = games.egpo_step(
    game,
    policy,
    reference,
    step_size=eta / (weight * (1 + eta)),
    weight=weight,
  )
  np.testing.assert_allclose(first, second, atol=1e-5)


@pytest.mark.parametrize('step_size', [0.0, 0.3])
def test_step_sizes_of_nash_mp_may_be_traced(step_size):
  game, reference = random_game(), jnp.log(jnp.full(5, 0.2))
  policy = jnp.log(jnp.array([0.1, 0.2, 0.3, 0.25, 0.15]))

  def step(size, weight):
    return games.nash_mp_step(
      game, policy, reference, weight=weight, step_size=size
    )

  plain = step(step_size or 0.4, 0.2)
  np.testing.assert_allclose(jax.jit(step)(step_size, 0.2), plain, atol=1e-6)
  sizes = jnp.array([step_size, 0.4])
  both = jax.vmap(step, (0, None))(sizes, 0.2)
  np.testing.assert_allclose(both[0], plain, atol=1e-6)


def test_first_half_of_nash_mp_is_an_inpo_step():
  game, reference = random_game(), np.log(np.full(5, 0.2))
  policy = np.log(np.random.default_rng(0).dirichlet(np.ones(5)))
  gain = games.win_rate(game, policy)
  prox = mirror.magnetic_step(
    *map(jnp.asarray, (policy, reference, gain)), step_size=2.0, weight=0.1
  )
  inpo = games.anchored_step(
    policy, reference, gain, step_size=2 / 1.2, weight=0.1
  )
  np.testing.assert_allclose(prox, inpo, atol=1e-5)


@pytest.mark.parametrize('rate', ['nash_md', 'inpo'])
def test_decaying_steps_reach_the_regularised_equilibrium_at_their_rate(rate):
  """Nash-MD: KL <= 8 / (tau^2 (T + 1)); INPO: 32 C^2 / (tau^2 (T + 1))."""
  game, weight, count = ROCK_PAPER_SCISSORS, 0.5, 400
  reference = np.log([0.2, 0.3, 0.5])
  target = games.regularised_equilibrium(game, reference, weight=weight)
  held = jnp.asarray(reference, 'f')

  def step(policy, t):
    if rate == 'nash_md':
      size = 2 / (weight * (t + 2))
      return games.nash_md_step(
        game, policy, held, step_size=size, weight=weight
      )
    size = 2 / (weight * (t + 2))
    gain = games.win_rate(game, policy)
    return games.anchored_step(
      policy, held, gain, step_size=size, weight=weight
    )

  def body(policy, t):
    new = step(policy, t)
    return new, new

  _, path = jax.lax.scan(body, held, jnp.arange(count, dtype=jnp.float32))
  far = divergences(target, path)
  steps = np.arange(1, count + 1)
  log_ratio = np.max(np.abs(np.asarray(path) - reference))
  constant = {'nash_md': 8.0, 'inpo': 32 * max(log_ratio * weight, 1) ** 2}
  assert np.all(far <= constant[rate] / (weight**2 * (steps + 1)))
  assert far[-1] < 1e-4 < far[0]


def test_hedge_cycles_and_its_average_is_the_minimax_winner():
  """SPO and SPPO: no regret, so the mean policy finds the equilibrium."""
  game, count = ROCK_PAPER_SCISSORS, 4000
  path = run(
    lambda p: mirror.mirror_step(p, games.win_rate(game, p), step_size=0.1),
    START,
    count,
  )
  average = np.exp(path).mean(axis=0)
  assert np.max(game @ average) - 0.5 < 0.02
  assert games.exploitability(game, path[-1]) > 0.2


@pytest.mark.parametrize('seed', range(4))
def test_each_dno_step_beats_the_last_policy(seed):
  """P(new beats old) >= 1/2 + eta KL(new || old)."""
  game, eta = random_game(seed=seed), 0.3
  policy = jnp.log(
    jnp.asarray(np.random.default_rng(seed).dirichlet(np.ones(5)))
  )
  for _ in range(5):
    gain = games.win_rate(game, policy)
    new = mirror.mirror_step(policy, gain, step_size=1 / eta)
    chance = jnp.exp(new) @ gain
    assert chance >= 0.5 + eta * games.kl(new, policy) - 1e-5
    policy = new


@pytest.mark.parametrize('momentum', [0.3, 0.6])
def test_momentum_divides_the_number_of_steps_by_its_factor(momentum):
  """log hat_t = log ref + a_t r, a_t growing by 1 / (weight (1 - momentum))."""
  reward, weight, count = jnp.array([0.0, 0.5, 1.0]), 5.0, 40
  plain = fast = before = jnp.asarray(UNIFORM, 'f')
  for _ in range(count):
    plain = mirror.mirror_step(plain, reward, step_size=1 / weight)
    fast, before = games.accelerated_step(
      fast, before, reward, weight=weight, momentum=momentum
    )
  growth = (before[2] - before[0]) / (plain[2] - plain[0])
  # The start costs momentum / (1 - momentum)^2 steps of `count`.
  np.testing.assert_allclose(growth, 1 / (1 - momentum), rtol=0.1)
  np.testing.assert_allclose(
    games.accelerated_step(plain, before, reward, weight=weight, momentum=0.0)[
      0
    ],
    mirror.mirror_step(plain, reward, step_size=1 / weight),
    atol=1e-6,
  )


def test_fixed_point_of_every_regularised_step_is_the_equilibrium():
  game, weight = random_game(), 0.4
  reference = np.log(np.random.default_rng(1).dirichlet(np.ones(5)))
  target = games.regularised_equilibrium(game, reference, weight=weight)
  target, reference = jnp.asarray(target, 'f'), jnp.asarray(reference, 'f')
  gain = games.win_rate(game, target)
  for new in (
    games.anchored_step(target, reference, gain, step_size=0.7, weight=weight),
    games.nash_mp_step(game, target, reference, weight=weight),
    games.egpo_step(game, target, reference, step_size=0.3, weight=weight),
  ):
    np.testing.assert_allclose(new, target, atol=1e-5)


def test_without_a_weight_the_steps_of_games_are_hedge():
  """Nash-MD and INPO without a reference are SPPO's step."""
  game = random_game()
  policy, reference = (
    jnp.log(jnp.asarray(np.random.default_rng(k).dirichlet(np.ones(5)), 'f'))
    for k in (1, 2)
  )
  gain = games.win_rate(game, policy)
  hedge = mirror.mirror_step(policy, gain, step_size=0.7)
  for new in (
    games.nash_md_step(game, policy, reference, step_size=0.7, weight=0.0),
    games.anchored_step(policy, reference, gain, step_size=0.7, weight=0.0),
  ):
    np.testing.assert_allclose(new, hedge, atol=1e-6)


def test_hedge_rests_only_where_all_played_actions_are_level():
  level = jnp.asarray(UNIFORM, 'f')
  still = mirror.mirror_step(
    level, games.win_rate(ROCK_PAPER_SCISSORS, level), step_size=3.0
  )
  np.testing.assert_allclose(still, level, atol=1e-6)


def test_regret_matching_averages_to_the_equilibrium():
  game, count = random_game(4, 7), 3000

  def body(carry, number):
    new = games.regret_matching_step(
      carry[0], lambda sigma: game @ sigma, carry[1], number
    )
    return new, None

  start = (jnp.array([1.0, 0, 0, 0]), jnp.full(4, -jnp.log(4.0)))
  (_, average), _ = jax.lax.scan(body, start, jnp.arange(1.0, count + 1))
  assert games.exploitability(game, average) < 0.01
  np.testing.assert_allclose(jnp.sum(jnp.exp(average)), 1, rtol=1e-4)


def test_without_positive_regret_every_action_is_played():
  np.testing.assert_allclose(games.matched(jnp.array([-1.0, 0.0])), [0.5, 0.5])
  np.testing.assert_allclose(
    games.matched(jnp.array([-1.0, 2.0, 6.0])), [0, 0.25, 0.75]
  )
