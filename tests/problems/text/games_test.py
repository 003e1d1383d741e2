"""Standing in a game, estimated from answers."""

import numpy as np

from jaxrl_llm.problems.text import games
from jaxrl_llm.tasks import toys

ROW = {'choices': ['r', 's', 'p']}  # r beats s, s beats p, p beats r


def test_tables_and_win_rates_are_means_over_pairs():
  own, other = ['r', 'r', 's', '?'], ['s', 'p']
  table = games.table(toys.cycle_duel, own, other, ROW)
  np.testing.assert_array_equal(table, [[1, 0], [1, 0], [0.5, 1], [0, 0]])
  assert games.won(toys.cycle_duel, own, other, ROW) == 3.5 / 8


def test_one_answer_alone_is_exploited_by_what_beats_it():
  gap = games.exploited(toys.cycle_duel, ['r'] * 4, ['s', 'p'], ROW)
  assert gap == 0.5
  # A challenger that nobody thought of does not count.
  assert games.exploited(toys.cycle_duel, ['r'] * 4, ['s'], ROW) == 0


def test_at_the_equilibrium_the_mean_is_zero_and_never_above_the_truth():
  """Of 400 sets of 64 answers, whose means are off by less than 0.005."""
  rng = np.random.default_rng(0)
  for chances, true in (([1 / 3] * 3, 0.0), ([0.6, 0.3, 0.1], 0.15)):
    own = rng.choice(['r', 's', 'p'], (400, 64), p=chances).tolist()
    found = np.mean(
      [games.exploited(toys.cycle_duel, o, ['r', 's', 'p'], ROW) for o in own]
    )
    assert true - 0.03 < found < true + 0.02
    plain = np.mean(
      [
        games.table(toys.cycle_duel, ['r', 's', 'p'], o, ROW).mean(1).max()
        for o in own
      ]
    )
    if not true:
      assert plain - 0.5 > 0.04
