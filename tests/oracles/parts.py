"""What the oracles of whole entries are made of: cases, answers, plain loops.

An oracle of an entry reads one iteration, a `Case`, and says what the method
makes of it, an `Answer`: from rollouts, scores and log-probs to advantages,
token weights and a loss. It is written from the paper, in NumPy float64 and
Python loops, and imports nothing of the package.

    @entry()
    def grpo(case, *, clip_low, clip_high, kl_weight, epsilon):
      ...
      return Answer(loss, advantages=..., weights=...)

`loss(now)` is a function of the policy that is learned, a `Policy`, whose
numbers are moved one by one to get its slopes. What a paper holds constant
is read from `case.now` instead, which holds the same numbers and stays.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np


@dataclasses.dataclass
class Policy:
  """What a policy says of each token of the responses.

  Attributes:
    logp: f64[N, T]. entropy: f64[N, T].
    values, after_values: f64[N, T], or what a critic of bins answers,
      f64[N, T, K]. log_probs: f64[N, T, V].
  """

  logp: np.ndarray
  entropy: np.ndarray
  values: np.ndarray
  after_values: np.ndarray
  log_probs: np.ndarray


@dataclasses.dataclass(frozen=True)
class Case:
  """One iteration: N rows of T columns in groups of `samples` adjacent rows.

  Attributes:
    samples: G. group, task, domain: i[N]. valid, truncated: bool[N].
    response: i[N, T]. response_mask: bool[N, T], tokens that exist.
    mask: bool[N, T], tokens that the policy chose, in rows that count.
    components: f64[N, K]. weights: f64[K]. preference: f64[N, G] or None.
    sampler_logp, teacher_logp: f64[N, T].
    past: f64[K, N, T], log-probs after 0, 1, ... iterations, as if the policy
      were these numbers. ref_logp: f64[N, T], what the reference makes of
      them, see `Oracle`.
    old: the policy at the start of the iteration. now: the one that learns.
    extras: what a plan provides, by name.
    step: iterations before this one. measured: their metrics, by name.
    before: the iteration before, for what remembers; it differs in the
      components alone, and may have one before it, see `Oracle`.
  """

  samples: int
  group: np.ndarray
  task: np.ndarray
  domain: np.ndarray
  valid: np.ndarray
  truncated: np.ndarray
  response: np.ndarray
  response_mask: np.ndarray
  mask: np.ndarray
  components: np.ndarray
  weights: np.ndarray
  preference: np.ndarray | None
  sampler_logp: np.ndarray
  teacher_logp: np.ndarray
  past: np.ndarray
  ref_logp: np.ndarray
  old: Policy
  now: Policy
  extras: Mapping[str, np.ndarray]
  step: int
  measured: Mapping[str, float]
  before: Case | None = None

  @property
  def history(self) -> tuple[Case, ...]:
    """All iterations, this one last."""
    return (*(self.before.history if self.before else ()), self)

  @functools.cached_property
  def rewards(self) -> np.ndarray:
    """f64[N]: the weighted sum of the components, 0 in rows without count."""
    return np.where(self.valid, self.components @ self.weights, 0.0)

  @functools.cached_property
  def tokens(self) -> list[tuple[int, int]]:
    """The tokens that count, row by row."""
    return [(int(i), int(t)) for i, t in np.argwhere(self.mask)]

  @functools.cached_property
  def rows(self) -> list[int]:
    """The rows with a token that counts."""
    return [int(i) for i in np.flatnonzero(self.mask.any(axis=1))]

  @functools.cached_property
  def groups(self) -> list[list[int]]:
    """The valid rows of each group, whether they have tokens or not."""
    return self.alike(self.group)

  @functools.cached_property
  def lists(self) -> list[list[int]]:
    """The rows of each group that have a token that counts."""
    return _by(self.rows, self.group)

  def alike(self, *keys) -> list[list[int]]:
    """The valid rows for which all keys i[N] are equal, together."""
    return _by(np.flatnonzero(self.valid), *keys)

  def columns(self, i: int) -> list[int]:
    """The tokens of a row that count."""
    return [int(t) for t in np.flatnonzero(self.mask[i])]


def _by(rows, *keys) -> list[list[int]]:
  members = {}
  for i in rows:
    together = tuple(int(key[i]) for key in keys)
    members.setdefault(together, []).append(int(i))
  return list(members.values())


@dataclasses.dataclass(frozen=True)
class Answer:
  """What a method makes of a case.

  Attributes:
    loss: f(now: Policy) -> a number.
    advantages: f64[N], or f64[N, T]; None is the rewards after shaping.
    weights: f64[N, T], of the tokens' losses, costs included; None where the
      method has none, but losses of whole responses alone.
    keep: f64[N], None is 1. token_keep: f64[N, T], None is 1.
    targets: f64[N, T] of a critic, None is 0.
    rewards: f64[N] after shaping, None is the weighted sum.
    preference: f64[N, G], None is the case's.
  """

  loss: Callable[[Policy], float]
  advantages: np.ndarray | None = None
  weights: np.ndarray | None = None
  keep: np.ndarray | None = None
  token_keep: np.ndarray | None = None
  targets: np.ndarray | None = None
  rewards: np.ndarray | None = None
  preference: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class Oracle:
  """An oracle and the cases it is asked about.

  Attributes:
    fn: f(case, **hyper) -> Answer; it names the hyper-parameters it reads.
    values: hyper-parameters that keep cases small, in all of them.
    moved: hyper-parameters of every further case, as far as the rule for
      others would not do; see `tests/recipes/entries_test.py`.
    judged: whether an oracle of preferences compares the responses, but in
      the first case, where the higher reward wins.
    components: K of the scores.
    iterations: 3 where what an entry remembers shows in the third one alone.
    reference, opponent: f(past, **hyper) -> f64[N, T], the policy that costs
      refer to, and the one that games are played against.
    same: (slot, neighbour) -> why the neighbour means the same there.
  """

  fn: Callable[..., Answer]
  values: Mapping[str, Any]
  moved: tuple[Mapping[str, Any], ...]
  judged: bool
  components: int
  iterations: int
  reference: Callable[..., np.ndarray]
  opponent: Callable[..., np.ndarray]
  same: Mapping[tuple[str, str], str]


ENTRIES: dict[str, Oracle] = {}


def start(past):
  """The policy that the run began with: the usual reference."""
  return past[0]


def entry(
  *,
  values: Mapping[str, Any] | None = None,
  moved: tuple[Mapping[str, Any], ...] = ({},),
  judged: bool = False,
  components: int = 3,
  iterations: int = 2,
  reference: Callable[..., np.ndarray] = start,
  opponent: Callable[..., np.ndarray] | None = None,
  same: Mapping[tuple[str, str], str] | None = None,
):
  """Enters the oracle of the recipe of the same name; see `Oracle`."""

  def enter(fn):
    assert fn.__name__ not in ENTRIES, f'{fn.__name__} has two oracles'
    ENTRIES[fn.__name__] = Oracle(
      fn,
      values or {},
      moved,
      judged,
      components,
      iterations,
      reference,
      opponent or reference,
      same or {},
    )
    return fn

  return enter


# Numbers.


def mean(numbers) -> float:
  """0 of nothing."""
  numbers = list(numbers)
  return math.fsum(numbers) / len(numbers) if numbers else 0.0


def spread(numbers, *, ddof=1) -> float:
  """The standard deviation; 0 where it is not defined."""
  numbers = list(numbers)
  if len(numbers) <= ddof:
    return 0.0
  middle = mean(numbers)
  squares = math.fsum((x - middle) ** 2 for x in numbers)
  return math.sqrt(squares / (len(numbers) - ddof))


def clamp(x: float, low: float, high: float) -> float:
  return min(max(x, low), high)


def sigmoid(x: float) -> float:
  return 1 / (1 + math.exp(-x))


def log_sigmoid(x: float) -> float:
  return -math.log1p(math.exp(-x)) if x > 0 else x - math.log1p(math.exp(x))


def ppo(ratio: float, advantage: float, low: float, high: float) -> float:
  """-min(r A, clip(r, 1 - low, 1 + high) A)."""
  clipped = clamp(ratio, 1 - low, 1 + high)
  return -min(ratio * advantage, clipped * advantage)


def k2(x: float) -> float:
  return x**2 / 2


def k3(x: float) -> float:
  return math.exp(-x) - 1 + x


# Rows of tokens.


def summed(case: Case, x) -> list[float]:
  """The sum over the tokens of each row."""
  return [sum(x[i, t] for t in case.columns(i)) for i in range(len(case.mask))]


def averaged(case: Case, x) -> list[float]:
  """The mean over the tokens of each row; 0 of a row without any."""
  return [mean(x[i, t] for t in case.columns(i)) for i in range(len(case.mask))]


def on_tokens(case: Case, rows) -> np.ndarray:
  """f64[N, T]: the number of each row on its tokens."""
  return np.where(case.mask, np.asarray(rows, np.float64)[:, None], 0.0)


# Weights of tokens, `keep` f64[N] and `token_keep` f64[N, T] included. A row or
# token of weight 2 is two of them in every mean, one of weight 0 is none.


def _kept(case, keep, token_keep):
  keep = np.ones(len(case.mask)) if keep is None else keep
  share = np.ones(case.mask.shape) if token_keep is None else token_keep
  share = np.where(case.mask, share, 0.0)
  length = share.sum(axis=1)
  return np.where(length > 0, keep, 0.0), share, length


def row_weights(case: Case, keep=None, token_keep=None) -> np.ndarray:
  """f64[N], keep / rows: what losses of whole responses are weighed by."""
  keep, _, _ = _kept(case, keep, token_keep)
  return keep / max(math.fsum(keep), 1e-30)


def token_mean(case: Case, keep=None, token_keep=None) -> np.ndarray:
  """f64[N, T], keep / tokens: every token counts alike."""
  keep, share, length = _kept(case, keep, token_keep)
  tokens = math.fsum(keep[i] * length[i] for i in range(len(keep)))
  return keep[:, None] * share / max(tokens, 1e-30)


def sequence_sum(case: Case, keep=None, token_keep=None) -> np.ndarray:
  """f64[N, T], 1 / rows: a response's loss is the sum over its tokens."""
  _, share, _ = _kept(case, keep, token_keep)
  return share * row_weights(case, keep, token_keep)[:, None]


def sequence_mean(case: Case, keep=None, token_keep=None) -> np.ndarray:
  """f64[N, T], 1 / (rows length): it is the mean over its tokens."""
  _, _, length = _kept(case, keep, token_keep)
  return (
    sequence_sum(case, keep, token_keep) / np.maximum(length, 1e-30)[:, None]
  )


def budget_mean(case: Case, keep=None, token_keep=None, budget=0) -> np.ndarray:
  """f64[N, T], 1 / (rows budget): their sum over the response budget."""
  budget = budget or case.mask.shape[1]
  return sequence_sum(case, keep, token_keep) / budget


def best_rows(case: Case, rewards) -> np.ndarray:
  """f64[N]: 1 on the rows of a group that no other is above."""
  out = np.zeros(len(rewards))
  for rows in case.groups:
    for i in rows:
      out[i] = rewards[i] == max(rewards[j] for j in rows)
  return out


# Advantages. Rows are compared within their group, or within other lists.


def centred(case: Case, rewards, among=None) -> np.ndarray:
  """f64[N], r_i - mean_g."""
  out = np.zeros(len(rewards))
  for rows in among or case.groups:
    for i in rows:
      out[i] = rewards[i] - mean(rewards[j] for j in rows)
  return out


def normalised(case: Case, rewards, epsilon, among=None) -> np.ndarray:
  """f64[N], (r_i - mean_g) / (std_g + epsilon), std of n - 1."""
  out = centred(case, rewards, among)
  for rows in among or case.groups:
    for i in rows:
      out[i] /= spread(rewards[j] for j in rows) + epsilon
  return out


def leave_one_out(case: Case, rewards) -> np.ndarray:
  """f64[N], r_i - mean of the group's others; 0 of a row alone."""
  out = np.zeros(len(rewards))
  for rows in case.groups:
    for i in rows:
      others = [rewards[j] for j in rows if j != i]
      out[i] = rewards[i] - mean(others) if others else 0.0
  return out


def returns(case: Case, rewards, paid=None, *, decay=1.0) -> np.ndarray:
  """f64[N, T]: the discounted sum, to the end, of what each token earns.

  Args:
    rewards: f64[N], earned at the last token.
    paid: f64[N, T], earned at every token besides.
  """
  out = np.zeros(case.mask.shape)
  for i in case.rows:
    total = rewards[i]
    for number, t in enumerate(reversed(case.columns(i))):
      total = total if number == 0 else decay * total
      total += 0.0 if paid is None else paid[i, t]
      out[i, t] = total
  return out


def gae(case: Case, rewards, values, discount, trace, *, paid=None, last=None):
  """Generalised advantages f64[N, T], Schulman et al. 2016, equation 16.

  Args:
    rewards: f64[N], at the last token. paid: f64[N, T], at every token.
    values: f64[N, T]. last: f64[N], V after the last token; None is 0.
  """
  out = np.zeros(case.mask.shape)
  for i in case.rows:
    steps = case.columns(i)
    v = [values[i, t] for t in steps] + [0.0 if last is None else last[i]]
    q = [0.0 if paid is None else paid[i, t] for t in steps]
    q[-1] += rewards[i]
    delta = [q[k] + discount * v[k + 1] - v[k] for k in range(len(steps))]
    for k, t in enumerate(steps):
      out[i, t] = sum(
        (discount * trace) ** (u - k) * delta[u] for u in range(k, len(steps))
      )
  return out


def whitened(case: Case, advantages, epsilon=1e-8, among=None) -> np.ndarray:
  """f64[N, T], (A - mean) / sqrt(var + epsilon) over the step's tokens.

  Args:
    among: the tokens; None is all that count.
  """
  among = case.tokens if among is None else among
  seen = [advantages[it] for it in among]
  middle, scale = mean(seen), math.sqrt(spread(seen) ** 2 + epsilon)
  out = np.zeros(case.mask.shape)
  for it in among:
    out[it] = (advantages[it] - middle) / scale
  return out


# Games.


def preferences(case: Case) -> np.ndarray:
  """f64[N, G], P_ij of a row and the j-th of its group; others draw.

  The chance that response i beats response j, as an oracle says, or 1, 1/2 or
  0 as its reward is higher, the same or lower.
  """
  out = np.full((len(case.valid), case.samples), 0.5)
  for rows in case.groups:
    for i in rows:
      for j in rows:
        place = i, j % case.samples
        if case.preference is not None:
          out[place] = case.preference[place]
        else:
          gap = case.rewards[i] - case.rewards[j]
          out[place] = 0.5 + 0.5 * np.sign(gap)
  return out


def chances(case: Case, weight: Callable[[int, int], float]) -> np.ndarray:
  """f64[N]: sum_j w_j P_ij / sum_j w_j over the valid rows of a group.

  Args:
    weight: f(i, j), that of the opponent j; without one, a draw.
  """
  out, p = np.zeros(len(case.valid)), preferences(case)
  for rows in case.groups:
    for i in rows:
      w = {j: weight(i, j) for j in rows}
      won = sum(w[j] * p[i, j % case.samples] for j in rows)
      out[i] = won / sum(w.values()) if sum(w.values()) else 0.5
  return out


# Losses of tokens: f(now, (i, t)) -> a number, summed by their weights.

Term = Callable[[Policy, tuple[int, int]], float]


def over_tokens(case: Case, weights, *terms: Term):
  """A loss: the weighted sum of some terms over the step's tokens."""

  def loss(now):
    return sum(
      weights[it] * sum(term(now, it) for term in terms) for it in case.tokens
    )

  return loss


def ratio(case: Case, now: Policy, it) -> float:
  """r = pi / pi_old of a token."""
  return math.exp(now.logp[it] - case.old.logp[it])


def clipped(case: Case, advantages, low, high) -> Term:
  """PPO's clip, arXiv 1707.06347, equation 7; advantages f64[N] or [N, T]."""
  a = advantages if np.ndim(advantages) == 2 else on_tokens(case, advantages)
  return lambda now, it: ppo(ratio(case, now, it), a[it], low, high)


def score_function(case: Case, advantages) -> Term:
  """-A log pi, Williams 1992; advantages f64[N] or [N, T]."""
  a = advantages if np.ndim(advantages) == 2 else on_tokens(case, advantages)
  return lambda now, it: -a[it] * now.logp[it]


def penalty(case: Case, weight, k) -> Term:
  """weight k(log pi / pi_ref)."""
  return lambda now, it: weight * k(now.logp[it] - case.ref_logp[it])


def entropy_bonus(weight) -> Term:
  """-weight H."""
  return lambda now, it: -weight * now.entropy[it]


def value_error(case: Case, targets, weight, clip) -> Term:
  """Half the squared error of the critic, or of its clipped move."""

  def term(now, it):
    old = case.old.values[it]
    near = old + clamp(now.values[it] - old, -clip, clip)
    return (
      weight * max((v - targets[it]) ** 2 for v in (now.values[it], near)) / 2
    )

  return term


def like_grpo(
  case: Case, advantages, low, high, kl_weight=0.0, *, token_keep=None, **others
) -> Answer:
  """GRPO's loss, arXiv 2402.03300, equation 3, of any advantages.

  Args:
    advantages: f64[N] or [N, T]. low, high: of the clip. kl_weight: of k3.
    token_keep: f64[N, T]. others: what else the answer holds.
  """
  w = sequence_mean(case, token_keep=token_keep)
  terms = clipped(case, advantages, low, high), penalty(case, kl_weight, k3)
  return Answer(
    over_tokens(case, w, *terms),
    advantages=advantages,
    weights=w,
    token_keep=token_keep,
    **others,
  )


# Losses of whole groups.


def over_groups(
  case: Case, loss: Callable[[list[int]], float], keep=None
) -> float:
  """The mean over rows of the loss of each row's group.

  Args:
    loss: f(rows of a group with tokens) -> a number.
    keep: f64[N], rows that are counted; None is all.
  """
  w = row_weights(case, keep)
  return sum(sum(w[i] for i in rows) * loss(rows) for rows in case.lists)


def better(rewards) -> Callable[[list[int]], list[tuple[int, int]]]:
  """The pairs (i, j) of a group with r_i > r_j."""

  def pairs(rows):
    return [(i, j) for i in rows for j in rows if rewards[i] > rewards[j]]

  return pairs


def every(rows: list[int]) -> list[tuple[int, int]]:
  """Each row with each other one, both ways."""
  return [(i, j) for i in rows for j in rows if i != j]


def knock_out(rows: tuple[int, ...], rewards) -> tuple[dict, dict]:
  """({(winner, loser): chance of that game}, {row: chance to win all}).

  The mean over all ways to draw rows into two halves, and those again. Equal
  rewards win by a coin, and their games are left out.
  """
  if len(rows) < 2:
    return {}, {i: 1.0 for i in rows}
  games: dict[tuple[int, int], float] = {}
  wins: dict[int, float] = {}
  halves = list(itertools.combinations(rows, len(rows) // 2))
  for left in halves:
    right = tuple(i for i in rows if i not in left)
    (now, a), (then, b) = knock_out(left, rewards), knock_out(right, rewards)
    met = [((i, j), a[i] * b[j]) for i in a for j in b]
    found = [*now.items(), *then.items()]
    for (i, j), chance in met:
      ahead = (1 + np.sign(rewards[i] - rewards[j])) / 2
      for row, x in ((i, ahead), (j, 1 - ahead)):
        wins[row] = wins.get(row, 0.0) + x * chance / len(halves)
      if ahead != 0.5:
        found.append(((i, j) if ahead else (j, i), chance))
    for pair, chance in found:
      games[pair] = games.get(pair, 0.0) + chance / len(halves)
  return games, wins


def over_pairs(
  case: Case, pairs, loss: Callable[[int, int], float], keep=None
) -> float:
  """The mean over the pairs of each group, then over groups by their rows.

  Args:
    pairs: f(rows) -> pairs of a group. loss: f(better row, worse row).
  """
  return over_groups(
    case, lambda rows: mean(loss(i, j) for i, j in pairs(rows)), keep
  )
