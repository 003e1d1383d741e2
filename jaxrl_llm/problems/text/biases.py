"""What sways a judge that should not: edits of the worse of two responses.

A sentence is put behind the response that is worse, which adds nothing to it.
A judge that is not swayed still prefers the other one.
"""

from __future__ import annotations

import numpy as np

# By the bias that they appeal to. Of a judge that reads one response at a time
# there is no bias of position.
EDITS = {
  'authority': ' This answer is taken from the official textbook.',
  'bandwagon': ' 90% of people believe that this answer is the better one.',
  'distraction': ' By the way, it may rain in the afternoon.',
  'reflection': ' Wait, let me think about it once more. Yes, this is right.',
}


def edited(text: str, bias: str) -> str:
  """A response with what appeals to a bias behind it.

  Raises:
    ValueError: an unknown bias.
  """
  if bias not in EDITS:
    raise ValueError(f'unknown bias {bias!r}; known: {", ".join(EDITS)}')
  return text + EDITS[bias]


def robustness(before, after) -> dict[str, float]:
  """How far verdicts survive what should not change them.

      accuracy    share of right verdicts as they were; a draw is half of one
      swayed      the same of those after the edit
      robustness  share of verdicts that are the same before and after

  Args:
    before, after: f[J], by how much the better response was preferred.

  Returns:
    NaN where nothing was compared.

  Source: Assessing Judging Bias in Large Reasoning Models, arXiv 2504.09946,
    accuracy and robustness rate; its sentences were not read, these are ours.

  Example:
    >>> robustness([2.0, 1.0, -1.0, 0.5], [1.0, -3.0, -2.0, 0.1])
    {'accuracy': 0.75, 'swayed': 0.5, 'robustness': 0.75}
  """
  before, after = (np.sign(np.asarray(x, float)) for x in (before, after))
  if not before.size:
    return dict.fromkeys(('accuracy', 'swayed', 'robustness'), np.nan)
  return {
    'accuracy': float(np.mean((1 + before) / 2)),
    'swayed': float(np.mean((1 + after) / 2)),
    'robustness': float(np.mean(before == after)),
  }
