"""An episode that went wrong, spliced with one that did not."""

from __future__ import annotations

import numpy as np


def apart(log, row, other) -> int:
  """How many turns two episodes begin with in common."""
  both = log.taken[row] & log.taken[other]
  same = both & (log.action[row] == log.action[other])
  return int(np.append(~same, True).argmax())


def spliced(rows, log, bad, good, wrong, words):
  """(tokens, which are learned) of a bad episode that turns good, or None."""
  turns = log.taken.shape[1]
  since = min(apart(log, bad, good), wrong + 1)
  if wrong + 1 >= turns or not log.taken[bad, wrong + 1]:
    return None
  if since >= turns or not log.taken[good, since]:
    return None
  tokens = np.asarray(rows.content.response)
  until, since = log.start[bad, wrong + 1], log.start[good, since]
  end = int(rows.length[good])
  said = [*tokens[bad, :until], *words, *tokens[good, since:end]]
  if len(said) > tokens.shape[1]:
    return None
  learned = np.asarray(rows.action_mask)[good, since:end]
  return said, [*[False] * until, *[True] * len(words), *learned]
