"""A plan whose responses are words for another model, which answers.

The other model is the first policy of `teacher.paths`; it stays as it is.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from jaxrl_llm.plans import arranged, masked, phrases
from jaxrl_llm.plans.base import Contract, Plan


@dataclasses.dataclass(frozen=True)
class Stimuli(Plan):
  """Groups of stimuli z, each judged by the answer of a frozen model.

      z ~ policy(. | x),   y_k ~ frozen(. | phrase(x, z)),   mean_k reward(y_k)

  A row does not count where question and stimulus are over the budget of
  prompts, or where the verifier failed on one of the answers.

  Attributes:
    phrase: what the frozen model is asked, with {prompt} and {stimulus}.
    samples: stimuli to a prompt. answers: K, to each stimulus.
    share, least: of the tokens that are drawn from, as of `masked.Masked`; a
      share of 1 draws from all.

  Raises:
    ValueError: as `masked.Masked` does.

  Source: Directional Stimulus Prompting, arXiv 2302.11520, section 2, and its
    code.
  """

  phrase: str
  samples: int = 1
  answers: int = 4
  share: float = 1.0
  least: int = 100

  def __post_init__(self):
    masked.Masked(self.samples, self.share, self.least)

  @property
  def contract(self):
    return Contract(
      self.samples,
      asks={'teacher'},
      rewords=True,
      provides={'support'} if self.share < 1 else frozenset(),
      refers=self.share < 1,
    )

  def collect(self, tools, prompts, state, key):
    own, other = jax.random.split(key)
    rollouts = self._written(tools, prompts, own)
    records, said = tools.rows(rollouts.task), tools.decode(rollouts)
    plain = [record['prompt'] for record in records]
    texts = [
      phrases.phrased(self.phrase, prompt, stimulus=text)
      for prompt, text in zip(plain, said, strict=True)
    ]
    asked, fits = phrases.fitting(tools, rollouts.task, texts, plain)
    said = tools.decode(tools.rival(asked, other, self.answers))
    rollouts = rollouts.replace(valid=rollouts.valid & jnp.asarray(fits))
    tools.note('plan/too_long', int((~fits).sum()))
    every = arranged.repeated(rollouts, self.answers)
    every, scores = tools.verify(every, said)
    each = scores.components.reshape(len(fits), self.answers, -1)
    valid = every.valid.reshape(len(fits), self.answers).all(axis=1)
    mean = jnp.where(valid[:, None], each.mean(axis=1), 0.0)
    rollouts = rollouts.replace(valid=valid)
    return rollouts, scores.replace(components=mean), state

  def _written(self, tools, prompts, key):
    if self.share == 1:
      return tools.generate(prompts, key, self.samples)
    return tools.masked(
      prompts, key, self.samples, share=self.share, least=self.least
    )
