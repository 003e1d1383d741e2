"""What else is judged: whether a critique helps, whether a choice is argued.

  python -m experiments.sweep --all \\
      --study=experiments/ablations/second_judges.py

RefCritic (arXiv 2507.15024) claims that a critic paid for verdicts alone learns
to say right or wrong without critiques that help to mend, and that paying for
what a solver makes of them, after a first stage without, teaches both. Reward
Design for Justifiable Sequential Decision-Making (2402.15826) claims that
paying in part for decisions that a judge finds better justified makes them so,
at little cost of performance.

Critics: 32 solutions; a verdict, right or wrong, then one of 4 critiques, with
one of which a solver mends four solutions of five, with the others one of ten.
`ref_critic` with weights of 0, 1, and 0 for the first half of the iterations;
and helpful critiques paid without regard to the verdict. Decisions: 32
questions with 8 decisions, whose rewards are uniform in [0, 1] and of which a
judge finds half better justified than the baseline's; `justifiable` with shares
of 0 to 0.75. All is as likely at first; groups of 8, Adam at 0.05, 200
iterations. Measured, exactly, at the end: right verdicts and helpful critiques;
the reward relative to the best, and how often the judge prefers the decision.
Expected: as claimed.
"""

import jax
import jax.numpy as jnp
import optax

from experiments.ablations import tables
from experiments.ablations.study import Figure, chain, over
from jaxrl_llm.tabular import policy

QUESTIONS, STEPS, RATE = 32, 200, 0.05
CRITIQUES, HELPFUL, OTHER = 4, 0.8, 0.1
DECISIONS = 8
FIGURE = Figure(
  y='second',
  x='first',
  series='paid',
  across='task',
  title='helpful critiques by right verdicts, preferred decisions by rewards',
)


def cells():
  return chain(
    over(
      task=['critics'],
      paid=['verdict', 'both', 'both, later', 'critique'],
      seed=range(4),
    ),
    over(task=['decisions'], paid=[0.0, 0.25, 0.5, 0.75], seed=range(4)),
  )


def critics(seeds, paid):
  """How often verdicts are right, and critiques helpful."""

  def start(key):
    params = policy.init(
      key, tasks=QUESTIONS, vocab=CRITIQUES, length=2, scale=0.0
    )
    # Of the first token two values are verdicts.
    logits = params['logits'].at[:, 0, 2:].set(-20.0)
    verdict, fault = jax.random.randint(key, (2, QUESTIONS), 0, CRITIQUES)
    return params | {'logits': logits}, (verdict % 2, fault)

  def earned(world, rows, key):
    verdict, fault = (x[rows.task] for x in world)
    said, critique = rows.content.response.T
    chance = jnp.where(critique == fault, HELPFUL, OTHER)
    mended = jax.random.bernoulli(key, chance) * 1.0
    right = (said == verdict) * 1.0
    return {'refined': mended}, mended if paid == 'critique' else right

  def measure(world, params):
    verdict, fault = world
    chance = jax.nn.softmax(params['logits'])
    every = jnp.arange(QUESTIONS)
    right = chance[every, 0, verdict]
    helpful = chance[every, :, fault]
    helpful = jnp.sum(chance[:, 0] * helpful[:, 1 : CRITIQUES + 1], axis=1)
    return jnp.mean(right), jnp.mean(helpful)

  weights = {'both': (1.0,), 'both, later': (0.0, 1.0)}.get(paid, (0.0,))
  stages = [
    tables.program_of('ref_critic', tx=optax.adam(RATE), weight=weight)
    for weight in weights
  ]
  steps = STEPS // len(stages)
  return tables.course(stages, start, earned, measure, seeds, steps=steps)


def decisions(seeds, share):
  """Rewards relative to the best, and how often the judge is for them."""

  def start(key):
    params = policy.init(
      key, tasks=QUESTIONS, vocab=DECISIONS, length=1, scale=0.0
    )
    worth, argued = jax.random.uniform(key, (2, QUESTIONS, DECISIONS))
    return params, (worth, argued < 0.5)

  def earned(world, rows, key):
    del key
    worth, argued = (
      x[rows.task, rows.content.response[:, 0]] * 1.0 for x in world
    )
    return {'justified': argued}, worth

  def measure(world, params):
    worth, argued = world
    chance = jax.nn.softmax(params['logits'][:, 0])
    best = jnp.sum(worth.max(axis=1))
    return jnp.sum(chance * worth) / best, jnp.sum(chance * argued) / QUESTIONS

  program = tables.program_of('justifiable', tx=optax.adam(RATE), share=share)
  return tables.course([program], start, earned, measure, seeds, steps=STEPS)


def run(seeds, *, task, paid):
  """Both rewards."""
  measured = critics if task == 'critics' else decisions
  first, second = measured(seeds, paid)
  names = {
    'critics': ('right verdicts', 'helpful critiques'),
    'decisions': ('reward over the best', 'preferred'),
  }
  return {
    'first': first[:, 9::10],
    'second': second[:, 9::10],
    names[task][0]: first[:, -1],
    names[task][1]: second[:, -1],
  }
