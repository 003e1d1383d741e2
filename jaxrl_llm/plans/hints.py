"""What a question is asked with again: hints, drafts, critiques.

    f(tools, tries, level, key, *, ...) -> prompts      see `plans.retried`

A `phrase` says where things go: '{hint} {prompt}' is the hint, a space and the
question. Of a conversation it rewrites the last message.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def fitting(tools, tasks, texts, plain):
  """Prompts of other texts, where these are within the budget of prompts.

  Args:
    tasks: i32[M]. texts: M of them. plain: what is asked where one is not.

  Returns:
    The prompts, and bool[M], which texts fit.
  """
  fits = np.asarray(tools.fits(tasks, texts))
  asked = [new if fit else old for new, old, fit in zip(texts, plain, fits)]
  return tools.prompts(tasks, asked), fits


def phrased(phrase: str, prompt, **words: str):
  """A prompt in the words of a phrase, whose {name}s stand for other words.

  Args:
    prompt: a text or messages.
    words: by name. Braces in them, and others in the phrase, stay as they are.

  Raises:
    ValueError: a phrase that leaves out the prompt or one of the words.

  Example:
    >>> phrased('{hint} {prompt}', '1+2=', hint='3')
    '3 1+2='
  """
  missing = [w for w in ('prompt', *words) if '{' + w + '}' not in phrase]
  if missing:
    raise ValueError(
      f'the phrase {phrase!r} leaves out {{{missing[0]}}}; it is to say where '
      f'{", ".join(("prompt", *words))} go'
    )
  if not isinstance(prompt, str):
    *before, last = prompt
    said = phrased(phrase, last['content'], **words)
    return [*before, {**last, 'content': said}]
  words = {'prompt': prompt, **words}
  names = '|'.join(words)
  return re.sub(
    '{(' + names + ')}', lambda found: words[found.group(1)], phrase
  )


def required(
  records: Sequence[Mapping[str, Any]], field: str, says: str
) -> None:
  """Refuses questions without a field, see `Contract.checks`."""
  without = [record for record in records if not record.get(field)]
  if without:
    raise ValueError(
      f'{len(without)} of {len(records)} questions have no field "{field}", '
      f'{says}, among them {without[0]["prompt"]!r:.60}; add it to them, or '
      'leave them out of the data'
    )


def need(field: str, says: str):
  """The check that all records have a field."""
  return functools.partial(required, field=field, says=says)


def share_of_solution(
  tools, tries, level, key, *, shares=(0.25, 0.5, 0.75), phrase
):
  """The first characters of the solution, a larger share at each level.

  Source: GHPO, arXiv 2507.10628, and its code.
  """
  del tools, key
  given = [record['solution'] for record in tries.records]
  return [
    phrased(
      phrase, record['prompt'], hint=text[: round(shares[level] * len(text))]
    )
    for record, text in zip(tries.records, given)
  ]


def tier(tools, tries, level, key, *, phrase):
  """The hint of each level, the last one where there are no more.

  Source: Scaf-GRPO, arXiv 2510.19807.
  """
  del tools, key
  hints = [record['hints'] for record in tries.records]
  return [
    phrased(phrase, record['prompt'], hint=each[min(level, len(each) - 1)])
    for record, each in zip(tries.records, hints)
  ]


def of_the_policy(tools, tries, level, key, *, ask, phrase):
  """What the policy says when it is asked for a hint, knowing the solution.

  A request that is over the budget of prompts gives no hint.

  Args:
    ask: the phrase of the request, with {solution}, and {level} from 1.

  Source: SAGE, arXiv 2602.03143, and its code.
  """
  asked = [
    phrased(ask, r['prompt'], solution=r['solution'], level=str(level + 1))
    for r in tries.records
  ]
  plain = [record['prompt'] for record in tries.records]
  prompts, fits = fitting(tools, tries.tasks, asked, plain)
  said = tools.decode(tools.generate(prompts, key, 1))
  hints = [hint if fit else '' for hint, fit in zip(said, fits)]
  return [phrased(phrase, p, hint=hint) for p, hint in zip(plain, hints)]


def best_draft(tools, tries, level, key, *, phrase):
  """What earned most of all that was said, the first of several.

  Source: iGRPO, arXiv 2602.09000, equation 2.
  """
  del tools, level, key
  return [
    phrased(phrase, record['prompt'], draft=texts[int(rewards.argmax())])
    for record, texts, rewards in zip(
      tries.records, tries.texts, tries.rewards, strict=True
    )
  ]


def critique(tools, tries, level, key, *, phrase, right, wrong):
  """Each response and whether it is right: a prompt for each of them.

  Args:
    phrase: with {response} and {critique}.
    right, wrong: critiques; in the second {answer} is the reference.

  Source: Critique-GRPO, arXiv 2506.03106, its critiques simple and simple-gt.
  """
  del tools, level, key

  def said(record, text, reward):
    told = wrong.replace('{answer}', str(record.get('answer')))
    verdict = right if reward > 0 else told
    return phrased(phrase, record['prompt'], response=text, critique=verdict)

  return [
    said(record, text, reward)
    for record, texts, rewards in zip(
      tries.records, tries.texts, tries.rewards, strict=True
    )
    for text, reward in zip(texts, rewards)
  ]
