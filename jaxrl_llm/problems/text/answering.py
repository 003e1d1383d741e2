"""From parameters and questions to verified answers.

Shared by the training loop, by evaluation during training, and by the eval
command: what is sampled and verified, and how, is the same in all three.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_llm.plans import (
  arranged,
  ending,
  longer,
  playing,
  program_episodes,
  rewriting,
)
from jaxrl_llm.policies.language import held as held_lib
from jaxrl_llm.policies.language.prefix_cache import BLOCK, PrefixCache
from jaxrl_llm.policies.language.sampler import Sampler, row_keys
from jaxrl_llm.policies.language.truncation import Sampling
from jaxrl_llm.problems.text import chats as chats_lib
from jaxrl_llm.problems.text import encoding as text
from jaxrl_llm.problems.text import evaluate, oracles
from jaxrl_llm.problems.text.questions import Questions
from jaxrl_llm.problems.text.speaker import Speaker
from jaxrl_llm.tasks import answers, environments, verify
from jaxrl_llm.training import hosts, shard
from jaxrl_llm.training.session import Record
from jaxrl_llm.types import Array, Rollouts, Scores


@dataclasses.dataclass(frozen=True)
class Answering:
  """A way of answering: sampler, tokenizer, verifiers.

  Attributes:
    sampler: compiled sampling.
    sampling: temperature and truncation of training.
    chats: how the policy is talked with.
    verifiers: what scores a response, with names and weights.
    oracle: what says which of two responses is better, or None.
    batch: prompts sampled at once in evaluation.
    environment: what answers the policy's turns, or None.
    turns: the most of an episode, 0 without an environment.
    program: what asks the policy, or None.
    layout: where prompts and responses live.
    keep: keys and values from turn to turn of an episode, and from request to
      request of programs.
    anew: the chat template writes the history of episodes before every turn.
    waiting: how often evaluation takes back the end of a thought.
  """

  sampler: Sampler
  sampling: Sampling
  chats: chats_lib.Chats
  verifiers: verify.Verifiers
  batch: int
  oracle: oracles.Oracle | None = None
  environment: environments.Watched | None = None
  turns: int = 0
  program: Any = None
  layout: shard.Layout = shard.ALONE
  keep: bool = True
  anew: bool = False
  waiting: longer.Waiting = longer.Waiting()

  @property
  def tokenizer(self) -> Any:
    """Of the model."""
    return self.chats.reader.tokenizer

  @property
  def greedy(self) -> Sampling:
    """The sampling that takes the most probable token everywhere."""
    return self.sampling.replace(temperature=jnp.float32(0))

  @property
  def temperature(self) -> float | Array:
    """f32[], of sampling, and so of the log-probs that are learned from.

    Raises:
      ValueError: 0, where every response is certain.
    """
    temperature = self.sampling.temperature
    if not temperature > 0:
      raise ValueError(
        f'sample.temperature {temperature:g} must be positive to learn: greedy '
        'choices have no log-probs to learn from'
      )
    return temperature

  def generate(
    self, params, prompts, key, samples, sampling=None, *, most=0, uids=None
  ) -> Rollouts:
    """`samples` responses to each prompt; row i has the identity i.

    Args:
      most: tokens of a response; 0 is the sampler's budget.
      uids: i32[N], other identities of the rows.
    """
    if uids is None:
      uids = np.arange(prompts.tokens.shape[0] * samples, dtype=np.int32)
    sampler = self.sampler
    if most:
      sampler = dataclasses.replace(sampler, max_tokens=most)
    with self.layout.known():
      rollouts = sampler(
        params,
        self.layout.rows(prompts),
        self.layout.rows(jnp.asarray(uids)),
        key,
        self.sampling if sampling is None else sampling,
        samples=samples,
      )
    # Plans and verifiers read them in Python.
    return self.layout.everywhere(rollouts)

  def keeps(self, rows: int) -> bool:
    """Whether a turn of so many rows goes on from what is kept."""
    return self.keep and not 0 < self.sampler.slots < rows

  def turn(
    self,
    params,
    rollouts: Rollouts,
    kept: held_lib.Held | None,
    key: Array,
    sampling: Sampling,
    *,
    most: int,
    going: np.ndarray,
  ) -> tuple[Rollouts, held_lib.Held]:
    """The next words of rows, behind what they say so far.

    Args:
      rollouts: N rows; those of a group are adjacent and share their prompt.
      kept: from the turn before, None before the first.
      most: tokens of the turn. going: bool[N], rows that say something.

    Returns:
      Rollouts of `most` columns, and what is kept until the next turn.
    """
    sampler = dataclasses.replace(self.sampler, slots=0, widths=1)
    place = self.layout.rows
    with self.layout.known():
      if kept is None:
        samples = _samples(rollouts)
        prompts = arranged.asked(rollouts, samples)
        kept = held_lib.opened(sampler, samples, params, place(prompts))
      for tokens, count in _unread(rollouts, self.layout, kept, going):
        kept = held_lib.read(sampler, params, kept, place(tokens), place(count))
      more, kept = held_lib.write(
        dataclasses.replace(sampler, max_tokens=most),
        params,
        kept,
        row_keys(key, place(jnp.arange(len(going), dtype=jnp.int32))),
        sampling,
        place(jnp.asarray(going)),
      )
    return self.layout.everywhere(more), kept

  def prefix_cache(
    self, params, *, slots: int, columns: int, size: int, most: int
  ) -> PrefixCache | None:
    """What stays of contexts between answers; None: each is read anew.

    Args:
      slots, columns, size: as of `PrefixCache`. most: tokens of an answer.
    """
    if not self.keeps(size):
      return None
    return PrefixCache(
      dataclasses.replace(self.sampler, max_tokens=most),
      params,
      slots=slots,
      columns=columns,
      size=size,
      place=self.layout.rows,
    )

  def answers(
    self,
    cache: PrefixCache,
    contexts: Sequence[Sequence[int]],
    key: Array,
    uids: np.ndarray,
    sampling: Sampling,
  ) -> Rollouts:
    """An answer behind each context, as of `generate`, without prompts.

    Args:
      uids: i32[size], the identities of the answers.
    """
    with self.layout.known():
      keys = row_keys(key, self.layout.rows(jnp.asarray(uids)))
      rollouts = cache.write(contexts, keys, sampling)
    return self.layout.everywhere(rollouts)

  def texts(
    self, rollouts: Rollouts, rows: slice = slice(None), *, whole: bool = False
  ) -> list[str]:
    """What responses say to all who read them.

    Args:
      rows: which of them.
      whole: also what follows a stop string, as in rows of several turns.
    """
    return text.decode(
      self.tokenizer,
      rollouts,
      silent=self.chats.reader.silent,
      stop=() if whole else self.chats.reader.stop,
      rows=rows,
    )

  def of_two(self, kind, params, prompts, key, samples, share) -> Rollouts:
    """Responses that two policies of the model decide on, see `mixture`.

    Args:
      kind: `Mixture` or `Masked`, of which `share` is an argument.
    """
    mixture = kind(self.sampler, self.sampler.config)
    uids = jnp.arange(prompts.tokens.shape[0] * samples)
    with self.layout.known():
      rollouts = mixture(
        params,
        self.layout.rows(prompts),
        self.layout.rows(uids),
        key,
        self.sampling,
        share,
        samples=samples,
      )
    return self.layout.everywhere(rollouts)

  def verify(self, rollouts: Rollouts, rows, texts=None):
    """Scores of every response; rows whose verifier failed become invalid.

    Every process verifies its own rows, and hears of the others'.

    Args:
      rollouts: N of them. rows: the records of their questions.
      texts: what is judged; None is the responses themselves.

    Returns:
      The rollouts, their scores, and the failures by kind, as `verify/...`.
    """
    own = hosts.own(len(rows))
    if texts is None:
      texts = self.texts(rollouts, own)
    else:
      texts = texts[own]
    verdict = self.verifiers.score(texts, rows[own])
    components, ok = hosts.joined((verdict.components, verdict.ok), len(rows))
    valid = rollouts.valid & jnp.asarray(ok)
    scores = Scores(
      components=jnp.asarray(components, jnp.float32),
      weights=jnp.asarray(self.verifiers.weights, jnp.float32),
    )
    return rollouts.replace(valid=valid), scores, hosts.summed(verdict.counts)

  def compare(self, rollouts: Rollouts, scores: Scores, rows):
    """The scores with the preferences within every group, if one judges.

    Every process has its own groups judged, and hears of the others'.

    Args:
      rollouts: N of them, groups adjacent and of equal sizes.
      rows: the records of their questions.

    Returns:
      The scores, and failures by kind: `verify/preferences`.
    """
    if self.oracle is None:
      return scores, {}
    samples = _samples(rollouts)
    groups = len(rows) // samples
    mine = hosts.own(groups)
    own = slice(samples * mine.start, samples * mine.stop)
    texts = self.texts(rollouts, own)
    game, failed = oracles.of_groups(self.oracle, texts, rows[own], samples)
    game = hosts.joined(game.reshape(-1, samples, samples), groups)
    scores = scores.replace(preference=jnp.asarray(game.reshape(-1, samples)))
    return scores, hosts.summed({'verify/preferences': failed})

  def evaluate(
    self,
    params,
    questions: Questions,
    key,
    *,
    samples: int = 0,
    record: Record = lambda rows: None,
  ) -> dict[str, float]:
    """Greedy accuracy, and of sampled answers pass@k and maj@k.

    Where an environment answers, whole episodes are judged. A failed
    verification counts as a wrong answer.

    Args:
      samples: answers per question beside the greedy one; 0 for none.
      record: hears of every answer, a batch at a time.

    Returns:
      `accuracy` with its 95 % interval `accuracy/low`, `accuracy/high`; of
      several sources the `source/NAME/accuracy` of each; and with samples
      `pass@k` and `maj@k` for powers of 2 up to `samples`.
    """
    right, _ = self._answer(params, questions, key, 1, self.greedy, record)
    low, high = evaluate.wilson_interval(int(right.sum()), right.size)
    metrics = {
      'accuracy': float(right.mean()),
      'accuracy/low': low,
      'accuracy/high': high,
    }
    if len(questions.domains) > 1:
      for number, name in enumerate(questions.domains):
        own = right[questions.domain == number]
        if own.size:
          metrics[f'source/{name}/accuracy'] = float(own.mean())
    if samples:
      right, texts = self._answer(params, questions, key, samples, None, record)
      ks = [2**i for i in range(samples.bit_length()) if 2**i <= samples]
      final = [[answers.final(t) for t in group] for group in texts]
      metrics |= evaluate.summarize(right, final, ks)
    return metrics

  def _answer(self, params, questions, key, samples, sampling, record):
    """bool[A, samples] right, and the texts, in batches of one shape."""
    right, texts = [], []
    size = min(self.batch, len(questions))
    for start in range(0, len(questions), size):
      # The last batch wraps around, to be of the same compiled shape.
      tasks = np.arange(start, start + size) % len(questions)
      count = min(size, len(questions) - start)
      speaker = Speaker(self, params, questions, sampling)
      rollouts, scores, said = self._judged(
        speaker,
        questions.prompts(tasks),
        jax.random.fold_in(key, start),
        samples,
      )
      good = (scores.components[:, 0] > 0.5) & rollouts.valid
      right.append(np.asarray(good).reshape(-1, samples)[:count])
      grouped = np.array(said, object).reshape(-1, samples)
      texts.extend(grouped[:count].tolist())
      record(
        _told(questions, tasks, rollouts, scores, said, sampling is not None)[
          : count * samples
        ]
      )
    return np.concatenate(right), texts

  def _judged(self, speaker, prompts, key, samples):
    """Verified answers to prompts and their texts, in episodes where asked."""
    if self.program is not None:
      rollouts, told = program_episodes.play(
        speaker, prompts, key, samples=samples, rows=1, first=True
      )
      return *program_episodes.judged(speaker, rollouts, told, 1), told.said
    if self.turns and self.anew:
      rollouts, log = rewriting.play(
        speaker,
        prompts,
        key,
        samples=samples,
        turns=self.turns,
        rows=1,
        first=True,
      )
      return *ending.judged(speaker, rollouts, log), log.last
    if self.turns:
      rollouts, log = playing.play(
        speaker, prompts, key, samples=samples, turns=self.turns
      )
      return *ending.judged(speaker, rollouts, log), log.last
    rollouts = speaker.generate(prompts, key, samples)
    rollouts = self.waiting.apply(speaker, rollouts, jax.random.fold_in(key, 1))
    said = speaker.decode(rollouts)
    return *speaker.verify(rollouts, said), said


def _samples(rollouts) -> int:
  """Rows of a group, of which all have as many."""
  return int(np.sum(np.asarray(rollouts.group) == rollouts.group[0]))


def _unread(rollouts, layout, kept, going):
  """What rows have that is not held, in blocks i32[N, C], and their counts.

  Of one width, so that a row is read alike whatever the others have.
  """
  # A copy, as what is kept is used up meanwhile.
  length = np.array(layout.everywhere(kept.rows.length))
  left = np.where(going, np.asarray(rollouts.length) - length, 0)
  while left.any():
    place = length[:, None] + np.arange(BLOCK)
    place = np.minimum(place, rollouts.response_mask.shape[1] - 1)
    count = np.minimum(left, BLOCK).astype(np.int32)
    yield jnp.take_along_axis(rollouts.content.response, place, 1), count
    length, left = length + count, left - count


def _told(questions, tasks, rollouts, scores, said, greedy):
  """Answers as people read them, those to a question side by side."""
  samples = len(said) // len(tasks)
  length, truncated, valid, components = (
    np.asarray(x)
    for x in (
      rollouts.length,
      rollouts.truncated,
      rollouts.valid,
      scores.components,
    )
  )
  return [
    {
      'question': int(tasks[i // samples]),
      'greedy': greedy,
      'prompt': questions.rows[tasks[i // samples]]['prompt'],
      'response': text,
      'answer': questions.rows[tasks[i // samples]].get('answer'),
      'scores': components[i],
      'length': int(length[i]),
      'truncated': bool(truncated[i]),
      'valid': bool(valid[i]),
    }
    for i, text in enumerate(said)
  ]
