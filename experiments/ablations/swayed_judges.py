"""How far judges are swayed by what adds nothing to a response.

  python -m experiments.sweep --all \\
      --study=experiments/ablations/swayed_judges.py

Assessing Judging Bias in Large Reasoning Models (arXiv 2504.09946) finds that
judges are swayed by cues, such as an authority that is named; that those which
reason are less so where the truth can be told from facts, and not elsewhere;
and that showing judges examples makes them less so.

A judge is a reward model, linear in what it sees of a response: 8 normal
numbers, of which the worth is a sum, and whether a cue is there. It learns from
1,000 pairs, by odds e^(2 (worth - worth)); the cue is there with the odds
e^(c worth), c = 0, 1 or 2, so that it tells the more of the worth the larger c
is. A judge that reads sees the numbers themselves, one that glances sees them
with normal noise of spread 1, as where there are no facts. Examples: the same
pairs once more, their cues drawn by a coin. Measured on 4,000 other pairs, with
`biases.robustness`: right verdicts, right ones once the worse response has the
cue, and verdicts that stay the same. Expected: swayed where the cue is a sign
of worth, less so a judge that reads, and less with examples.
"""

import jax
import jax.numpy as jnp
import numpy as np

from experiments.ablations import single_labels
from experiments.ablations.study import Figure, over
from jaxrl_llm.problems.text import biases

SIZE, PAIRS, TESTED = 8, 1000, 4000
NOISE = {'reads': 0.0, 'glances': 1.0}
FIGURE = Figure(
  y='swayed',
  x='cue',
  series='examples',
  across='judge',
  title='right verdicts, once the worse response has the cue',
)


def cells():
  return over(
    judge=list(NOISE), examples=[False, True], cue=[0, 1, 2], seed=range(4)
  )


def responses(key, weights, count, cue, noise):
  """Worths f32[N], and what is seen of `count` pairs f32[N, SIZE + 1]."""
  make, mark, blur = jax.random.split(key, 3)
  facts = jax.random.normal(make, (2 * count, SIZE))
  worth = facts @ weights
  there = jax.random.bernoulli(mark, jax.nn.sigmoid(cue * worth))
  seen = facts + noise * jax.random.normal(blur, facts.shape)
  return worth, jnp.concatenate([seen, there[:, None] * 1.0], axis=1)


def judged(seed, judge, examples, cue):
  """What `biases.robustness` says of one judge."""
  taste, learn, say, coin, test = jax.random.split(jax.random.key(seed), 5)
  weights = jax.random.normal(taste, (SIZE,)) / SIZE**0.5
  worth, seen = responses(learn, weights, PAIRS, cue, NOISE[judge])
  pairs = single_labels.pairs_of(say, 2 * worth, seen)
  if examples:
    other = jax.random.bernoulli(coin, shape=(len(pairs),)) * 1.0
    pairs = jnp.concatenate([pairs, pairs.at[:, -1].set(other)])
  params = single_labels.fitted(
    'reward_model', pairs, single_labels.twos(len(pairs) // 2)
  )
  worth, seen = responses(test, weights, TESTED, cue, NOISE[judge])
  worth = worth.reshape(-1, 2)
  worse = (worth == worth.min(axis=1, keepdims=True)).reshape(-1)
  edited = seen.at[:, -1].set(jnp.where(worse, 1.0, seen[:, -1]))

  def margins(seen):
    rated = np.asarray(seen @ params).reshape(-1, 2)
    return (rated[:, 0] - rated[:, 1]) * np.sign(worth[:, 0] - worth[:, 1])

  return biases.robustness(margins(seen), margins(edited))


def run(seeds, *, judge, examples, cue):
  """Right verdicts before and after, and those that stay the same."""
  found = [judged(int(seed), judge, examples, cue) for seed in seeds]
  return {name: np.array([one[name] for one in found]) for name in found[0]}
