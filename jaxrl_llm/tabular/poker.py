"""Kuhn poker, solved by counterfactual regret minimisation.

Three cards, two players, an ante of one and at most one bet of one: the
smallest game in which bluffing pays. Information sets are strings: the card
that is held, then what was done, p for pass and b for bet. On the host.

Strategies map an information set to the chance to bet. This is the solver that
latent strategies of language agents are handed to, once their texts have been
clustered into actions (LSPO, arXiv 2502.04686).
"""

from __future__ import annotations

import collections
import itertools
from collections.abc import Mapping, Sequence

import numpy as np

CARDS = '123'
# Every information set: a card, and what was done.
KEYS = tuple(card + done for card in CARDS for done in ('', 'p', 'b', 'pb'))
_OVER = ('pp', 'bp', 'bb', 'pbp', 'pbb')


def _payoff(cards, history):
  """What the first player wins at the end of the game."""
  if history in ('bp', 'pbp'):
    return 1 if history == 'bp' else -1
  stake = 2 if history.endswith('bb') else 1
  return stake if cards[0] > cards[1] else -stake


def value(strategy: Mapping[str, float]) -> float:
  """What the first player wins on average when both follow the strategy."""

  def below(cards, history):
    if history in _OVER:
      return _payoff(cards, history)
    bet = strategy[cards[len(history) % 2] + history]
    passed = (1 - bet) * below(cards, history + 'p')
    return passed + bet * below(cards, history + 'b')

  deals = list(itertools.permutations(CARDS, 2))
  return sum(below(cards, '') for cards in deals) / len(deals)


def exploitability(strategy: Mapping[str, float]) -> float:
  """What best responses win on average from both players, by trying all."""
  first = [key for key in KEYS if len(key) in (1, 3)]

  def best(keys, sign):
    bets = itertools.product([0.0, 1.0], repeat=len(keys))
    tried = ({**strategy, **dict(zip(keys, b))} for b in bets)
    return max(sign * value(each) for each in tried)

  second = [key for key in KEYS if key not in first]
  return (best(first, 1) + best(second, -1)) / 2


def solve(rounds: int) -> dict[str, float]:
  """The average strategy of regret matching at every information set.

      R(I, a) += reach of the opponent and of chance * (v(I, a) - v(I))
      sigma(I) ~ max(R(I), 0)
      average(I) weights sigma(I) by the player's own reach

  Its distance from an equilibrium falls with the square root of `rounds`.

  Source: Zinkevich et al. 2007, equations 8 to 10.
  """
  found = latent(rounds, collections.defaultdict(lambda: (0.0, 1.0)))
  return {key: float(chances[1]) for key, chances in found.items()}


def latent(
  rounds: int, bets: Mapping[str, Sequence[float]]
) -> dict[str, np.ndarray]:
  """`solve` over latent actions, which bet by chance.

  v(I, c) = (1 - m_c) v(I, pass) + m_c v(I, bet). What is seen of an action is
  what was done.

  Args:
    bets: of each information set f64[C], the chance m_c that a latent action
      bets: a cluster of texts, the share of them that do.

  Returns:
    By information set f64[C], the chances of the latent actions: on average
    over the rounds, and in the last one where the player's own actions never
    led there.

  Source: LSPO, arXiv 2502.04686, its policy optimisation in the latent space,
    in this game in place of Werewolf.
  """
  regrets: dict[str, np.ndarray] = {}
  totals: dict[str, np.ndarray] = {}

  def sigma(key):
    count = len(bets[key])
    positive = np.maximum(regrets.setdefault(key, np.zeros(count)), 0)
    total = positive.sum()
    return positive / total if total else np.full(count, 1 / count)

  def walk(cards, history, reach):
    """The acting player's value; `reach` of the first and the second."""
    player = len(history) % 2
    if history in _OVER:
      return _payoff(cards, history) * (1 if player == 0 else -1)
    key = cards[player] + history
    policy, bet = sigma(key), np.asarray(bets[key])
    does = np.stack([1 - bet, bet], axis=1)
    values = np.zeros(2)
    for action, letter in enumerate('pb'):
      further = list(reach)
      further[player] *= policy @ does[:, action]
      values[action] = -walk(cards, history + letter, further)
    gains = does @ values
    mean = policy @ gains
    regrets[key] = regrets[key] + reach[1 - player] * (gains - mean)
    totals[key] = totals.get(key, np.zeros(len(bet))) + reach[player] * policy
    return mean

  for _ in range(rounds):
    for cards in itertools.permutations(CARDS, 2):
      walk(cards, '', [1.0, 1.0])
  return {
    key: total / total.sum() if total.any() else sigma(key)
    for key, total in totals.items()
  }
