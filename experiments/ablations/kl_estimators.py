"""Where a KL estimator sits decides which gradient it has.

  python -m experiments.sweep --all --vmap \\
      --study=experiments/ablations/kl_estimators.py

J. Schulman's k1 = x, k2 = x^2 / 2 and k3 = e^-x - 1 + x of x = log(pi / ref)
("Approximating KL divergence", 2020) estimate one divergence; trainers put
them into the reward of each token or into the loss. `objectives.costs` says
what follows for on-policy samples: in the loss, k1 has no gradient at all, k2
that of KL(pi || ref) with the prefixes held fixed, k3 that of KL(ref || pi);
inside the reward, with every token answering for the later ones, k1 alone has
the gradient of the KL between whole sequences.

Exact, without sampling: a policy over 3 tokens of 4 on its 64 sequences, and a
reference `drift` away in normal noise on its logits. Measured against the exact
gradient of the KL between sequences: the norm of the difference over the norm
of the exact gradient (`error`), and the cosine. Expected: error 0 for k1 in the
reward and 1 for k1 in the loss; k2 in the loss misses how a token changes the
divergences after it, of second order in the drift, so that its relative error
grows with it; k3 in the loss is further off, by its direction; k2 and k3 in the
reward have a wrong gradient even near the reference.
"""

import jax
import jax.numpy as jnp

from experiments.ablations import tables
from experiments.ablations.study import Figure, over
from jaxrl_llm import numerics
from jaxrl_llm.objectives import costs
from jaxrl_llm.reads import given, reads
from jaxrl_llm.tabular import policy
from jaxrl_llm.types import Scores, initial_credit

VOCAB, LENGTH = 4, 3
TRACED = ('drift',)

FIGURE = Figure(
  y='error',
  x='drift',
  series='kl',
  log='xy',
  title='relative error of the gradient of KL(policy || reference)',
)


@reads('ref_logp')
def k1(stats, batch, *, ref_logp):
  """x, which the library offers inside the reward alone."""
  del batch
  return stats.logp - ref_logp


ESTIMATORS = {'k1': k1, 'k2': costs.k2, 'k3': costs.k3}


def cells():
  return over(
    kl=[f'{name} in {place}' for name in ESTIMATORS for place in PLACES],
    drift=[0.1, 0.3, 1.0, 2.0],
    seed=range(8),
  )


def run(seeds, *, kl, drift):
  """Relative error and cosine of the expected gradient."""
  estimator, place = kl.split(' in ')
  slope = PLACES[place]

  def measure(key, drift):
    start, move = jax.random.split(key)
    params = policy.init(start, tasks=1, vocab=VOCAB, length=LENGTH)
    noise = jax.random.normal(move, params['logits'].shape)
    reference = params | {'logits': params['logits'] + drift * noise}
    batch = every_answer(params, reference)
    ours = slope(ESTIMATORS[estimator], params, batch)
    exact = of_sequences(params, batch)
    scale = jnp.linalg.norm(exact)
    length = jnp.linalg.norm(ours)
    # The direction of what is 0 up to rounding is not one.
    length = jnp.where(length > 1e-3 * scale, length, 0.0)
    cosine = numerics.safe_divide(jnp.vdot(ours, exact), length * scale)
    return jnp.linalg.norm(ours - exact) / scale, cosine

  error, cosine = tables.over_seeds(measure, seeds, drift)
  return {'error': error, 'cosine': cosine}


def every_answer(params, reference):
  """The batch of every sequence once, sampled by the policy itself."""
  rollouts = policy.as_rollouts(*policy.all_responses(VOCAB, LENGTH))
  extras = {
    'old_logp': policy.score(params, rollouts).logp,
    'ref_logp': policy.score(reference, rollouts).logp,
  }
  rollouts = rollouts.replace(extras=extras)
  rows = rollouts.content.response.shape[0]
  credit = initial_credit(rollouts, Scores(jnp.zeros((rows, 1)), jnp.ones(1)))
  program = tables.program_of('rloo', kl_weight=1.0)
  return program.batch(rollouts, credit, fresh=True)


def in_loss(cost, params, batch):
  """E over the policy's sequences of the gradient through the cost."""
  chance = jnp.exp(jnp.sum(batch.old_logp, axis=1))

  def loss(params):
    stats = policy.score(params, batch.rollouts)
    return jnp.sum(
      chance[:, None] * cost(stats, batch, **given(cost, stats, batch))
    )

  return jax.grad(loss)(params)['logits']


def in_reward(cost, params, batch):
  """E of the score function times the cost of this and the later tokens."""
  stats = policy.score(params, batch.rollouts)
  values = cost(stats, batch, **given(cost, stats, batch))
  to_go = numerics.discounted_sum(values, batch.rollouts.loss_mask, decay=1.0)
  return in_loss(lambda stats, _: to_go * stats.logp, params, batch)


def of_sequences(params, batch):
  """The gradient of KL(policy || reference) over whole sequences."""

  def divergence(params):
    logp = jnp.sum(policy.score(params, batch.rollouts).logp, axis=1)
    ref_logp = jnp.sum(batch.rollouts.extras['ref_logp'], axis=1)
    return jnp.sum(jnp.exp(logp) * (logp - ref_logp))

  return jax.grad(divergence)(params)['logits']


PLACES = {'reward': in_reward, 'loss': in_loss}
