"""On-policy answers and a negative gradient, near and far from the reference.

  python -m experiments.sweep --all \\
      --study=experiments/ablations/on_policy_negatives.py

Preference Fine-Tuning of LLMs Should Leverage Suboptimal, On-Policy Data (arXiv
2404.14367) claims that sampling from the policy as it learns, and pushing the
worse answers down, each reach a good policy faster, most of all where the good
answers are unlikely under the reference.

Its bandit: 32 arms on a line, a reference that is normal around arm 8 with
spread 4, a reward that falls with the distance to arm 10 (near) or to arm 18
(far). Groups of 8 answers of the policy, or of the reference, 16 an iteration;
`best_of_n_imitation` has no negative gradient, `negative_mean` (weight 0.5) and
`dpo` have one. SGD, for DPO at a rate that makes its first step as long.
Measured: the reward, 0 at most, over 200 iterations and at the end. Expected:
on-policy first, and a gain of negative gradients that is larger far away.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.ablations import choices, tables
from experiments.ablations.study import Figure, over
from jaxrl_llm.tabular import policy

ARMS, GROUPS, SAMPLES, STEPS, EVERY = 32, 16, 8, 200, 10
MODE, SPREAD = 8, 4.0
PLACES = {'near': 10, 'far': 18}
# Learner: its recipe, its weight and its rate. The slope of DPO's loss is 0.05
# at first, half its weight; imitation's is 1.
LEARNERS = {
  'imitation': ('best_of_n_imitation', {}, 1.0),
  'negatives': ('negative_mean', {'weight': 0.5}, 1.0),
  'dpo': ('dpo', {'weight': 0.1}, 20.0),
}

FIGURE = Figure(
  y='reward far away',
  x='iteration',
  series='learner',
  title='reward when good answers are unlikely at first',
)


def cells():
  learners = [f'{l}, {s}' for l in LEARNERS for s in ('own', 'offline')]
  return over(learner=learners, seed=range(8))


def run(seeds, *, learner):
  """Reward along training, with the best answer near and far."""
  name, source = learner.split(', ')
  recipe, values, rate = LEARNERS[name]
  program = tables.program_of(
    recipe, tx=optax.sgd(rate), samples=SAMPLES, **values
  )
  arms = jnp.arange(ARMS)
  start = choices.table(-0.5 * ((arms - MODE) / SPREAD) ** 2)

  def train(key, place):
    rewards = -jnp.abs(arms - place) / ARMS

    def step(state, key):
      draw, update = jax.random.split(key)
      writer = state.params if source == 'own' else start
      rollouts = policy.sample(
        writer, draw, jnp.zeros(GROUPS, int), samples=SAMPLES
      )
      worth = rewards[rollouts.content.response[:, 0]]
      state, _ = tables.learn(program, state, rollouts, worth, update)
      return state, jnp.exp(choices.log_policy(state.params)) @ rewards

    state = tables.begin(program, start, prompts=GROUPS)
    return jax.lax.scan(step, state, jax.random.split(key, STEPS))[1]

  steps = np.arange(EVERY, STEPS + 1, EVERY)
  result = {'iteration': np.tile(steps, (len(seeds), 1))}
  places = np.repeat(list(PLACES.values()), len(seeds))
  curves = tables.over_seeds(train, [*seeds] * len(PLACES), places)
  for name, curve in zip(PLACES, np.split(curves, len(PLACES))):
    where = {'near': 'nearby', 'far': 'far away'}[name]
    result[f'reward {where}'] = curve[:, EVERY - 1 :: EVERY]
    result[f'{name}, mean'] = curve.mean(1)
    result[f'{name}, final'] = curve[:, -1]
  return result
