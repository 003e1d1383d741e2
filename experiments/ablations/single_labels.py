"""Reward models of single labels, of several scores, and of references.

  python -m experiments.sweep --all \\
      --study=experiments/ablations/single_labels.py

RLUF (arXiv 2505.14946) claims that a model of who liked a response, without a
rival beside it, ranks responses; Multi-Objective GRPO (2503.21819) that one
regression of several scores serves for a reward in which they are weighed
later; POLAR (2507.05197) that a model which tells policies apart, given a
response of one of them, rates responses of policies that it never saw, where
an absolute rating cannot know who is meant.

Responses are 8 normal numbers, and models linear in them, by Adam at 0.03, 400
steps on all labels. Liked or not, by odds e^(w x + b), and pairs, by odds e^(w
(x - y)), 100 and 1,000 labels; and likes whose b is a spread of 2 for each of
20 people, some of whom like everything. Scores: safety and help, of correlation
-0.5, with noise of 0.5, by one model, for weights of 0.2 to 0.8 that are chosen
afterwards, against pairs by equal weights. Policies: 64, each normal about a
mean of its own; a triple is a reference and a response of one of them, and one
of another; `polar` is bilinear in reference and response, `reward_model` linear
in the response. Measured on others: pairs in the right order. Expected: a label
of one response is worth less than one of a pair, more so with people who
differ; regression serves all weights; the absolute rating knows no policy.
"""

import jax
import jax.numpy as jnp
import optax

from experiments.ablations import tables
from experiments.ablations.study import Figure, over
from jaxrl_llm import recipes
from jaxrl_llm.tabular import policy
from jaxrl_llm.training.step import Program
from jaxrl_llm.types import Spec, Stats

SIZE, STEPS, RATE, TESTED = 8, 400, 0.03, 4000
PEOPLE, POLICIES, SPREAD = 20, 64, 2.0
LABELS = [100, 1000]
FIGURE = Figure(
  y='in order',
  x='labels',
  series='model',
  log='x',
  title='pairs of other responses in the right order',
)


def cells():
  models = ['pairs', 'likes', 'likes of people', 'scores', 'pairs, weighed']
  models += ['polar', 'no reference']
  return over(model=models, labels=LABELS, seed=range(4))


def rating(params, rows, needs=frozenset()):
  del needs
  seen = rows.extras['seen'] @ params
  zeros = jnp.zeros(rows.response_mask.shape)
  return Stats(logp=zeros, entropy=zeros, after_values=seen[:, None])


def fitted(name, seen, scores, **values):
  """The parameters that a recipe learns of responses f32[N, F]."""
  recipe = recipes.build(name, **values)
  program = Program(recipe, rating, optax.adam(RATE))
  samples = recipe.plan.contract.samples
  rows = len(seen)
  group = jnp.arange(rows, dtype=jnp.int32) // samples
  ones = jnp.ones((rows, 1))
  rollouts = policy.as_rollouts(ones.astype(jnp.int32), ones, group=group)
  rollouts = rollouts.replace(extras={'seen': seen})
  start = jnp.zeros((seen.shape[1], *recipe.critic.shape))
  state = program.init(start, Spec(rows, samples, 1, 1))

  def step(state, key):
    return tables.learn(program, state, rollouts, scores, key)

  keys = jax.random.split(jax.random.key(0), STEPS)
  return jax.lax.scan(step, state, keys)[0].params


def pairs_of(key, worth, seen):
  """Rows in twos, the chosen first, of responses in twos."""
  gap = worth[0::2] - worth[1::2]
  first = jax.random.bernoulli(key, jax.nn.sigmoid(gap))[:, None]
  one, other = seen[0::2], seen[1::2]
  both = jnp.where(first, one, other), jnp.where(first, other, one)
  return jnp.stack(both, axis=1).reshape(seen.shape)


def in_order(params, worth, seen):
  """The share of pairs of neighbours that a model orders as they are."""
  rated = seen @ params
  return jnp.mean((rated[0::2] > rated[1::2]) == (worth[0::2] > worth[1::2]))


def of_responses(key, model, labels):
  """Models of what one response is worth."""
  make, taste, say, look, like = jax.random.split(key, 5)
  weights = jax.random.normal(taste, (2, SIZE)) / SIZE**0.5 * 2
  seen = jax.random.normal(make, (2 * labels, SIZE))
  tested = jax.random.normal(look, (2 * TESTED, SIZE))
  if model in ('pairs', 'likes', 'likes of people'):
    wanted = weights[0]
    worth = seen @ wanted
    if model == 'pairs':
      params = fitted('reward_model', pairs_of(say, worth, seen), twos(labels))
      return in_order(params, tested @ wanted, tested)
    mood = SPREAD * jax.random.normal(like, (PEOPLE,))
    who = jnp.arange(labels) % PEOPLE
    mood = mood[who] * (model == 'likes of people')
    liked = jax.random.bernoulli(say, jax.nn.sigmoid(worth[:labels] + mood))
    params = fitted('unary_reward_model', seen[:labels], liked * 1.0)
    return in_order(params, tested @ wanted, tested)
  # Help is against safety: of correlation -0.5.
  safe, other = weights
  kind = -0.5 * safe + 0.75**0.5 * other
  shares = jnp.array([0.2, 0.5, 0.8])
  if model == 'scores':
    half = seen[:labels]
    noise = 0.5 * jax.random.normal(say, (2, labels))
    scores = half @ jnp.stack([safe, kind], axis=1) + noise.T
    models = fitted('regression_reward_model', half, scores, labels=2).T
  else:
    worth = seen @ (safe + kind) / 2
    models = [
      fitted('reward_model', pairs_of(say, worth, seen), twos(labels))
    ] * 2
  found = [
    in_order(
      share * models[0] + (1 - share) * models[1],
      tested @ (share * safe + (1 - share) * kind),
      tested,
    )
    for share in shares
  ]
  return jnp.mean(jnp.stack(found))


def twos(pairs):
  """Rewards of rows in twos, the chosen first."""
  return jnp.tile(jnp.array([1.0, 0.0]), pairs)


def of_policies(key, model, labels):
  """Models of which policy a response is of; tested on other policies."""
  learn, test = jax.random.split(key)

  def triples(key, count):
    means, who, draw = jax.random.split(key, 3)
    mean = jax.random.normal(means, (POLICIES, SIZE))
    own, shift = jax.random.randint(who, (2, count), 0, POLICIES - 1)
    other = (own + 1 + shift) % POLICIES
    noise = jax.random.normal(draw, (3, count, SIZE))
    reference, chosen = mean[own] + noise[0], mean[own] + noise[1]
    rejected = mean[other] + noise[2]
    # Bilinear: every product of a number of both, and squares of the response.
    both = []
    for said in (chosen, rejected):
      product = (reference[:, :, None] * said[:, None]).reshape(count, -1)
      plain = jnp.concatenate([said, said**2], axis=1)
      empty = jnp.zeros_like(product)
      product = product if model == 'polar' else empty
      both.append(jnp.concatenate([product, plain], axis=1))
    return jnp.stack(both, axis=1).reshape(2 * count, -1)

  name = 'polar' if model == 'polar' else 'reward_model'
  params = fitted(name, triples(learn, labels), twos(labels))
  return in_order(params, twos(TESTED), triples(test, TESTED))


def run(seeds, *, model, labels):
  """Pairs in the right order."""
  of = of_policies if model in ('polar', 'no reference') else of_responses
  return {
    'in order': tables.over_seeds(lambda key: of(key, model, labels), seeds)
  }
