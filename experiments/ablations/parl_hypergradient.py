"""A reward model that is trained on pairs of the policy it trains.

  python -m experiments.sweep --all \\
      --study=experiments/ablations/parl_hypergradient.py

PARL (arXiv 2308.02585) claims that the slope of a reward model's loss must
count that the pairs come from the policy which is optimal for that reward; to
leave it out, as RLHF does, ends elsewhere, at policies that are aligned less.

16 actions with 4 normal features; true rewards are linear in all of them, the
model's in all (`all`) or in the first two alone (`two`). The policy is the
optimum of reward + 0.3 entropy. The loss is the log-loss of pairs that it
draws, judged by Bradley and Terry with the true rewards. 500 steps of Adam from
0 along the whole slope, by implicit differentiation, or along the direct one
(`direct`). Measured: the loss, and of the policy the true reward, and the true
reward with its entropy, each relative to the policy that is optimal for the
truth (1) and the uniform one (0). Expected: a lower loss along the whole slope,
and a higher reward where the model is too small.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.ablations import tables
from experiments.ablations.study import Figure, over
from jaxrl_llm.tabular import bilevel

ACTIONS, FEATURES, WEIGHT, STEPS = 16, 4, 0.3, 500
MODELS = {'all': 4, 'two': 2}

FIGURE = Figure(
  y='loss',
  x='step',
  series='learner',
  title='log-loss on pairs of the policy',
)


def cells():
  learners = [f'{m}, {s}' for m in MODELS for s in ('whole', 'direct')]
  return over(learner=learners, seed=range(12))


def solved(reward):
  """The logits of the best policy, centred."""
  logits = reward / WEIGHT
  return logits - jnp.mean(logits)


def run(seeds, *, learner):
  """Loss and alignment along training."""
  model, slope = learner.split(', ')
  tx = optax.adam(optax.linear_schedule(0.02, 0.0, STEPS))
  uniform = jnp.full(ACTIONS, -np.log(ACTIONS))

  def train(key):
    feature, worth = jax.random.split(key)
    features = jax.random.normal(feature, (ACTIONS, FEATURES))
    truth = features @ jax.random.normal(worth, (FEATURES,))
    known = features[:, : MODELS[model]]
    won = jax.nn.sigmoid(truth[:, None] - truth[None, :])

    def value(theta, logits):
      policy = jax.nn.softmax(logits)
      entropy = -jnp.sum(policy * jax.nn.log_softmax(logits))
      # The last term fixes the mean, to which a softmax is blind.
      mean = jnp.mean(logits)
      return policy @ (known @ theta) + WEIGHT * entropy - mean**2 / 2

    def loss(theta, logits):
      ours = known @ theta
      losses = -won * jax.nn.log_sigmoid(ours[:, None] - ours[None, :])
      policy = jax.nn.softmax(logits)
      # Either order of a pair is judged once.
      return policy @ (losses + losses.T) @ policy / 2

    def step(carry, _):
      theta, opt = carry
      logits = solved(known @ theta)
      if slope == 'whole':
        grads = bilevel.hypergradient(loss, value, theta, logits, damping=1e-4)
      else:
        grads = jax.grad(loss)(theta, logits)
      updates, opt = tx.update(grads, opt)
      return (optax.apply_updates(theta, updates), opt), loss(theta, logits)

    theta = jnp.zeros(MODELS[model])
    (theta, _), path = jax.lax.scan(
      step, (theta, tx.init(theta)), None, length=STEPS
    )
    log_policy = jax.nn.log_softmax(solved(known @ theta))

    def earned(log_policy):
      policy = jnp.exp(log_policy)
      return policy @ truth, policy @ (truth - WEIGHT * log_policy)

    best = jax.nn.log_softmax(solved(truth))
    mine, most, least = map(earned, (log_policy, best, uniform))
    share = [
      (m - low) / (high - low) for m, high, low in zip(mine, most, least)
    ]
    return path, share

  path, share = tables.over_seeds(train, seeds)
  return {
    'step': np.tile(np.arange(10, STEPS + 1, 10), (len(seeds), 1)),
    'loss': path[:, 9::10],
    'final loss': path[:, -1],
    'true reward': share[0],
    'with entropy': share[1],
  }
