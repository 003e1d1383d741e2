"""Tools whose policy is a function of text, so that plans run without a model.

Letters are tokens: a is 1, b is 2, ...; 0 ends a response.
"""

import dataclasses
import string
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_llm.plans import prefixes
from jaxrl_llm.tasks.speech import Said
from jaxrl_llm.types import Prompts, Rollouts, Scores, Stats, Tokens

LETTERS = string.ascii_lowercase + string.digits + '?!\n <>/_,.:'
LETTERS += string.ascii_uppercase


def encode(text):
  return [LETTERS.index(letter) + 1 for letter in text]


def decode(tokens):
  return ''.join(LETTERS[token - 1] for token in tokens if token)


def ask(*texts, width=None):
  """Prompts of these texts; text i is task i."""
  width = width or max(map(len, texts))
  tokens = np.zeros((len(texts), width), np.int32)
  for row, text in enumerate(texts):
    tokens[row, width - len(text) :] = encode(text)
  task = jnp.arange(len(texts), dtype=jnp.int32)
  return Prompts(
    tokens=jnp.asarray(tokens),
    mask=jnp.asarray(tokens > 0),
    task=task,
    domain=jnp.zeros_like(task),
  )


def answer(prompts, texts, columns, *, samples=1, ended=True):
  """Rollouts that say these texts; the log-prob of a token is -token / 10."""
  rows = len(texts)
  response = np.zeros((rows, columns), np.int32)
  mask = np.zeros((rows, columns), bool)
  truncated = np.zeros(rows, bool)
  for row, text in enumerate(texts):
    tokens = encode(text) + [0] * ended
    truncated[row] = not ended or len(tokens) > columns
    tokens = tokens[:columns]
    response[row, : len(tokens)] = tokens
    mask[row, : len(tokens)] = True
  prompts = jax.tree.map(lambda x: jnp.repeat(x, samples, axis=0), prompts)
  logp = np.where(mask, -response / 10, 0).astype(np.float32)
  return Rollouts(
    content=Tokens(
      prompt=prompts.tokens,
      prompt_mask=prompts.mask,
      response=jnp.asarray(response),
    ),
    response_mask=jnp.asarray(mask),
    action_mask=jnp.asarray(mask),
    logp=jnp.asarray(logp),
    paid=jnp.zeros(logp.shape),
    group=jnp.arange(rows, dtype=jnp.int32) // samples,
    task=prompts.task,
    domain=prompts.domain,
    valid=jnp.ones(rows, bool),
    truncated=jnp.asarray(truncated),
    extras={**prompts.extras, 'log_mass': jnp.zeros((rows, columns))},
  )


def words(rollouts):
  """The text of every response."""
  masks = np.asarray(rollouts.response_mask)
  return [
    decode(r[m]) for r, m in zip(np.asarray(rollouts.content.response), masks)
  ]


def contexts(prompts):
  """The text of every prompt."""
  masks = np.asarray(prompts.mask)
  return [decode(t[m]) for t, m in zip(np.asarray(prompts.tokens), masks)]


@dataclasses.dataclass
class Scripted:
  """Tools that answer prompt p for the i-th time with reply(p, i).

  Attributes:
    reply: f(context, sample) -> text.
    judge: f(text, record) -> score, or None where it fails.
    width: tokens of a reworded prompt at most; None: of the longest.
  """

  reply: Callable
  judge: Callable = lambda text, record: 0.0
  records: Any = ()
  columns: int = 6
  environment: Any = None
  components: tuple[str, ...] = ('score',)
  width: int | None = None
  asked: list = dataclasses.field(default_factory=list)
  notes: dict = dataclasses.field(default_factory=dict)

  def generate(self, prompts, key, samples, *, most=0, **how):
    del key, how
    texts = contexts(prompts)
    self.asked.append(texts)
    said = [self.reply(text, i) for text in texts for i in range(samples)]
    return answer(prompts, said, most or self.columns, samples=samples)

  def turn(self, rollouts, kept, key, *, most, **how):
    prompts = prefixes.as_prompts(rollouts, rollouts.length)
    return self.generate(prompts, key, 1, most=most), None

  def greedy(self, prompts):
    return self.generate(prompts, None, 1)

  def verify(self, rollouts, texts=None, rows=None):
    texts = words(rollouts) if texts is None else texts
    rows = self.rows(rollouts.task) if rows is None else rows
    scores = [self.judge(text, row) for text, row in zip(texts, rows)]
    ok = jnp.asarray([score is not None for score in scores])
    column = jnp.asarray([score or 0.0 for score in scores])
    rollouts = rollouts.replace(valid=rollouts.valid & ok)
    return rollouts, Scores(column[:, None], jnp.ones(1))

  def rows(self, tasks):
    return [self.records[i] if self.records else {} for i in np.asarray(tasks)]

  def prompts(self, tasks, texts):
    prompts = ask(*texts, width=self.width)
    return prompts.replace(task=jnp.asarray(tasks, jnp.int32))

  def opened(self, tasks, openings):
    texts = [
      each.prompt or row.get('prompt', '')
      for each, row in zip(openings, self.rows(tasks))
    ]
    prompts = self.prompts(tasks, texts)
    return prompts, ['' for _ in openings]

  def fits(self, tasks, texts):
    return [self.width is None or len(text) <= self.width for text in texts]

  def encode(self, texts):
    return [encode(text) for text in texts]

  def responses(self, texts):
    return [[*encode(text), 0] for text in texts]

  def decode(self, rollouts):
    return words(rollouts)

  def pieces(self, rollouts):
    masks = np.asarray(rollouts.response_mask)
    responses = np.asarray(rollouts.content.response)
    return [[decode([t]) for t in r[m]] for r, m in zip(responses, masks)]

  def talks(self, tasks):
    return ['' for _ in np.asarray(tasks)]

  def read(self, rollouts, talks):
    said, cut = words(rollouts), np.asarray(rollouts.truncated)
    return {row: Said(said[row], cut=bool(cut[row])) for row in talks}

  def after(self, talk, said, observation):
    return encode(observation), talk + said + observation

  def score(self, rollouts, *needs):
    del needs
    mask = rollouts.response_mask
    logp = jnp.where(mask, -rollouts.content.response / 10, 0.0)
    return Stats(logp=logp, entropy=jnp.zeros_like(logp))

  def note(self, name, value):
    self.notes[name] = value
