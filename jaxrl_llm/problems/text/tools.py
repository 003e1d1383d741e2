"""What a plan is lent: sampling, verdicts, passes and steps of the policy."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_llm.numerics import EntropyScale
from jaxrl_llm.plans import actions
from jaxrl_llm.policies.language import states
from jaxrl_llm.policies.language.mixture import Masked, Mixture
from jaxrl_llm.policies.language.truncation import Sampling
from jaxrl_llm.problems.text.speaker import Speaker
from jaxrl_llm.types import (
  Array,
  Prompts,
  PyTree,
  Rollouts,
  Scores,
  Stats,
  TrainState,
)


class Tools(Speaker):
  """What a plan is lent in one iteration of a session.

  Args:
    session: the assembled run. state: before the iteration.
    key: of the draws of prompts.
    meanwhile: called before every verification, for what a device may do
      while the host verifies.
  """

  def __init__(
    self,
    session,
    state: TrainState,
    key: Array,
    meanwhile: Callable[[], None] = lambda: None,
  ):
    params = session.sampling_params(state)
    super().__init__(session.answering, params, session.train)
    self._session, self._state = session, state
    self._draw_key, self._draws = key, 0
    self._meanwhile = meanwhile
    self.curriculum = state.method['curriculum']
    self.rater: TrainState | None = state.method.get('rater')
    self.metrics: dict[str, Any] = {'time/sample': 0.0, 'time/verify': 0.0}

  def draw(self) -> Prompts:
    """The next prompts of the curriculum."""
    key = jax.random.fold_in(self._draw_key, self._draws)
    self._draws += 1
    tasks, self.curriculum = self._session.draw(self.curriculum, key)
    return self._questions.prompts(np.asarray(tasks))

  @property
  def tasks(self) -> int:
    """Questions of the data."""
    return len(self._questions)

  def questions(self, tasks: Any) -> Prompts:
    """The prompts of tasks i[B]."""
    return self._questions.prompts(np.asarray(tasks))

  def tell(self, scores: Any) -> None:
    """Tells the curriculum a score of every question.

    Raises:
      ValueError: one that nobody tells anything.
    """
    curriculum = self._session.recipe.curriculum
    if not hasattr(curriculum, 'told'):
      raise ValueError(
        f'the plan measures questions, and {type(curriculum).__name__} draws '
        'by something else; use a curriculum with told(state, scores), such '
        'as VarianceAware'
      )
    self.curriculum = curriculum.told(self.curriculum, scores)

  def generate(self, prompts, key, samples, **how):
    """Responses to each prompt, at the temperature of the run."""
    return self._sampled(super().generate, prompts, key, samples, **how)

  def _turn(self, *given, **how):
    return self._sampled(super()._turn, *given, **how)

  def _answers(self, cache, contexts, key, uids):
    return self._sampled(super()._answers, cache, contexts, key, uids)

  def _sampled(self, sample: Callable, *given, **how):
    """What a sampler gives, whose seconds are counted."""
    with self._timed('time/sample'):
      return jax.block_until_ready(sample(*given, **how))

  def _sampled_at(self, prompts, key, samples, sampling: Sampling) -> Rollouts:
    """Responses of the policy at other settings than those of the run."""
    return self._sampled(
      self._answering.generate, self._params, prompts, key, samples, sampling
    )

  def tempered(
    self, prompts: Prompts, key: Array, samples: int, heat: float
  ) -> Rollouts:
    """Responses at a temperature that is `heat` times the run's.

    Their log-probs are the policy's at the run's temperature.
    """
    sampling = self._answering.sampling
    heated = jnp.float32(sampling.temperature * heat)
    sampling = sampling.replace(temperature=heated)
    rollouts = self._sampled_at(prompts, key, samples, sampling)
    return actions.drawn(self, rollouts)

  def varied(
    self,
    prompts: Prompts,
    key: Array,
    samples: int,
    *,
    swing: float,
    scale: EntropyScale,
  ) -> tuple[Rollouts, Array]:
    """Responses whose temperature follows the entropy of every draw.

    Args:
      swing, scale: of `Sampling`.

    Returns:
      The rows, whose log-probs are the policy's at the run's temperature, and
      its entropies f32[N, T].
    """
    sampling = self._answering.sampling.replace(
      swing=jnp.float32(swing), scale=EntropyScale(*map(jnp.float32, scale))
    )
    rollouts = self._sampled_at(prompts, key, samples, sampling)
    stats = self.score(rollouts)
    return actions.scored_as(rollouts, stats.logp), stats.entropy

  def greedy(self, prompts: Prompts) -> Rollouts:
    """The most probable token at every place, one response a prompt."""
    # At temperature 0 the key decides nothing.
    nothing, greedy = jax.random.key(0), self._answering.greedy
    return self._sampled_at(prompts, nothing, 1, greedy)

  def verify(self, rollouts, texts=None, rows=None):
    """Scores; a row whose verifier failed is no longer valid."""
    self._meanwhile()
    with self._timed('time/verify'):
      rows = self.rows(rollouts.task) if rows is None else rows
      rollouts, scores, failed = self._answering.verify(rollouts, rows, texts)
    self._count(failed)
    return rollouts, scores

  def compare(self, rollouts: Rollouts, scores: Scores) -> Scores:
    """The scores with the preferences within every group, if one judges."""
    with self._timed('time/verify'):
      rows = self.rows(rollouts.task)
      scores, failed = self._answering.compare(rollouts, scores, rows)
    self._count(failed)
    return scores

  def score(self, rollouts: Rollouts, *needs: str) -> Stats:
    """What the current policy says of the rows, at the run's temperature.

    0 where it did not choose the token.
    """
    # Rows that a plan puts together need not share their prompts.
    scorer = self._session.scorer
    return self._scored(scorer, self._params, rollouts, frozenset(needs))

  def hidden_square(self, rollouts: Rollouts) -> Array:
    """f32[N, T], |h|^2 of the state that each token was drawn from."""
    dtype = self._session.config.model.dtype
    square = states.Square(self._session.model, dtype)
    return self._in_pieces(square, self._params, rollouts)

  def teachers(self, rollouts: Rollouts) -> Array:
    """f32[N, T, C], log-probs under the policies of `teacher.paths`.

    0 where the policy did not choose the token.
    """
    logps = [
      self._scored(scorer, params, rollouts).logp
      for scorer, params, _ in self._session.teachers
    ]
    return jnp.stack(logps, axis=-1)

  def taught(self, rollouts: Rollouts, *needs: str) -> Stats:
    """What the first policy of `teacher.paths` says of the rows."""
    scorer, params, _ = self._session.teachers[0]
    return self._scored(scorer, params, rollouts, frozenset(needs))

  def referred(self, rollouts: Rollouts, *needs: str) -> Stats:
    """What the recipe's reference says of the rows."""
    params = self._session.reference_params(self._state)
    scorer = self._session.scorer
    return self._scored(scorer, params, rollouts, frozenset(needs))

  def rival(self, prompts: Prompts, key: Array, samples: int) -> Rollouts:
    """Responses of the first policy of `teacher.paths`."""
    _, params, model = self._session.teachers[0]
    sampler = dataclasses.replace(self._answering.sampler, config=model)
    rival = dataclasses.replace(self._answering, sampler=sampler)
    return self._sampled(rival.generate, params, prompts, key, samples)

  def opponent(
    self, prompts: Prompts, key: Array, samples: int, share: float
  ) -> Rollouts:
    """Responses of the policy mixed with the opponent of its reference.

    Args:
      share: of the opponent, which at 1 is asked alone.
    """
    other, answering = self._opponent, self._answering
    if share == 1:
      return self._sampled(answering.generate, other, prompts, key, samples)
    both = self._params, other
    return self._sampled(
      answering.of_two, Mixture, both, prompts, key, samples, share
    )

  def masked(
    self,
    prompts: Prompts,
    key: Array,
    samples: int,
    *,
    share: float,
    least: int,
  ) -> Rollouts:
    """Responses among the tokens that the reference's opponent would keep."""
    both, keeps = (self._params, self._opponent), (share, least)
    return self._sampled(
      self._answering.of_two, Masked, both, prompts, key, samples, keeps
    )

  @property
  def _opponent(self) -> PyTree:
    return self._session.opponent_params(self._state)

  def ahead(self, rollouts: Rollouts, scores: Scores, key: Array) -> Speaker:
    """The policy after a step on these rows, which the run does not take."""
    session = self._session
    # Without memories as in the loop, or the learner would be compiled twice.
    method = {k: self._state.method[k] for k in ('credit', 'controllers')}
    state = jax.tree.map(jnp.copy, self._state.replace(method=method))
    scores = self.compare(rollouts, scores)
    state, _, _ = _stepped(
      session.compiled, session.fixed, state, rollouts, scores, key
    )
    return self._speaking(state)

  def moved(self, rollouts: Rollouts, key: Array) -> Speaker:
    """The policy once the plan's own recipe has moved it on these rows.

    The run stays where it is; the optimiser is a new one.
    """
    session = self._session
    program, compiled = session.sampler
    params = jax.tree.map(jnp.copy, self._state.params)
    state = program.init(params, session.spec)
    count = rollouts.valid.shape[0], session.spec.components
    nothing = Scores(jnp.zeros(count), jnp.ones(count[1]))
    state, _, metrics = _stepped(
      compiled, session.frozen, state, rollouts, nothing, key
    )
    self.note('plan/steps_taken', float(metrics['steps/taken']))
    return self._speaking(state)

  def _speaking(self, state: TrainState) -> Speaker:
    """Who answers with the parameters of another state."""
    params = self._session.sampling_params(state)
    return Speaker(self._answering, params, self._questions)

  def rated(self, rollouts: Rollouts, scores: Scores) -> Array:
    """f32[N, T], log-ratios of the second policy to its start.

    After a step of it on these rows, 0 where the policy did not choose the
    token.
    """
    session = self._session
    _, compiled = session.rater
    # The learner takes over the buffers of its state, and the run's has them.
    state = jax.tree.map(jnp.copy, self.rater)
    # Of a single step on all rows the key decides nothing.
    key = jax.random.key(0)
    self.rater, rows, metrics = _stepped(
      compiled, session.fixed, state, rollouts, scores, key
    )
    self.note('plan/rater_loss', float(metrics['loss']))
    params = session.sampling_params(self.rater)
    now = self._scored(session.scorer, params, rollouts).logp
    ref_logp = jnp.where(rollouts.action_mask, rows.extras['ref_logp'], 0.0)
    return now - ref_logp

  def note(self, name: str, value: float) -> None:
    """Adds a metric of this iteration."""
    self.metrics[name] = value

  @contextlib.contextmanager
  def _timed(self, name: str):
    """Adds the seconds of its block to a metric."""
    start = time.perf_counter()
    yield
    self.metrics[name] += time.perf_counter() - start

  def _count(self, failed: Mapping[str, int]) -> None:
    """Adds failures, by name, to those of the iteration so far."""
    for name, count in failed.items():
      self.note(name, self.metrics.get(name, 0) + count)

  def _scored(self, scorer, params, rollouts, needs=frozenset()) -> Stats:
    """What a policy says of rows, at the temperature they are sampled at."""
    params = params | {'temperature': self._answering.temperature}
    return self._in_pieces(_Scores(scorer, needs), params, rollouts)

  def _in_pieces(self, fn, params, rollouts):
    """f(params, rows) over as many pieces as an iteration's learner has."""
    program = self._session.program
    pieces = program.microbatches * program.recipe.minibatches
    pieces = pieces if rollouts.valid.shape[0] % pieces == 0 else 1
    layout = self._session.layout
    found = _mapped(fn, pieces, params, layout.rows(rollouts))
    return layout.everywhere(found)


def _stepped(compiled, fixed, state, rollouts, scores, key):
  """A state after a step on rows, the rows as they were scored, and metrics.

  The learner takes over the buffers of the state.
  """
  rows = compiled.score(state, fixed, rollouts)
  credit, memory, _ = compiled.assign(state.method['credit'], rows, scores)
  state = state.replace(method=state.method | {'credit': memory})
  state, metrics = compiled.learn(state, fixed, rows, credit, key)
  return state, rows, metrics


@dataclasses.dataclass(frozen=True)
class _Scores:
  """A scorer with its needs; equal ones share a compiled program."""

  scorer: Callable
  needs: frozenset[str]

  def __call__(self, params, rollouts):
    return self.scorer(params, rollouts, self.needs).on(rollouts.action_mask)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _mapped(fn, pieces, params, rollouts):
  """f(params, rows) of [N, ...] rows, `pieces` of them one after another."""
  split = jax.tree.map(lambda x: x.reshape(pieces, -1, *x.shape[1:]), rollouts)
  found = jax.lax.map(lambda piece: fn(params, piece), split)
  return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), found)
