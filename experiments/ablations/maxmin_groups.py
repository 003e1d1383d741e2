"""Two groups of people of unequal size, and who is served.

  python -m experiments.sweep --all --vmap \\
      --study=experiments/ablations/maxmin_groups.py

MaxMin-RLHF (arXiv 2402.08925) claims that one reward for all people serves the
majority alone, and that raising the least served group's reward instead
improves the minority's at little cost to the majority.

A bandit of 16 arms; the rewards of the groups are normal with correlation -0.5,
so that what one likes the other tends not to. `grpo` is trained on the mean
reward over people, `maxmin_rlhf` on the rewards of the two groups, both with a
KL cost of 0.01, 16 groups of 8 answers an iteration. Measured: the mean rewards
of majority and minority in the last 50 of 250 iterations, over all people and
of the least served; and the exact max-min value by linear programming.
Expected: the minority below the majority for grpo, both near the exact value
for MaxMin.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy import optimize

from experiments.ablations import choices, tables
from experiments.ablations.study import Figure, over
from jaxrl_llm.tabular import policy

ARMS, GROUPS, SAMPLES, STEPS = 16, 16, 8, 250
TRACED = ('minority',)

FIGURE = Figure(
  y='reward of the minority',
  x='minority',
  series='recipe',
  title='mean reward of the minority, by its share of the people',
)


def cells():
  return over(
    recipe=['grpo', 'maxmin_rlhf'], minority=[0.1, 0.3, 0.5], seed=range(8)
  )


def best_of_the_worst(rewards) -> float:
  """max_p min_u sum_a p_a r_au, exact."""
  arms, groups = rewards.shape
  found = optimize.linprog(
    np.r_[np.zeros(arms), -1.0],
    A_ub=np.c_[-rewards.T, np.ones(groups)],
    b_ub=np.zeros(groups),
    A_eq=np.r_[np.ones(arms), 0.0][None],
    b_eq=[1.0],
    bounds=[(0, 1)] * arms + [(None, None)],
  )
  return -found.fun


def tastes(key):
  """f32[ARMS, 2]: what an answer is worth to majority and minority."""
  common, own = jax.random.normal(key, (2, ARMS))
  return jnp.stack([common, np.sqrt(0.75) * own - 0.5 * common], axis=1)


def run(seeds, *, recipe, minority):
  """Rewards of both groups at the end, averaged over the last 50 steps."""
  rate = optax.linear_schedule(0.1, 0.0, STEPS)
  program = tables.program_of(
    recipe, tx=optax.adam(rate), samples=SAMPLES, kl_weight=0.01
  )

  def train(key, minority):
    taste, learn = jax.random.split(key)
    worth = tastes(taste)
    share = jnp.stack([1 - minority, minority])

    def step(state, key):
      draw, update = jax.random.split(key)
      rollouts = policy.sample(
        state.params, draw, jnp.zeros(GROUPS, int), samples=SAMPLES
      )
      rewards = worth[rollouts.content.response[:, 0]]
      if recipe == 'grpo':
        rewards = rewards @ share
      state, _ = tables.learn(program, state, rollouts, rewards, update)
      return state, jnp.exp(choices.log_policy(state.params)) @ worth

    state = tables.begin(
      program, choices.table(jnp.zeros(ARMS)), prompts=GROUPS
    )
    path = jax.lax.scan(step, state, jax.random.split(learn, STEPS))[1]
    return jnp.mean(path[-50:], axis=0), worth, share

  reward, worth, share = tables.over_seeds(train, seeds, minority)
  return {
    'reward of the majority': reward[:, 0],
    'reward of the minority': reward[:, 1],
    'of all people': np.sum(reward * share, axis=1),
    'of the least served': reward.min(1),
    'best of the worst': np.array([best_of_the_worst(w) for w in worth]),
  }
