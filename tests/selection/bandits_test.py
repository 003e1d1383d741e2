import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import extend

from jaxrl_llm.learners import bandits as learners
from jaxrl_llm.selection import bandits, curricula
from jaxrl_llm.types import Spec
from tests.oracles import selection as oracle

SPEC = Spec(16, 4, 1, 6, tasks=6, domains=3, task_domains=(0, 0, 0, 1, 1, 2))
CURRICULA = [
  bandits.Uncertain(),
  bandits.VarianceAware(),
  bandits.SelfEvolving(),
  bandits.UpperConfidence(window=5),
  curricula.of_bandit(learners.UCB1()),
  curricula.of_bandit(learners.BetaThompson(), arms=curricula.each_domain),
]


def _iteration(seed):
  rng = np.random.default_rng(seed)
  tasks = np.repeat(rng.permutation(6)[:4], 4).astype(np.int32)
  rewards = rng.integers(0, 2, 16).astype(np.float32)
  valid = rng.random(16) < 0.8
  return tasks, np.where(valid, rewards, 0).astype('f'), valid


def _magnitudes(tasks, rewards, valid):
  out = np.zeros(16)
  for task in set(tasks.tolist()):
    rows = (tasks == task) & valid
    if rows.sum() > 1:
      r = rewards[rows].astype(np.float64)
      out[rows] = np.abs(r - r.mean()) / (r.std(ddof=1) + 1e-6)
  return out


def _draws(curriculum, state, count=400, n=6):
  sample = jax.jit(curriculum.sample, static_argnums=2)
  keys = jax.random.split(jax.random.key(0), count)
  return np.stack([sample(state, key, n)[0] for key in keys])


@pytest.mark.parametrize('curriculum', CURRICULA)
def test_state_keeps_its_types_and_rows_that_do_not_count_are_inert(curriculum):
  state = curriculum.init(SPEC)
  tasks, rewards, valid = _iteration(0)
  update = jax.jit(curriculum.update)
  after = update(state, tasks, rewards, valid)
  spoiled = update(state, tasks, np.where(valid, rewards, 7.0), valid)
  same = jax.tree.map(lambda a, b: a.shape == b.shape and a.dtype == b.dtype,
                      state, after)  # fmt: skip
  assert all(jax.tree.leaves(same))
  jax.tree.map(np.testing.assert_array_equal, after, spoiled)


@pytest.mark.parametrize('curriculum', CURRICULA)
def test_nothing_valid_changes_nothing(curriculum):
  state = curriculum.update(curriculum.init(SPEC), *_iteration(0))
  tasks, rewards, _ = _iteration(1)
  after = curriculum.update(state, tasks, rewards, np.zeros(16, bool))
  jax.tree.map(np.testing.assert_array_equal, state, after)


@pytest.mark.parametrize('curriculum', CURRICULA)
def test_at_first_every_task_is_drawn(curriculum):
  drawn = _draws(curriculum, curriculum.init(SPEC), count=50)
  assert drawn.dtype == np.int32 and set(drawn.ravel()) == set(range(6))


def sizes(jaxpr):
  """How many numbers each intermediate value of a program has."""
  for equation in jaxpr.eqns:
    yield from (value.aval.size for value in equation.outvars)
    for inner in extend.core.jaxprs_in_params(equation.params):
      yield from sizes(inner)


@pytest.mark.parametrize('curriculum', CURRICULA)
def test_no_draw_looks_at_every_task_for_every_prompt(curriculum):
  tasks, n = 400, 50
  spec = Spec(16, 4, 1, 6, tasks=tasks, domains=2, task_domains=(0, 1) * 200)
  draw = functools.partial(curriculum.sample, n=n)
  program = jax.make_jaxpr(draw)(curriculum.init(spec), jax.random.key(0))
  assert max(sizes(program.jaxpr)) < tasks * n / 4


def test_uncertain_weights_equal_those_of_counts():
  curriculum = bandits.Uncertain(keep=0.8, floor=0.05)
  state = curriculum.init(SPEC)
  success = np.full(6, 2.5)
  failure = success.copy()
  for seed in range(3):
    tasks, rewards, valid = _iteration(seed)
    state = curriculum.update(state, tasks, rewards, valid)
    for task in set(tasks[valid].tolist()):
      rows = (tasks == task) & valid
      success[task] = 0.8 * success[task] + rewards[rows].sum()
      failure[task] = 0.8 * failure[task] + (1 - rewards[rows]).sum()
  value = success / (success + failure)
  expected = np.sqrt(value * (1 - value)) + 0.05
  np.testing.assert_allclose(curriculum.weights(state), expected, rtol=1e-5)


def test_uncertain_starts_from_the_rates_that_it_is_told():
  curriculum = bandits.Uncertain(keep=0.8, floor=0.05, count=8)
  told = curriculum.told(curriculum.init(SPEC), [0, 0.25, 0.5, 0.75, 1, 0])
  value = (8 * np.array([0, 0.25, 0.5, 0.75, 1, 0]) + 0.5) / 9
  np.testing.assert_allclose(
    curriculum.weights(told), np.sqrt(value * (1 - value)) + 0.05, rtol=1e-6
  )
  np.testing.assert_allclose(told['success'] + told['failure'], 5, rtol=1e-6)


def test_uncertain_draws_each_task_once_and_doubtful_ones_first():
  curriculum = bandits.Uncertain()
  success = jnp.array([1e4, 50.0, 1e4, 1e4, 1e4, 1e4])
  state = {'success': success, 'failure': jnp.array([0, 50.0, 0, 0, 0, 0])}
  drawn = _draws(curriculum, state, n=6)
  assert all(len(set(row)) == 6 for row in drawn)
  first = np.mean(drawn[:, 0] == 1)
  expected = 0.55 / (0.55 + 5 * 0.05)
  np.testing.assert_allclose(first, expected, atol=0.08)


def test_more_draws_than_tasks_are_refused_with_the_numbers():
  curriculum = bandits.Uncertain()
  with pytest.raises(ValueError, match='draws 7 prompts .* has 6'):
    curriculum.sample(curriculum.init(SPEC), jax.random.key(0), 7)


def test_draws_with_replacement_follow_the_weights_exactly():
  # Of a million, every other one has no weight, and the last a tenth of all.
  weights = np.tile(np.float32([1.0, 0.0]), 500_000)
  weights[-1] = 500_000 / 9
  draw = jax.jit(bandits.with_replacement, static_argnums=2)
  found = np.asarray(draw(jax.random.key(0), weights, 40_000))
  assert np.all(weights[found] > 0)
  # Four standard errors of a tenth, and of each tenth of the rest.
  last = found == len(weights) - 1
  assert abs(np.mean(last) - 0.1) < 0.006
  counts, _ = np.histogram(found[~last], bins=10, range=(0, len(weights)))
  np.testing.assert_allclose(counts / len(found), 0.09, atol=0.006)


def test_variance_aware_gives_its_share_by_the_scores_that_it_is_told():
  curriculum = bandits.VarianceAware(share=0.5)
  scores = np.array([0.3, 0.0, 0.0, 0.0, 0.1, 0.0])
  state = curriculum.told(curriculum.init(SPEC), scores)
  # What training earns changes nothing.
  state = curriculum.update(state, *_iteration(0))
  drawn = _draws(curriculum, state)
  assert set(drawn[:, :3].ravel().tolist()) == {0, 4}
  np.testing.assert_allclose(np.mean(drawn[:, :3] == 0), 0.75, atol=0.05)
  np.testing.assert_allclose(np.mean(drawn[:, 3:] == 0), 1 / 6, atol=0.05)


def test_variance_aware_is_uniform_until_it_is_told_anything():
  drawn = _draws(bandits.VarianceAware(1.0), jnp.zeros(6))
  counts = np.bincount(drawn.ravel(), minlength=6) / drawn.size
  np.testing.assert_allclose(counts, 1 / 6, atol=0.04)


def test_self_evolving_values_equal_their_oracle():
  curriculum = bandits.SelfEvolving(rate=0.3)
  state, values = curriculum.init(SPEC), np.zeros(3)
  domain = np.array(SPEC.task_domains)
  for seed in range(3):
    tasks, rewards, valid = _iteration(seed)
    state = curriculum.update(state, tasks, rewards, valid)
    magnitudes = _magnitudes(tasks, rewards, valid)[valid]
    values = oracle.sec(values, domain[tasks][valid], magnitudes, 0.3)
  np.testing.assert_allclose(state['values'], values, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
  'curriculum',
  [
    bandits.SelfEvolving(),
    bandits.UpperConfidence(),
    curricula.of_bandit(learners.UCB1(), arms=curricula.each_domain),
  ],
)
@pytest.mark.parametrize('task_domains', [(), (1,) * 6])
def test_draws_by_domain_are_refused_where_there_is_one(
  curriculum, task_domains
):
  spec = Spec(16, 4, 1, 6, tasks=6, domains=2, task_domains=task_domains)
  with pytest.raises(ValueError, match='6 questions are of one.*data.level=0'):
    curriculum.init(spec)


def test_domains_are_drawn_by_probability_and_their_tasks_alike():
  chances = jnp.array([0.6, 0.3, 0.1])
  domain = jnp.array(SPEC.task_domains)
  drawn = bandits.draw_by_domain(jax.random.key(0), chances, domain, 6000)
  counts = np.bincount(drawn, minlength=6) / 6000
  np.testing.assert_allclose(
    counts, [0.2, 0.2, 0.2, 0.15, 0.15, 0.1], atol=0.02
  )


@pytest.mark.parametrize('window', [3, 5, 300])
def test_upper_confidence_equals_its_oracle(window):
  curriculum = bandits.UpperConfidence(window=window, temperature=0.5)
  state, histories = curriculum.init(SPEC), [[], [], []]
  domain = np.array(SPEC.task_domains)
  for seed in range(4):
    tasks, rewards, valid = _iteration(seed)
    state = jax.jit(curriculum.update)(state, tasks, rewards, valid)
    magnitudes = _magnitudes(tasks, rewards, valid)
    for i in np.flatnonzero(valid):
      histories[domain[tasks[i]]].append(magnitudes[i])
    np.testing.assert_allclose(
      curriculum.probabilities(state),
      oracle.dump(histories, window, 0.5), rtol=1e-4,
    )  # fmt: skip


def test_upper_confidence_starts_uniform():
  curriculum = bandits.UpperConfidence()
  chances = curriculum.probabilities(curriculum.init(SPEC))
  np.testing.assert_allclose(chances, 1 / 3, rtol=1e-6)
