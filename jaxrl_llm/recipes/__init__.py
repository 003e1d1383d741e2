"""The papers: one entry each, grouped by the joint they mainly change.

`names`, `get` and `build` find them.
"""

# To be imported is to be registered.
from jaxrl_llm.recipes import (  # noqa: F401
  actor_critic,
  advantages,
  agents,
  behaviour,
  clipping,
  critics,
  curricula,
  distillation,
  entropy,
  exploration,
  gflownets,
  guidance,
  imitation,
  listwise,
  many_rewards,
  nash,
  off_policy,
  online_preference,
  preference,
  prompt_credit,
  recorded_preference,
  regressions,
  regularisers,
  retrieval,
  reward_models,
  rewarding,
  sampler_mismatch,
  selection,
  self_play,
  sequence_ratios,
  thinking,
  token_credit,
  token_gates,
  trust_regions,
)
from jaxrl_llm.recipes.lookup import build, get, names

__all__ = ['build', 'get', 'names']
