"""What a plan is lent: sampling, text, verdicts, passes of the policy."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_llm.numerics import EntropyScale
from jaxrl_llm.plans import actions, prefixes
from jaxrl_llm.policies.language import states
from jaxrl_llm.policies.language.mixture import Masked, Mixture
from jaxrl_llm.policies.language.truncation import Sampling
from jaxrl_llm.problems.text import chats as chats_lib
from jaxrl_llm.problems.text import dialogue, turns
from jaxrl_llm.problems.text import encoding as text
from jaxrl_llm.problems.text.questions import Questions
from jaxrl_llm.tasks import speech
from jaxrl_llm.types import (
  Array,
  Prompts,
  PyTree,
  Rollouts,
  Scores,
  Stats,
  TrainState,
)


class Speaker:
  """Answers questions with given parameters, in tokens and in text.

  Args:
    answering: how responses are sampled and verified.
    params: of the decoder. questions: what is asked.
    sampling: in place of that of training.
  """

  def __init__(
    self,
    answering,
    params: PyTree,
    questions: Questions,
    sampling: Sampling | None = None,
  ):
    self._answering, self._params = answering, params
    self._questions = questions
    self._sampling = answering.sampling if sampling is None else sampling
    self.columns = answering.sampler.max_tokens
    self.components = answering.verifiers.names
    self.environment, self.program = answering.environment, answering.program

  def generate(
    self,
    prompts: Prompts,
    key: Array,
    samples: int,
    *,
    most: int = 0,
    uids: Any = None,
  ) -> Rollouts:
    """`samples` responses to each prompt, of at most `most` tokens."""
    return self._answering.generate(
      self._params, prompts, key, samples, self._sampling, most=most, uids=uids
    )

  def turn(self, rollouts, kept, key, *, most, going):
    """The next words of rows, and what is kept until the turn after."""
    if not self._answering.keeps(len(going)):
      prompts = prefixes.as_prompts(rollouts, rollouts.length)
      return self.generate(prompts, key, 1, most=most), None
    return self._turn(rollouts, kept, key, most=most, going=going)

  def _turn(self, rollouts, kept, key, **how):
    return self._answering.turn(
      self._params, rollouts, kept, key, self._sampling, **how
    )

  def cached(self, *, slots, columns, size, most):
    """What answers contexts and keeps what was read of them, or None."""
    cache = self._answering.prefix_cache(
      self._params, slots=slots, columns=columns, size=size, most=most
    )
    return cache and functools.partial(self._answers, cache)

  def _answers(self, cache, contexts, key, uids):
    return self._answering.answers(cache, contexts, key, uids, self._sampling)

  def verify(self, rollouts, texts=None, rows=None):
    """Scores; a row whose verifier failed is no longer valid."""
    rows = self.rows(rollouts.task) if rows is None else rows
    return self._answering.verify(rollouts, rows, texts)[:2]

  def rows(self, tasks: Array) -> list[Mapping[str, Any]]:
    """The record behind each task."""
    return [self._questions.rows[task] for task in np.asarray(tasks)]

  def prompts(self, tasks: Array, texts: Sequence[Any]) -> Prompts:
    """Prompts of other texts than those of the tasks' records."""
    prompts = self._questions.reworded(np.asarray(tasks), texts)
    self._check_prompts(prompts)
    return prompts

  def _check_prompts(self, prompts: Prompts) -> None:
    found = np.where(prompts.mask, prompts.tokens, 0)
    self._check(np.unique(found).tolist(), 'a prompt')

  def fits(self, tasks: Array, texts: Sequence[Any]) -> list[bool]:
    """Which of such prompts are within the budget of a prompt."""
    return self._questions.fit(np.asarray(tasks), texts)

  def encode(self, texts: Sequence[str]) -> list[list[int]]:
    """Tokens of plain texts."""
    encode = self._answering.tokenizer
    rows = encode(list(texts), add_special_tokens=False)['input_ids']
    return self._checked(rows, texts)

  def responses(self, texts: Sequence[str]) -> list[list[int]]:
    """Tokens of whole responses, each ended once."""
    ends = self._answering.sampler.stop_tokens
    tokenizer = self._answering.tokenizer
    prompts = [self._questions.asked(0).prompt] * len(texts)
    closing = turns.closing(tokenizer, ends, prompts)
    rows = text.encode_responses(tokenizer, texts, ends, closing)
    return self._checked(rows, texts)

  def _checked(self, rows, texts):
    for row, said in zip(rows, texts):
      self._check(row, f'the text {said[:60]!r}')
    return rows

  def _check(self, ids: Sequence[int], what: str) -> None:
    answering = self._answering
    vocab = answering.sampler.config.vocab
    text.check_vocabulary(answering.tokenizer, ids, vocab, what)

  def decode(self, rollouts: Rollouts) -> list[str]:
    """The text of every response."""
    return self._answering.texts(rollouts)

  def pieces(self, rollouts: Rollouts) -> list[list[str]]:
    """The text of every response, token by token."""
    answering = self._answering
    return text.pieces(answering.tokenizer, rollouts, silent=answering.silent)

  def talks(self, tasks: Array) -> list[chats_lib.Talk]:
    """The conversations that begin with the prompts of tasks."""
    asked = map(self._questions.asked, np.asarray(tasks).tolist())
    return [chats_lib.Talk(each.prompt, each.tools) for each in asked]

  def opened(self, tasks: Array, openings: Sequence[Any]):
    """Prompts of tasks as an environment opens them, and their talks."""
    changes: list[Mapping[str, Any]] = [
      {'prompt': each.prompt, 'tools': list(each.tools)} if each.prompt else {}
      for each in openings
    ]
    asked = self._questions.changed(np.asarray(tasks), changes)
    prompts = self._questions.encoded(np.asarray(tasks), asked)
    self._check_prompts(prompts)
    return prompts, [chats_lib.Talk(each.prompt, each.tools) for each in asked]

  def chat(self, tools: Sequence[Any]) -> speech.Chat:
    """The chat of a program's conversations with these tools."""
    return _Known(self._answering.chats.asked_with(tools), self._check)

  def read(self, rollouts, talks):
    """What was said in the responses of some rows, and how they ended."""
    chats = self._answering.chats
    tokens, masks, cut = (
      np.asarray(x)
      for x in (
        rollouts.content.response,
        rollouts.response_mask,
        rollouts.truncated,
      )
    )
    return {
      row: chats.read(
        talk, tokens[row][masks[row]].tolist(), cut=bool(cut[row])
      )
      for row, talk in talks.items()
    }

  def written(self, talk) -> list[int]:
    """Tokens of a conversation, as the chat template writes all of it."""
    ids = self._answering.chats.written(talk)
    self._check(ids, f'the text {str(talk.turns)[-60:]!r}')
    return ids

  def after(self, talk, said, observation):
    """Tokens between a turn and the next, and the conversation until then."""
    ids, talk = self._answering.chats.after(talk, said, observation)
    self._check(ids, f'the text {str(observation)[:60]!r}')
    return ids, talk


class _Known:
  """A chat all of whose tokens the model has."""

  def __init__(self, inner: dialogue.Chat, check: Callable[..., None]):
    self._inner, self._check, self.read = inner, check, inner.read

  def begin(self, prompt, tools=()):
    return self._checked(self._inner.begin(prompt, tools), prompt)

  def after(self, history, said, new, tools=()):
    return self._checked(self._inner.after(history, said, new, tools), new)

  def _checked(self, ids, messages):
    self._check(ids, f'the text {str(messages)[-60:]!r}')
    return ids


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

  def generate(self, prompts, key, samples, *, most=0, uids=None):
    """Responses to each prompt, at the temperature of the run."""
    with self._timed('time/sample'):
      rollouts = super().generate(prompts, key, samples, most=most, uids=uids)
      return jax.block_until_ready(rollouts)

  def _turn(self, rollouts, kept, key, **how):
    with self._timed('time/sample'):
      return jax.block_until_ready(super()._turn(rollouts, kept, key, **how))

  def _answers(self, cache, contexts, key, uids):
    with self._timed('time/sample'):
      found = super()._answers(cache, contexts, key, uids)
      return jax.block_until_ready(found)

  def tempered(
    self, prompts: Prompts, key: Array, samples: int, heat: float
  ) -> Rollouts:
    """Responses at a temperature that is `heat` times the run's.

    Their log-probs are the policy's at the run's temperature.
    """
    sampling = self._answering.sampling
    heated = jnp.float32(sampling.temperature * heat)
    sampling = sampling.replace(temperature=heated)
    with self._timed('time/sample'):
      rollouts = self._answering.generate(
        self._params, prompts, key, samples, sampling
      )
      jax.block_until_ready(rollouts)
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
    with self._timed('time/sample'):
      rollouts = self._answering.generate(
        self._params, prompts, key, samples, sampling
      )
      jax.block_until_ready(rollouts)
    stats = self.score(rollouts)
    return actions.scored_as(rollouts, stats.logp), stats.entropy

  def greedy(self, prompts: Prompts) -> Rollouts:
    """The most probable token at every place, one response a prompt."""
    with self._timed('time/sample'):
      # At temperature 0 the key decides nothing.
      rollouts = self._answering.generate(
        self._params, prompts, jax.random.key(0), 1, self._answering.greedy
      )
      return jax.block_until_ready(rollouts)

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

  def rival(self, prompts: Prompts, key: Array, samples: int) -> Rollouts:
    """Responses of the first policy of `teacher.paths`."""
    _, params, model = self._session.teachers[0]
    sampler = dataclasses.replace(self._answering.sampler, config=model)
    rival = dataclasses.replace(self._answering, sampler=sampler)
    with self._timed('time/sample'):
      rollouts = rival.generate(params, prompts, key, samples)
      return jax.block_until_ready(rollouts)

  def opponent(
    self, prompts: Prompts, key: Array, samples: int, share: float
  ) -> Rollouts:
    """Responses of the policy mixed with the opponent of its reference.

    Args:
      share: of the opponent, which at 1 is asked alone.
    """
    with self._timed('time/sample'):
      other = self._session.opponent_params(self._state)
      answering = self._answering
      if share == 1:
        rollouts = answering.generate(other, prompts, key, samples)
      else:
        both = (self._params, other)
        rollouts = answering.of_two(Mixture, both, prompts, key, samples, share)
      return jax.block_until_ready(rollouts)

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
    with self._timed('time/sample'):
      both = self._params, self._session.opponent_params(self._state)
      rollouts = self._answering.of_two(
        Masked, both, prompts, key, samples, (share, least)
      )
      return jax.block_until_ready(rollouts)

  def ahead(self, rollouts: Rollouts, scores: Scores, key: Array) -> Speaker:
    """The policy after a step on these rows, which the run does not take."""
    compiled, fixed = self._session.compiled, self._session.fixed
    # The learner takes over the buffers of its state, without memories as in
    # the loop, or it would be compiled twice.
    method = {k: self._state.method[k] for k in ('credit', 'controllers')}
    state = jax.tree.map(jnp.copy, self._state.replace(method=method))
    rollouts = compiled.score(state, fixed, rollouts)
    memory = state.method['credit']
    scores = self.compare(rollouts, scores)
    credit, _, _ = compiled.assign(memory, rollouts, scores)
    state, _ = compiled.learn(state, fixed, rollouts, credit, key)
    params = self._session.sampling_params(state)
    return Speaker(self._answering, params, self._questions)

  def moved(self, rollouts: Rollouts, key: Array) -> Speaker:
    """The policy once the plan's own recipe has moved it on these rows.

    The run stays where it is; the optimiser is a new one.
    """
    session = self._session
    program, compiled = session.sampler
    params = jax.tree.map(jnp.copy, self._state.params)
    state = program.init(params, session.spec)
    rows = compiled.score(state, session.frozen, rollouts)
    count = rollouts.valid.shape[0], session.spec.components
    nothing = Scores(jnp.zeros(count), jnp.ones(count[1]))
    credit, _, _ = compiled.assign(state.method['credit'], rows, nothing)
    state, metrics = compiled.learn(state, session.frozen, rows, credit, key)
    self.note('plan/steps_taken', float(metrics['steps/taken']))
    params = session.sampling_params(state)
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
    rows = compiled.score(state, session.fixed, rollouts)
    memory = state.method['credit']
    credit, memory, _ = compiled.assign(memory, rows, scores)
    state = state.replace(method=state.method | {'credit': memory})
    # Of a single step on all rows the key decides nothing.
    key = jax.random.key(0)
    self.rater, metrics = compiled.learn(
      state, session.fixed, rows, credit, key
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
