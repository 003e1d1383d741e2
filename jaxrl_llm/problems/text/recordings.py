"""Runs on recorded responses: their data, and what is measured of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
from absl import logging
from ml_collections import ConfigDict

from jaxrl_llm import reads
from jaxrl_llm import recipe as recipe_lib
from jaxrl_llm.objectives import critics
from jaxrl_llm.plans import recorded, sampled
from jaxrl_llm.problems.text import (
  calibration,
  encoding,
  questions,
  transcripts,
  turns,
)
from jaxrl_llm.problems.text.questions import Questions
from jaxrl_llm.tasks import preferences
from jaxrl_llm.training import diagnostics
from jaxrl_llm.types import Array, Rollouts

# What `data.responses` may be, beside 'sampled'.
_KINDS = ('recorded', 'compared', 'referred', 'demonstrated')
# Responses with another text before or behind them.
_JOINED = {
  'compared': preferences.compared,
  'referred': preferences.referred,
}


def used(config: ConfigDict) -> bool:
  """Whether a run learns from recorded responses.

  Raises:
    ValueError: a `data.responses` that is not known.
  """
  known = ('sampled', *_KINDS)
  if config.data.responses not in known:
    raise ValueError(
      f'data.responses {config.data.responses!r} must be one of {known}'
    )
  return config.data.responses != 'sampled'


def planned(recipe: recipe_lib.Recipe) -> recipe_lib.Recipe:
  """The recipe with recorded responses in place of sampled ones.

  Raises:
    ValueError: its plan does more than sample, or a part of it means something
      on samples of the policy alone.
  """
  if isinstance(recipe.plan, recorded.Recorded):
    return recipe
  if not isinstance(recipe.plan, sampled.Independent):
    raise ValueError(
      f'the plan {type(recipe.plan).__name__} of the recipe samples in a way '
      'of its own; set data.responses=sampled, or choose another recipe'
    )
  if reads.provided(recipe.needs, 'sampler'):
    raise ValueError(
      'the recipe measures something on samples of the policy, such as its '
      'divergence from the reference, which recorded responses do not show; '
      'set data.responses=sampled, or choose another recipe, such as dpo'
    )
  plan = recorded.Recorded(recipe.plan.contract.samples)
  return dataclasses.replace(recipe, plan=plan)


def count(recipe: recipe_lib.Recipe) -> int:
  """The most recorded responses to a prompt that its plan shows."""
  assert isinstance(recipe.plan, recorded.Recorded)
  return recipe.plan.samples


def labels(recipe: recipe_lib.Recipe) -> int:
  """Of how many numbers the score of a response is."""
  critic = recipe.critic
  return critic.labels if isinstance(critic, critics.Labels) else 1


def load(
  config: ConfigDict,
  tokenizer,
  recipe: recipe_lib.Recipe,
  ends: Collection[int] = (),
) -> tuple[Questions, Questions]:
  """The records to train on and those held out, encoded; counts are reported.

  Args:
    recipe: whose plan says G, the most responses to a prompt.
    ends: tokens that end a response, beside the tokenizer's EOS.

  Raises:
    ValueError: as `tasks.preferences.load` and `questions.encode` do, or
      single responses for a recipe that compares those to a prompt.
  """
  if config.data.shots:
    raise ValueError(
      f'data.shots={config.data.shots} puts examples before prompts that the '
      f'policy answers, and data.responses={config.data.responses} brings the '
      'answers; write the examples into the prompts, or leave it out'
    )
  samples = count(recipe)
  if config.data.responses == 'demonstrated':
    told = transcripts.load(config, tokenizer, samples, ends)
    _tell(told[0].counts)
    return told
  parts = []
  kind = config.data.responses
  for dataset in preferences.load(
    config.data,
    seed=config.seed,
    samples=samples,
    labels=labels(recipe),
    by_policy=kind == 'referred',
  ):
    if kind in _JOINED:
      dataset = _JOINED[kind](dataset, tokenizer.eos_token)
    part = questions.encode(dataset, config, tokenizer)
    columns, counts = encode(
      part.rows,
      tokenizer,
      samples=samples,
      length=config.sample.max_response,
      labels=labels(recipe),
      ends=ends,
      closing=turns.closing(
        tokenizer, ends, [part.asked(i).prompt for i in range(len(part))]
      ),
    )
    parts.append(dataclasses.replace(part, columns=columns, counts=counts))
  train, held_out = parts
  _check_compared(recipe, train)
  _tell(train.counts)
  return train, held_out


def _tell(counts: Mapping[str, int]) -> None:
  """Says what is odd in the data, if anything."""
  found = {k: n for k, n in counts.items() if n}
  total = found.pop('data/records')
  if found:
    listed = ', '.join(
      f'{n} {k.removeprefix("data/")}' for k, n in found.items()
    )
    logging.warning('of %d records: %s', total, listed)


def _check_compared(recipe: recipe_lib.Recipe, train: Questions) -> None:
  """Refuses single or equal responses where those to a prompt are compared."""
  most = max(len(row['responses']) for row in train.rows)
  samples = count(recipe)
  if most == 1 and recipe.objective.samples:
    raise ValueError(
      'every record has one response, and the recipe learns from comparing '
      'several to a prompt; choose one that learns from single responses, '
      'such as kto or unary_reward_model, with recipe.samples=1'
    )
  tokens, mask = train.columns['recorded'], train.columns['recorded_mask']
  other = (tokens != tokens[:, :1]) | (mask != mask[:, :1])
  # Places without a response are compared with nothing.
  if most > 1 and not (other.any(axis=2) & mask.any(axis=2)).any():
    raise ValueError(
      f'in each of {len(train)} records all responses have the same tokens: '
      'comparing them teaches nothing; mend the data, or raise '
      'sample.max_response where the budget cut off what differs'
    )
  if most == 1 < samples:
    logging.warning(
      'every record has one response, and recipe.samples=%d: most rows of a '
      'batch are empty; set recipe.samples=1', samples,
    )  # fmt: skip


def evaluate(
  questions: Questions,
  rate: Callable[[Rollouts], tuple[Array, Array]],
  *,
  samples: int,
  size: int,
  calibrated: bool,
) -> dict[str, float]:
  """How the held-out responses are rated, see `diagnostics.compared`.

  Single responses are compared with those to the other prompts of their
  batch, and their margin is from 0.

  Args:
    rate: of rows, what the policy thinks of them and their log-probs, f32[N].
    samples: responses to a question. size: questions rated at once.
    calibrated: for a reward model, also how far its probabilities can be
      trusted, and what choosing by it earns, see `calibration`.
  """
  pieces = []
  for start in range(0, len(questions), size):
    # The last batch wraps around, to be of the same compiled shape.
    tasks = np.arange(start, start + size) % len(questions)
    rollouts, scores = recorded.rows(questions.prompts(tasks))
    of_record = scores.components @ scores.weights
    piece = (*rate(rollouts), of_record, rollouts.valid)
    count = samples * min(size, len(questions) - start)
    pieces.append([np.asarray(x[:count]) for x in piece])
  ratings, logp, rewards, live = map(np.concatenate, zip(*pieces))
  arrays: Sequence[np.ndarray] = ratings, logp, rewards, live
  group = samples
  if samples == 1:
    # The last batch is filled up with rows that do not count.
    fill, group = (0, -len(live) % size), size
    arrays = [np.pad(x, fill) for x in arrays]
  found = diagnostics.compared(*arrays, samples=group)
  metrics = {name: float(np.mean(x)) for name, x in found.items()}
  if calibrated:
    by_group = [x.reshape(-1, samples) for x in (ratings, rewards, live)]
    margins = calibration.margins(*by_group)
    if samples == 1:
      margins = np.where(rewards > 0.5, ratings, -ratings)[live]
    metrics |= calibration.summarize(margins)
    metrics |= calibration.best_of(*by_group)
  return metrics


def encode(
  records: Sequence[Mapping[str, Any]],
  tokenizer,
  *,
  samples: int,
  length: int,
  labels: int = 1,
  ends: Collection[int] = (),
  closing: Sequence[int] = (),
) -> tuple[dict[str, np.ndarray], dict[str, int]]:
  """The responses of A records as columns, each ended once.

  Args:
    records: with `responses`, at most G texts, and their `scores`; `labels`
      where there are several.
    samples: G. length: T, the budget of a response, its end included.
    labels: K, numbers that a score is of.
    ends: tokens that end a response, beside the EOS.
    closing: of each record, what its responses get that end with none of them;
      () is the EOS.

  Returns:
    The columns, and counts: `data/records`, and of them `data/identical`
    (two responses have the same tokens, and teach nothing), `data/empty` (a
    response without text) and `data/truncated` (one was cut, EOS and all).
  """
  shape = (len(records), samples)
  tokens = np.full((*shape, length), tokenizer.eos_token_id, np.int32)
  mask = np.zeros((*shape, length), bool)
  kinds, field = ((labels,), 'labels') if labels > 1 else ((), 'scores')
  score = np.zeros((*shape, *kinds), np.float32)
  cut = np.zeros(shape, bool)
  counts = dict.fromkeys(('data/identical', 'data/empty', 'data/truncated'), 0)
  texts = [said for record in records for said in record['responses']]
  sizes = [len(record['responses']) for record in records]
  each = np.repeat(closing, sizes).tolist() if closing else ()
  encoded = iter(encoding.encode_responses(tokenizer, texts, ends, each))
  for row, record in enumerate(records):
    found, whole = [], [next(encoded) for _ in record['responses']]
    for place, ids in enumerate(whole):
      cut[row, place] = len(ids) > length
      ids = ids[:length]
      found.append(tuple(ids))
      tokens[row, place, : len(ids)] = ids
      mask[row, place, : len(ids)] = True
    score[row, : len(found)] = record[field]
    counts['data/identical'] += len(set(found)) < len(found)
    counts['data/empty'] += any(len(ids) == 1 for ids in whole)
    counts['data/truncated'] += bool(cut[row].any())
  columns = {
    'recorded': tokens,
    'recorded_mask': mask,
    'recorded_score': score,
    'recorded_cut': cut,
  }
  return columns, {'data/records': len(records), **counts}
