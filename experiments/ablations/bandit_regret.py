"""The regret of index policies and of posterior draws, beside the lower bound.

  python -m experiments.sweep --all \\
      --study=experiments/ablations/bandit_regret.py

Lai and Robbins (Advances in Applied Mathematics 6, 1985) show that whoever
learns every bandit loses at least

    log(n) sum_k gap_k / KL(arm_k || best arm)

in n pulls, as n grows. Auer et al. (Machine Learning 47, 2002) prove that UCB1
loses 8 log(n) sum_k 1 / gap_k at most, up to a constant; Agrawal and Goyal
(COLT 2012; JACM 64, 2017) and Kaufmann et al. (ALT 2012, arXiv 1205.4217) that
Thompson sampling with a Beta posterior reaches the lower bound.

Ten arms, one of chance 0.5 and nine of 0.4 or less, 20,000 pulls; and ten
normal arms of the same means with spread 0.5. UCB1 (scale 1) and Thompson
sampling with its Beta posterior (coins) and its normal one, whose spread is
that of the arms. Measured: the regret along the pulls, that at the end, its
growth over the last factor of 10 in units of the bound's, and that over the
whole of the upper bound. Expected: lines in log(n); Beta's growth near 1,
UCB1's many times the bound's and under its own.
"""

import numpy as np

from experiments.ablations import tables
from experiments.ablations.study import Figure, over
from jaxrl_llm.environments import bandit
from jaxrl_llm.learners import bandits
from jaxrl_llm.learners.base import Learner, play

MEANS = (0.5, 0.4, 0.4, 0.4, 0.3, 0.3, 0.3, 0.2, 0.2, 0.2)
SPREAD, PULLS = 0.5, 20_000
COINS = bandit.Bernoulli((MEANS,))
NORMAL = bandit.Gaussian((MEANS,), spread=SPREAD)
LEARNERS: dict[str, tuple[Learner, bandit.Bandit]] = {
  'UCB1, coins': (bandits.UCB1(), COINS),
  'Beta posterior, coins': (bandits.BetaThompson(), COINS),
  'UCB1, normal': (bandits.UCB1(), NORMAL),
  'normal posterior, normal': (bandits.GaussianThompson(SPREAD), NORMAL),
}

FIGURE = Figure(
  y='regret',
  x='pulls',
  series='learner',
  log='x',
  title='regret of ten arms',
)


def cells():
  return over(learner=list(LEARNERS), seed=range(32))


def constant(environment) -> float:
  """sum_k gap_k / KL(arm_k || best arm): the lower bound per log(n)."""
  means, best = np.array(MEANS[1:]), MEANS[0]
  gaps = best - means
  if environment is COINS:
    apart = means * np.log(means / best)
    apart += (1 - means) * np.log((1 - means) / (1 - best))
  else:
    apart = gaps**2 / (2 * SPREAD**2)
  return float(np.sum(gaps / apart))


def run(seeds, *, learner):
  """Regret along the pulls and its growth, in units of the lower bound's."""
  player, environment = LEARNERS[learner]

  def pulled(key):
    return play(player, environment, PULLS, key).action[0]

  actions = tables.over_seeds(pulled, seeds)
  regret = environment.regret(np.zeros(1, int), actions)[..., 0]
  pulls = np.unique(np.geomspace(10, PULLS, 24).astype(int))
  least = constant(environment)
  gaps = MEANS[0] - np.array(MEANS[1:])
  most = np.sum(8 / gaps) * np.log(PULLS) + (1 + np.pi**2 / 3) * np.sum(gaps)
  late = (regret[:, -1] - regret[:, PULLS // 10 - 1]) / np.log(10)
  return {
    'pulls': np.tile(pulls, (len(seeds), 1)),
    'regret': regret[:, pulls - 1],
    'at the end': regret[:, -1],
    'growth over the bound': late / least,
    'share of the upper bound': regret[:, -1] / most,
  }
