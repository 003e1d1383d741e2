"""The papers: one entry each, grouped by the joint they mainly change."""

from jaxrl_llm.recipes import (
  advantages,
  agents,
  prompt_credit,
  regressions,
  regularisers,
  selection,
  token_credit,
  trust_regions,
)

__all__ = [
  'advantages',
  'agents',
  'prompt_credit',
  'regressions',
  'regularisers',
  'selection',
  'token_credit',
  'trust_regions',
]
