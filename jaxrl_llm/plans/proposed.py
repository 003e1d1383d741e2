"""Questions that a proposer makes of documents, and attempts to solve them."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_llm.plans import arranged, ending, playing, proposals
from jaxrl_llm.plans.base import Contract, Plan
from jaxrl_llm.tasks import imports
from jaxrl_llm.types import Rollouts

# The numbers of the agents. Who is asked without a proposer is the solver.
SOLVER, PROPOSER = 0, 1


@dataclasses.dataclass(frozen=True)
class Proposed(Plan):
  """A proposal to each prompt, a document, and `solvers` answers to it.

      x ~ proposer(. | document)      (question, answer) = parse(x)
      y_1 ... y_n ~ solver(. | question), judged by that answer

  The two are agents 1 and 0, policies of their own or one. They learn in turns:
  the rows of one do not count while the other does, the proposer first.

  The first row of a group is the proposal, the others are its solvers. The
  first score of a proposal is the share of its solvers that were right, and it
  has no other. Solvers of a text without a question or without an answer, or
  whose question is over the budget of prompts, do not count, and the share is
  0.

  With several `turns` both are episodes with the tools of the run's
  environment, as to search for documents: what is said last is proposal or
  answer, and `proposals.form` says how well a proposal is formed. The extras:

      proposed   bool[N], the proposals
      agent      i32[N], 1 for proposals, 0 for answers
      form       f32[N], of a proposal, in one turn 1 if it has a question; of
                 others, and without a question, 0
      compared   i32[N], equal for proposals of as many `hops`, a field of the
                 data, and for the solvers of one question

  Attributes:
    solvers: n, answers to a question. parse: see `proposals`.
    phase: iterations in which one of the two learns before the other does; 0
      lets both learn in each. turns: the most of an episode.

  Source: Dr. Zero, arXiv 2601.07055, and the scripts of its code, which train
    the proposer for 50 steps, then the solver on what it asks, and so on.
  """

  solvers: int = 5
  parse: str = 'jaxrl_llm.plans.proposals:tagged'
  phase: int = 50
  turns: int = 1

  def __post_init__(self):
    if self.phase < 0:
      raise ValueError(
        f'recipe.phase is {self.phase}; use 0 or more iterations'
      )
    if self.turns < 1:
      raise ValueError(f'recipe.turns is {self.turns}; use 1 or more')
    imports.imported(f'parse {self.parse!r}', self.parse)

  @property
  def contract(self):
    return Contract(
      1 + self.solvers,
      provides={'proposed', 'form', 'compared', 'agent'},
      columns=('hops',),
      asks={'environment'} if self.turns > 1 else set(),
      turns=self.turns if self.turns > 1 else 0,
      one_prompt=False,
      rewords=True,
    )

  def init(self, spec):
    """i32[], iterations so far."""
    del spec
    return jnp.int32(0)

  def collect(self, tools, prompts, state, key):
    propose, solve = jax.random.split(key)
    first, pairs, form = self._proposals(tools, prompts, propose)
    asked, known, there = proposals.questions(tools, first, pairs)
    said, scores = self._answers(tools, asked, known, solve)
    said = said.replace(valid=said.valid & jnp.repeat(there, self.solvers))
    solved = jnp.where(said.valid[:, None], scores.components, 0.0)
    share = jnp.mean(solved[:, 0].reshape(-1, self.solvers), axis=1)
    own = jnp.zeros_like(solved[: len(known)]).at[:, 0].set(share)
    tools.note('plan/proposed', float(there.mean()))
    tools.note('plan/solved', float(share.mean()))
    hops = prompts.extras['hops']
    first, said = _told(first, said, form * there, hops, self.solvers)
    count = len(known)
    components = arranged.together(count, own, solved)
    rows = arranged.together(count, first, said)
    learns = self._learns(state, rows.extras['agent'])
    rows = rows.replace(valid=rows.valid & learns)
    return rows, scores.replace(components=components), state + 1

  def _proposals(self, tools, prompts, key):
    """Proposals, question and answer of each or None, and their form f64[B]."""
    parse = imports.imported(f'parse {self.parse!r}', self.parse)
    if self.turns == 1:
      first = tools.generate(prompts, key, 1, agents=PROPOSER)
      pairs = [parse(text) for text in tools.decode(first)]
      return first, pairs, np.ones(len(pairs))
    first, log = playing.play(
      tools, prompts, key, samples=1, turns=self.turns, agent=PROPOSER
    )
    pairs = [parse(text) for text in log.last]
    form = proposals.forms(tools, first, log, pairs, prompts.extras['hops'])
    # One without any form is not asked.
    pairs = [pair if well else None for pair, well in zip(pairs, form)]
    return first, pairs, form

  def _answers(self, tools, asked, known, key):
    """Answers to questions, judged by the records that these make."""
    if self.turns == 1:
      judged = [record for record in known for _ in range(self.solvers)]
      said = tools.generate(asked, key, self.solvers, agents=SOLVER)
      return tools.verify(said, rows=judged)
    said, log = playing.play(
      tools,
      asked,
      key,
      samples=self.solvers,
      turns=self.turns,
      rows=known,
      agent=SOLVER,
    )
    ending.stops(tools, log)
    return ending.judged(tools, said, log, records=known)

  def _learns(self, done, agent):
    """bool[N]: rows of who learns in the iteration after `done`."""
    if not self.phase:
      return jnp.ones(agent.shape, bool)
    solves = (done // self.phase) % 2 == 1
    return agent == jnp.where(solves, SOLVER, PROPOSER)


def _told(first: Rollouts, said: Rollouts, form, hops, solvers: int):
  """Proposals and answers with their extras."""
  return (
    first.with_extras(
      proposed=jnp.ones_like(first.valid),
      agent=jnp.full_like(first.group, PROPOSER),
      form=jnp.asarray(form, jnp.float32),
      # Numbers of hops are below those of questions.
      compared=-1 - hops.astype(jnp.int32),
      hops=hops,
    ),
    said.with_extras(
      proposed=jnp.zeros_like(said.valid),
      agent=jnp.full_like(said.group, SOLVER),
      form=jnp.zeros(len(said.valid)),
      compared=said.group,
      hops=jnp.repeat(hops, solvers),
    ),
  )
