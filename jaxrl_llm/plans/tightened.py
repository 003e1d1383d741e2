"""A budget of tokens that becomes less as training goes on."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp

from jaxrl_llm.plans.base import Contract, Plan


@dataclasses.dataclass(frozen=True)
class Tightened(Plan):
  """Independent responses that are allowed fewer and fewer tokens.

      b = max(1, start decay^floor(t / every))

  in iteration t, from 0. The extra `budget` f32[N] is b; it ends no response.

  Attributes:
    samples: rows of a group. start: tokens. decay: in (0, 1].
    every: iterations of one budget.
    sentence: put behind every prompt, with b for {budget}; '' tells nobody.

  Raises:
    ValueError: a number that is out of its range, or a sentence without
      {budget}.

  Source: Train Long, Think Short, arXiv 2508.08940, equation 1.
  """

  samples: int = 8
  start: float = 256.0
  decay: float = 0.7
  every: int = 100
  sentence: str = ''

  def __post_init__(self):
    if not (self.start >= 1 and 0 < self.decay <= 1 and self.every >= 1):
      raise ValueError(
        f'a budget of {self.start:g} tokens, times {self.decay:g} every '
        f'{self.every} iterations, does not tighten; use at least 1 token and '
        '1 iteration, and a decay in (0, 1]'
      )
    if self.sentence and '{budget}' not in self.sentence:
      raise ValueError(
        f'the sentence {self.sentence!r} does not tell the budget; write '
        '{budget} where it stands, or leave the sentence empty'
      )

  @property
  def contract(self):
    return Contract(
      self.samples,
      provides={'budget'},
      may_lag=True,
      rewords=bool(self.sentence),
    )

  def init(self, spec):
    del spec
    return jnp.int32(0)

  def collect(self, tools, prompts, state, key):
    budget = max(1.0, self.start * self.decay ** (int(state) // self.every))
    if self.sentence:
      said = self.sentence.replace('{budget}', str(round(budget)))
      asked = [row['prompt'] for row in tools.rows(prompts.task)]
      texts = [with_sentence(prompt, said) for prompt in asked]
      prompts = tools.prompts(prompts.task, texts)
    rollouts = tools.generate(prompts, key, self.samples)
    allowed = jnp.full(rollouts.valid.shape, budget, jnp.float32)
    tools.note('plan/budget', budget)
    return *tools.verify(rollouts.with_extras(budget=allowed)), state + 1


def with_sentence(prompt: Any, sentence: str) -> Any:
  """A prompt, text or messages, whose last words are the sentence."""
  if isinstance(prompt, str):
    return prompt + sentence
  *before, last = prompt
  said, part = last['content'], {'type': 'text', 'text': sentence}
  more = said + sentence if isinstance(said, str) else [*said, part]
  return [*before, {**last, 'content': more}]
