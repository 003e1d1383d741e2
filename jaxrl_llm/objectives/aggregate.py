"""Aggregators: how per-token losses become one number.

    f(mask f32[N, T], keep f32[N], group i32[N]) -> f32[N, T]

The result is the weight of each token over one whole optimizer step, so that
the loss is a plain weighted sum and gradient accumulation is exact. `mask` is
non-negative, 0 off the loss. `keep` weighs a row in every mean: a row of weight
2 is two rows, one of weight 0 is none, and twice the weight of all changes
nothing, but for `token_sum`, which is no mean. All give 0, not NaN, for an
empty batch. What else one reads of the rows, see `reads`, it gets by keyword.
"""

from __future__ import annotations

import chex
import jax.numpy as jnp

from jaxrl_llm import numerics
from jaxrl_llm.reads import reads


def row_weights(mask, keep, group):
  """f32[N]: keep_i / rows, the weight of a row in losses of whole sequences.

  `rows` is the sum of keep_j over the rows with tokens.
  """
  chex.assert_rank([mask, keep, group], [2, 1, 1])
  chex.assert_equal_shape_prefix([mask, keep, group], 1)
  kept = jnp.where(jnp.any(mask > 0, axis=-1), keep, 0.0)
  return numerics.safe_divide(kept, jnp.sum(kept))


def token_mean(mask, keep, group):
  """w_it = keep_i m_it / sum_jt keep_j m_jt: every token counts alike.

  Source: DAPO, arXiv 2503.14476, section 3.3.

  Example:
    >>> mask = jnp.array([[1, 1, 1, 1], [1, 0, 0, 0]], bool)
    >>> keep, group = jnp.ones(2), jnp.arange(2)
    >>> print(token_mean(mask, keep, group))
    [[0.2 0.2 0.2 0.2]
     [0.2 0.  0.  0. ]]
  """
  chex.assert_rank([mask, keep, group], [2, 1, 1])
  kept = mask * keep[:, None]
  return numerics.safe_divide(kept, jnp.sum(kept))


def sequence_mean(mask, keep, group):
  """w_it = keep_i m_it / (len_i rows): every response counts alike.

  Source: GRPO, arXiv 2402.03300, equation 3.

  Example:
    >>> mask = jnp.array([[1, 1, 1, 1], [1, 0, 0, 0]], bool)
    >>> keep, group = jnp.ones(2), jnp.arange(2)
    >>> print(sequence_mean(mask, keep, group))
    [[0.125 0.125 0.125 0.125]
     [0.5   0.    0.    0.   ]]
  """
  length = jnp.sum(mask, axis=-1)
  per_row = numerics.safe_divide(row_weights(mask, keep, group), length)
  return mask * per_row[:, None]


def sequence_sum(mask, keep, group):
  """w_it = keep_i m_it / rows: the loss of a response is its tokens' sum.

  The policy gradient of a sequence's log-probability; longer responses
  weigh more than under `sequence_mean`.
  """
  return mask * row_weights(mask, keep, group)[:, None]


def budget_mean(mask, keep, group, *, budget=0):
  """w_it = keep_i m_it / (rows budget): a constant in place of the length.

  Args:
    budget: tokens; 0 means T, the response budget of the run.

  Source: Dr. GRPO, arXiv 2503.20783, listing 1 and section 3.2.

  Example:
    >>> mask = jnp.array([[1, 1, 1, 1], [1, 0, 0, 0]], bool)
    >>> keep, group = jnp.ones(2), jnp.arange(2)
    >>> print(budget_mean(mask, keep, group))
    [[0.125 0.125 0.125 0.125]
     [0.125 0.    0.    0.   ]]
  """
  budget = budget or mask.shape[1]
  return sequence_sum(mask, keep, group) / budget


def token_sum(mask, keep, group):
  """w_it = keep_i m_it: the plain sum over the tokens of the step.

  Gradients grow with the batch, so that the learning rate must fall with it.

  Source: verl, `token-sum`.

  Example:
    >>> mask = jnp.array([[1, 1, 1, 1], [1, 0, 0, 0]], bool)
    >>> keep, group = jnp.ones(2), jnp.arange(2)
    >>> print(token_sum(mask, keep, group))
    [[1. 1. 1. 1.]
     [1. 0. 0. 0.]]
  """
  chex.assert_rank([mask, keep, group], [2, 1, 1])
  return mask * keep[:, None]


def prompt_mean(mask, keep, group):
  """w_it = keep_i m_it / (prompts sum_{j in prompt} keep_j len_j).

  Every prompt counts alike, and every token of its responses. `prompts` are
  those that have a token. With one prompt it is `token_mean`; with one response
  a prompt, or responses of one length, `sequence_mean`.

  Source: ScaleRL, arXiv 2510.13786. SkyRL multiplies the advantages by it,
    which only suits losses that are linear in them; TRL does not divide by
    the number of prompts.

  Example:
    >>> mask = jnp.array([[1, 1, 1], [1, 0, 0], [1, 1, 0], [0, 0, 0]], bool)
    >>> keep, group = jnp.ones(4), jnp.array([0, 0, 2, 2])
    >>> print(prompt_mean(mask, keep, group))
    [[0.125 0.125 0.125]
     [0.125 0.    0.   ]
     [0.25  0.25  0.   ]
     [0.    0.    0.   ]]
  """
  chex.assert_rank([mask, keep, group], [2, 1, 1])
  rows = len(group)
  # A step has ids of the whole iteration, which may be larger than its rows.
  _, prompt = jnp.unique(group, return_inverse=True, size=rows)
  kept = mask * keep[:, None]
  everyone = jnp.ones(rows, bool)
  tokens = numerics.group_sum(jnp.sum(kept, axis=-1), prompt, everyone)
  # A prompt counts once, shared by its rows.
  share = numerics.safe_divide(1.0, numerics.group_count(prompt, everyone))
  prompts = jnp.sum(jnp.where(tokens > 0, share, 0.0))
  return numerics.safe_divide(kept, (tokens * prompts)[:, None])


def split_first(mask, keep, group, *, first_weight=0.001):
  """The first tokens of the responses, and all others, averaged apart.

      w_it = first_weight keep_i m_it / sum_j keep_j m_jt     t the first token
             keep_i m_it / sum_ju keep_j m_ju                 the others

  where each sum is over the tokens of its kind. A first token that says in what
  mode the rest is written is one decision; in a mean over all tokens it weighs
  less the longer the responses are. A response of one token has no others.

  Args:
    first_weight: alpha, of the mean over first tokens; 0 leaves them out.

  Source: Thinkless, arXiv 2505.13379, equation 6, and its code.

  Example:
    >>> mask = jnp.array([[1, 1, 1, 1], [1, 1, 0, 0]], bool)
    >>> keep, group = jnp.ones(2), jnp.arange(2)
    >>> print(split_first(mask, keep, group, first_weight=0.5))
    [[0.25 0.25 0.25 0.25]
     [0.25 0.25 0.   0.  ]]
  """
  chex.assert_rank([mask, keep, group], [2, 1, 1])
  there = mask > 0
  first = there & (jnp.cumsum(there, axis=-1) == 1)
  heads = token_mean(jnp.where(first, mask, 0), keep, group)
  return first_weight * heads + token_mean(
    jnp.where(first, 0, mask), keep, group
  )


@reads('agent')
def sequence_mean_of_agents(mask, keep, group, *, agent, apart=1.0):
  """The sum of every agent's own `sequence_mean`, one loss for each.

      w_it = keep_i m_it / len_i (apart / rows_a + (1 - apart) / rows)

  with rows_a those of the agent that acted in row i. So the loss of agents with
  parameters of their own is scaled by nothing that others did.

  Args:
    agent: i32[N], who acted. apart: 1, or 0 for one mean over all agents.

  Source: M-GRPO, arXiv 2511.13288, whose agents learn in runs of their own.

  Example:
    >>> mask, keep = jnp.ones((3, 1)), jnp.ones(3)
    >>> agent = jnp.array([0, 0, 1])
    >>> print(sequence_mean_of_agents(mask, keep, jnp.arange(3), agent=agent))
    [[0.5]
     [0.5]
     [1. ]]
  """
  length = jnp.sum(mask, axis=-1)
  per_row = numerics.safe_divide(keep, length)
  return _of_agents(mask * per_row[:, None], group, agent, apart)


@reads('agent')
def token_mean_of_agents(mask, keep, group, *, agent, apart=1.0):
  """The sum of every agent's own `token_mean`, one loss for each.

      w_it = keep_i m_it (apart / tokens_a + (1 - apart) / tokens)

  with tokens_a = sum_jt keep_j m_jt over the rows of the agent that acted in i.

  Args:
    agent: i32[N], who acted. apart: 1, or 0 for one mean over all agents.

  Source: Dr. Zero, arXiv 2601.07055, whose code trains both agents with verl.
  """
  return _of_agents(mask * keep[:, None], group, agent, apart)


def _of_agents(kept, group, agent, apart):
  """Shares f32[N, T], divided by what those of an agent, and of all, add to."""
  chex.assert_rank([kept, group, agent], [2, 1, 1])
  chex.assert_equal_shape_prefix([kept, group, agent], 1)
  rows = len(agent)
  # Numbers of agents may be larger than the rows.
  _, who = jnp.unique(agent, return_inverse=True, size=rows)
  own = numerics.group_sum(jnp.sum(kept, axis=-1), who, jnp.ones(rows, bool))
  mixed = apart * numerics.safe_divide(kept, own[:, None])
  return mixed + (1 - apart) * numerics.safe_divide(kept, jnp.sum(kept))
