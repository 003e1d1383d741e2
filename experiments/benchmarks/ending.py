"""Ends the responses of `transformers` where their first token says."""

from __future__ import annotations

import torch
import transformers

from experiments.benchmarks import cases


class Ending(transformers.LogitsProcessor):
  """Forces the end token at each row's length, and forbids it elsewhere.

  Args:
    model: whose vocabulary the tokens are of. shape: with the lengths.
    end: the token.
  """

  def __init__(self, model: cases.Model, shape: cases.Shape, end: int):
    self._lengths = torch.tensor(shape.lengths(model.vocab))
    self._prompt, self._end = shape.prompt, end

  def __call__(self, input_ids, scores):
    drawn = input_ids.shape[1] - self._prompt
    scores = scores.clone()
    scores[:, self._end] = -torch.inf
    if drawn:
      last = self._lengths[input_ids[:, self._prompt]] == drawn + 1
      scores[last] = -torch.inf
      scores[last, self._end] = 0.0
    return scores
