"""Poker by texts: clusters of what is said, regret matching, preferences.

  python -m experiments.sweep --all \\
      --study=experiments/ablations/latent_strategies.py

LSPO (arXiv 2502.04686) clusters what agents say into latent strategies, solves
the game of these by counterfactual regret minimisation, aligns the model with
the solution by DPO, and repeats with more latent strategies; it claims that
this improves round by round, where a model's own habits are exploited.

Kuhn poker, whose hidden roles are cards. A move is said in two words of six,
one of 36 texts; it is a bet where the sum of the words' first coordinates is
positive. The policy is a table of logits for each information set, normal at
first and with a habit of passing. In each of 5 rounds 64 texts are drawn at
each information set, all are clustered by their words' embeddings of three
coordinates (k-means), and `poker.latent` solves the game of the clusters. Then
`dpo` with a weight of 1 takes 40 steps of Adam at 0.05 on the pairs of texts
drawn. `higher` prefers the text of the cluster with the higher chance, as the
paper does; `drawn` draws the better one in proportion to the chances per text;
`responses` prefers what is worth more against the policy as it is, without a
solver. Clusters: 2 in all rounds, or 2, 4, 6, 8, 10. Measured: exploitability
of the policy, exact, after each round; how far clusters are from betting always
or never. Expected: falling with `drawn`, and lower with more clusters, which
are purer; `higher` makes strategies pure and stays exploitable; `responses`
goes in circles.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy.cluster import vq

from experiments.ablations import tables
from experiments.ablations.study import Figure, over
from jaxrl_llm.tabular import poker, policy

VOCAB, LENGTH, ROUNDS, TEXTS, STEPS, SOLVING = 6, 2, 5, 64, 40, 300
KEYS = tuple(sorted(poker.KEYS))
SAID = np.asarray(policy.all_responses(VOCAB, LENGTH)[0])
PREFERENCES = ('higher', 'drawn', 'responses')
FIGURE = Figure(
  y='exploitability',
  x='round',
  series='preference',
  across='clusters',
  title='Kuhn poker in texts',
)


def cells():
  return over(preference=PREFERENCES, clusters=['2', '2 to 10'], seed=range(4))


def world(seed):
  """Coordinates of all texts f64[36, 3], and the first policy's parameters."""
  rng = np.random.default_rng(seed)
  words = rng.normal(size=(VOCAB, 3))
  words[:, 0] -= words[:, 0].mean()
  params = policy.init(
    jax.random.key(seed), tasks=len(KEYS), vocab=VOCAB, length=LENGTH
  )
  habit = jnp.asarray(-words[:, 0], jnp.float32)
  return words[SAID].sum(1), params | {'logits': params['logits'] + habit}


@jax.jit
def chances(params):
  """f32[sets, 36]: of every text."""

  def of(task):
    rows = policy.as_rollouts(
      jnp.asarray(SAID),
      jnp.ones(SAID.shape, bool),
      task=jnp.full(len(SAID), task, jnp.int32),
    )
    return jnp.exp(policy.score(params, rows).logp.sum(axis=1))

  return jax.vmap(of)(jnp.arange(len(KEYS)))


def exploited(params, bet):
  """Exploitability of a policy whose texts bet, bool[36]."""
  share = np.asarray(chances(params), np.float64) @ bet
  return poker.exploitability(dict(zip(KEYS, np.clip(share, 0, 1))))


def advantage(params, bet):
  """f64[sets]: what a bet is worth more than a pass, against the policy."""
  share = np.asarray(chances(params), np.float64) @ bet
  now = dict(zip(KEYS, share))

  def worth(key):
    sign = 1 if len(key) % 2 else -1
    return sign * (
      poker.value(now | {key: 1.0}) - poker.value(now | {key: 0.0})
    )

  return np.array([worth(key) for key in KEYS])


def wins(preference, params, places, bet, group, rng):
  """bool[sets, pairs]: whether the first text of each pair is preferred.

  Args:
    places: i[sets, pairs, 2], texts. group: i[36], the cluster of each.
  """
  if preference == 'responses':
    gain = advantage(params, bet)[:, None] * (
      bet[places[..., 0]].astype(float) - bet[places[..., 1]]
    )
    return np.where(gain == 0, rng.random(gain.shape) < 0.5, gain > 0)
  drawn = np.zeros((len(KEYS), group.max() + 1))
  betting = np.zeros_like(drawn)
  for row, each in enumerate(places.reshape(len(KEYS), -1)):
    np.add.at(drawn[row], group[each], 1.0)
    np.add.at(betting[row], group[each], bet[each])
  there = drawn > 0
  share = betting / np.where(there, drawn, 1)
  bets = {key: share[i][there[i]] for i, key in enumerate(KEYS)}
  solved = poker.latent(SOLVING, bets)
  worth = np.zeros_like(drawn)
  for i, key in enumerate(KEYS):
    worth[i, there[i]] = solved[key]
  if preference == 'drawn':
    # Of a text: its cluster is drawn as often as the policy says it.
    worth = worth / np.where(there, drawn, 1)
  rows = np.arange(len(KEYS))[:, None]
  first, second = (worth[rows, group[places[..., i]]] for i in (0, 1))
  if preference == 'drawn':
    total = first + second
    half = np.where(total > 0, first / np.where(total > 0, total, 1), 0.5)
    return rng.random(half.shape) < half
  even = rng.random(first.shape) < 0.5
  return np.where(first == second, even, first > second)


@functools.cache
def learner():
  """DPO on the pairs of a round, compiled once."""
  program = tables.program_of('dpo', tx=optax.adam(0.05), weight=1.0)
  return program, jax.jit(program.iterate)


def train(seed, preference, clusters):
  """Exploitability and impurity of clusters, before and after each round."""
  points, params = world(seed)
  bet, rng = points[:, 0] > 0, np.random.default_rng(seed)
  found, impure = [exploited(params, bet)], [0.0]
  program, iterate = learner()
  for number in range(ROUNDS):
    count = 2 if clusters == '2' else 2 * (number + 1)
    likely = np.asarray(chances(params), np.float64)
    places = np.stack(
      [rng.choice(len(SAID), TEXTS, p=p / p.sum()) for p in likely]
    )
    unique = np.unique(places)
    _, near = vq.kmeans2(
      points[unique], min(count, len(unique)), minit='++', rng=rng
    )
    group = np.zeros(len(SAID), int)
    group[unique] = near
    means = [bet[unique][near == i].mean() for i in np.unique(near)]
    impure.append(float(np.mean([min(m, 1 - m) for m in means])))
    pairs = places.reshape(len(KEYS), -1, 2)
    won = wins(preference, params, pairs, bet, group, rng)
    rows = policy.as_rollouts(
      jnp.asarray(SAID[pairs.reshape(-1)]),
      jnp.ones((pairs.size, LENGTH), bool),
      task=jnp.repeat(jnp.arange(len(KEYS)), TEXTS),
      group=jnp.arange(pairs.size, dtype=jnp.int32) // 2,
    )
    rewards = jnp.asarray(np.stack([won, ~won], axis=-1).reshape(-1) * 1.0)
    state = tables.begin(program, params, prompts=pairs.size // 2)
    for step in range(STEPS):
      key = jax.random.key(step)
      scores = tables.scores_of(rewards)
      state, *_ = iterate(state, {}, rows, scores, key)
    params = state.params
    found.append(exploited(params, bet))
  return found, impure


def run(seeds, *, preference, clusters):
  """Exploitability along the rounds, and how impure clusters are."""
  made = [train(int(seed), preference, clusters) for seed in seeds]
  found, impure = (np.array([one[i] for one in made]) for i in (0, 1))
  return {
    'round': np.tile(np.arange(ROUNDS + 1), (len(found), 1)),
    'exploitability': found,
    'before': found[:, 0],
    'least': found.min(axis=1),
    'at the end': found[:, -1],
    'impure': impure[:, -1],
  }
