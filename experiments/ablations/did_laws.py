"""DPO rests at the target if rejected answers follow one law, and no other.

  python -m experiments.sweep --all \\
      --study=experiments/ablations/did_laws.py

Differential information (arXiv 2505.23761, recalled) claims that DPO's reward,
the log-ratio to the reference, is the right one where the pairs encode what
tells the target from the reference: chosen answers follow the reference, and
rejected ones

    reference (reference / target)^w        with w equal to DPO's weight

Any other law moves DPO to reference (chosen / rejected)^(1 / weight) instead,
which with a smaller power falls short of the target and with a larger one goes
beyond it.

Tables of 16 arms, target and reference softmax of normal logits, weight 0.5.
Rejected answers by the law with w = 0.25, 0.5, 1, by the uniform law, or by the
reference. DPO is trained by 1000 steps of Adam on the exact expectation of its
loss, and by the recipe with 200 steps on 1000 drawn pairs. Measured: total
variation to the target, and to the prediction; the entropy of target /
reference; and the error of what 64 and 4096 samples of the reference tell of
it, which tends to minus the KL of the target to the reference. Expected: 0 for
w = 0.5 alone, and to the prediction for all.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.ablations import choices, tables
from experiments.ablations.study import Figure, over
from jaxrl_llm.objectives import preference
from jaxrl_llm.tabular import information

ARMS, WEIGHT, STEPS, PAIRS = 16, 0.5, 1000, 1000
POWERS = {'power 0.25': 0.25, 'power 0.5': 0.5, 'power 1': 1.0}
LAWS = (*POWERS, 'uniform', 'reference')

FIGURE = Figure(
  y='total variation',
  x='step',
  series='rejected',
  title='distance of DPO to the target, exact expectations',
)


def cells():
  return over(rejected=LAWS, seed=range(8))


def law_of(name, target, reference):
  """log-probabilities of rejected answers."""
  if name == 'uniform':
    return jnp.full(ARMS, -np.log(ARMS))
  if name == 'reference':
    return reference
  return information.rejected(target, reference, weight=POWERS[name])


def trained(chosen, rejected, reference):
  """f32[STEPS, ARMS]: policies on the way, on the exact loss."""
  tx = optax.adam(optax.linear_schedule(0.2, 0.0, STEPS))

  def loss(logits):
    moved = jax.nn.log_softmax(logits) - reference
    losses = preference.logistic(
      moved[:, None], moved[None, :], 0.0, weight=WEIGHT
    )
    return jnp.exp(chosen) @ losses @ jnp.exp(rejected)

  def step(carry, _):
    logits, opt = carry
    updates, opt = tx.update(jax.grad(loss)(logits), opt)
    logits = optax.apply_updates(logits, updates)
    return (logits, opt), jax.nn.log_softmax(logits)

  carry = reference, tx.init(reference)
  return jax.lax.scan(step, carry, None, length=STEPS)[1]


def apart(policy, other):
  return jnp.sum(jnp.abs(jnp.exp(policy) - jnp.exp(other)), axis=-1) / 2


def run(seeds, *, rejected):
  """Total variation to the target, exact and from pairs."""
  program = tables.program_of(
    'dpo',
    tx=optax.adam(optax.linear_schedule(0.1, 0.0, 200)),
    weight=WEIGHT,
  )

  def train(key):
    worth, ref_key, draw = jax.random.split(key, 3)
    target = jax.nn.log_softmax(jax.random.normal(worth, (ARMS,)))
    reference = jax.nn.log_softmax(jax.random.normal(ref_key, (ARMS,)))
    law = law_of(rejected, target, reference)
    path = trained(reference, law, reference)
    keys = jax.random.split(draw, 4)
    pairs = [
      jax.random.categorical(k, p, shape=(PAIRS,))
      for k, p in zip(keys, (reference, law))
    ]
    learned = choices.fit(
      program, choices.table(reference), jnp.stack(pairs, 1), steps=200
    )[-1]
    moved = information.differential(target, reference)
    predicted = jax.nn.log_softmax(reference + (reference - law) / WEIGHT)

    def error(key, samples):
      arms = jax.random.categorical(key, reference, shape=(samples,))
      found, _ = information.sampled((target - reference)[arms])
      return found + jnp.sum(jnp.exp(target) * (target - reference))

    return {
      'path': apart(path, target),
      'exact': apart(path[-1], target),
      '1000 pairs': apart(learned, target),
      'to the prediction': apart(path[-1], predicted),
      'entropy of the move': information.entropy(moved),
      'error, 64 samples': jnp.abs(error(keys[2], 64)),
      'error, 4096 samples': jnp.abs(error(keys[3], 4096)),
    }

  found = tables.over_seeds(train, seeds)
  return {
    'step': np.tile(np.arange(25, STEPS + 1, 25), (len(seeds), 1)),
    'total variation': found.pop('path')[:, 24::25],
    **found,
  }
