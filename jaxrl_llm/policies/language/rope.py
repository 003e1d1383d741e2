"""Rotations of queries and keys, and how they stretch to longer contexts."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

KINDS = ('default', 'linear', 'llama3', 'yarn', 'longrope', 'proportional')


@dataclasses.dataclass(frozen=True)
class Rope:
  """How fast each pair of head dimensions turns with the position.

  Attributes:
    theta: base wavelength; pair i of r / 2 turns by theta^(-2i/r) a token.
    kind: one of `KINDS`.
    factor: how many times longer than trained contexts may be; 'linear',
      'llama3', 'yarn' and 'proportional'.
    length: tokens of a context before extension; 'llama3' and 'yarn'.
      'longrope': and of any context here, since its frequencies are others
      for all tokens of a longer one.
    low: 'llama3': wavelengths above length / low are stretched by `factor`.
      'yarn': pairs that turn fewer than `low` times in `length` are.
    high: 'llama3': wavelengths below length / high are kept. 'yarn': pairs
      that turn more than `high` times are.
    amplitude: multiplies cosine and sine ('yarn' and 'longrope': the attention
      factor).
    truncate: 'yarn': round the bounds of the ramp to whole pairs.
    factors: 'longrope': how many times slower each pair is.
    share: of the h dimensions of a head that turn, the first r. Of
      'proportional', whose r is h, of the pairs, the first ones.
    interleaved: pairs are (2i, 2i + 1), not (i, i + r / 2).
  """

  theta: float = 10_000.0
  kind: str = 'default'
  factor: float = 1.0
  length: int = 0
  low: float = 1.0
  high: float = 1.0
  amplitude: float = 1.0
  truncate: bool = True
  factors: tuple[float, ...] = ()
  share: float = 1.0
  interleaved: bool = False

  @property
  def turned(self) -> float:
    """r / h, of which cosines and sines are made."""
    return 1.0 if self.kind == 'proportional' else self.share

  def check(self, columns: int) -> None:
    """Refuses contexts whose frequencies would be others.

    Raises:
      ValueError: 'longrope' and more than `length` columns.
    """
    if self.kind == 'longrope' and columns > self.length:
      raise ValueError(
        f'{columns} columns of prompt and response; longrope rotates otherwise '
        f'beyond {self.length} tokens, which is not supported: use fewer.'
      )

  def frequencies(self, head_dim: int) -> np.ndarray:
    """Radians per token of each pair of dimensions.

    Args:
      head_dim: h, even.

    Returns:
      f32[r / 2].

    Source: RoFormer, arXiv 2104.09864, section 3.2.2; 'linear' arXiv
    2306.15595; 'yarn' arXiv 2309.00071, section 3.2; 'llama3' arXiv
    2407.21783 and the released model code; 'longrope' arXiv 2402.13753.
    """
    head_dim = int(head_dim * self.turned)
    # float32 throughout, in the order of the reference implementation: at
    # position 10,000 an ulp of the frequency is 1e-3 radians.
    exponents = np.arange(0, head_dim, 2, dtype=np.float32) / head_dim
    frequencies = 1.0 / np.float32(self.theta) ** exponents
    if self.kind == 'linear':
      frequencies = frequencies / self.factor
    elif self.kind == 'proportional':
      turning = np.arange(head_dim // 2) < int(self.share * head_dim // 2)
      frequencies = np.where(turning, frequencies / self.factor, 0.0)
    elif self.kind == 'llama3':
      turns = self.length * frequencies / (2 * math.pi)
      kept = np.clip((turns - self.low) / (self.high - self.low), 0.0, 1.0)
      frequencies = frequencies * (kept + (1.0 - kept) / self.factor)
    elif self.kind == 'longrope':
      stretched = np.array(self.factors, np.float32)
      frequencies = 1.0 / (stretched * np.float32(self.theta) ** exponents)
    elif self.kind == 'yarn':
      kept = self._yarn_kept(head_dim)
      frequencies = frequencies * (kept + (1.0 - kept) / self.factor)
    return frequencies.astype(np.float32)

  def _yarn_kept(self, head_dim: int) -> np.ndarray:
    """f64[h / 2]: 1 where a pair keeps its frequency, 0 where stretched."""

    def pair(turns):  # the pair, as a real number, that turns so many times
      ratio = math.log(self.length / (turns * 2 * math.pi))
      return head_dim * ratio / (2 * math.log(self.theta))

    first, last = pair(self.high), pair(self.low)
    if self.truncate:
      first, last = math.floor(first), math.ceil(last)
    # The published code clips to h - 1, not to h / 2 - 1.
    first, last = max(first, 0), min(last, head_dim - 1)
    width = last - first or 1e-3
    return 1.0 - np.clip((np.arange(head_dim // 2) - first) / width, 0.0, 1.0)
