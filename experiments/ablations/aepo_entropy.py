"""Tempered successes hold the entropy at any target: AEPO.

  python -m experiments.sweep --all --vmap \\
      --study=experiments/ablations/aepo_entropy.py

AEPO (arXiv 2510.08141) adds successes of the policy at a higher temperature
while the entropy is below its target, at a lower one while it is above. It
claims that the entropy settles at whatever target, where GRPO's collapses, and
that this costs no reward, unlike an entropy bonus.

The quiz of `quiz.py`, 32 questions, one answer in 20 right, 150 iterations of 4
minibatches with Adam, targets of 0.1 to 0.6 nats per token from about 1 at the
start. A verifier that errs in 1 of 5 answers keeps groups mixed, as hard
questions would: on a solved quiz no answer is left that could steer. `aepo`
answers a fifth of the questions tempered, `aepo_half` half of them, others in
every iteration; `target_entropy`, a bonus whose weight follows the entropy, and
GRPO have plain answers alone. Measured over the last
third of training: the entropy of a token, how far it is from the target (for
GRPO from 0), and the expected reward. Expected: AEPO's entropy at the target,
with GRPO's reward and more of it than under the bonus.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from experiments.ablations import quiz, tables
from experiments.ablations.study import Figure, chain, over, product
from jaxrl_llm import numerics
from jaxrl_llm.advantages import exploration
from jaxrl_llm.tabular import policy

QUESTIONS, SAMPLES, STEPS, ERRS = 32, 10, 150, 0.2
VALUES: dict[str, tuple[str, dict[str, Any]]] = {
  'grpo': ('grpo', {'kl_weight': 0.0}),
  'aepo': ('aepo', {'tempered': 0.2}),
  'aepo_half': ('aepo', {'tempered': 0.5}),
  'target_entropy': ('target_entropy', {}),
}
TRACED = ('target',)

FIGURE = Figure(
  y='entropy',
  x='target',
  series='method',
  title='nats per token over the last third of training',
)


def cells():
  return product(
    chain(
      over(method=['grpo'], target=[0.0]),
      over(
        method=['aepo', 'aepo_half', 'target_entropy'],
        target=[0.1, 0.2, 0.4, 0.6],
      ),
    ),
    over(seed=range(5)),
  )


def run(seeds, *, method, target):
  """Entropy, its distance from the target, and reward at the end."""
  recipe, values = VALUES[method]
  sample = tempered if recipe == 'aepo' else plain

  def train(key, target):
    aim = {} if recipe == 'grpo' else {'target': target}
    program = tables.program_of(
      recipe,
      tx=optax.adam(0.05),
      samples=SAMPLES,
      minibatches=4,
      **values,
      **aim,
    )
    make_key, learn_key = jax.random.split(key)
    params, worth = quiz.make(make_key, questions=QUESTIONS, solves=0.05)
    reward = quiz.reward_of(worth)

    def step(state, key):
      draw, err, update = jax.random.split(key, 3)
      rollouts, state = sample(program, state, draw)
      right = reward(rollouts, rollouts.task) > 0
      rewards = right ^ jax.random.bernoulli(err, ERRS, right.shape)
      state, _ = tables.learn(program, state, rollouts, rewards, update)
      entropy = quiz.entropy(state.params) / quiz.LENGTH
      return state, (entropy, jnp.mean(quiz.rates(state.params, worth)))

    state = tables.begin(program, params, prompts=QUESTIONS)
    return jax.lax.scan(step, state, jax.random.split(learn_key, STEPS))[1]

  entropy, reward = tables.over_seeds(train, seeds, target)
  late = slice(-STEPS // 3, None)
  return {
    'entropy': entropy[:, late].mean(1),
    'distance': abs(entropy[:, late] - target[:, None]).mean(1),
    'reward': reward[:, late].mean(1),
  }


def plain(program, state, key):
  """Answers to all questions, as the policy gives them."""
  task = jnp.arange(QUESTIONS)
  samples = program.recipe.plan.samples
  return policy.sample(state.params, key, task, samples=samples), state


def tempered(program, state, key):
  """What the recipe's plan collects, whose own form runs on the host."""
  plan = program.recipe.plan
  order, first, second = jax.random.split(key, 3)
  task = jax.random.permutation(order, QUESTIONS)
  count = plan.tempered(QUESTIONS)
  heat = exploration.steering_temperature(
    state.method['plan'], plan.target, hot=plan.hot, cold=plan.cold
  )
  heated = state.params | {'logits': state.params['logits'] / heat}

  def sampled(params, key, task):
    return policy.sample(params, key, task, samples=plan.samples)

  own = sampled(state.params, first, task[:-count])
  rest = sampled(heated, second, task[-count:])
  rest = rest.replace(logp=policy.score(state.params, rest).logp)
  rollouts = jax.tree.map(lambda *x: jnp.concatenate(x), own, rest)
  rows = jnp.arange(QUESTIONS * plan.samples)
  heats = jnp.where(rows < own.valid.shape[0], 1.0, heat)
  entropy = numerics.masked_mean(-own.logp, own.action_mask)
  method = state.method | {'plan': entropy}
  rollouts = rollouts.replace(
    group=rows // plan.samples, extras={'heat': heats}
  )
  return rollouts, state.replace(method=method)
