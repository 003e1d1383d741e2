"""Recipes on policies that are tables, trained by the compiled step itself.

What is measured here is what `experiments.train` would do: the same credit,
objective, weights and order of optimizer steps, with a table of logits for a
language model.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from jaxrl_llm import recipes
from jaxrl_llm.tabular import policy
from jaxrl_llm.training.step import Program
from jaxrl_llm.types import Array, Rollouts, Scores, Spec

# (rollouts, question i32[N] of each row) -> rewards f32[N].
Reward = Callable[[Rollouts, Array], Array]


def program_of(name: str, *, tx=None, **values) -> Program:
  """A recipe bound to the tabular policy and, by default, to plain SGD."""
  built = recipes.build(name, **values)
  return Program(built, policy.score, tx or optax.sgd(1.0))


def begin(program: Program, params, *, prompts: int, domains=()):
  """The state of a run of `prompts` groups per iteration.

  Args:
    domains: the domain of each question; () if all are of one, with as many
      questions as rows of the table.
  """
  tasks, nodes, vocab = params['logits'].shape
  length = next(t for t in range(99) if policy.states(vocab, t) == nodes)
  samples = program.recipe.plan.contract.samples
  spec = Spec(
    prompts * samples,
    samples,
    1,
    length,
    tasks=len(domains) or tasks,
    domains=max(domains, default=0) + 1,
    task_domains=domains,
  )
  return program.init(params, spec)


def draw(program, state, key, *, prompts: int):
  """i32[B] questions, as the recipe's curriculum draws them, and the state."""
  question, curriculum = program.recipe.curriculum.sample(
    state.method['curriculum'], key, prompts
  )
  method = state.method | {'curriculum': curriculum}
  return question, state.replace(method=method)


def scores_of(rewards) -> Scores:
  """Rewards f32[N] or f32[N, K] as scores of weight 1."""
  components = rewards.reshape(len(rewards), -1).astype(jnp.float32)
  return Scores(components, jnp.ones(components.shape[1]))


def iterate(program, state, question, reward: Reward, key, *, shared=False):
  """Samples to every question, learns from them, returns state and metrics.

  Args:
    question: i32[B], row of the table, and what `reward` is told.
    shared: all questions are answered from row 0 of the table.
  """
  sample_key, learn_key = jax.random.split(key)
  samples = program.recipe.plan.contract.samples
  task = jnp.zeros_like(question) if shared else question
  rollouts = policy.sample(state.params, sample_key, task, samples=samples)
  rewards = reward(rollouts, jnp.repeat(question, samples))
  return learn(program, state, rollouts, rewards, learn_key)


def learn(program, state, rollouts, rewards, key):
  """One iteration on rows at hand, whose rewards are f32[N] or f32[N, K]."""
  state, rollouts, credit, metrics = program.iterate(
    state, {}, rollouts, scores_of(rewards), key
  )
  curriculum = program.recipe.curriculum.update(
    state.method['curriculum'], rollouts.task, credit.rewards, rollouts.valid
  )
  method = state.method | {'curriculum': curriculum}
  return state.replace(method=method), metrics


def gradient(program: Program, params, rollouts, rewards, *, prompts):
  """The step f32[A, S, V] that one iteration of SGD at rate 1 would take."""
  state = begin(program, params, prompts=prompts)
  state, _ = learn(program, state, rollouts, rewards, jax.random.key(0))
  return state.params['logits'] - params['logits']


def stale_gradient(program, params, rollouts, rewards, *, prompts):
  """`gradient`, negated, with the policy that sampled as the proximal one.

  It is what a later optimizer step of an iteration would follow.
  """
  state = begin(program, params, prompts=prompts)
  scores = scores_of(rewards)
  credit, _, _ = program.assign(state.method['credit'], rollouts, scores)
  batch = program.batch(rollouts, credit, fresh=False)

  def loss(params):
    stats = policy.score(params, rollouts, program.recipe.statistics)
    return program.recipe.objective.loss(stats, batch, {})[0]

  return jax.grad(loss)(params)['logits']


def over_seeds(fn, seeds, *numbers):
  """`fn(key, *numbers)` for every seed and its numbers, as one program.

  Args:
    numbers: arrays as long as `seeds`, the values that a study traces.
  """
  keys = jax.vmap(jax.random.key)(jnp.asarray(seeds))
  traced = [jnp.asarray(number, jnp.float32) for number in numbers]
  return jax.device_get(jax.jit(jax.vmap(fn))(keys, *traced))


def course(programs, start, earned, measure, seeds, *, steps: int):
  """What is measured after each iteration on all questions, for every seed.

  Args:
    programs: stages of `steps` iterations each, of as many samples. Each
      begins with the policy that the one before has learned, and nothing else.
    start: f(key) -> params, and anything that the others are told.
    earned: f(world, rows, key) -> extras of rows, and their rewards.
    measure: f(world, params) -> pytree, stacked over all iterations.
  """

  def train(key):
    make, learn_key = jax.random.split(key)
    params, world = start(make)
    tasks = jnp.arange(len(params['logits']))
    samples = programs[0].recipe.plan.contract.samples
    found = []
    for program, key in zip(programs, jax.random.split(learn_key, 9)):

      def step(state, key, program=program):
        draw, judge, update = jax.random.split(key, 3)
        rows = policy.sample(state.params, draw, tasks, samples=samples)
        extras, rewards = earned(world, rows, judge)
        rows = rows.with_extras(**extras)
        state, _ = learn(program, state, rows, rewards, update)
        return state, measure(world, state.params)

      state = begin(program, params, prompts=len(tasks))
      keys = jax.random.split(key, steps)
      state, measured = jax.lax.scan(step, state, keys)
      params = state.params
      found.append(measured)
    return jax.tree.map(lambda *x: jnp.concatenate(x), *found)

  return over_seeds(train, seeds)
