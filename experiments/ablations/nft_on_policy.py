"""On policy NFT is Dr. GRPO; off policy the two part.

  python -m experiments.sweep --all \\
      --study=experiments/ablations/nft_on_policy.py

NFT (arXiv 2505.18116, section 4) claims that its likelihood of successes and of
an implicit policy of failures has, on policy, the very gradient of GRPO: of its
form without the division by the spread for the row weight 1 - q used here. The
success rates of groups are clamped to [0.02, 0.98].

A table of 8 questions with 3 tokens of 6, rewards 1 if the tokens sum to an
even number, groups of 8. The policy that learns is `drift` away, in normal
noise on its logits, from the one that sampled. Measured: the cosine between
the gradients of `nft` and of `dr_grpo`, and |g_nft - g| / |g|. Expected: cosine
1 to rounding at drift 0, and a cosine that falls with drift. The difference is
not 0 on policy, but a common factor: NFT drops groups that are all right or all
wrong, and the mean is over the rows that are left.
"""

import jax
import jax.numpy as jnp

from experiments.ablations import tables
from experiments.ablations.study import Figure, over
from jaxrl_llm.tabular import policy

TASKS, VOCAB, LENGTH, PROMPTS, SAMPLES = 8, 6, 3, 64, 8
TRACED = ('drift',)

FIGURE = Figure(
  y='cosine',
  x='drift',
  title='gradient of NFT against that of Dr. GRPO',
)


def cells():
  return over(drift=[0.0, 0.1, 0.2, 0.5, 1.0], seed=range(5))


def run(seeds, *, drift):
  """Cosine and relative difference of the two gradients."""

  def measure(key, drift):
    start, draw, move = jax.random.split(key, 3)
    old = policy.init(start, tasks=TASKS, vocab=VOCAB, length=LENGTH)
    task = jnp.arange(PROMPTS) % TASKS
    rollouts = policy.sample(old, draw, task, samples=SAMPLES)
    rewards = jnp.sum(rollouts.content.response, axis=1) % 2 == 0
    noise = jax.random.normal(move, old['logits'].shape)
    new = old | {'logits': old['logits'] + drift * noise}
    ours = slope('nft', new, rollouts, rewards)
    theirs = slope('dr_grpo', new, rollouts, rewards)
    scale = jnp.linalg.norm(theirs)
    cosine = jnp.vdot(ours, theirs) / (jnp.linalg.norm(ours) * scale)
    return cosine, jnp.linalg.norm(ours - theirs) / scale

  cosine, difference = tables.over_seeds(measure, seeds, drift)
  return {'cosine': cosine, 'difference': difference}


def slope(recipe, params, rollouts, rewards):
  """The gradient f32[A, S, V] with the sampler as the proximal policy."""
  program = tables.program_of(recipe, samples=SAMPLES, minibatches=1)
  return tables.stale_gradient(
    program, params, rollouts, rewards, prompts=PROMPTS
  )
