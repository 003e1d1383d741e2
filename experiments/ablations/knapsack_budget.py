"""Answers where they may teach: a knapsack of rollouts against even groups.

  python -m experiments.sweep --all \\
      --study=experiments/ablations/knapsack_budget.py

Knapsack RL (arXiv 2509.25849) splits the answers of an iteration over its
prompts by an exact knapsack, whose values are the chance of a mixed group times
what a success then teaches. It claims 20 to 40 % more answers with a gradient
than groups of equal size, and a policy that learns more from as many answers.
V_0 (arXiv 2602.03584) splits them greedily by another value, `contrast`: the
expected failures in groups that hold a success.

The quiz of `quiz.py`, 32 questions, an answer being right with probability 0.3,
0.1, 0.03 or 0.01; all are asked in each of 150 iterations with 256 answers in
all, 8 each or 2 to 128 each; Adam. Measured: the share of answers in mixed
groups (`live`), over the first fifth of training and over all of it; the
expected reward of all questions and of those of 0.01, on average over training;
and the largest group. Expected: more live answers and more reward, of hard
questions above all.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.ablations import quiz, tables
from experiments.ablations.study import Figure, over
from jaxrl_llm.plans import budgeted
from jaxrl_llm.selection import budgets
from jaxrl_llm.tabular import policy
from jaxrl_llm.types import Prompts

SOLVES = np.repeat([0.3, 0.1, 0.03, 0.01], 8)
STEPS = 150
FIGURE = Figure(
  y='reward curve',
  x='iteration',
  series='recipe',
  title='expected reward, 256 answers an iteration',
)


def cells():
  return over(recipe=['grpo', 'knapsack', 'contrast'], seed=range(5))


class Tools:
  """What a plan is lent: a policy that answers, and who knows the answers."""

  def __init__(self, params, worth):
    self.params, self.reward = params, quiz.reward_of(worth)
    self.notes = {}

  def generate(self, prompts, key, samples):
    return _answer(self.params, key, prompts.task, samples=samples)

  def verify(self, rollouts):
    rewards = self.reward(rollouts, rollouts.task)
    return rollouts, tables.scores_of(rewards)

  def note(self, name, value):
    self.notes[name] = value


_answer = jax.jit(policy.sample, static_argnames='samples')


def run(seeds, *, recipe):
  """Live answers and reward; the knapsack is solved on the host."""
  values = {'kl_weight': 0.0} if recipe == 'grpo' else {}
  name = 'knapsack' if recipe == 'contrast' else recipe
  program = tables.program_of(name, tx=optax.adam(0.05), **values)
  if recipe == 'contrast':
    # As the recipe has it by default, but for how a split is valued.
    plan = budgeted.Budgeted(budgets.contrast, budgets.greedy)
    built = dataclasses.replace(program.recipe, plan=plan)
    program = dataclasses.replace(program, recipe=built)
  learn = jax.jit(functools.partial(tables.learn, program))
  results = [one(program, learn, seed) for seed in seeds]
  return {name: np.stack([r[name] for r in results]) for name in results[0]}


def one(program, learn, seed):
  """The results of a seed."""
  make_key, key = jax.random.split(jax.random.key(seed))
  count = len(SOLVES)
  params, worth = quiz.make(make_key, questions=count, solves=SOLVES)
  nothing = jnp.zeros((count, 1), jnp.int32)
  task = jnp.arange(count)
  prompts = Prompts(nothing, nothing == 0, task, jnp.zeros_like(task))
  measured = jax.jit(lambda params: quiz.rates(params, worth))
  state = tables.begin(program, params, prompts=count)
  rates, live, largest = [], [], []
  for step_key in jax.random.split(key, STEPS):
    sample_key, learn_key = jax.random.split(step_key)
    rollouts, scores, plan = program.recipe.plan.collect(
      Tools(state.params, worth), prompts, state.method['plan'], sample_key
    )
    state = state.replace(method=state.method | {'plan': plan})
    rewards = scores.components[:, 0]
    state, _ = learn(state, rollouts, rewards, learn_key)
    won = np.bincount(rollouts.group, rewards, count)
    size = np.bincount(rollouts.group, minlength=count)
    live.append(np.average((won > 0) & (won < size), weights=size))
    largest.append(np.max(size))
    rates.append(np.asarray(measured(state.params)))
  curves, alive = np.array(rates), np.array(live)
  return {
    'iteration': np.arange(10, STEPS + 1, 10),
    'reward curve': curves[9::10].mean(1),
    'live at first': alive[: STEPS // 5].mean(),
    'live': alive.mean(),
    'mean reward': curves.mean(),
    'mean reward of hard': curves[:, SOLVES == 0.01].mean(),
    'largest group': np.mean(largest),
  }
