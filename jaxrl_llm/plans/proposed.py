"""Questions that the policy proposes, and its own attempts to solve them.

What is proposed is a text with a question and its answer, which a function
finds in it, `package.module:function`:

    f(text) -> (question, answer), or None where there is none
"""

from __future__ import annotations

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_llm.plans import arranged, phrases
from jaxrl_llm.plans.base import Contract, Plan
from jaxrl_llm.tasks import imports
from jaxrl_llm.types import Rollouts

_TAGGED = re.compile(
  r'<question>(.+?)</question>\s*<answer>(.+?)</answer>', re.DOTALL
)


def tagged(text: str) -> tuple[str, str] | None:
  """What stands in the tags question and answer.

  Example:
    >>> tagged('<question>2+2=</question><answer>4</answer>')
    ('2+2=', '4')
  """
  found = _TAGGED.search(text)
  return (found[1].strip(), found[2].strip()) if found else None


@dataclasses.dataclass(frozen=True)
class Proposed(Plan):
  """A proposal to each prompt, a document, and `solvers` answers to it.

      x ~ policy(. | document)      (question, answer) = parse(x)
      y_1 ... y_n ~ policy(. | question), judged by that answer

  The first row of a group is the proposal, the others are its solvers. The
  first score of a proposal is the share of its solvers that were right, and it
  has no other. Solvers of a text without a question or without an answer, or
  whose question is over the budget of prompts, do not count, and the share is
  0. The extras:

      proposed   bool[N], the proposals
      form       f32[N], 1 for a proposal with a question, else 0
      compared   i32[N], equal for proposals of as many `hops`, a field of the
                 data, and for the solvers of one question

  Attributes:
    solvers: n, answers to a question. parse: see the module.

  Source: Dr. Zero, arXiv 2601.07055, where proposer and solver are two models
    that are trained in turns.
  """

  solvers: int = 5
  parse: str = 'jaxrl_llm.plans.proposed:tagged'

  def __post_init__(self):
    imports.imported(f'parse {self.parse!r}', self.parse)

  @property
  def contract(self):
    return Contract(
      1 + self.solvers,
      provides={'proposed', 'form', 'compared'},
      columns=('hops',),
      one_prompt=False,
      rewords=True,
    )

  def collect(self, tools, prompts, state, key):
    propose, solve = jax.random.split(key)
    first = tools.generate(prompts, propose, 1)
    records = tools.rows(first.task)
    parse = imports.imported(f'parse {self.parse!r}', self.parse)
    read = [parse(text) for text in tools.decode(first)]
    read = [pair if pair and all(pair) else None for pair in read]
    plain = [record['prompt'] for record in records]
    texts = [pair[0] if pair else text for pair, text in zip(read, plain)]
    asked, fits = phrases.fitting(tools, first.task, texts, plain)
    there = fits & np.array([pair is not None for pair in read])
    known = [
      {**record, 'prompt': pair[0], 'answer': pair[1]} if pair else record
      for record, pair in zip(records, read, strict=True)
    ]
    judged = [record for record in known for _ in range(self.solvers)]
    said, scores = tools.verify(
      tools.generate(asked, solve, self.solvers), rows=judged
    )
    said = said.replace(valid=said.valid & jnp.repeat(there, self.solvers))
    solved = jnp.where(said.valid[:, None], scores.components, 0.0)
    share = jnp.mean(solved[:, 0].reshape(-1, self.solvers), axis=1)
    own = jnp.zeros_like(solved[: len(read)]).at[:, 0].set(share)
    tools.note('plan/proposed', float(there.mean()))
    tools.note('plan/solved', float(share.mean()))
    first, said = _told(first, said, there, self.solvers)
    count = len(read)
    components = arranged.together(count, own, solved)
    rows = arranged.together(count, first, said)
    return rows, scores.replace(components=components), state


def _told(first: Rollouts, said: Rollouts, there, solvers: int):
  """Proposals and answers with their extras."""
  hops = first.extras['hops']
  return (
    first.with_extras(
      proposed=jnp.ones_like(first.valid),
      form=jnp.asarray(there, jnp.float32),
      # Numbers of hops are below those of questions.
      compared=-1 - hops.astype(jnp.int32),
    ),
    said.with_extras(
      proposed=jnp.zeros_like(said.valid),
      form=jnp.zeros(len(said.valid)),
      compared=said.group,
      hops=jnp.repeat(hops, solvers),
    ),
  )
