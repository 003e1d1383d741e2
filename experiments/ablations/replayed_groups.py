"""Groups without a signal, replayed ones in their place, and pairs beside.

  python -m experiments.sweep --all \\
      --study=experiments/ablations/replayed_groups.py

Skywork R1V2 (arXiv 2504.16656, known by its abstract) claims that a buffer of
earlier samples with a signal mends GRPO's vanishing advantages, and that GRPO
together with a mixed preference loss learns more than either.

The policies, questions and verifier of `guided_groups.py`: answers of four
symbols of six, right or wrong. Groups of 8, of which most are wrong throughout
at first and many right throughout at the end. `pairs` is `skywork_r1v2` without
replays. Adam at 0.1, one minibatch. Measured: the chance of the right answer
over training and at the end, and the share of groups with a signal among those
learned from, in the first 30 iterations and in the last 30. Expected: replays
keep that share high, and learn faster; pairs add to it.
"""

from typing import Any

import jax
import numpy as np
import optax

from experiments.ablations import guided_groups as guided
from experiments.ablations.study import Figure, over
from jaxrl_llm import recipes
from jaxrl_llm.training.step import Program
from jaxrl_llm.types import Spec

STEPS, EVERY, RATE = 150, 10, 0.1
LEARNERS: dict[str, tuple[str, dict[str, Any]]] = {
  'grpo': ('grpo', {'kl_weight': 0.0}),
  'replays': ('selective_buffer', {}),
  'pairs': ('skywork_r1v2', {'share': 0.0}),
  'replays and pairs': ('skywork_r1v2', {}),
}
FIGURE = Figure(
  y='right',
  x='iteration',
  series='learner',
  title='chance of the right answer',
)


def cells():
  return over(learner=list(LEARNERS), seed=range(5))


def train(seed, name, values):
  """Chances, and the share of groups with a signal, of each iteration."""
  params, right, records = guided.world(seed)
  tx = optax.adam(RATE)
  program = Program(recipes.build(name, **values), guided.score, tx)
  plan, iterate = program.recipe.plan, jax.jit(program.iterate)
  samples, tasks = plan.contract.samples, guided.TASKS
  length = guided.LENGTH
  spec = Spec(tasks * samples, samples, length, length, tasks=tasks)
  state, memory = program.init(params, spec), plan.init(spec)
  asked = guided.Lent(params, records).prompts(np.arange(tasks), ['-'] * tasks)
  found = []
  for step in range(STEPS):
    key = jax.random.fold_in(jax.random.key(seed), step)
    sample, learn = jax.random.split(key)
    lent: Any = guided.Lent(state.params, records)
    rows, scores, memory = plan.collect(lent, asked, memory, sample)
    state, _, _, _ = iterate(state, {}, rows, scores, learn)
    earned = np.asarray(scores.components)[:, 0].reshape(tasks, samples)
    mixed = earned.min(axis=1) < earned.max(axis=1)
    chance = float(guided.chance(state.params, right).mean())
    found.append((chance, mixed.mean()))
  return found


def run(seeds, *, learner):
  """Chances along training, and how often there was a signal."""
  found = np.array([train(int(seed), *LEARNERS[learner]) for seed in seeds])
  chances, mixed = found[..., 0], found[..., 1]
  steps = np.arange(EVERY, STEPS + 1, EVERY)
  return {
    'iteration': np.tile(steps, (len(found), 1)),
    'right': chances[:, EVERY - 1 :: EVERY],
    'over training': chances.mean(axis=1),
    'final': chances[:, -1],
    'signal, first 30': mixed[:, :30].mean(axis=1),
    'signal, last 30': mixed[:, -30:].mean(axis=1),
  }
