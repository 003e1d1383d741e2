"""Who answers questions with given parameters, in tokens and in text."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxrl_llm.plans import prefixes
from jaxrl_llm.policies import agents as agents_lib
from jaxrl_llm.policies.language.truncation import Sampling
from jaxrl_llm.problems.text import chats as chats_lib
from jaxrl_llm.problems.text import dialogue, turns
from jaxrl_llm.problems.text import encoding as text
from jaxrl_llm.problems.text.questions import Questions
from jaxrl_llm.tasks import speech
from jaxrl_llm.types import Array, Prompts, PyTree, Rollouts


class Speaker:
  """Answers questions with given parameters, in tokens and in text.

  Args:
    answering: how responses are sampled and verified.
    params: of the decoder, or of one for each agent, see `policies.agents`.
    questions: what is asked.
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
    agents: Any = 0,
  ) -> Rollouts:
    """`samples` responses to each prompt, of at most `most` tokens.

    Args:
      agents: i32[N] or one number, who says each.
    """
    how = {'most': most, 'uids': uids}
    return agents_lib.together(
      (
        rows,
        self._answering.generate(
          params, prompts, key, samples, self._sampling, **how
        ),
      )
      for _, params, rows in agents_lib.actors(self._params, agents)
    )

  def turn(self, rollouts, kept, key, *, most, going, agents=0):
    """The next words of rows, and what each agent keeps until it acts again.

    Args:
      agents: i32[N], who acts in each row.
    """
    if not self._answering.keeps(len(going)):
      prompts = prefixes.as_prompts(rollouts, rollouts.length)
      return self.generate(prompts, key, 1, most=most, agents=agents), None
    kept, said = dict(kept or {}), []
    for agent, params, rows in agents_lib.actors(self._params, agents, going):
      more, kept[agent] = self._turn(
        params, rollouts, kept.get(agent), key, most=most, going=rows
      )
      said.append((rows, more))
    return agents_lib.together(said), kept

  def _turn(self, params, rollouts, kept, key, **how):
    return self._answering.turn(
      params, rollouts, kept, key, self._sampling, **how
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
    reader = self._answering.chats.reader
    return text.pieces(reader.tokenizer, rollouts, silent=reader.silent)

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
