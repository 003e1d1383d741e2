"""Questions in what was proposed.

What is proposed is a text with a question and its answer, which a function
finds in it, `package.module:function`:

    f(text) -> (question, answer), or None where there is none
"""

from __future__ import annotations

import re
from collections.abc import Callable

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


def questions(tools, proposed: Rollouts, parse: Callable):
  """What is asked where rows propose it.

  Where there is nothing, or no room for it, the prompt of the row stands there.

  Returns:
    Prompts, the records that answers are judged by, and bool[B], which rows
    have a question with an answer within the budget of prompts.
  """
  records = tools.rows(proposed.task)
  found = [parse(text) for text in tools.decode(proposed)]
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
  return asked, known, fits & np.array([pair is not None for pair in found])
