"""Reward models that are overoptimised, and ensembles that are not.

  python -m experiments.sweep --all \\
      --study=experiments/ablations/ensemble_overoptimisation.py

Reward Model Ensembles Help Mitigate Overoptimization (arXiv 2310.02743) claims
that the gold reward of a policy trained on one learned reward model first
rises and then falls, and that the least reward of an ensemble (WCO), or its
mean less its variance (UWO), with a small KL cost prevents the fall at no loss
of reward.

32 questions with 64 answers each. The reference is the softmax of normal logits
times 1.5, and the gold reward, of spread 1, half a normal number and half what
the reference thinks: what it never writes is bad on average. Five reward models
are tables that differ in their normal start alone and learn by the same 300
pairs of the reference for each question, 25 % of them flipped; what is in few
pairs stays near its start. Policies are tables that take exact steps of mirror
descent, the natural policy gradient, on one model's reward, the mean, the least
(WCO), or the mean less the variance (UWO, penalty 1), each without and with a
KL weight of 0.2. Measured: gold reward along training, the highest, the fall
from collections.abc import Callable
from it to the end, and the final KL. Expected: a large fall for one model, with
KL too; none for WCO and UWO with KL.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.ablations import choices, tables
from experiments.ablations.study import Figure, over
from jaxrl_llm.rewards import combine, learned
from jaxrl_llm.tabular import games

QUESTIONS, ARMS, MODELS, PAIRS, FLIP = 32, 64, 5, 300, 0.25
STEPS, EVERY, STEP_SIZE = 300, 10, 0.1
COMBINED: dict[str, Callable] = {
  'single': combine.one_of,
  'mean': partial(combine.certain_models, penalty=0.0),
  'UWO': partial(combine.certain_models, penalty=1.0),
  'WCO': combine.worst_model,
}
WEIGHTS = {'': 0.0, ' + KL': 0.2}

FIGURE = Figure(
  y='gold reward',
  x='step',
  series='learner',
  title='gold reward of policies that learned proxies train',
)


def cells():
  learners = [name + cost for cost in WEIGHTS for name in COMBINED]
  return over(learner=learners, seed=range(8))


def reward_models(key, pairs, *, steps=50):
  """f32[ARMS, MODELS]: proxies, trained from normal starts on the pairs."""
  tx = optax.sgd(10.0)
  start = jax.random.normal(key, (ARMS, MODELS))

  def loss(scores):
    chosen, rejected = scores[pairs[:, 0]], scores[pairs[:, 1]]
    losses = jax.vmap(learned.bradley_terry, 1)(chosen, rejected)
    return jnp.sum(jnp.mean(losses, axis=1))

  def step(carry, _):
    scores, opt = carry
    updates, opt = tx.update(jax.grad(loss)(scores), opt)
    return (optax.apply_updates(scores, updates), opt), None

  carry = start, tx.init(start)
  return jax.lax.scan(step, carry, None, length=steps)[0][0]


def _world(key):
  """Reference logits f32[ARMS], gold f32[ARMS], proxies f32[ARMS, MODELS]."""
  ref_key, gold_key, pair_key, judge, model = jax.random.split(key, 5)
  ref = jax.random.normal(ref_key, (ARMS,))
  gold = (ref + jax.random.normal(gold_key, (ARMS,))) / jnp.sqrt(2)
  ref = 1.5 * ref
  pairs = jax.random.categorical(pair_key, ref, shape=(PAIRS, 2))
  pairs = choices.judged(judge, pairs, gold, flip=FLIP)
  return ref, gold, reward_models(model, pairs)


def run(seeds, *, learner):
  """Gold reward along training, and the KL at its end."""
  name = learner.removesuffix(' + KL')
  weight = WEIGHTS[learner.removeprefix(name)]

  def train(key):
    ref, gold, proxies = _world(key)
    log_ref = jax.nn.log_softmax(ref)
    gain = COMBINED[name](proxies, jnp.ones(MODELS), None)

    def step(log_policy, _):
      new = games.anchored_step(
        log_policy, log_ref, gain, step_size=STEP_SIZE, weight=weight
      )
      return new, (jnp.exp(new) @ gold, games.kl(new, log_ref))

    return jax.lax.scan(step, log_ref, None, length=STEPS)[1]

  def mean(key):
    paths = jax.vmap(train)(jax.random.split(key, QUESTIONS))
    return jax.tree.map(lambda x: jnp.mean(x, axis=0), paths)

  gold, far = tables.over_seeds(mean, seeds)
  steps = np.arange(EVERY, STEPS + 1, EVERY)
  return {
    'step': np.tile(steps, (len(seeds), 1)),
    'gold reward': gold[:, EVERY - 1 :: EVERY],
    'highest': gold.max(1),
    'final': gold[:, -1],
    'fall': gold.max(1) - gold[:, -1],
    'KL, nats': far[:, -1],
  }
