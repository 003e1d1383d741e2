"""Pairs drawn by rejection sampling, and three losses, against the optimum.

  python -m experiments.sweep --all \\
      --study=experiments/ablations/rso_optimum.py

RSO (arXiv 2309.06657) claims that a policy fitted to pairs which come from the
optimum itself, by rejection sampling from the reference, is better than one
fitted to the reference's own pairs, with DPO's loss and with a hinge.

A bandit of 32 arms with 8 normal features, rewards linear in them with spread
1, reference the softmax of normal logits, temperature 0.5: the optimum is
reference e^(2 reward). Pairs are labelled by Bradley and Terry with the rewards
as odds. Of 64 candidates per group 8 are taken, the first or the accepted ones,
and paired as they come; `ranked` accepts by what a ranker says, the logit of
the share of 16 comparisons with one answer of the reference that an arm wins.
Losses: `dpo` and `rso` (the hinge on log-ratios) with weight 0.5, `slic_hf`,
which knows no temperature; policies: reference e^(features theta), where pairs
teach about other arms, and tables, where they do not. 200 steps of Adam on all
pairs. Measured: total variation to the optimum and the expected reward, by the
number of pairs. Expected: accepted pairs nearer than the reference's; DPO
nearest, since its loss alone is the likelihood of the labels.
"""

import jax
import jax.numpy as jnp
import optax

from experiments.ablations import choices, tables
from experiments.ablations.study import Figure, over
from jaxrl_llm.selection import rejection

ARMS, FEATURES, CANDIDATES, TAKEN = 32, 8, 64, 8
STEPS, TEMPERATURE, COMPARED = 200, 0.5, 16
VALUES = {
  'dpo': {'weight': TEMPERATURE},
  'rso': {'weight': TEMPERATURE},
  'slic_hf': {},
}

FIGURE = Figure(
  y='total variation',
  x='pairs',
  series='learner',
  title='distance to the optimum',
)


def cells():
  learners = [f'{r}, {s}' for r in VALUES for s in ('reference', 'accepted')]
  learners.append('dpo, ranked')
  return over(learner=learners, pairs=[32, 128, 512], seed=range(6))


def ranked(key, log_ref, rewards):
  """f32[ARMS]: rewards as a ranker gives them, from wins and losses."""
  base, judge = jax.random.split(key)
  baseline = rewards[jax.random.categorical(base, log_ref)]
  chance = jax.nn.sigmoid(rewards - baseline)
  won = jax.random.bernoulli(judge, chance, (COMPARED, ARMS))
  # One win and one loss more, or a clean sweep would be worth no end.
  return rejection.ranker_reward((jnp.sum(won, axis=0) + 1) / (COMPARED + 2))


def draw(key, log_ref, rewards, *, pairs, source):
  """i32[pairs, 2]: neighbours among the candidates that were taken."""
  sample_key, accept_key = jax.random.split(key)
  groups = 2 * pairs // TAKEN
  arms = jax.random.categorical(sample_key, log_ref, shape=(groups, CANDIDATES))
  taken = jnp.broadcast_to(jnp.arange(CANDIDATES) < TAKEN, arms.shape)
  if source == 'ranked':
    rewards = ranked(jax.random.fold_in(accept_key, 1), log_ref, rewards)
  if source != 'reference':
    taken = rejection.accepted(
      accept_key, rewards[arms], count=TAKEN, temperature=TEMPERATURE
    )
  order = jnp.argsort(~taken, axis=1, stable=True)[:, :TAKEN]
  return jnp.take_along_axis(arms, order, axis=1).reshape(pairs, 2)


def run(seeds, *, learner, pairs):
  """Distance to the optimum, reward, and the optimum's reward."""
  recipe, source = learner.split(', ')
  values = VALUES[recipe] | {
    'tx': optax.adam(optax.linear_schedule(0.1, 0.0, STEPS))
  }

  def train(key):
    feature, worth, ref_key, pair, judge = jax.random.split(key, 5)
    features = jax.random.normal(feature, (ARMS, FEATURES))
    rewards = features @ jax.random.normal(worth, (FEATURES,))
    rewards = rewards / jnp.sqrt(FEATURES)
    log_ref = jax.nn.log_softmax(jax.random.normal(ref_key, (ARMS,)))
    optimum = jax.nn.softmax(log_ref + rewards / TEMPERATURE)
    compared = draw(pair, log_ref, rewards, pairs=pairs, source=source)
    compared = choices.judged(judge, compared, rewards)

    def errors(log_policy):
      learned = jnp.exp(log_policy)
      return jnp.sum(jnp.abs(learned - optimum)) / 2, learned @ rewards

    program = tables.program_of(recipe, **values)
    path = choices.fit(program, choices.table(log_ref), compared, steps=STEPS)
    program = choices.linear(recipe, features, log_ref, **values)
    theta = choices.fit(
      program,
      jnp.zeros(FEATURES),
      compared,
      steps=STEPS,
      measure=lambda theta: theta,
    )[-1]
    learned = jax.nn.log_softmax(log_ref + features @ theta)
    return errors(learned), errors(path[-1]), optimum @ rewards

  linear, table, best = tables.over_seeds(train, seeds)
  return {
    'total variation': linear[0],
    'reward': linear[1],
    'total variation, table': table[0],
    'reward, table': table[1],
    "the optimum's": best,
  }
