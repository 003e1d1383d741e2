"""The one training loop.

One iteration, in this order:

    1  the curriculum draws tasks
    2  the plan samples responses to them and has them verified; where a
       preference oracle judges, the rows of a group are compared
    3  score: log-probs of the old and the reference policy, values
    4  assign: rewards, advantages, weights
    5  learn: optimizer steps, then controllers and reference
    6  the curriculum hears the rewards
    7  every so often: held-out evaluation, checkpoint

Steps 1, 2 (its sampling), 3, 4 and 5 are one compiled program each. Every key
is a function of (seed, step, purpose), and everything else that a step
depends on is in the `TrainState`, so a resumed run continues byte for byte.
"""

from __future__ import annotations

import enum
import time
from collections.abc import Callable, Mapping

import jax
from absl import logging

from jaxrl_llm.training import games, recordings
from jaxrl_llm.training.checkpoint import Checkpointer
from jaxrl_llm.training.session import Session
from jaxrl_llm.training.tools import Tools
from jaxrl_llm.training.writers import Run
from jaxrl_llm.types import TrainState


class Purpose(enum.IntEnum):
  """What randomness is for; a new purpose gets a new number."""

  TASKS = 0
  SAMPLE = 1
  LEARN = 2
  EVAL = 3
  GAME = 4


class Diverged(RuntimeError):
  """Too many iterations in a row had a loss or gradient that is not finite."""


def key_for(seed: int, step: int, purpose: Purpose) -> jax.Array:
  """The key of one purpose in one iteration."""
  root = jax.random.fold_in(jax.random.key(seed), step)
  return jax.random.fold_in(root, purpose)


def iterate(session: Session, state: TrainState, step: int):
  """One iteration up to its curriculum, without evaluation and saving.

  Args:
    step: finished iterations, 0 for the first.

  Returns:
    The new state, the metrics as numbers, and the rollouts with their credit.
  """
  program, seed = session.compiled, session.config.seed
  start = time.perf_counter()
  tools = Tools(session, state, key_for(seed, step, Purpose.TASKS))
  sample_key = key_for(seed, step, Purpose.SAMPLE)
  rollouts, scores, plan_state = session.recipe.plan.collect(
    tools, tools.draw(), state.method['plan'], sample_key
  )
  scores = tools.compare(rollouts, scores)
  scored = time.perf_counter()
  rollouts = program.score(state, session.frozen, rollouts)
  jax.block_until_ready(rollouts)
  assigned = time.perf_counter()
  credit, credit_state, sampled = program.assign(
    state.method['credit'], rollouts, scores
  )
  curriculum = session.recipe.curriculum.update(
    tools.curriculum, rollouts.task, credit.rewards, rollouts.valid
  )
  state = state.replace(
    method=state.method
    | {'credit': credit_state, 'plan': plan_state, 'curriculum': curriculum}
  )
  learn_key = key_for(seed, step, Purpose.LEARN)
  state, learned = program.learn(
    state, session.frozen, rollouts, credit, learn_key
  )
  metrics = jax.device_get(sampled | learned)
  scores = zip(session.spec.component_names, metrics.pop('scores'))
  metrics |= {f'score/{name}': mean for name, mean in scores}
  end = time.perf_counter()
  metrics |= tools.metrics | {
    'time/score': assigned - scored,
    'time/learn': end - assigned,
    'time/step': end - start,
  }
  return state, metrics, (rollouts, credit)


def train(
  session: Session,
  state: TrainState,
  run: Run,
  checkpointer: Checkpointer,
  *,
  bad_in_a_row: int = 0,
  stopping: Callable[[], bool] = lambda: False,
) -> TrainState:
  """Trains until `config.steps`, or until `stopping()`, and saves at the end.

  Args:
    session: the assembled run.
    state: a fresh or a restored state.
    run: where metrics and samples go.
    checkpointer: where the state goes.
    bad_in_a_row: iterations without a finite step before this call.
    stopping: asked between iterations.

  Returns:
    The state after the last iteration.

  Raises:
    Diverged: `config.max_bad_steps` iterations in a row changed nothing
      because a loss or a gradient was not finite. The state is saved.
  """
  config = session.config
  step = int(state.step)

  def save():
    run.sync()
    checkpointer.save(step, state, {'bad_in_a_row': bad_in_a_row})

  if step == 0:
    run.log(0, session.train.counts | evaluation(session, state, 0))
  while step < config.steps and not stopping():
    state, metrics, (rollouts, credit) = iterate(session, state, step)
    step += 1
    bad = metrics['bad_steps'] > 0
    bad_in_a_row = bad_in_a_row + 1 if bad else 0
    if bad:
      logging.warning(
        'iteration %d: loss or gradient not finite in %d optimizer steps; '
        'they changed nothing', step, metrics['bad_steps'],
      )  # fmt: skip
    if config.eval.every and (
      step % config.eval.every == 0 or step == config.steps
    ):
      metrics |= evaluation(session, state, step)
    run.samples(step, session.examples(rollouts, credit))
    run.log(step, metrics)
    if bad_in_a_row >= config.max_bad_steps:
      save()
      checkpointer.wait()
      raise Diverged(_diagnosis(step, bad_in_a_row, metrics))
    if checkpointer.due(step):
      save()
  save()
  checkpointer.wait()
  return state


def evaluation(
  session: Session, state: TrainState, step: int
) -> Mapping[str, float]:
  """Greedy accuracy on held-out questions, and pass@k at the run's end.

  Where the run learns from recorded responses, also how it rates those held
  out, and in a game how the policy stands in it; without verifiers, that
  alone.
  """
  config = session.config
  if not config.eval.every:
    return {}
  ends = step in (0, config.steps)
  start = time.perf_counter()
  metrics = {}
  if session.answering.verifiers.names:
    metrics |= session.answering.evaluate(
      session.sampling_params(state),
      session.held_out,
      key_for(config.seed, step, Purpose.EVAL),
      samples=config.eval.samples if ends else 0,
    )
  if recordings.used(config):
    metrics |= recordings.evaluate(session, state)
  if session.answering.oracle is not None and config.eval.samples > 1:
    key = key_for(config.seed, step, Purpose.GAME)
    metrics |= games.evaluate(session, state, key)
  seconds = time.perf_counter() - start
  return {f'eval/{k}': v for k, v in metrics.items()} | {'time/eval': seconds}


def _diagnosis(step, count, metrics):
  shown = ('loss', 'grad/norm', 'reward/mean', 'policy/kl', 'sampler/gap_max')
  values = ', '.join(f'{k}={metrics[k]:.4g}' for k in shown if k in metrics)
  return (
    f'{count} iterations in a row, up to {step}, had a loss or gradient that '
    f'is not finite ({values}). Their state is saved. A lower '
    'optimizer.learning_rate or optimizer.clip_norm, or float32 in '
    'model.dtype, is the usual remedy'
  )
