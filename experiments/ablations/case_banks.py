"""A frozen policy is shown its own earlier cases, good and bad.

  python -m experiments.sweep --all \\
      --study=experiments/ablations/case_banks.py

Memento (AgentFly, arXiv 2508.16153) claims that a bank of cases improves a
frozen policy on questions it has not seen, that retrieval which learns what a
good case is does better than the nearest cases, and that about four are best.

The frozen policy of `reader.py`, right in 0.15 of its answers. 320 questions,
none twice, 16 a step, 20 steps; every answer becomes a case. `nearest` shows
the cases of the most similar questions, `likely` those of the largest learned
chance of a right answer, each 1, 4 or 8 of them, `soft` one that is drawn by
its soft value; `none` shows nothing. With verdicts the prompt says which cases
were right, without it does not. Measured: the share of right answers along the
steps. Expected: with verdicts all improve, four more than one; without them the
nearest cases are the policy's own errors and do harm, and learned values help.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from experiments.ablations import reader
from experiments.ablations.study import Figure, over
from jaxrl_llm.learners import cases as banks
from jaxrl_llm.learners import texts

STEPS, BATCH, EVERY = 20, 16, 4
MEMORIES: dict[str, Callable[..., Any]] = {
  'none': functools.partial(banks.NearestCases, top=0),
  **{
    f'nearest {n}': functools.partial(banks.NearestCases, top=n)
    for n in (1, 4, 8)
  },
  **{
    f'likely {n}': functools.partial(banks.LikelyCases, top=n)
    for n in (1, 4, 8)
  },
  'soft': banks.SoftCases,
}
FIGURE = Figure(
  y='right',
  x='step',
  series='memory',
  across='prompt',
  title='share of right answers to questions never asked before',
)


def unmarked(shown, question):
  """A case a line without its verdict, and the question behind them."""
  return '\n'.join([*(c.question + c.answer for c in shown), question])


PROMPTS = {'with verdicts': banks.marked, 'without': unmarked}


def cells():
  return over(memory=list(MEMORIES), prompt=list(PROMPTS), seed=range(6))


def train(seed, memory, prompt):
  """Shares of right answers, one for each step."""
  world = reader.world(seed)
  asked = world.questions(np.random.default_rng(1000 + seed), STEPS * BATCH)
  learner = MEMORIES[memory](world.policy, prompt=PROMPTS[prompt])
  steps = texts.practise(
    learner,
    world.judge,
    asked,
    jax.random.key(seed),
    steps=STEPS,
    batch=BATCH,
  )
  return [rewards.mean() for _, rewards in steps]


def run(seeds, *, memory, prompt):
  """Shares of right answers along the steps, and in the last quarter."""
  found = np.array([train(int(seed), memory, prompt) for seed in seeds])
  windows = found.reshape(len(found), -1, EVERY).mean(axis=2)
  steps = np.arange(EVERY, STEPS + 1, EVERY)
  return {
    'step': np.tile(steps, (len(found), 1)),
    'right': windows,
    'over all': found.mean(axis=1),
    'at the end': windows[:, -1],
  }
