"""What a list of labelled answers teaches beyond its best and worst pair.

  python -m experiments.sweep --all \\
      --study=experiments/ablations/lipo_lists.py

LiPO (arXiv 2402.01878) claims that losses of whole lists learn more from the
same labelled answers than pairs do, and that LiPO-lambda, which weighs pairs by
what swapping them does to the ranking, learns most.

A bandit of 32 arms, normal rewards, reference the softmax of normal logits. The
data are 64 lists of 8 answers of the reference, labelled by the sigmoid of
their rewards with normal noise of 1. Offline: `dpo` on the same answers as 256
pairs, on the best and worst answer of each list alone, as iterative DPO is run
(`best_and_worst`), and the list losses as registered, all with weight 0.5, Adam
on all of them. Losses differ in how far a step goes, so the policies are
compared where they are equally far from the reference. Measured: the reward
when the KL first reaches 0.5 and 1 nat, or ends below, and the highest of 200
steps. Expected: lists above the pair, LiPO-lambda highest.
"""

import dataclasses

import jax
import jax.numpy as jnp
import optax

from experiments.ablations import choices, quiz, tables
from experiments.ablations.study import Figure, over
from jaxrl_llm.objectives import grouped, preference
from jaxrl_llm.selection import pairs
from jaxrl_llm.tabular import games, policy

ARMS, LISTS, SIZE, STEPS, NOISE = 32, 64, 8, 200, 1.0
RECIPES = (
  'dpo',
  'lipo',
  'lipo_logistic',
  'lipo_mle',
  'lipo_softmax',
  'lipo_square',
  'best_and_worst',
)

FIGURE = Figure(
  y='reward',
  x='KL, nats',
  series='recipe',
  title='reward by distance to the reference',
)


def cells():
  return over(recipe=RECIPES, seed=range(8))


def _extremes(recipe):
  """The recipe with one pair of a list: its best and its worst answer."""
  objective = grouped.pair_losses(
    preference.logistic,
    grouped.to_reference,
    weight=0.5,
    among=pairs.best_and_worst,
    samples=SIZE,
  )
  return dataclasses.replace(recipe, objective=objective)


def run(seeds, *, recipe):
  """Reward and KL along offline training."""
  samples = 2 if recipe == 'dpo' else SIZE
  extremes = recipe == 'best_and_worst'
  program = tables.program_of(
    'lipo_logistic' if extremes else recipe,
    tx=optax.adam(0.03),
    weight=0.5,
    samples=samples,
  )
  if extremes:
    program = dataclasses.replace(program, recipe=_extremes(program.recipe))

  def train(key):
    worth, ref_key, draw, noise = jax.random.split(key, 4)
    rewards = jax.random.normal(worth, (ARMS,))
    log_ref = jax.nn.log_softmax(jax.random.normal(ref_key, (ARMS,)))
    start = choices.table(log_ref)
    prompts = LISTS * SIZE // samples
    rollouts = policy.sample(
      start, draw, jnp.zeros(prompts, int), samples=samples
    )
    seen = rewards[rollouts.content.response[:, 0]]
    labels = jax.nn.sigmoid(seen + NOISE * jax.random.normal(noise, seen.shape))

    def step(state, key):
      state, _ = tables.learn(program, state, rollouts, labels, key)
      now = choices.log_policy(state.params)
      return state, (jnp.exp(now) @ rewards, games.kl(now, log_ref))

    state = tables.begin(program, start, prompts=prompts)
    keys = jax.random.split(key, STEPS)
    reward, far = jax.lax.scan(step, state, keys)[1]
    return reward - jnp.exp(log_ref) @ rewards, far

  reward, far = tables.over_seeds(train, seeds)
  kept = slice(4, None, 10)
  return {
    'KL, nats': far[:, kept],
    'reward': reward[:, kept],
    'reward at 0.5 nats': quiz.when(far, reward, 0.5),
    'reward at 1 nat': quiz.when(far, reward, 1.0),
    'highest': reward.max(1),
    'last KL': far[:, -1],
  }
