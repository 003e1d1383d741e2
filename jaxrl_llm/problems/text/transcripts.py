"""Runs on demonstrations: their data, and how well they are known.

A row is a prompt and what follows it, of which the assistant's turns are to be
said, see `tasks.transcripts` and `turns`.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Collection
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from jaxrl_llm.plans import recorded
from jaxrl_llm.problems.text import chat, encoding, questions, turns
from jaxrl_llm.problems.text.questions import Questions
from jaxrl_llm.tasks import data, transcripts
from jaxrl_llm.types import Array, Rollouts


def load(
  config: ConfigDict, tokenizer, samples: int, ends: Collection[int]
) -> tuple[Questions, Questions]:
  """The demonstrations to learn and those held out, encoded.

  Args:
    samples: of the recipe's plan. ends: tokens that end a response.

  Raises:
    ValueError: as `tasks.transcripts.load` and `encode` do, or a recipe that
      wants several responses to a prompt.
  """
  if samples != 1:
    raise ValueError(
      f'recipe.samples is {samples}, and a demonstration is one response to '
      'its prompt; set recipe.samples=1, or choose another recipe, such as sft'
    )
  train, held_out = transcripts.load(config.data, seed=config.seed)
  return (
    encode(train, config, tokenizer, ends),
    encode(held_out, config, tokenizer, ends),
  )


def encode(
  dataset: data.Dataset, config: ConfigDict, tokenizer, ends: Collection[int]
) -> Questions:
  """Demonstrations as rows: prompts, and columns of what follows.

  Counts: `data/records`, and of them `data/untrained` (no turn is to be said;
  they are left out), `data/divided` (several rows, as the chat template writes
  earlier turns anew), `data/empty` (a turn that ends where it begins) and
  `data/truncated` (cut at sample.max_response).

  Raises:
    ValueError: as `questions.encode` and `turns.rows` do, with file and line,
      or no record with a turn to be said.
  """
  variables = questions.variables_of(config.data.chat_template_kwargs)
  is_message = chat.is_message(tokenizer, config.data.chat)
  named = {i: tokenizer.convert_ids_to_tokens(i) for i in sorted(ends)}
  template, rows, of, starts = None, [], [], list[int | None]()
  for record, row in enumerate(dataset.rows):
    place, start = dataset.place(record), None
    asked = questions.asked_of(place, row, config.data.system, is_message)
    try:
      if row.keys().isdisjoint({'completion', 'following'}) and 'text' in row:
        start, rest = _of_text(tokenizer, row['text'], ends)
        found = [row | {'said': (rest, [True] * len(rest))}]
      elif isinstance(asked.prompt, str):
        texts = [row['completion']] if 'completion' in row else []
        said = encoding.encode_responses(tokenizer, texts, ends)
        found = [row | {'said': (ids, [True] * len(ids))} for ids in said]
      else:
        template = template or chat.Template(tokenizer, variables)
        found = _of_chat(template, asked, row, named)
    except ValueError as error:
      raise ValueError(f'{place}: {error}') from error
    rows += found
    of += [record] * len(found)
    starts += [start] * len(found)
  if not rows:
    raise ValueError(
      f'none of the {len(dataset)} records of {dataset.name} has a turn of the '
      'assistant to be said; give completions, or messages of the assistant '
      'whose weight is not 0'
    )
  length = config.sample.max_response
  counts = _counts(len(dataset), rows, of, length)
  dataset = dataclasses.replace(dataset.take(of), rows=rows)
  part = questions.encode(dataset, config, tokenizer, starts=starts)
  columns = _columns(part.rows, tokenizer.eos_token_id, length)
  return dataclasses.replace(part, columns=columns, counts=counts)


def _of_text(
  tokenizer, text: str, ends: Collection[int]
) -> tuple[int, list[int]]:
  """The first token of a text, and what follows it up to its end.

  The first is what the tokenizer puts before every text, where it does.
  """
  ids = encoding.encode_prompt(tokenizer, text)
  if not ids:
    raise ValueError(f'the text {text!r} has no tokens; leave it out')
  ended = ids[-1] in {tokenizer.eos_token_id, *ends}
  return ids[0], ids[1:] if ended else [*ids[1:], tokenizer.eos_token_id]


def _of_chat(template, asked, row, ends) -> list[dict[str, Any]]:
  """The rows of a conversation, each with its own prompt."""
  following = row.get('following')
  if following is None:
    following = [{'role': 'assistant', 'content': row['completion']}]
  messages, first = [*asked.prompt, *following], len(asked.prompt)
  found = turns.rows(
    template,
    messages,
    asked.tools,
    learned=[
      i
      for i in range(first, len(messages))
      if transcripts.said_by_policy(messages[i])
    ],
    ends=ends,
  )
  # Without the system message of the run, which every prompt is given again.
  text = isinstance(row['prompt'], str)
  own = 0 if text else first - len(row['prompt'])
  kept = {k: v for k, v in row.items() if k != 'following'}
  return [
    kept
    | {
      'prompt': row['prompt'] if text else messages[own : each.start],
      'said': (each.response, each.action),
    }
    for each in found
  ]


def _counts(records, rows, of, length) -> dict[str, int]:
  """How many of the records something is odd of, by name."""
  found = collections.Counter(of)
  said = [(record, *row['said']) for record, row in zip(of, rows)]
  return {
    'data/records': records,
    'data/untrained': records - len(found),
    'data/divided': sum(count > 1 for count in found.values()),
    'data/empty': len({i for i, ids, _ in said if len(ids) == 1}),
    'data/truncated': len({i for i, ids, _ in said if len(ids) > length}),
  }


def _columns(rows, fill: int, length: int) -> dict[str, np.ndarray]:
  """What follows each prompt, see `plans.recorded`."""
  shape = (len(rows), 1, length)
  tokens = np.full(shape, fill, np.int32)
  mask, action = np.zeros((2, *shape), bool)
  cut = np.zeros(shape[:2], bool)
  for row, record in enumerate(rows):
    ids, own = (x[:length] for x in record['said'])
    tokens[row, 0, : len(ids)] = ids
    mask[row, 0, : len(ids)] = True
    action[row, 0, : len(ids)] = own
    cut[row] = len(record['said'][0]) > length
  return {
    'recorded': tokens,
    'recorded_mask': mask,
    'recorded_action': action,
    'recorded_score': np.ones(shape[:2], np.float32),
    'recorded_cut': cut,
  }


def evaluate(
  held_out: Questions,
  know: Callable[[Rollouts], tuple[Array, Array]],
  *,
  size: int,
) -> dict[str, float]:
  """How well the policy knows the held-out demonstrations.

  nll               mean over their tokens of -log pi, nats
  token_accuracy    share of them of which no other token is more probable

  Args:
    know: of rows, f32[N, T] of each token and of the most probable one, their
      log-probs.
    size: rows scored at once.
  """
  sums = np.zeros(3)
  for start in range(0, len(held_out), size):
    # The last batch wraps around, to be of the same compiled shape.
    tasks = np.arange(start, start + size) % len(held_out)
    rollouts, _ = recorded.rows(held_out.prompts(tasks))
    count = min(size, len(held_out) - start)
    mask, logp, top = (
      np.asarray(x, np.float64)[:count]
      for x in (rollouts.action_mask, *know(rollouts))
    )
    sums += np.sum(mask), -np.sum(logp * mask), np.sum(mask * (logp >= top))
  tokens, nll, right = sums.tolist()
  return {'nll': nll / tokens, 'token_accuracy': right / tokens}
