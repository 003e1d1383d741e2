"""A policy that is taught by itself, once it has seen a right answer.

  python -m experiments.sweep --all \\
      --study=experiments/ablations/self_teaching.py

SDPO (arXiv 2601.20802) claims that a policy that is shown a success of its own
group is a teacher of every token, from whom it learns in fewer samples than
from rewards of whole responses (GRPO).

The policies, questions and verifier of `guided_groups.py`: answers of four
symbols of six, right or wrong, to 16 questions. A symbol that the prompt shows
gains log-odds of 0.5, 1, 2 or 4: how well the policy learns from its context.
Groups of 8, Adam at 0.1, one minibatch; the teacher is the moving average that
the recipe has, or the policy itself. Measured: the chance of the right answer
over training, iterations until it is one half, 151 if never, and at the end.
Expected: `sdpo` ahead of `grpo`, the sooner the better the policy reads.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.ablations import guided_groups as guided
from experiments.ablations.study import Figure, chain, over
from jaxrl_llm import digests, recipes
from jaxrl_llm.training.step import Program
from jaxrl_llm.types import Spec, Stats

STEPS, EVERY, SEEDS, RATE = 150, 10, 3, 0.1
LEARNERS: dict[str, tuple[str, dict[str, Any]]] = {
  'grpo': ('grpo', {'kl_weight': 0.0}),
  'sdpo': ('sdpo', {'size': guided.VOCAB}),
  'sdpo, no average': ('sdpo', {'size': guided.VOCAB, 'decay': 0.0}),
}
FIGURE = Figure(
  y='right',
  x='iteration',
  series='learner',
  across='shown',
  title='chance of the right answer, by what a shown symbol gains',
)


def cells():
  taught = over(
    learner=['sdpo', 'sdpo, no average'],
    shown=[0.5, 1.0, 2.0, 4.0],
    seed=range(SEEDS),
  )
  # Nothing is shown to GRPO.
  return chain(over(learner=['grpo'], shown=[0.5], seed=range(SEEDS)), taught)


@functools.partial(jax.jit, static_argnames=('needs', 'shown'))
def score(params, rows, needs=frozenset(), *, shown=0.0):
  """`guided.score` of a policy that reads so well, with what is asked for."""
  prompt = rows.content.prompt
  told = jax.nn.one_hot(jnp.abs(prompt) - 1, guided.VOCAB)
  said = jax.nn.log_softmax(params[rows.task] + shown * told)
  response = rows.content.response
  seen = digests.seen(rows, response)
  return Stats(
    logp=jnp.take_along_axis(said, response[..., None], axis=-1)[..., 0],
    entropy=-jnp.sum(jnp.exp(said) * said, axis=-1),
    digests=digests.made(needs, said, seen),
  )


class Lent(guided.Lent):
  """What the note of `sdpo` is lent beside: the policy and its average."""

  def __init__(self, params, average, records, shown):
    super().__init__(params, records)
    self.average, self.shown = average, shown

  def score(self, rollouts, *needs):
    return score(self.params, rollouts, frozenset(needs), shown=self.shown)

  def referred(self, rollouts, *needs):
    return score(self.average, rollouts, frozenset(needs), shown=self.shown)


def train(seed, learner, shown):
  """The chance of the right answer after each iteration."""
  name, values = LEARNERS[learner]
  params, right, records = guided.world(seed)
  tx = optax.adam(RATE)
  program = Program(recipes.build(name, **values), score, tx)
  plan, iterate = program.recipe.plan, jax.jit(program.iterate)
  samples, tasks = plan.contract.samples, guided.TASKS
  length = guided.LENGTH
  spec = Spec(tasks * samples, samples, length, length, tasks=tasks)
  state, memory = program.init(params, spec), plan.init(spec)
  asked = Lent(params, params, records, shown)
  prompts = asked.prompts(np.arange(tasks), ['-'] * tasks)
  found = []
  for step in range(STEPS):
    key = jax.random.fold_in(jax.random.key(seed), step)
    sample, learn = jax.random.split(key)
    average = state.reference if program.recipe.refers else state.params
    lent: Any = Lent(state.params, average, records, shown)
    rows, scores, memory = plan.collect(lent, prompts, memory, sample)
    state, _, _, _ = iterate(state, {}, rows, scores, learn)
    found.append(float(guided.chance(state.params, right).mean()))
  return found


def run(seeds, *, learner, shown):
  """Chances along training."""
  chances = np.array([train(int(seed), learner, shown) for seed in seeds])
  steps = np.arange(EVERY, STEPS + 1, EVERY)
  half = chances >= 0.5
  until = np.where(half.any(axis=1), half.argmax(axis=1), STEPS) + 1
  return {
    'iteration': np.tile(steps, (len(chances), 1)),
    'right': chances[:, EVERY - 1 :: EVERY],
    'over training': chances.mean(axis=1),
    'final': chances[:, -1],
    'iterations until 0.5': until,
  }
