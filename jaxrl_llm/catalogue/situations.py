"""Which recipe to begin with: the table of docs/choosing.md, and its answers.

A situation is what somebody has and what they want of it. Each has one recipe,
the plainest whose reasons are well understood.
"""

from __future__ import annotations

import pathlib
from collections.abc import Collection
from typing import NamedTuple

from jaxrl_llm.spelling import suggestion

PAGE = pathlib.Path('docs') / 'choosing.md'
HAVE = {
  'verifier': 'questions, and a program that scores answers',
  'pairs': 'recorded pairs of a better and a worse answer',
  'labels': 'recorded answers, each good or bad',
  'lists': 'recorded lists of answers with scores or ranks',
  'judge': 'somebody who compares answers of the policy as it learns',
  'demonstrations': 'recorded answers to imitate',
  'teacher': 'a better model',
  'environment': 'an environment with tools, or turns',
  'documents': 'texts that answers are found in, and no questions',
}
WANT = {
  'reuse': 'several optimizer steps on the same rows',
  'hard': 'to learn from questions that nearly no answer gets right',
  'mixed': 'to learn from questions of very different difficulty',
  'variety': 'a policy that does not become too sure too early',
  'short': 'shorter thoughts',
  'steps': 'credit for steps on the way',
  'single': 'one answer to a question',
  'several': 'several rewards at once',
  'robust': 'to trust labels that may be wrong',
  'light': 'no second model in memory',
  'reward_model': 'a model of what is preferred',
}


class Situation(NamedTuple):
  """A row of the table.

  Attributes:
    have, want: words of `HAVE` and `WANT`; nothing wanted is the plain case.
    told: both in words. recipe: to begin with. why: its reason.
    others: to look at next, with what they add.
  """

  have: tuple[str, ...]
  want: tuple[str, ...]
  told: str
  recipe: str
  why: str
  others: str = ''


TABLE = (
  Situation(
    ('verifier',),
    (),
    'a verifier, and questions of which some of 8 answers are right',
    'grpo',
    'answers to one question are compared with each other, so no critic is '
    'trained',
    '`dr_grpo`, without division by spread and length; `dapo`, which draws '
    'again where all answers are alike; `rloo`, without a clip',
  ),
  Situation(
    ('verifier',),
    ('reuse',),
    'a verifier, and rows that are several optimizer steps old',
    'cispo',
    'a bounded weight, with which no token loses its gradient, however far the '
    'policy has moved',
    '`gspo`, whose ratio is of the whole response; `sampler_truncated`, where '
    'sampler and learner differ',
  ),
  Situation(
    ('verifier',),
    ('hard',),
    'a verifier, and questions that nearly no answer gets right',
    'ghpo',
    'a group without a success teaches nothing; here it is asked again with a '
    'part of the solution',
    '`scaf_grpo` and `sage`, other hints; `arpo_replay`, an earlier success',
  ),
  Situation(
    ('verifier',),
    ('mixed',),
    'a verifier, and questions of very different difficulty',
    'knapsack',
    'more answers are drawn where they are likely to differ, within one budget',
    '`sec`, which draws domains',
  ),
  Situation(
    ('verifier',),
    ('variety',),
    'a policy that becomes too sure too early',
    'clip_cov',
    'the few tokens that take most of the entropy are left out',
    '`kl_cov`; `target_entropy`; `unlikeliness`',
  ),
  Situation(
    ('verifier',),
    ('short',),
    'thoughts that are too long',
    's_grpo',
    'a thought is cut at several places, and the first right answer is paid '
    'most',
    '`thinkless` and `hbpo`, which learn when to think, and how long',
  ),
  Situation(
    ('verifier',),
    ('steps',),
    'rewards on the way',
    'ppo',
    'a critic tells which part of an answer earned what',
    '`spo_chain`, which samples what would have come of each part',
  ),
  Situation(
    ('verifier',),
    ('single',),
    'one answer to a question',
    'reinforce_plus_plus',
    'the batch is the baseline: it needs neither a second answer nor a critic',
    '`remax`, a greedy answer; `ppo`, a critic; `single_stream`, a value kept '
    'for each question',
  ),
  Situation(
    ('verifier',),
    ('several',),
    'several rewards at once',
    'gdpo',
    'each is normalised by itself, so that none drowns the others',
    '`maxmin_rlhf`, where they are of several people',
  ),
  Situation(
    ('pairs',),
    (),
    'recorded pairs',
    'dpo',
    'a likelihood of the pairs, with nothing sampled and no reward model',
    '`mpo`, which imitates as well; `online_ipo`, with a judge',
  ),
  Situation(
    ('pairs',),
    ('robust',),
    'recorded pairs whose labels may be wrong',
    'cdpo',
    'its loss is bounded below, so that a wrong label cannot pull for ever',
    '`rdpo`, where you know how often; `ipo`, which asks for a margin and no '
    'more',
  ),
  Situation(
    ('pairs',),
    ('light',),
    'recorded pairs, and memory for one model',
    'simpo',
    'log-probs a token, compared without a reference',
    '`orpo`, which imitates as well',
  ),
  Situation(
    ('pairs',),
    ('reward_model',),
    'recorded pairs, and the wish for a reward model',
    'reward_model',
    "Bradley and Terry's likelihood; `experiments.rate` says how good it is",
    '`polar`, which reads a reference',
  ),
  Situation(
    ('labels',),
    (),
    'recorded answers, each good or bad',
    'kto',
    'it needs no partner for an answer, and goes with more of one kind than of '
    'the other',
    '`bco`',
  ),
  Situation(
    ('labels',),
    ('reward_model',),
    'answers that are good or bad, and the wish for a reward model',
    'unary_reward_model',
    'the log-odds that an answer alone is liked',
  ),
  Situation(
    ('lists',),
    (),
    'recorded lists with scores or ranks',
    'lipo',
    'a pair counts by what swapping it does to the ranking',
    '`lipo_mle`, the likelihood of the whole ranking',
  ),
  Situation(
    ('judge',),
    (),
    'a judge who compares answers of the policy as it learns',
    'online_ipo',
    'both sides are sampled from the policy that learns, so nothing is stale',
    '`iterative_dpo`; `nash_md` and `nash_mp`, where preferences go round in a '
    'circle',
  ),
  Situation(
    ('demonstrations',),
    (),
    'demonstrations',
    'sft',
    'the likelihood of what was shown; begin anything else from it',
    '`dft`, which trusts tokens more that the policy finds likely',
  ),
  Situation(
    ('verifier', 'demonstrations'),
    (),
    'demonstrations, and a verifier',
    'hpt',
    'it imitates where the policy fails, and reinforces where it succeeds',
    "`best_of_n_imitation`, of the policy's own",
  ),
  Situation(
    ('teacher',),
    (),
    'a better model',
    'gkd',
    "it is followed on the policy's own answers and on demonstrations; without "
    'those, with recipe.share=1',
    '`minillm`, which counts what it says of later tokens as well; a verifier '
    'only measures',
  ),
  Situation(
    ('verifier', 'teacher'),
    (),
    'a better model, and a verifier',
    'kdrl',
    "the teacher is followed on the policy's own answers, while rewards count",
    '`ppo_plus_plus`, which goes on from what the teacher began',
  ),
  Situation(
    ('environment',),
    (),
    'an environment with tools',
    'flow_grpo_agent',
    'the outcome of an episode counts for every turn; nothing is estimated',
    '`arpo`, which parts where the policy is unsure; `epo`, where some turns '
    'are known to be key',
  ),
  Situation(
    ('environment',),
    ('steps',),
    'an environment with tools, and episodes of many turns',
    'gigpo',
    'turns from one state are compared, which needs no critic',
    '`poad` and `step_grpo`, where turns are paid',
  ),
  Situation(
    ('documents',),
    (),
    'documents, and no questions',
    'dr_zero',
    'a proposer asks what a solver learns to answer, two models or one',
  ),
)


def fitting(have: Collection[str], want: Collection[str] = ()):
  """The situations that somebody is in, most of what there is used first.

  Args:
    have: words of `HAVE`, at least one. want: words of `WANT`; each situation
      that answers one of them, or without any those that want nothing.

  Raises:
    KeyError: an unknown word, or nothing fits; the message names what would.

  Example:
    >>> [found.recipe for found in fitting(['verifier'], ['hard', 'short'])]
    ['ghpo', 's_grpo']
  """
  for words, known in (have, HAVE), (want, WANT):
    for word in words:
      if word not in known:
        raise KeyError(f'unknown {word!r}. {suggestion(word, known)}')
  if not have:
    raise KeyError(f'say what you have, --have={",".join(HAVE)}')

  found = [r for r in _wanted(want) if set(r.have) <= set(have)]
  if not found:
    raise KeyError(unanswered(have, want))
  return sorted(found, key=lambda row: -len(row.have))


def unanswered(have: Collection[str], want: Collection[str]) -> str:
  """What is said where nothing fits: what would."""
  rows = _wanted(want)
  near = [r for r in rows if set(r.have) & set(have)] or rows
  told = '; '.join(f'{",".join(r.have)}: {r.recipe}' for r in near)
  return f'nothing begins with that alone. There is {told}'


def _wanted(want: Collection[str]) -> list[Situation]:
  """Rows that answer a word, or without any those that want nothing."""
  if not want:
    return [row for row in TABLE if not row.want]
  return [row for row in TABLE if set(row.want) & set(want)]


def page() -> str:
  """`docs/choosing.md`."""
  rows = [
    f'| {row.told} | {_words(row)} | `{row.recipe}`: {row.why} | {row.others} |'
    for row in TABLE
  ]
  return '\n'.join([_HEAD, *rows, _FOOT])


def _words(row: Situation) -> str:
  """Without the flags, so that the column stays narrow."""
  return '; '.join(', '.join(words) for words in (row.have, row.want) if words)


_HEAD = """\
# Which one when

Find the row that says what you have. The first recipe of it is plain, and its
reasons are well understood: begin there, and change one thing at a time. The
same in a terminal, with several things at once:

```sh
python -m jaxrl_llm.recipes for --have=verifier,demonstrations
python -m jaxrl_llm.recipes for --have=verifier --want=hard,short
```

| what you have | have; want | begin with | look at next |
|---|---|---|---|"""
_FOOT = """\

A policy that can be asked but not changed learns by its prompts alone:
`TrainingFreeGRPO`, `LikelyCases` and others of
[the learners of text](adding_a_learner.md).

Whether what their papers claim came out in
[small studies](../experiments/results/README.md) stands on the page of each.
`python -m jaxrl_llm.recipes search WORDS` finds others, and `diff A B` says
what two do differently. This page is written by
`python -m jaxrl_llm.recipes choosing`.
"""
