"""One reward model for people of two tastes, and one for each taste.

  python -m experiments.sweep --all --vmap \\
      --study=experiments/ablations/mixed_people.py

MaxMin-RLHF (arXiv 2402.08925) claims that one reward model cannot fit people
whose tastes differ, the less the minority the smaller it is, and that
expectation maximisation over a mixture of models, with each person assigned to
the model that explains them best, finds the tastes.

40 people, of whom 10, 30 or 50 % are of the second taste; tastes are linear in
8 normal features, of norm 4, with correlation -0.5, 0 or 0.8. Everyone compares
20 pairs, answered by Bradley and Terry. Models are linear and take 300 steps of
gradient descent, people being assigned anew before each. The mixture of two
starts from normal weights, four times, and the start with the lowest loss
counts. Measured on fresh arms and pairs, by people of the minority: the share
of pairs in the right order of worth and R^2 of the predicted worth; the same
for the majority; and the share of people that share a model with their own
taste. Expected: one model that serves the majority; two that serve both where
tastes differ.
"""

import jax
import jax.numpy as jnp

from experiments.ablations import tables
from experiments.ablations.study import Figure, over
from jaxrl_llm.rewards import learned

PEOPLE, PAIRS, FEATURES, NORM, FRESH = 40, 20, 8, 4.0, 500
STEPS, STARTS, RATE = 300, 4, 1.0
TRACED = ('minority',)

CASES = {
  f'{count}, {name}': (models, correlation)
  for count, models in (('one', 1), ('two', 2))
  for name, correlation in (
    ('opposed', -0.5),
    ('unrelated', 0.0),
    ('similar', 0.8),
  )
}

FIGURE = Figure(
  y='pairs of the minority',
  x='minority',
  series='case',
  title='share of pairs in the order of the minority',
)


def cells():
  return over(case=list(CASES), minority=[0.1, 0.3, 0.5], seed=range(8))


def tastes(key, correlation):
  """f32[2, F]: directions of norm NORM with that cosine."""
  first, other = jax.random.normal(key, (2, FEATURES))
  first = first / jnp.linalg.norm(first)
  other = other - other @ first * first
  other = other / jnp.linalg.norm(other)
  second = correlation * first + jnp.sqrt(1 - correlation**2) * other
  return NORM * jnp.stack([first, second])


def fit(key, compared, annotator, models):
  """Weights f32[models, F], the model of each person, and the loss."""
  weights = 0.1 * jax.random.normal(key, (models, FEATURES))

  def people(weights):
    return learned.assigned(compared @ weights.T, annotator, PEOPLE)

  def loss(weights, assignment):
    losses = learned.mixture_losses(compared @ weights.T, annotator, assignment)
    share = jnp.mean(assignment[:, None] == jnp.arange(models), axis=0)
    return jnp.sum(share * losses), jnp.sum(losses)

  def step(weights, _):
    slope = jax.grad(lambda w: loss(w, people(weights))[1])(weights)
    return weights - RATE * slope, None

  weights = jax.lax.scan(step, weights, None, length=STEPS)[0]
  assignment = people(weights)
  return weights, assignment, loss(weights, assignment)[0]


def run(seeds, *, case, minority):
  """How well the models of people predict what they think."""
  models, correlation = CASES[case]

  def one(key, minority):
    taste_key, pair, answer, start, fresh = jax.random.split(key, 5)
    worth = tastes(taste_key, correlation)
    kind = (jnp.arange(PEOPLE) < jnp.round(minority * PEOPLE)).astype(int)
    annotator = jnp.repeat(jnp.arange(PEOPLE), PAIRS)
    gap = jax.random.normal(pair, (PEOPLE * PAIRS, FEATURES))
    odds = jnp.sum(gap * worth[kind[annotator]], axis=1)
    won = jax.random.bernoulli(answer, jax.nn.sigmoid(odds))
    compared = jnp.where(won[:, None], gap, -gap)
    starts = jax.random.split(start, STARTS)
    weights, people, losses = jax.vmap(
      lambda key: fit(key, compared, annotator, models)
    )(starts)
    best = jnp.argmin(losses)
    weights, people = weights[best], people[best]
    arms = jax.random.normal(fresh, (2, FRESH, FEATURES))

    def served(group):
      true = arms @ worth[group]

      def by(model):
        said = arms @ weights[model]
        sign = jnp.sign(true[0] - true[1])
        right = learned.accuracy(sign * said[0], sign * said[1])
        return right, learned.r_squared(said[0], true[0])

      found = jax.vmap(by)(people)
      mine = kind == group
      return [jnp.sum(x * mine) / jnp.sum(mine) for x in found]

    usual = [
      jnp.argmax(jnp.bincount(jnp.where(kind == g, people, 9), length=models))
      for g in (0, 1)
    ]
    at_home = jnp.mean(people == jnp.where(kind == 0, *usual))
    return served(0), served(1), jnp.where(usual[0] == usual[1], 0.0, at_home)

  first, second, home = tables.over_seeds(one, seeds, minority)
  return {
    'R^2 of the minority': second[1],
    'pairs of the minority': second[0],
    'R^2 of the majority': first[1],
    'pairs of the majority': first[0],
    'with their own': home,
  }
