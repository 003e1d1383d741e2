"""Offline pairs of a quarter of the answers: DPO, HyPO and on-policy DPO.

  python -m experiments.sweep --all \\
      --study=experiments/ablations/hypo_coverage.py

The Importance of Online Data (arXiv 2406.01462) claims that DPO on offline
pairs may put mass on answers that neither pairs nor reference cover, its
divergence from the reference unbounded, where the KL to the reference on the
policy's own samples (HyPO) holds it, as on-policy data do.

A bandit of 64 arms with 8 normal features; policies are reference e^(features
theta), so that what pairs teach carries over to arms that they lack. Pairs of
16 arms, on which the reference is even, labelled by rewards that are linear in
the features; on the other 48 the reference is e^4 times lower, 5 % in all, and
the reward 2 lower, which no pair shows. A step of SGD of `dpo` (weight 0.1) on
64 such pairs; HyPO's other half is a step of `hypo` on 64 pairs of samples of
the policy, of equal rewards, which enter its divergence alone; `online` is
`dpo` on such samples, labelled alike. Measured: the mass on uncovered arms and
the KL to the reference, at the end, and the true reward along 500 steps.
Expected: mass off the pairs and a falling reward for DPO alone.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.ablations import choices, tables
from experiments.ablations.study import Figure, over
from jaxrl_llm.tabular import games, policy
from jaxrl_llm.types import Spec

ARMS, SEEN, FEATURES, PAIRS, STEPS, EVERY = 64, 16, 8, 64, 500, 25
WEIGHT, RATE = 0.1, 2.0
COVERED = np.arange(ARMS) < SEEN
LEARNERS = {'dpo': 0.0, 'hypo 0.003': 0.003, 'hypo 0.01': 0.01, 'online': 0.0}

FIGURE = Figure(
  y='true reward',
  x='step',
  series='learner',
  title='true reward, with pairs of a quarter of the answers',
)


def cells():
  return over(learner=list(LEARNERS), seed=range(12))


def world(key):
  """Features, the reference, rewards, and labelled pairs of covered arms.

  Returns:
    f32[ARMS, FEATURES], f32[ARMS] logs, f32[ARMS], i32[PAIRS, 2].
  """
  feature, direction, draw, judge = jax.random.split(key, 4)
  features = jax.random.normal(feature, (ARMS, FEATURES))
  log_ref = jax.nn.log_softmax(jnp.where(COVERED, 0.0, -4.0))
  rewards = features @ jax.random.normal(direction, (FEATURES,))
  rewards = rewards / jnp.sqrt(FEATURES) - jnp.where(COVERED, 0.0, 2.0)
  pairs = jax.random.randint(draw, (PAIRS, 2), 0, SEEN)
  return features, log_ref, rewards, choices.judged(judge, pairs, rewards)


def run(seeds, *, learner):
  """Reward, mass and divergence along training."""

  def train(key):
    start, learn = jax.random.split(key)
    features, log_ref, rewards, pairs = world(start)
    recorded = choices.rows(pairs)
    chosen = jnp.tile(jnp.array([1.0, 0.0]), PAIRS)

    def logits(theta):
      return choices.table(log_ref + features @ theta)

    values = {'tx': optax.sgd(RATE), 'weight': WEIGHT}
    pairwise = choices.linear('dpo', features, log_ref, **values)
    values |= {'kl_weight': LEARNERS[learner], 'samples': 1}
    divergence = choices.linear('hypo', features, log_ref, **values)

    def step(state, key):
      draw, judge, update = jax.random.split(key, 3)
      rollouts = policy.sample(
        logits(state.params), draw, jnp.zeros(PAIRS, int), samples=2
      )
      if learner == 'online':
        # Gumbel noise makes the higher reward Bradley and Terry's choice.
        noise = jax.random.gumbel(judge, rollouts.valid.shape)
        worth = rewards[rollouts.content.response[:, 0]] + noise
        state, _ = tables.learn(pairwise, state, rollouts, worth, update)
      else:
        state, _ = tables.learn(pairwise, state, recorded, chosen, update)
        equal = jnp.zeros_like(chosen)
        own = rollouts.extras | {'recorded': equal > 0}
        own = rollouts.replace(extras=own)
        state, _ = tables.learn(divergence, state, own, equal, update)
      now = choices.log_policy(logits(state.params))
      chance = jnp.exp(now)
      off = jnp.sum(jnp.where(COVERED, 0.0, chance))
      return state, (chance @ rewards, off, games.kl(now, log_ref))

    theta = jnp.zeros(FEATURES)
    spec = Spec(2 * PAIRS, 2, 1, 1)
    state = pairwise.init(theta, spec)
    return jax.lax.scan(step, state, jax.random.split(learn, STEPS))[1]

  reward, off, far = tables.over_seeds(train, seeds)
  steps = np.arange(EVERY, STEPS + 1, EVERY)
  return {
    'step': np.tile(steps, (len(seeds), 1)),
    'true reward': reward[:, EVERY - 1 :: EVERY],
    'highest': reward.max(1),
    'final': reward[:, -1],
    'mass off the pairs': off[:, -1],
    'KL, nats': far[:, -1],
  }
