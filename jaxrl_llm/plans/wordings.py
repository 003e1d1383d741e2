"""Plans that ask one question in several words.

The field `wordings` of a question's record lists other prompts for it, texts
or chat messages; the prompt itself is the first wording.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxrl_llm.plans.base import Contract, Plan
from jaxrl_llm.rewards import behaviour


def _known(record):
  # One other wording may stand without a list, and none be null.
  others = record.get('wordings') or ()
  others = (others,) if isinstance(others, str) else others
  return [record['prompt'], *others]


def enough(records: Sequence[Mapping[str, Any]], wordings: int) -> None:
  """Refuses questions with fewer wordings, see `Contract.checks`."""
  short = [record for record in records if len(_known(record)) < wordings]
  if short:
    raise ValueError(
      f'the recipe asks a question in {wordings} wordings, and {len(short)} of '
      f'{len(records)} questions have fewer, among them '
      f'{short[0]["prompt"]!r}; add the others to the field "wordings", or '
      'lower recipe.wordings'
    )


def reworded(tools, prompts, wordings: int):
  """`wordings` prompts of each question, adjacent."""
  tasks = np.asarray(prompts.task)
  texts = []
  for record in tools.rows(prompts.task):
    texts += _known(record)[:wordings]
  return tools.prompts(jnp.asarray(tasks.repeat(wordings)), texts)


@dataclasses.dataclass(frozen=True)
class Wordings(Plan):
  """A group of responses to each wording of a question.

  The extra `agreement` f32[N] is a response's mean similarity, `bleu`, to
  those for the other wordings.

  Attributes:
    samples: responses to a wording. groups: wordings of a question.

  Source: PS-GRPO, arXiv 2510.04392, section 3.
  """

  samples: int = 4
  groups: int = 4

  @property
  def contract(self):
    return Contract(
      self.samples,
      provides={'agreement'},
      may_lag=True,
      rewords=True,
      groups=self.groups,
      checks=(functools.partial(enough, wordings=self.groups),),
    )

  def collect(self, tools, prompts, state, key):
    prompts = reworded(tools, prompts, self.groups)
    rollouts = tools.generate(prompts, key, self.samples)
    rollouts, scores = tools.verify(rollouts)
    texts = tools.decode(rollouts)
    rows = self.samples * self.groups
    similarity = np.zeros((len(texts), len(texts)), np.float32)
    for first in range(0, len(texts), rows):
      own = range(first, first + rows)
      for i in own:
        similarity[i, own] = [bleu(texts[i], texts[j]) for j in own]
    question = jnp.arange(len(texts)) // rows
    agreement = behaviour.mean_similarity(
      jnp.asarray(similarity), question, rollouts.group
    )
    return rollouts.with_extras(agreement=agreement), scores, state


@dataclasses.dataclass(frozen=True)
class Variants(Plan):
  """One group of responses to all wordings of a question.

  Attributes:
    samples: rows of a group. wordings: of a question; they share the rows.

  Raises:
    ValueError: wordings that do not divide the rows.

  Source: Information-Consistent Language Model Recommendations, arXiv
    2512.12858, reconstructed from its abstract.
  """

  samples: int = 8
  wordings: int = 4

  def __post_init__(self):
    if self.samples % self.wordings:
      raise ValueError(
        f'{self.samples} samples are not shared evenly by {self.wordings} '
        'wordings; use a multiple'
      )

  @property
  def contract(self):
    check = functools.partial(enough, wordings=self.wordings)
    return Contract(
      self.samples,
      may_lag=True,
      one_prompt=False,
      rewords=True,
      checks=(check,),
    )

  def collect(self, tools, prompts, state, key):
    prompts = reworded(tools, prompts, self.wordings)
    each = self.samples // self.wordings
    rollouts = tools.generate(prompts, key, each)
    rollouts = rollouts.replace(group=rollouts.group // self.wordings)
    return *tools.verify(rollouts), state


@dataclasses.dataclass(frozen=True)
class Orders(Plan):
  """A group of responses to each wording, which has an answer of its own.

  The field `answers` of a record has one for each wording: a judge that is
  shown two texts the other way round should call the other one better. The
  j-th responses to all wordings of a question belong together: they have the
  same extras `bundle` and `paper`, i32[N].

  Attributes:
    samples: responses to a wording. orders: wordings of a question.

  Source: J1: Incentivizing Thinking in LLM-as-a-Judge via Reinforcement
    Learning, arXiv 2505.10320, recalled.
  """

  samples: int = 8
  orders: int = 2

  @property
  def contract(self):
    checks = (
      functools.partial(enough, wordings=self.orders),
      functools.partial(answered, wordings=self.orders),
    )
    return Contract(
      self.samples,
      provides={'bundle', 'paper'},
      may_lag=True,
      rewords=True,
      groups=self.orders,
      checks=checks,
    )

  def collect(self, tools, prompts, state, key):
    prompts = reworded(tools, prompts, self.orders)
    rollouts = tools.generate(prompts, key, self.samples)
    place = jnp.arange(rollouts.valid.shape[0], dtype=jnp.int32)
    order = np.asarray(place // self.samples % self.orders)
    rows = [
      {**record, 'answer': record['answers'][i]}
      for record, i in zip(tools.rows(rollouts.task), order, strict=True)
    ]
    rollouts, scores = tools.verify(rollouts, rows=rows)
    rollouts = rollouts.with_extras(
      bundle=place // (self.samples * self.orders), paper=place % self.samples
    )
    return rollouts, scores, state


def answered(records: Sequence[Mapping[str, Any]], wordings: int) -> None:
  """Refuses questions whose wordings have no answers, see `Contract.checks`."""
  without = [r for r in records if len(r.get('answers', ())) < wordings]
  if without:
    raise ValueError(
      f'the recipe asks in {wordings} orders, each with an answer of its own, '
      f'and {len(without)} of {len(records)} questions have fewer, among them '
      f'{without[0]["prompt"]!r}; list them in the field "answers", that of '
      'the prompt first'
    )


def bleu(text: str, other: str, *, order: int = 2) -> float:
  """How much of a text's words and word pairs another text shares, in [0, 1].

      exp(min(0, 1 - |other| / |text|)) (p_1 ... p_order)^(1 / order)

  p_n is the share of the text's n-grams found in the other, each as often as
  it stands there; an order for which the text is too short is left out.

  Returns:
    1 for two equal texts with words, 0 where either has none.

  Source: BLEU, Papineni et al. 2002, equation 4, without smoothing.
  """
  words, others = text.split(), other.split()
  if not words or not others:
    return 0.0
  logs = []
  for n in range(1, min(order, len(words)) + 1):
    grams, known = (
      collections.Counter(zip(*(x[i:] for i in range(n))))
      for x in (words, others)
    )
    shared = sum((grams & known).values())
    if not shared:
      return 0.0
    logs.append(math.log(shared / sum(grams.values())))
  brevity = min(0.0, 1 - len(others) / len(words))
  return math.exp(brevity + sum(logs) / len(logs))


def self_bleu(rows: Sequence[Sequence[Any]], *, order: int = 3) -> float:
  """How alike sequences are: the mean BLEU of each to all others, in [0, 1].

      exp(min(0, 1 - nearest / length)) (p_1 ... p_order)^(1 / order)

  p_n is the share of its n-grams found in some other one, each as often as it
  stands there at most, and 0.1 of one n-gram where none is. `nearest` is the
  length of another that is nearest to its own, the shorter of two.

  Returns:
    0 of fewer than two sequences; a row without anything in common counts 0.

  Source: MMR1, arXiv 2509.21268, and its code, which is NLTK's sentence BLEU
    with its first smoothing.
  """
  if len(rows) < 2:
    return 0.0
  grams = [[_grams(row, n) for row in rows] for n in range(1, order + 1)]
  found = []
  for i, row in enumerate(rows):
    logs = []
    for counts in grams:
      others: collections.Counter = collections.Counter()
      for j, other in enumerate(counts):
        if j != i:
          others |= other
      shared = sum((counts[i] & others).values())
      total = max(1, sum(counts[i].values()))
      logs.append(math.log((shared or 0.1) / total))
      if not shared and counts is grams[0]:
        break
    else:
      lengths = [len(other) for j, other in enumerate(rows) if j != i]
      nearest = min(
        lengths, key=lambda length: (abs(length - len(row)), length)
      )
      brevity = min(0.0, 1 - nearest / len(row))
      found.append(math.exp(brevity + math.fsum(logs) / order))
  return math.fsum(found) / len(rows)


def _grams(row: Sequence[Any], n: int) -> collections.Counter:
  return collections.Counter(zip(*(row[i:] for i in range(n))))
