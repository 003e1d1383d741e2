"""A plan whose responses are words for another model, which answers.

The other model is the first policy of `teacher.paths`; it stays as it is.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from jaxrl_llm.plans import phrases
from jaxrl_llm.plans.base import Contract, Plan


@dataclasses.dataclass(frozen=True)
class Stimuli(Plan):
  """Groups of stimuli z, each judged by the answer of a frozen model.

      z ~ policy(. | x),   y ~ frozen(. | phrase(x, z)),   reward(y)

  One answer to each stimulus. A row does not count where question and stimulus
  are over the budget of prompts.

  Attributes:
    phrase: what the frozen model is asked, with {prompt} and {stimulus}.
    samples: stimuli to a prompt.

  Source: Directional Stimulus Prompting, arXiv 2302.11520, section 2.
  """

  phrase: str
  samples: int = 1

  @property
  def contract(self):
    return Contract(self.samples, asks={'teacher'}, rewords=True)

  def collect(self, tools, prompts, state, key):
    own, other = jax.random.split(key)
    rollouts = tools.generate(prompts, own, self.samples)
    records, said = tools.rows(rollouts.task), tools.decode(rollouts)
    plain = [record['prompt'] for record in records]
    texts = [
      phrases.phrased(self.phrase, prompt, stimulus=text)
      for prompt, text in zip(plain, said, strict=True)
    ]
    asked, fits = phrases.fitting(tools, rollouts.task, texts, plain)
    answers = tools.rival(asked, other, 1)
    rollouts = rollouts.replace(valid=rollouts.valid & jnp.asarray(fits))
    tools.note('plan/too_long', int((~fits).sum()))
    return *tools.verify(rollouts, tools.decode(answers)), state
