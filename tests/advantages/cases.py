"""Small random batches that hold every awkward row at once."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from jaxrl_llm import digests
from jaxrl_llm.reads import reads_of
from jaxrl_llm.tabular import policy

NAMES = ('binary', 'real', 'uniform', 'holes', 'singletons', 'one', 'none')


def rows(name, seed=0):
  """Rewards f32[N], group i32[N] and valid bool[N]."""
  rng = np.random.default_rng(seed)
  group = np.repeat(np.arange(4), 4).astype(np.int32)
  rewards = rng.integers(0, 2, 16).astype(np.float32)
  # One group that is always solved, and one never, among mixed ones.
  rewards[:4], rewards[4:8], rewards[8] = 1.0, 0.0, 1 - rewards[9]
  valid = np.ones(16, bool)
  if name == 'real':
    rewards = rng.normal(3.0, 2.0, 16).astype(np.float32)
  if name == 'uniform':
    rewards = np.full(16, 0.1, np.float32)
  if name == 'holes':
    valid[[1, 5, 6, 7, 9, 12, 13, 14, 15]] = False
  if name == 'singletons':
    group = np.arange(16, dtype=np.int32)
  if name == 'one':
    rewards, group, valid = rewards[:1], group[:1], valid[:1]
  if name == 'none':
    valid[:] = False
  return rewards, group, valid


def rollouts(seed=0, *, tokens=6, samples=4, groups=4, **extras):
  """Rollouts with a tool's gap in the middle, an empty and a lost row."""
  rng = np.random.default_rng(seed)
  n = samples * groups
  length = rng.integers(1, tokens + 1, n)
  length[2], length[3] = tokens, 0
  response_mask = np.arange(tokens) < length[:, None]
  response = np.where(response_mask, rng.integers(0, 5, (n, tokens)), 0)
  action_mask = response_mask.copy()
  action_mask[2, 2:4] = False
  group = np.repeat(np.arange(groups), samples).astype(np.int32)
  batch = policy.as_rollouts(
    response, response_mask, task=jnp.asarray(group), group=jnp.asarray(group)
  )
  valid = np.ones(n, bool)
  valid[samples + 1 : samples + 2] = False
  logp = -rng.exponential(1.0, (n, tokens)).astype(np.float32)
  return batch.replace(
    action_mask=jnp.asarray(action_mask),
    logp=jnp.where(action_mask, logp, 0),
    valid=jnp.asarray(valid),
    extras={k: jnp.asarray(v) for k, v in extras.items()},
  )


def digested(batch, log_probs, part):
  """The rollouts with what a part reads of whole rows of the old policy."""
  wanted = digests.among(reads_of(part))
  seen = digests.seen(batch, batch.content.response)
  made = digests.made([x.now for x in wanted], jnp.asarray(log_probs), seen)
  extras = {x: made[x.now] for x in wanted}
  return batch.replace(extras={**batch.extras, **extras})
