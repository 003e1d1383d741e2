"""What a question is asked with again: what was said to it, and critiques.

They are called as `hints` are.
"""

from __future__ import annotations

import numpy as np

from jaxrl_llm.plans.phrases import answered, phrased


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
    reasons = answered(tools, tasks, asked, plain, key)
    said = [old if new is None else new for new, old in zip(reasons, said)]
  return [
    phrased(phrase, prompt, response=text, critique=words)
    for prompt, text, words in zip(plain, responses, said)
  ]


def _verdict(record, reward, right, wrong) -> str:
  told = wrong.replace('{answer}', str(record.get('answer')))
  return right if reward > 0 else told
