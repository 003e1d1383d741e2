"""Rounds of texts, latent strategies and solved games, by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.plans import latent
from jaxrl_llm.tabular import poker
from jaxrl_llm.tabular.speeches import Speeches
from tests.plans import scripted

KEY = jax.random.key(0)
SAID = ('aa', 'ab', 'ff', 'fe')


def collected(rounds=0, **options):
  """A round in which every information set hears the same four texts."""
  tools = scripted.Scripted(
    lambda text, i: SAID[i],
    lambda text, record: 0.5,
    records=[{'place': key} for key in poker.KEYS],
    columns=4,
  )
  prompts = scripted.ask(*poker.KEYS)
  prompts = prompts.replace(task=jnp.arange(len(poker.KEYS), dtype=jnp.int32))
  plan = latent.Latent(samples=4, **options)
  rows, scores, state = plan.collect(
    tools, prompts, plan.init(None) + rounds, KEY
  )
  return tools, rows, np.asarray(scores.components), state


def test_scores_are_how_often_the_solved_game_speaks_like_that():
  tools, rows, scores, state = collected(clusters=2, more=0, solving=200)
  # Bold texts and timid ones are the clusters, of one move each.
  solved = poker.solve(200)
  expected = [
    bet if text in SAID[:2] else 1 - bet
    for bet in (solved[key] for key in poker.KEYS)
    for text in SAID
  ]
  np.testing.assert_allclose(scores[:, 0], expected, atol=1e-6)
  assert int(state) == 1 and len(rows.valid) == 48
  half = poker.exploitability(dict.fromkeys(poker.KEYS, 0.5))
  assert tools.notes['plan/exploitability'] == half
  assert tools.notes['plan/clusters'] == 3 * 2


@pytest.mark.parametrize(
  ('rounds', 'expected'), [(0, 1), (1, 2), (2, 3), (3, 3), (9, 3)]
)
def test_rounds_have_more_latent_strategies_up_to_the_most(rounds, expected):
  tools, *_ = collected(rounds, clusters=1, more=1, most=3, solving=2)
  assert tools.notes['plan/clusters'] == 3 * expected


def test_one_latent_strategy_makes_all_texts_alike():
  _, _, scores, _ = collected(clusters=1, more=0, solving=20)
  np.testing.assert_array_equal(scores[:, 0], 1)


def least(marks, count):
  """The least distortion of any clustering, by trying all."""
  found = np.inf
  for code in range(count ** len(marks)):
    group = np.array([code // count**i % count for i in range(len(marks))])
    found = min(found, distortion(marks, group))
  return found


def distortion(marks, group):
  return sum(
    ((marks[group == name] - marks[group == name].mean(axis=0)) ** 2).sum()
    for name in np.unique(group)
  )


@pytest.mark.parametrize('count', [2, 3])
def test_clusters_are_the_least_distorted_ones(count):
  marks = np.random.default_rng(count).normal(size=(7, 2))
  found = latent.clustered(marks, count, np.random.default_rng(0))
  assert distortion(marks, found) == pytest.approx(least(marks, count))


def test_fewer_marks_than_clusters_are_a_cluster_each():
  marks = np.array([[1.0, 0], [0, 1], [1, 0]])
  found = latent.clustered(marks, 5, np.random.default_rng(0))
  assert found[0] == found[2] != found[1]


def test_a_game_there_is_not_is_refused():
  with pytest.raises(ValueError, match='game'):
    latent.Latent(game='jaxrl_llm.tabular.speeches:Chess')


def test_roles_have_no_latent_strategy_in_common():
  game = Speeches()
  records = [{'place': place} for place in ('1', '2b', '3', '1pb')]
  found = latent.Latent()._strategies(
    game, records, ['aa', 'aa', 'aa', 'aa'], 2, np.random.default_rng(0)
  )
  assert found[0] == found[3] and len(set(found.tolist())) == 3
