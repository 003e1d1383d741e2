"""Questions in other words, and whether there is room for them.

A `phrase` says where things go: '{hint} {prompt}' is the hint, a space and the
question. Of a conversation it rewrites the last message.
"""

from __future__ import annotations

import re

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


def answered(tools, tasks, texts, plain, key):
  """What the policy says to other texts; None to one over the budget.

  Args:
    tasks, texts, plain: as of `fitting`.
  """
  prompts, fits = fitting(tools, tasks, texts, plain)
  said = tools.decode(tools.generate(prompts, key, 1))
  return [words if fit else None for words, fit in zip(said, fits)]


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
