"""Notes on parts of responses: thoughts, spans, beginnings judged alone."""

from __future__ import annotations

import dataclasses
import itertools

import jax.numpy as jnp
import numpy as np

from jaxrl_llm.notes.base import Stateless
from jaxrl_llm.plans.begun import begins_with
from jaxrl_llm.tasks import answers, imports
from jaxrl_llm.tasks import feedback as feedback_lib


@dataclasses.dataclass(frozen=True)
class Thoughts(Stateless):
  """`thought` bool[N, T]: tokens up to the end of a response's thought.

  Of an episode so in each `turn`, where its rows say which that is. Nothing is
  a thought where the mark is missing.

  Attributes:
    end: the text that ends a thought.
  """

  end: str = '</think>'
  provides = frozenset({'thought'})

  def write(self, tools, rollouts, scores, state):
    del scores
    thought = np.zeros(rollouts.content.response.shape, bool)
    turns = np.asarray(rollouts.extras.get('turn', np.zeros_like(thought)))
    for row, pieces in enumerate(tools.pieces(rollouts)):
      own = turns[row, : len(pieces)]
      for turn in np.unique(own):
        columns, said = np.flatnonzero(own == turn), ''
        for count, column in enumerate(columns, 1):
          said += pieces[column]
          if self.end in said:
            thought[row, columns[:count]] = True
            break
    return {'thought': jnp.asarray(thought)}, state


@dataclasses.dataclass(frozen=True)
class Beginnings(Stateless):
  """`beginning` i32[N]: with which of the texts a response begins, else -1.

  Attributes:
    texts: one a mode, say; special tokens among them are read as text.

  Raises:
    ValueError: two that are the same, or one without text.
  """

  texts: tuple[str, ...]
  provides = frozenset({'beginning'})

  def __post_init__(self):
    if len({*self.texts}) < len(self.texts) or not all(self.texts):
      raise ValueError(
        f'the beginnings {self.texts} cannot be told apart; give different '
        'texts, none of them empty'
      )

  def write(self, tools, rollouts, scores, state):
    del scores
    texts = tools.decode(rollouts)
    found = [begins_with(text, self.texts) for text in texts]
    return {'beginning': jnp.asarray(found, jnp.int32)}, state


@dataclasses.dataclass(frozen=True)
class PrefixRewards(Stateless):
  """`prefix_reward` f32[N, T]: log R of what was said before each token.

      log R = r / weight,   r the run's reward of the prefix, ended there

  Every prefix goes to the verifiers: T calls for each batch of responses.

  Attributes:
    weight: beta > 0, reward units per nat.
  """

  weight: float = 1.0
  provides = frozenset({'prefix_reward'})

  def write(self, tools, rollouts, scores, state):
    prefixes = [
      list(itertools.accumulate(pieces, initial=''))
      for pieces in tools.pieces(rollouts)
    ]
    columns = []
    for t in range(rollouts.content.response.shape[1]):
      # Past the end nothing is read; the whole text keeps the rows even.
      texts = [said[min(t, len(said) - 1)] for said in prefixes]
      _, found = tools.verify(rollouts, texts)
      columns.append(found.total)
    reward = jnp.stack(columns, axis=1) / self.weight
    # A failed judgement may have left NaN.
    return {
      'prefix_reward': jnp.where(jnp.isfinite(reward), reward, 0.0)
    }, state


@dataclasses.dataclass(frozen=True)
class Spans(Stateless):
  """`span_reward` f32[N, T]: 1 on good spans, -1 on poor ones, 0 elsewhere.

  A token belongs to a span that holds any of its letters, and is poor where
  both kinds do.

  Attributes:
    feedback: where the function is that reads responses, see `tasks.feedback`.

  Raises:
    ValueError: there is none, or it names other spans than that module says.

  Source: Text2Grad, arXiv 2505.22338, and its code.
  """

  feedback: str
  provides = frozenset({'span_reward'})

  def __post_init__(self):
    imports.imported(f'feedback {self.feedback!r}', self.feedback)

  def write(self, tools, rollouts, scores, state):
    del scores
    read = imports.imported(f'feedback {self.feedback!r}', self.feedback)
    pieces = tools.pieces(rollouts)
    texts = list(map(''.join, pieces))
    said = read(texts, tools.rows(rollouts.task))
    reward = np.zeros(rollouts.content.response.shape, np.float32)
    for row, (text, own, spans) in enumerate(
      zip(texts, pieces, said, strict=True)
    ):
      ends = np.cumsum([0, *map(len, own)])
      # Poor ones last: they win.
      for kind, value in (('good', 1.0), ('poor', -1.0)):
        for start, end in feedback_lib.places(text, spans.get(kind, ())):
          held = (ends[:-1] < end) & (ends[1:] > start)
          reward[row, : len(own)][held] = value
    return {'span_reward': jnp.asarray(reward)}, state


@dataclasses.dataclass(frozen=True)
class Keywords(Stateless):
  """`span_reward` f32[N, T]: what the keywords of a list earn, where they end.

  A keyword ends with a mark, whose token earns `hit` if it stands in the row's
  `answer`, the first of several, in letters of any case; `miss` if it does not,
  is empty, or stands in what was named before it. What no mark ends earns
  nothing.

  Attributes:
    mark: one letter. hit, miss: in reward units.

  Raises:
    ValueError: a mark that is not one letter.

  Source: Directional Stimulus Prompting, arXiv 2302.11520, and its code, in
    which some words never hit.
  """

  mark: str = ';'
  hit: float = 1.0
  miss: float = -0.2
  provides = frozenset({'span_reward'})

  def __post_init__(self):
    if len(self.mark) != 1:
      raise ValueError(
        f'the mark {self.mark!r} behind keywords is not one letter; use one'
      )

  def write(self, tools, rollouts, scores, state):
    del scores
    reward = np.zeros(rollouts.content.response.shape, np.float32)
    rows = tools.rows(rollouts.task)
    for row, pieces in enumerate(tools.pieces(rollouts)):
      answer = answers.accepted(rows[row])[0].lower()
      named, word = '', ''
      for column, letter in (
        (at, letter) for at, piece in enumerate(pieces) for letter in piece
      ):
        if letter != self.mark:
          word += letter.lower()
          continue
        word = word.strip()
        new = bool(word) and word not in named
        reward[row, column] += self.hit if new and word in answer else self.miss
        named, word = f'{named}{self.mark}{word}', ''
    return {'span_reward': jnp.asarray(reward)}, state
