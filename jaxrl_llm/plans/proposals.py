"""Questions in what was proposed.

What is proposed is a text with a question and its answer, which a function
finds in it, `package.module:function`:

    f(text) -> (question, answer), or None where there is none
"""

from __future__ import annotations

import re
import string
from collections.abc import Sequence

import numpy as np

from jaxrl_llm.plans import phrases
from jaxrl_llm.types import Rollouts

_TAGGED = re.compile(
  r'<question>(.+?)</question>\s*<answer>(.+?)</answer>', re.DOTALL
)


def tagged(text: str) -> tuple[str, str] | None:
  """What stands in the tags question and answer.

  Example:
    >>> tagged('<question>2+2=</question><answer>4</answer>')
    ('2+2=', '4')
  """
  found = _TAGGED.search(text)
  return (found[1].strip(), found[2].strip()) if found else None


def questions(tools, proposed: Rollouts, found: Sequence):
  """What is asked where rows propose it.

  Where there is nothing, or no room for it, the prompt of the row stands there.

  Args:
    found: for each row a question and its answer, or None.

  Returns:
    Prompts, the records that answers are judged by, and bool[B], which rows
    have a question with an answer within the budget of prompts.
  """
  records = tools.rows(proposed.task)
  found = [pair if pair and all(pair) else None for pair in found]
  known = [
    {**record, 'prompt': pair[0], 'answer': pair[1]} if pair else record
    for record, pair in zip(records, found, strict=True)
  ]
  asked, fits = phrases.fitting(
    tools,
    proposed.task,
    [record['prompt'] for record in known],
    [record['prompt'] for record in records],
  )
  there = fits & np.array([pair is not None for pair in found])
  known = [new if ok else old for new, old, ok in zip(known, records, there)]
  return asked, known, there


def forms(tools, proposed: Rollouts, log, found: Sequence, hops):
  """f64[B], the `form` of what episodes of a proposer ended with.

  Args:
    log: of the episodes, as `playing` keeps it.
    found: for each a question and its answer, or None.
    hops: i32[B], that were asked for.
  """
  heard = proposed.response_mask & ~proposed.action_mask
  each = zip(
    found,
    tools.rows(proposed.task),
    tools.decode(proposed.replace(response_mask=heard)),
    (log.call >= 0).sum(axis=1),
    np.asarray(hops),
    strict=True,
  )
  # What a question is asked of, without what is said about asking.
  return np.array(
    [
      form(pair, f'{row.get("document", row["prompt"])}\n{read}', calls, int(n))
      for pair, row, read, calls, n in each
    ]
  )


def form(pair, read: str, searches: int, hops: int) -> float:
  """How well a question keeps the form that was asked for, in [0, 1].

      (1 + searched + found) / 3
      searched = min((1 + searches) / hops, 1)   searches > 0
                 1[hops = 1]                     searches = 0
      found    = 1   an answer of up to 5 words that was read, or yes or no
                 0.5 one of 6 to 10 words that was read
                 0   else

  Case, punctuation and articles do not count. A question that names its answer
  has no form, 0, nor has one without an answer.

  Args:
    pair: question and answer, or None. read: by who asks, the document and what
      was found. searches: that were answered.

  Source: Dr. Zero, arXiv 2601.07055, section 3.2 and its code, without the term
    for thoughts between tags.

  Example:
    >>> form(('Who wrote it?', 'Ann Lee'), 'By Ann Lee.', searches=0, hops=2)
    0.6666666666666666
  """
  question, answer = map(_plain, pair or ('', ''))
  if not question or not answer or answer in question:
    return 0.0
  hops = max(hops, 1)
  searched = float(hops == 1)
  if searches:
    searched = min((1 + searches) / hops, 1.0)
  words, found = len(answer.split()), 0.0
  if (answer in ('yes', 'no') or answer in _plain(read)) and words <= 10:
    found = 1.0 if words <= 5 else 0.5
  return (1 + searched + found) / 3


def _plain(text: str) -> str:
  """A text without case, punctuation, articles and runs of white space.

  One that is an article and nothing else, as the letter a, stays.
  """
  text = text.lower().translate(str.maketrans('', '', string.punctuation))
  words = text.split()
  return ' '.join([x for x in words if x not in ('a', 'an', 'the')] or words)
