"""Answers at smaller budgets tell a part of a thought from the parts before.

  python -m experiments.sweep --all \\
      --study=experiments/ablations/brpo_baselines.py

AnytimeReasoner (arXiv 2505.13438) gives the part of a thought between two
budgets the reward of the answers after it, less a baseline that mixes the mean
over the other thoughts of the question (late parts less) with what the thought
was worth before (late parts more). It claims that either alone leaves more
variance.

A thought takes four steps, each good or bad with even odds. After s of them an
answer is right with the probability sigmoid(level + 1.5 (good - bad)), where
the level of a question is normal with the spread `levels`: with a large one
questions are easy or hard whatever is thought. Groups of 8 thoughts, 4 answers
at each of 4 budgets, uniform prior. The slope of the expected reward in the
log-odds of a good step is known exactly. Measured, over 2048 groups a seed: the
variance of the slope that a group estimates, summed over the steps and relative
to that of `peers`, and how far its mean is from the exact one (`bias`, of its
size). `none` has no baseline, `peers` the mean over thoughts, `own` what the
thought was worth, and `brpo` is the recipe's. Expected: the least variance for
`brpo`, and a bias of a few percent wherever a thought is among its own peers.
"""

import jax
import jax.numpy as jnp

from experiments.ablations import tables
from experiments.ablations.study import Figure, over
from jaxrl_llm import numerics
from jaxrl_llm.advantages import exits
from jaxrl_llm.tabular import policy

THOUGHTS, STEPS, ANSWERS = 8, 4, 4
GROUPS, REPEATS = 8, 256
GAIN = 1.5
CHANCES = exits.prior('uniform', STEPS)
TRACED = ('levels',)

FIGURE = Figure(
  y='variance',
  x='levels',
  series='baseline',
  title='variance of the slope relative to that with the mean over thoughts',
)


def cells():
  return over(
    baseline=['none', 'peers', 'own', 'brpo'],
    levels=[0.0, 1.0, 2.0, 4.0],
    seed=range(4),
  )


def run(seeds, *, baseline, levels):
  """Variance and bias of a group's slope."""

  def measure(key, levels):
    def one(key):
      level_key, step_key, answer_key = jax.random.split(key, 3)
      level = levels * jax.random.normal(level_key, (GROUPS, 1))
      shape = GROUPS, THOUGHTS, STEPS
      good = jax.random.bernoulli(step_key, 0.5, shape)
      right = quality(level[..., None], good)
      said = jax.random.bernoulli(
        answer_key, right[..., None], (*shape, ANSWERS)
      )
      said = said.astype(jnp.float32)

      def slope(baseline):
        advantages = ADVANTAGES[baseline](said)
        return jnp.mean(advantages * (good - 0.5), axis=1)

      return slope(baseline), slope('peers'), exact(level)

    found = jax.lax.map(one, jax.random.split(key, REPEATS))
    slopes, peers, truth = (x.reshape(-1, STEPS) for x in found)
    noise, usual = (jnp.sum(jnp.var(x - truth, 0)) for x in (slopes, peers))
    size = jnp.linalg.norm(truth.mean(0))
    bias = jnp.linalg.norm((slopes - truth).mean(0)) / size
    return noise / usual, bias

  variance, bias = tables.over_seeds(measure, seeds, levels)
  return {'variance': variance, 'bias': bias}


def quality(level, good):
  """The chance that an answer is right after each step, f32[..., STEPS]."""
  moved = jnp.cumsum(2.0 * good - 1, axis=-1)
  return jax.nn.sigmoid(level + GAIN * moved)


def exact(level):
  """The slope f32[B, STEPS] of the expected reward, over all thoughts."""
  number = jnp.arange(2**STEPS)
  good = number[:, None] // 2 ** jnp.arange(STEPS) % 2
  reward = quality(level[..., None], good) @ jnp.asarray(CHANCES)
  return reward.reshape(-1, 2**STEPS) @ (good - 0.5) / 2**STEPS


def _to_come(said):
  """R_s f32[B, G, S]: what the answers from each budget on earn."""
  worth = said.mean(-1) * jnp.asarray(CHANCES)
  return jnp.cumsum(worth[..., ::-1], axis=-1)[..., ::-1]


def _own(said):
  """R_s less what the thought was worth before, at the budgets to come."""
  mean, powers = said.mean(-1), 2.0 ** jnp.arange(STEPS)
  before = jnp.cumsum(mean * powers, axis=-1) - mean * powers
  known = numerics.safe_divide(before, jnp.cumsum(powers) - powers)
  chances = jnp.cumsum(jnp.asarray(CHANCES)[::-1])[::-1]
  return _to_come(said) - known * chances


def _brpo(said):
  """Those of the recipe, of rows as its plan makes them."""
  groups, own = said.shape[0], STEPS * ANSWERS
  answers = said.reshape(groups, THOUGHTS * own)
  rewards = jnp.concatenate([jnp.zeros((groups, THOUGHTS)), answers], axis=1)
  thought = jnp.arange(THOUGHTS)
  trajectory = jnp.concatenate([thought, jnp.repeat(thought, own)])
  exit_ = jnp.tile(jnp.repeat(jnp.arange(STEPS), ANSWERS), THOUGHTS)
  rows = rewards.shape[1]
  extras = {
    'role': (jnp.arange(rows) >= THOUGHTS).astype(jnp.int32),
    'trajectory': trajectory,
    'exit': jnp.concatenate([jnp.zeros(THOUGHTS, jnp.int32), exit_]),
  }
  extras = {name: jnp.tile(x, groups) for name, x in extras.items()}
  extras['segment'] = jnp.tile(jnp.arange(STEPS), (groups * rows, 1))
  tokens = jnp.zeros((groups * rows, STEPS), jnp.int32)
  group = jnp.repeat(jnp.arange(groups, dtype=jnp.int32), rows)
  rollouts = policy.as_rollouts(
    tokens, tokens == 0, task=group, group=group
  ).replace(extras=extras)
  advantages = exits.budget_relative(
    rewards.reshape(-1), rollouts, chances=CHANCES
  )
  return advantages.reshape(groups, rows, STEPS)[:, :THOUGHTS]


ADVANTAGES = {
  'none': _to_come,
  'peers': lambda said: (
    _to_come(said) - _to_come(said).mean(axis=1, keepdims=True)
  ),
  'own': _own,
  'brpo': _brpo,
}
