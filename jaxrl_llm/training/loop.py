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

Steps 1, 2 (its sampling), 3, 4, 5 and 6 are one compiled program each. With
`pipeline` = 1 steps 1 and 2 are those of the next iteration, made with the
policy that this one begins with; see `jaxrl_llm.training.pipeline`. Every key
is a function of (seed, step, purpose), and everything else that a step
depends on is in the `TrainState`, so a resumed run continues byte for byte.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from absl import logging
from ml_collections import ConfigDict

from jaxrl_llm.recipe import Recipe
from jaxrl_llm.training import pipeline, programs
from jaxrl_llm.training.checkpoint import Checkpointer
from jaxrl_llm.training.keys import Purpose, key_for
from jaxrl_llm.training.pipeline import Waiting
from jaxrl_llm.training.session import Session
from jaxrl_llm.training.writers import Run
from jaxrl_llm.types import (
  Array,
  Credit,
  PyTree,
  Rollouts,
  Scores,
  TrainState,
)

# Iterations in a row without a group that teaches, of which a warning tells.
IDLE = 10
# `sampler/gap_mean`, in nats, from which a warning tells. Rounding to bfloat16
# makes 0.015 of it in a random model of 30 layers, see docs/design.md.
GAP = 0.03


class Diverged(RuntimeError):
  """Too many iterations in a row taught nothing.

  Their loss, gradient or new parameters were not finite, none of their rows
  was valid, or, where the settings ask for it, no group had a gradient.
  """


def begin(session: Session, trainable: PyTree) -> TrainState:
  """The state before the first iteration.

  Where a run is pipelined, the rows of its first iteration are part of it.
  """
  state = session.init(trainable)
  if not session.config.pipeline:
    return state
  made = _collect(session, state, 0)
  return _remembering(session, state, made, waiting=_waiting(made))


def iterate(session: Session, state: TrainState, step: int):
  """One iteration up to its curriculum, without evaluation and saving.

  Args:
    step: finished iterations, 0 for the first.

  Returns:
    The new state, the metrics as numbers, and what was `Taught`.
  """
  if session.config.pipeline:
    return _pipelined(session, state, step)
  start = time.perf_counter()
  made = _collect(session, state, step)
  scored = time.perf_counter()
  rollouts = session.compiled.score(state, session.fixed, made.rollouts)
  jax.block_until_ready(rollouts)
  assigned = time.perf_counter()
  learned = _learn(session, state, rollouts, made.scores, step)
  state = _remembering(session, learned.state, made, learned)
  metrics = _numbers(session, learned.metrics)
  end = time.perf_counter()
  metrics |= {
    **made.metrics,
    'time/score': assigned - scored,
    'time/learn': end - assigned,
    'time/step': end - start,
  }
  return state, metrics, learned.taught


def _pipelined(session, state, step):
  """An iteration that learns from rows that wait, and makes the next ones.

  The learner's programs are dispatched when the first verification begins:
  earlier they would keep the device from sampling, later the host from
  verifying. One thread decides, so every process of a run sends its programs
  in the same order. `time/learn` lasts until their results were asked for.
  """
  waiting = state.method['waiting']
  learned: list[_Learned] = []
  start = dispatched = time.perf_counter()

  def learn():
    nonlocal dispatched
    if learned:
      return
    dispatched = time.perf_counter()
    rows = session.compiled.score(state, session.fixed, waiting.rollouts)
    learned.append(_learn(session, state, rows, waiting.scores, step))

  # The learner takes over the buffers of its state.
  sampler = state.replace(params=jax.tree.map(jnp.copy, state.params))
  made = _collect(session, sampler, step + 1, meanwhile=learn)
  learn()
  [done] = learned
  after = _waiting(made)
  state = _remembering(session, done.state, made, done, waiting=after)
  metrics = _numbers(session, done.metrics | waiting.metrics)
  end = time.perf_counter()
  # Counts are of the rows learned from, seconds those of this iteration.
  metrics |= {k: v for k, v in made.metrics.items() if k.startswith('time/')}
  metrics |= {'time/learn': end - dispatched, 'time/step': end - start}
  return state, metrics, done.taught


class _Made(NamedTuple):
  """Steps 1 and 2: verified responses, and what remembers them.

  Attributes:
    curriculum, plan, rater: their states. metrics: by name, clocks among them.
  """

  rollouts: Rollouts
  scores: Scores
  curriculum: PyTree
  plan: PyTree
  rater: TrainState | None
  metrics: Mapping[str, float]


class Taught(NamedTuple):
  """The rows that an iteration learned from.

  Attributes:
    seen: what the learner said of those that are shown, or None.
  """

  rollouts: Rollouts
  credit: Credit
  seen: Array | None


class _Learned(NamedTuple):
  """Steps 3 to 5: the state without what `_Made` remembers; dispatched."""

  state: TrainState
  taught: Taught
  metrics: Mapping[str, Array]


def _collect(session, state, step, **options) -> _Made:
  """Responses for one iteration, sampled from the policy of a state."""
  seed, plan = session.config.seed, session.recipe.plan
  key = key_for(seed, step, Purpose.TASKS)
  tools = session.lend(state, key, **options)
  key = key_for(seed, step, Purpose.SAMPLE)
  rollouts, scores, memory = plan.collect(
    tools, tools.draw(), state.method['plan'], key
  )
  scores = tools.compare(rollouts, scores)
  states = tools.curriculum, memory, tools.rater
  return _Made(rollouts, scores, *states, tools.metrics)


def _learn(session, state, rollouts, scores, step) -> _Learned:
  """Credit and optimizer steps of rows with their passes."""
  program = session.compiled
  credit, memory, sampled = program.assign(
    state.method['credit'], rollouts, scores
  )
  # Its buffers are the learner's from now on; others hold the rest.
  controllers = state.method['controllers']
  method = {'credit': memory, 'controllers': controllers}
  key = key_for(session.config.seed, step, Purpose.LEARN)
  state, learned = program.learn(
    state.replace(method=method),
    session.fixed,
    session.marked(rollouts),
    credit,
    key,
  )
  taught = Taught(rollouts, credit, learned.pop('seen', None))
  return _Learned(state, taught, sampled | learned)


def _remembering(session, state, made, learned=None, **waiting) -> TrainState:
  """The state with the memories of curriculum and plan, and rows that wait.

  Args:
    learned: rows of which the curriculum hears the rewards.
  """
  curriculum = made.curriculum
  if learned:
    rollouts, credit, _ = learned.taught
    curriculum = session.compiled.hear(
      curriculum, rollouts.task, credit.rewards, rollouts.valid
    )
  held = {'curriculum': curriculum, 'plan': made.plan, **waiting}
  held = session.layout.everywhere(held)
  if made.rater is not None:
    held |= {'rater': session.layout.kept(made.rater)}
  return state.replace(method=state.method | held)


def _waiting(made: _Made) -> Waiting:
  """The responses with what was counted of them, clocks left out."""
  # With a dtype of their own, as what a checkpoint holds has one.
  counts = {
    name: jnp.asarray(value, jnp.result_type(value))
    for name, value in made.metrics.items()
    if not name.startswith('time/')
  }
  return Waiting(made.rollouts, made.scores, counts)


def _numbers(session, metrics) -> dict[str, Any]:
  """Metrics on the host, the mean of every score under its name."""
  metrics = jax.device_get(metrics)
  scores = zip(session.spec.component_names, metrics.pop('scores'))
  return metrics | {f'score/{name}': mean for name, mean in scores}


def train(
  session: Session,
  state: TrainState,
  run: Run,
  checkpointer: Checkpointer,
  *,
  bad_in_a_row: int = 0,
  idle_in_a_row: int = 0,
  stopping: Callable[[], bool] = lambda: False,
) -> TrainState:
  """Trains until `config.steps`, or until `stopping()`, and saves at the end.

  Args:
    session: the assembled run.
    state: a fresh or a restored state.
    run: where metrics and samples go.
    checkpointer: where the state goes.
    bad_in_a_row: iterations that taught nothing before this call.
    idle_in_a_row: likewise, without a group that taught anything.
    stopping: asked between iterations.

  Returns:
    The state after the last iteration.

  Raises:
    Diverged: `config.max_bad_steps` iterations in a row, or the last half of
      the run, taught nothing: something was not finite, or no row was valid. Or
      `config.max_idle_steps` in a row had no group that taught. The state is
      saved.
  """
  config = session.config
  step, metrics, apart = int(state.step), {}, ''

  loaded, spent = programs.count(), time.process_time()

  def log(metrics):
    nonlocal loaded, spent
    before, loaded = loaded, programs.count()
    earlier, spent = spent, time.process_time()
    clocks = {
      'time/compile': (loaded - before).seconds,
      'time/cpu': spent - earlier,
    }
    run.log(step, metrics | clocks)

  def save():
    run.sync()
    counts = {'bad_in_a_row': bad_in_a_row, 'idle_in_a_row': idle_in_a_row}
    checkpointer.save(step, state, counts)

  if step == 0:
    log({**session.counts, **evaluation(session, state, 0, run)})
  while step < config.steps and not stopping():
    state, metrics, taught = iterate(session, state, step)
    step += 1
    useless = metrics['bad_steps'] > 0 or not metrics['rows/valid'] > 0
    bad_in_a_row = bad_in_a_row + 1 if useless else 0
    idle = not metrics['groups/live'] > 0
    idle_in_a_row = idle_in_a_row + 1 if idle else 0
    _warn(config, step, metrics, idle_in_a_row)
    if not apart and (apart := mismatch(config, session.recipe, step, metrics)):
      logging.warning('%s', apart)
    if config.eval.every and (
      step % config.eval.every == 0 or step == config.steps
    ):
      metrics |= evaluation(session, state, step, run)
    metrics |= session.of_sources(taught.rollouts, taught.credit)
    run.samples(step, session.examples(*taught))
    log(metrics)
    trouble = ''
    if bad_in_a_row >= config.max_bad_steps:
      trouble = _diagnosis(step, bad_in_a_row, metrics)
    elif 0 < config.get('max_idle_steps', 0) <= idle_in_a_row:
      trouble = _idleness(step, idle_in_a_row, metrics)
    if trouble or checkpointer.due(step):
      save()
    if trouble:
      checkpointer.wait()
      raise Diverged(trouble)
  save()
  checkpointer.wait()
  # Few as they are, nothing came after them that would show a recovery.
  if step == config.steps and 0 < step <= 2 * bad_in_a_row:
    raise Diverged(_diagnosis(step, bad_in_a_row, metrics))
  return state


def evaluation(
  session: Session, state: TrainState, step: int, run: Run | None = None
) -> Mapping[str, float]:
  """What the session measures of the policy, as `eval/...`, and the seconds.

  Args:
    run: where answers to read go.
  """
  if not session.config.eval.every:
    return {}
  start = time.perf_counter()
  record = partial(run.answers, step) if run else _nobody
  metrics = session.evaluate(state, step, record)
  seconds = time.perf_counter() - start
  return {f'eval/{k}': v for k, v in metrics.items()} | {'time/eval': seconds}


def _nobody(rows):
  del rows


def mismatch(
  config: ConfigDict, recipe: Recipe, step: int, metrics: Mapping[str, Any]
) -> str:
  """What to say of a sampler that is not the learner; '' for nothing.

  Nothing where rows are of another policy, or weighed for it already.
  """
  gap = metrics.get('sampler/gap_mean', 0.0)
  of_policy = recipe.plan.contract.may_lag and not config.pipeline
  if not gap > GAP or not of_policy or pipeline.corrects_itself(recipe):
    return ''
  return (
    f'iteration {step}: sampler and learner differ by {gap:.3f} nats a token '
    f'(sampler/gap_mean), more than {GAP:g}, so ratios and gradients are '
    'biased. Weigh tokens by truncated importance, --config.slots.gate='
    "'truncated_importance(cap=2.0)', or compute in float32, model.dtype"
  )


def _warn(config, step, metrics, idle_in_a_row) -> None:
  if metrics['bad_steps'] > 0:
    logging.warning(
      'iteration %d: loss, gradient or new parameters not finite in %d '
      'optimizer steps; they changed nothing', step, metrics['bad_steps'],
    )  # fmt: skip
  if idle_in_a_row and idle_in_a_row in (IDLE, config.steps):
    logging.warning('%s', _idleness(step, idle_in_a_row, metrics))


def _idleness(step, count, metrics):
  reward = metrics.get('reward/mean', float('nan'))
  return (
    f'{count} iterations in a row, up to {step}, had no group that taught '
    f'anything (reward/mean={reward:.4g}): all responses to a question earn '
    'the same. Where that is no success, mend the verifiers or ask questions '
    'that are sometimes answered; max_idle_steps says when to stop'
  )


def _diagnosis(step, count, metrics):
  failed = [
    f'{name}={value:g}'
    for name, value in sorted(metrics.items())
    if name.startswith(('verify/', 'stop/')) and value
  ]
  if metrics.get('programs/requests') == 0:
    failed.append('programs/requests=0: no program asked anything')
  if not metrics.get('rows/valid', 1.0) > 0:
    return (
      f'{count} iterations in a row, up to {step}, taught nothing; in the last '
      'no response could be judged '
      f'({", ".join(failed) or "no verifier failed"}). Their state is saved. '
      'The first failure of each verifier stands in the log; mend it, or the '
      'answers of the data'
    )
  shown = ('loss', 'grad/norm', 'reward/mean', 'policy/kl', 'sampler/gap_max')
  values = ', '.join(f'{k}={metrics[k]:.4g}' for k in shown if k in metrics)
  return (
    f'{count} iterations in a row, up to {step}, had a loss, gradient or new '
    f'parameters that are not finite ({values}). Their state is saved. A lower '
    'optimizer.learning_rate or optimizer.clip_norm, or float32 in '
    'model.dtype, is the usual remedy'
  )
