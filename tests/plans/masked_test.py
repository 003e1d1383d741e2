"""Responses among the tokens that a masking policy keeps."""

import jax.numpy as jnp
import pytest

from jaxrl_llm.plans import masked
from tests.plans.sampled_test import KEY, SAMPLES, Lender


class Recorder(Lender):
  """A sampler that records as many tokens as a masking policy keeps."""

  def masked(self, prompts, key, samples, *, share, least):
    assert share == 0.8
    rollouts = self.generate(prompts, key, samples)
    rows = rollouts.valid.shape[0]
    support = jnp.tile(jnp.arange(least, dtype=jnp.int32), (rows, 1, 1))
    return rollouts.with_extras(support=support)


def test_masked_says_among_which_tokens_it_drew():
  plan = masked.Masked(samples=SAMPLES, share=0.8, least=50)
  assert plan.contract.refers
  tools = Recorder(())
  rollouts, _, _ = plan.collect(tools, tools.draw(), (), KEY)
  assert rollouts.extras['support'].shape[-1] == 50


def test_a_mask_keeps_something():
  with pytest.raises(ValueError, match=r'a share of 0.0 is not in \(0, 1\]'):
    masked.Masked(share=0.0)
