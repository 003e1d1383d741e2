"""Questions and scores of the library reasoning-gym."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jaxrl_llm import spelling
from jaxrl_llm.tasks import answers

try:
  import reasoning_gym
  from reasoning_gym.factory import DATASETS
except ModuleNotFoundError as error:
  raise ModuleNotFoundError(
    'reasoning-gym tasks need the optional package reasoning-gym: '
    "pip install 'jaxrl_llm[tasks]'",
    name=error.name,
  ) from error


def questions(
  name: str, seed: int, limit: int, **options: Any
) -> Iterator[dict[str, Any]]:
  """Rows of a reasoning-gym task; row i depends on (seed, i) alone.

  Args:
    name: the task, such as 'chain_sum'.
    seed: of the task.
    limit: rows at most.
    **options: fields of the task's own configuration.

  Yields:
    Rows with 'prompt', 'answer', 'task' (the name) and 'metadata' (what the
    task's scorer needs).

  Raises:
    ValueError: unknown task, with the nearest known; unknown or bad option.
  """
  if name not in DATASETS:
    near = spelling.nearest(name, DATASETS)
    raise ValueError(
      f'reasoning-gym has no task {name!r}; '
      + (f'did you mean {near!r}?' if near else 'see its gallery')
    )
  known = {x.name for x in dataclasses.fields(DATASETS[name][1])}
  known -= {'seed', 'size'}
  for option in sorted(options.keys() - known):
    raise ValueError(
      f'reasoning-gym task {name!r} refuses its options: it has no {option!r}. '
      + spelling.suggestion(option, known)
    )
  try:
    dataset = reasoning_gym.create_dataset(
      name, seed=seed, size=limit, **options
    )
  except (TypeError, AssertionError) as error:
    raise ValueError(
      f'reasoning-gym task {name!r} refuses its options: {error}'
    ) from error
  for index in range(limit):
    entry = dataset[index]
    yield {
      'prompt': entry['question'],
      'answer': entry['answer'],
      'task': name,
      'metadata': entry['metadata'],
    }


@functools.cache
def _scorer(name: str):
  return reasoning_gym.get_score_answer_fn(name)


def score(
  responses: Sequence[str], rows: Sequence[Mapping[str, Any]]
) -> list[float]:
  """The task's own score of the response's final answer, mostly in [0, 1].

  Some scorers give partial credit, some raise on odd answers: the row is then
  masked like that of any verifier that raises.

  Args:
    responses: the marked answer is scored, as it stands and bare
      (`answers.bare`), whichever is better; else the whole text.
    rows: made by `questions`.
  """
  scores = []
  for response, row in zip(responses, rows, strict=True):
    whole = answers.without_reasoning(response)
    said = next(answers.marks(response), whole).strip()
    entry = {
      'question': row['prompt'],
      'answer': row['answer'],
      'metadata': row['metadata'],
    }
    scorer = _scorer(row['task'])
    # Some tasks ask for signs around the answer, and some models add them.
    given = {said, answers.inner(said)}
    scores.append(max(float(scorer(one, entry=entry)) for one in given))
  return scores
