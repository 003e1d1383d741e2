"""CoPG finds the regularised optimum from anyone's data; REINFORCE does not.

  python -m experiments.sweep --all \\
      --study=experiments/ablations/copg_offline.py

Contrastive Policy Gradient (arXiv 2406.19185, its bandit experiment) claims
that its pairwise loss, without importance weights, has the optimum of reward
minus beta KL(pi || ref) as its minimum whatever distribution sampled the data,
where the policy gradient on the same off-policy data converges elsewhere. The
gradient of the loss was read at second hand.

A bandit of 8 arms with normal rewards and a uniform reference; all data come
from a fixed policy whose logits are normal, groups of 4. Both learners are
given the regularised objective: `copg` as registered, and `rloo` with the same
weight as its KL cost. Measured: the total variation between the policy learned
and the optimum ref e^(r / beta), along training. Expected: near 0 for copg; for
rloo a distance that stays.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.ablations import tables
from experiments.ablations.study import Figure, over
from jaxrl_llm.tabular import policy

ARMS, PROMPTS, STEPS, EVERY = 8, 64, 1500, 50
BETA = 0.5
VALUES = {
  'copg': {'weight': BETA, 'minibatches': 1},
  'rloo': {'kl_weight': BETA},
}

FIGURE = Figure(
  y='distance',
  x='step',
  series='recipe',
  log='y',
  title='total variation to the regularised optimum',
)


def cells():
  return over(recipe=sorted(VALUES), seed=range(5))


def run(seeds, *, recipe):
  """Distance to the optimum along training on off-policy data."""
  # The rate falls to 0, so that what remains is bias, not noise.
  rate = optax.linear_schedule(0.05, 0.0, STEPS)
  program = tables.program_of(recipe, tx=optax.adam(rate), **VALUES[recipe])

  def train(key):
    worth, behave, learn = jax.random.split(key, 3)
    rewards = jax.random.normal(worth, (ARMS,))
    optimum = jax.nn.softmax(rewards / BETA)
    behaviour = policy.init(behave, tasks=1, vocab=ARMS, length=1)
    start = jax.tree.map(jnp.zeros_like, behaviour)

    def step(state, key):
      draw, update = jax.random.split(key)
      rollouts = policy.sample(
        behaviour, draw, jnp.zeros(PROMPTS, int), samples=4
      )
      state, _ = tables.learn(
        program,
        state,
        rollouts,
        rewards[rollouts.content.response[:, 0]],
        update,
      )
      learned = jax.nn.softmax(state.params['logits'][0, 0])
      return state, jnp.sum(jnp.abs(learned - optimum)) / 2

    state = tables.begin(program, start, prompts=PROMPTS)
    keys = jax.random.split(learn, STEPS)
    return jax.lax.scan(step, state, keys)[1]

  distance = tables.over_seeds(train, seeds)[:, EVERY - 1 :: EVERY]
  steps = np.arange(EVERY, STEPS + 1, EVERY)
  return {
    'step': np.tile(steps, (len(seeds), 1)),
    'distance': distance,
    'final distance': distance[:, -1],
  }
