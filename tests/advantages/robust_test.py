import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_llm.advantages import robust
from jaxrl_llm.selection.difficulty import PassBins
from jaxrl_llm.types import Scores, Spec, initial_credit
from tests.advantages import cases

SPEC = Spec(16, 4, 1, 6, tasks=4)


def _play(stage, state, rewards, seed=0):
  rollouts = cases.rollouts(seed)
  credit = initial_credit(rollouts, Scores(rewards[:, None], jnp.ones(1)))
  credit = credit.replace(
    rewards=jnp.where(rollouts.valid, rewards, 0),
    advantages=jnp.where(rollouts.loss_mask, 1.0, 0.0),
  )
  credit, state = jax.jit(stage.update)(credit, rollouts, state)
  return np.asarray(credit.advantages), state, np.asarray(rollouts.valid)


class _Oracle:
  """One prompt and one bin at a time."""

  def __init__(self, stage):
    self.stage = stage
    self.visits, self.place, self.loss = {}, dict.fromkeys(range(4), 0), {}

  def step(self, rewards, valid):
    stage, members = self.stage, {}
    for i in np.flatnonzero(valid):
      members.setdefault(self.place[i // 4], []).append(i)
    power = {b: np.exp(stage.rate * self.loss.get(b, 0.0)) for b in members}
    weight = np.zeros(16)
    for b, rows in members.items():
      q = (1 - stage.floor) * power[b] / sum(power.values())
      weight[rows] = q + stage.floor / len(members)
    for b, rows in members.items():
      loss = 1 - np.mean(rewards[rows])
      old = self.loss.get(b, loss)
      self.loss[b] = (1 - stage.memory) * old + stage.memory * loss
    for g in range(4):
      rows = [i for i in range(4 * g, 4 * g + 4) if valid[i]]
      self.visits.setdefault(g, []).append(max(rewards[rows]) > 0.5)
      rate = np.mean(self.visits[g])
      self.place[g] = sum(rate >= edge for edge in stage.bins.edges)
    weight = weight / weight[valid].mean()
    return np.where(valid, np.minimum(weight, stage.cap), 0)


def test_game_equals_its_oracle_over_iterations():
  bins = PassBins(margin=0.0)
  stage = robust.DifficultyGame(rate=3.0, cap=1.2, bins=bins)
  state, reference = stage.init(SPEC), _Oracle(stage)
  rng = np.random.default_rng(0)
  for seed in range(6):
    rewards = (rng.random(16) < 0.3).astype(np.float32)
    rewards[:4] = seed == 3
    ours, state, valid = _play(stage, state, rewards, seed)
    expected = reference.step(rewards, valid)
    here = ours[:, 0] != 0
    np.testing.assert_allclose(ours[here, 0], expected[here], rtol=1e-4)
  assert len(reference.loss) > 2


def test_harder_bins_weigh_more_and_the_mean_stays():
  """From the second iteration on: at first all tasks are of one bin."""
  rewards = np.repeat([0.0, 1.0, 0.0, 1.0], 4).astype(np.float32)
  stage = robust.DifficultyGame(rate=2.0)
  ours, state, _ = _play(stage, stage.init(SPEC), rewards)
  np.testing.assert_allclose(ours[ours != 0], 1.0, rtol=1e-6)
  ours, _, valid = _play(stage, state, rewards)
  rows = ours.max(axis=1)
  assert rows[0] > 1 > rows[4]
  here = ours[:, 0] != 0
  np.testing.assert_allclose(np.mean(rows[valid & here]), 1.0, atol=0.1)


def test_without_a_rate_nothing_changes():
  rewards = np.repeat([0.0, 1.0, 0.0, 1.0], 4).astype(np.float32)
  stage = robust.DifficultyGame(rate=0.0)
  ours, _, _ = _play(stage, stage.init(SPEC), rewards)
  np.testing.assert_allclose(ours[ours != 0], 1.0, rtol=1e-6)


def test_the_adversary_mixes_what_is_present_however_little():
  stage = robust.DifficultyGame(floor=0.5)
  state = stage.init(SPEC)
  for number in range(stage.bins.count + 1):
    present = jnp.arange(stage.bins.count) < number
    q = stage.probabilities(state, present)
    expected = np.where(present, 1 / max(number, 1), 0)
    np.testing.assert_allclose(q, expected, rtol=1e-6)


def test_adversary_reaches_its_optimum():
  # max over q of q.L + H(q) / eta = log sum exp(eta L) / eta at the softmax.
  rng, rate = np.random.default_rng(0), 1.7
  stage = robust.DifficultyGame(rate=rate, floor=0.0)
  losses = rng.random(7).astype(np.float32)
  state = stage.init(SPEC) | {'loss': jnp.asarray(losses)}
  q = np.asarray(stage.probabilities(state, jnp.ones(7, bool)), np.float64)

  def value(q):
    return q @ losses - np.sum(q * np.log(q)) / rate

  best = np.log(np.sum(np.exp(rate * losses))) / rate
  np.testing.assert_allclose(value(q), best, rtol=1e-5)
  assert all(value(other) < best for other in rng.dirichlet(np.ones(7), 50))
