"""What the policy itself would say, once it is shown an answer."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

from jaxrl_llm import digests
from jaxrl_llm.digests import OF_CANDIDATES, Digest
from jaxrl_llm.notes.base import Stateless
from jaxrl_llm.plans import demonstrations
from jaxrl_llm.plans.base import Check
from jaxrl_llm.plans.phrases import fitting, phrased


def of_group(tools, rollouts, scores, *, correct=1.0):
  """Texts [N]: the first response of a row's group, but itself, that is right.

  '' where there is none.

  Args:
    correct: least reward of a right one.

  Source: SDPO, arXiv 2601.20802; TRL's `SDPOTrainer`.
  """
  texts = tools.decode(rollouts)
  group = np.asarray(rollouts.group)
  right = np.asarray(rollouts.valid) & (np.asarray(scores.total) >= correct)
  found = []
  rows = np.arange(len(group))
  for row, own in enumerate(group):
    others = np.flatnonzero((group == own) & right & (rows != row))
    found.append(texts[others[0]] if len(others) else '')
  return found


def demonstrated(tools, rollouts, scores):
  """Texts [N]: the demonstration of each row's question.

  Source: SDFT, arXiv 2601.19897; TRL's `SDFTTrainer`.
  """
  del scores
  records = tools.rows(rollouts.task)
  return [demonstrations.shown_in(record) for record in records]


@dataclasses.dataclass(frozen=True)
class SelfTaught(Stateless):
  """`candidates` i32[N, T, S] and `teacher_candidates` f32[N, T, S].

  The tokens that the policy finds most likely after each prefix of a response,
  and their log-probs under the recipe's reference, whose prompt also holds a
  text. Rows without one, or with one that is too long, have no candidates.

  Attributes:
    shown: f(tools, rollouts, scores) -> texts [N], '' for none.
    size: S. phrase: where the {prompt} and the {text} go. checks: of records.

  Raises:
    ValueError: less than one candidate.
  """

  shown: Callable
  size: int = 100
  phrase: str = '{prompt} {text}'
  checks: tuple[Check, ...] = ()
  provides = frozenset({'candidates', 'teacher_candidates'})
  refers = True

  def __post_init__(self):
    if self.size < 1:
      raise ValueError(f'{self.size} candidates say nothing; use at least 1')

  def write(self, tools, rollouts, scores, state):
    texts = self.shown(tools, rollouts, scores)
    plain = [record['prompt'] for record in tools.rows(rollouts.task)]
    asked = [
      phrased(self.phrase, prompt, text=text) if text else prompt
      for prompt, text in zip(plain, texts)
    ]
    prompts, fits = fitting(tools, rollouts.task, asked, plain)
    told = jnp.asarray(fits & np.array([text != '' for text in texts]))
    tools.note('plan/taught', float(jnp.mean(told)))
    digest = Digest(digests.highest, size=self.size)
    found = tools.score(rollouts, digest).said(digest)
    named = found[..., self.size :].astype(jnp.int32)
    named = jnp.where(told[:, None, None], named, -1)
    content = rollouts.content.replace(
      prompt=prompts.tokens, prompt_mask=prompts.mask
    )
    rows = rollouts.replace(content=content).with_extras(candidates=named)
    said = tools.referred(rows, OF_CANDIDATES).said(OF_CANDIDATES)
    return {'candidates': named, 'teacher_candidates': said}, state
