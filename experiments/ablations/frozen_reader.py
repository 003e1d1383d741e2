"""Words that a small policy learns for a frozen model, which answers.

  python -m experiments.sweep --all \\
      --study=experiments/ablations/frozen_reader.py

Directional Stimulus Prompting (arXiv 2302.11520) claims that a frozen model
answers better with a stimulus of a small policy, which is tuned by what the
answers earn, the policy held near its beginning by a KL; its code also pays for
keywords that stand in the reference.

The world of `guided_groups.py`: the frozen model has logits of its own for each
question and reads symbols that it is shown, 4 more for each; the policy has
other logits and learns which to show. An answer earns its share of right
symbols. 60 iterations of `directional_stimulus` itself on all 16 questions, 8
stimuli to each and 4 answers to each of those, Adam at 0.05: with a KL that is
steered to 0.2 nats from a weight of 0.005, from one of 0.3, without a KL, and
with what a symbol earns as a keyword, in a tenth of the paper's units as the
answers: 0.1 if it stands in the answer, -0.02 if not or if it was named before.
Measured: what answers earn along training and the frozen model alone, exact;
the KL of the stimuli to the first policy at the end. Expected: more than alone,
less the nearer the KL is held, sooner with keywords.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.ablations import guided_groups, tables
from experiments.ablations.guided_groups import LENGTH, TASKS
from experiments.ablations.study import Figure, over
from jaxrl_llm import recipes
from jaxrl_llm.training.step import Program
from jaxrl_llm.types import Spec

STEPS, EVERY, SAMPLES = 60, 4, 8
LEARNERS: dict[str, dict[str, float]] = {
  'KL': {},
  'KL from weight 0.3': {'kl_weight': 0.3},
  'no KL': {'kl_weight': 0.0},
  'KL and keywords': {'keyword_weight': 0.1},
}
HELD = {'keyword_weight': 0.0, 'kl_target': 0.2, 'epochs': 4, 'share': 1.0}
FIGURE = Figure(
  y='reward',
  x='iteration',
  series='learner',
  title='share of right symbols in the answers of the frozen model',
)


def cells():
  return over(learner=list(LEARNERS), seed=range(3))


def score(params, rows, needs=frozenset()):
  stats = guided_groups.score(params['logits'], rows)
  return stats.replace(values=params['values'][rows.task])


class Lent(guided_groups.Lent):
  """The same, with a frozen model beside the policy."""

  def __init__(self, params, frozen, records):
    super().__init__(params, records)
    self.frozen = frozen

  def rival(self, prompts, key, samples):
    uids = np.arange(prompts.task.shape[0] * samples)
    return guided_groups.answers(self.frozen, prompts, key, uids, samples)

  def pieces(self, rollouts):
    """Every symbol is a keyword."""
    return [[f'{x};' for x in text] for text in self.decode(rollouts)]

  def verify(self, rollouts, texts=None, rows=None):
    wanted = [row['answer'] for row in self.rows(rollouts.task)]
    texts = self.decode(rollouts) if texts is None else texts
    share = [
      np.mean([a == b for a, b in zip(*pair, strict=True)])
      for pair in zip(texts, wanted, strict=True)
    ]
    return rollouts, tables.scores_of(jnp.asarray(share, jnp.float32))


def train(seed, values):
  """Rewards of all iterations, what is logged of the last, and alone."""
  params, right, records = guided_groups.world(seed)
  frozen = jax.random.normal(jax.random.key(1000 + seed), params.shape)
  built = recipes.build(
    'directional_stimulus', samples=SAMPLES, **HELD | values
  )
  program = Program(built, score, optax.adam(0.05))
  iterate = jax.jit(program.iterate)
  spec = Spec(TASKS * SAMPLES, SAMPLES, LENGTH, LENGTH, tasks=TASKS)
  start = {'logits': params, 'values': jnp.zeros((TASKS, LENGTH))}
  state, rewards, metrics = program.init(start, spec), [], {}
  asked, memory = guided_groups.Lent(params, records), built.plan.init(spec)
  prompts = asked.prompts(np.arange(TASKS), ['-'] * TASKS)
  for step in range(STEPS):
    key = jax.random.fold_in(jax.random.key(seed), step)
    sample, learn = jax.random.split(key)
    lent: Any = Lent(state.params['logits'], frozen, records)
    rows, scores, _ = built.plan.collect(lent, prompts, memory, sample)
    state, _, _, metrics = iterate(state, {}, rows, scores, learn)
    rewards.append(float(scores.components.mean()))
  alone = jnp.take_along_axis(jax.nn.softmax(frozen), right[..., None], axis=-1)
  return rewards, metrics, float(alone.mean())


def run(seeds, *, learner):
  """Rewards along training, without a stimulus, and the KL at the end."""
  found = [train(int(seed), LEARNERS[learner]) for seed in seeds]
  rewards = np.array([one[0] for one in found])
  windows = rewards.reshape(len(found), -1, EVERY).mean(axis=2)
  steps = np.arange(EVERY, STEPS + 1, EVERY)
  apart = [float(one[1]['reference/kl']) for one in found]
  return {
    'iteration': np.tile(steps, (len(found), 1)),
    'reward': windows,
    'alone': np.array([one[2] for one in found]),
    'first': windows[:, 0],
    'final': windows[:, -1],
    'over training': rewards.mean(axis=1),
    'KL, nats': np.array(apart),
  }
