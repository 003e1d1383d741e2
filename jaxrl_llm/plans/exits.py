"""Thoughts that are broken off to answer, after more and more of their tokens.

What is put behind a thought, such as its end, was not decided by the policy.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_llm.plans import arranged, given, prefixes, spans
from jaxrl_llm.plans.base import Contract, Plan

SAID = 'Time is limited, stop thinking and start answering.\n</think>\n\n'


def ended(tools, rollouts, end: str):
  """How long the thoughts of responses are, without and with what ends them.

  Args:
    end: the text that ends a thought. Without it all is thought, up to the
      token that ended the response.

  Returns:
    i32[N] each, in tokens.
  """
  length = np.asarray(rollouts.length)
  # Where the budget did not end it, the last token is no thought.
  thought = length - ~np.asarray(rollouts.truncated) * (length > 0)
  whole = length.copy()
  for row, pieces in enumerate(tools.pieces(rollouts)):
    place = ''.join(pieces).find(end)
    if place >= 0:
      _, thought[row] = spans.inside(pieces, 0, place)
      _, last = spans.inside(pieces, 0, place + len(end) - 1)
      whole[row] = last + 1
  return jnp.asarray(thought), jnp.asarray(whole)


def answered(tools, rows, cut, said, key, *, samples=1):
  """Rows cut, then some tokens, then what the policy writes behind them.

  Args:
    rows: N of T columns. cut: i32[N], of which `samples` adjacent ones have
      the same, and the same tokens before it. said: tokens, given.
    samples: answers to each prefix.

  Returns:
    N rows of T columns.
  """
  rows = prefixes.joined(rows, cut, given.written(rows, [said] * len(cut)))
  start = jnp.minimum(cut + len(said), tools.columns)
  return prefixes.continued(tools, rows, start, key, samples=samples)


@dataclasses.dataclass(frozen=True)
class Exits(Plan):
  """A group is one response, and answers from early exits of its thought.

  The exits are uniform among the tokens of the thought, in their order. The
  extra `exit` i32[N] is the place of a row among them, that of the whole
  response the last. What is shared of the thought is an action in every row.

  Attributes:
    samples: rows of a group, the whole response included.
    said: the text at an exit. end: that ends a thought.

  Raises:
    ValueError: no exit.

  Source: S-GRPO, arXiv 2505.07686, section 3.2.
  """

  samples: int = 9
  said: str = SAID
  end: str = '</think>'

  def __post_init__(self):
    if self.samples < 2:
      raise ValueError(
        f'samples = {self.samples} leave no exit beside the whole response; '
        'use at least 2'
      )

  @property
  def contract(self):
    return Contract(
      self.samples, provides={'exit'}, may_lag=True, written=(self.said,)
    )

  def collect(self, tools, prompts, state, key):
    first, where, again = jax.random.split(key, 3)
    whole = tools.generate(prompts, first, 1)
    [said] = tools.encode([self.said])
    # An answer needs a token at least.
    room = tools.columns - len(said) - 1
    most = jnp.minimum(ended(tools, whole, self.end)[0], room)
    count, most = most.shape[0], most[:, None]
    drawn = jax.random.uniform(where, (count, self.samples - 1))
    cut = jnp.minimum((drawn * most).astype(jnp.int32) + 1, most)
    cut = jnp.sort(cut, axis=1).reshape(-1)
    early = arranged.repeated(whole, self.samples - 1)
    early = answered(tools, early, cut, said, again)
    rollouts = arranged.together(count, early, whole)
    place = jnp.arange(rollouts.valid.shape[0], dtype=jnp.int32) % self.samples
    tools.note('plan/exit', float(jnp.mean(cut)))
    return *tools.verify(rollouts.with_extras(exit=place)), state
