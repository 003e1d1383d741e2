"""What a question is asked with again: hints, drafts, critiques.

    f(tools, tries, level, key, *, ...) -> prompts

M of them for each of R groups, texts or messages, those of a group adjacent.
What a `phrase` is, `plans.phrases` says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxrl_llm.plans.phrases import fitting, phrased


class Tries(NamedTuple):
  """Groups that are asked again: R of them, G rows each.

  Attributes:
    tasks: i32[R]. records: [R], what the data says of them.
    texts: [R][G], what was said. rewards: f64[R, G], 0 where none counts.
  """

  tasks: np.ndarray
  records: Sequence[Mapping[str, Any]]
  texts: Sequence[Sequence[str]]
  rewards: np.ndarray


def share_of_solution(
  tools, tries, level, key, *, shares=(0.25, 0.5, 0.75), phrase
):
  """The first characters of the solution, a larger share at each level.

  Source: GHPO, arXiv 2507.10628, and its code.
  """
  del tools, key
  given = [record['solution'] for record in tries.records]
  return [
    phrased(
      phrase, record['prompt'], hint=text[: round(shares[level] * len(text))]
    )
    for record, text in zip(tries.records, given)
  ]


def tier(tools, tries, level, key, *, phrase):
  """The hint of each level, the last one where there are no more.

  Source: Scaf-GRPO, arXiv 2510.19807.
  """
  del tools, key
  hints = [record['hints'] for record in tries.records]
  return [
    phrased(phrase, record['prompt'], hint=each[min(level, len(each) - 1)])
    for record, each in zip(tries.records, hints)
  ]


def of_the_policy(tools, tries, level, key, *, ask, phrase):
  """What the policy says when it is asked for a hint, knowing the solution.

  A request that is over the budget of prompts gives no hint.

  Args:
    level: of all, or of each.
    ask: the phrase of the request, with {solution}, and {level} from 1.

  Source: SAGE, arXiv 2602.03143, and its code.
  """
  levels = np.broadcast_to(level, len(tries.records)) + 1
  asked = [
    phrased(ask, r['prompt'], solution=r['solution'], level=str(each))
    for r, each in zip(tries.records, levels)
  ]
  plain = [record['prompt'] for record in tries.records]
  prompts, fits = fitting(tools, tries.tasks, asked, plain)
  said = tools.decode(tools.generate(prompts, key, 1))
  hints = [hint if fit else '' for hint, fit in zip(said, fits)]
  return [phrased(phrase, p, hint=hint) for p, hint in zip(plain, hints)]


def best_draft(tools, tries, level, key, *, phrase):
  """What earned most of all that was said, the first of several.

  Source: iGRPO, arXiv 2602.09000, equation 2.
  """
  del tools, level, key
  return [
    phrased(phrase, record['prompt'], draft=texts[int(rewards.argmax())])
    for record, texts, rewards in zip(
      tries.records, tries.texts, tries.rewards, strict=True
    )
  ]


def critique(tools, tries, level, key, *, phrase, right, wrong, ask=''):
  """Each response and what is wrong with it: a prompt for each of them.

  Args:
    phrase: with {response} and {critique}.
    right, wrong: verdicts; in the second {answer} is the reference.
    ask: '': the verdict is the critique; else the phrase of a request, with
      {response} and {verdict}, at which the policy reasons one out. A request
      that is over the budget of prompts gives the verdict.

  Source: Critique-GRPO, arXiv 2506.03106, and its code: critiques simple,
    simple-gt, and with a chain of thought, of itself.
  """
  del level
  each = [
    (record['prompt'], text, _verdict(record, reward, right, wrong))
    for record, texts, rewards in zip(
      tries.records, tries.texts, tries.rewards, strict=True
    )
    for text, reward in zip(texts, rewards)
  ]
  plain, responses, said = map(list, zip(*each))
  if ask:
    asked = [phrased(ask, p, response=r, verdict=v) for p, r, v in each]
    tasks = np.repeat(tries.tasks, len(each) // len(tries.tasks))
    prompts, fits = fitting(tools, tasks, asked, plain)
    reasons = tools.decode(tools.generate(prompts, key, 1))
    said = [new if fit else v for new, v, fit in zip(reasons, said, fits)]
  return [
    phrased(phrase, prompt, response=text, critique=words)
    for prompt, text, words in zip(plain, responses, said)
  ]


def _verdict(record, reward, right, wrong) -> str:
  told = wrong.replace('{answer}', str(record.get('answer')))
  return right if reward > 0 else told
