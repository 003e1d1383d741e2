"""A softmax policy over a trie of prefixes: every distribution over sequences.

The state before token t is the node its prefix leads to, in heap numbering:
the root is 0 and the child of s by token v is V s + v + 1. A table of logits
[A, S, V] with S = (V^T - 1) / (V - 1) is then a general autoregressive policy
over T tokens, small enough to sum over all sequences. It provides the same
`score` as a language model, so every objective can be proved on it.
"""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_llm import digests
from jaxrl_llm.types import Rollouts, Stats, Tokens


def states(vocab: int, length: int) -> int:
  """Nodes of the trie that a token is chosen at."""
  return sum(vocab**t for t in range(length))


def init(
  key,
  *,
  tasks: int,
  vocab: int,
  length: int,
  scale: float = 1.0,
  critic: tuple[int, ...] = (),
):
  """Normal logits; `scale` 0 is the uniform policy.

  Args:
    critic: the shape of what a critic answers to one state.
  """
  shape = (tasks, states(vocab, length), vocab)
  logits = scale * jax.random.normal(key, shape, jnp.float32)
  return {
    'logits': logits,
    'values': jnp.zeros(shape[:2] + critic, jnp.float32),
    'after_values': jnp.zeros(shape + critic, jnp.float32),
  }


def prefix_states(response, vocab: int):
  """i32[N, T]: the node at which each token was chosen."""

  def step(state, token):
    return vocab * state + token + 1, state

  start = jnp.zeros(response.shape[0], jnp.int32)
  return jax.lax.scan(step, start, response.T)[1].T


def score(params, rollouts: Rollouts, needs=frozenset()) -> Stats:
  """Log-probs, entropy and, where asked, values and whole rows."""
  vocab = params['logits'].shape[-1]
  mask = rollouts.response_mask
  node = prefix_states(rollouts.content.response, vocab)
  task = rollouts.task[:, None]
  log_probs = jax.nn.log_softmax(params['logits'][task, node])
  chosen = jnp.take_along_axis(
    log_probs, rollouts.content.response[..., None], axis=-1
  )[..., 0]
  entropy = -jnp.sum(jnp.exp(log_probs) * log_probs, axis=-1)
  return Stats(
    logp=jnp.where(mask, chosen, 0),
    entropy=jnp.where(mask, entropy, 0),
    values=_masked(params['values'][task, node], mask)
    if 'values' in needs
    else None,
    after_values=_masked(
      params['after_values'][task, node, rollouts.content.response], mask
    )
    if 'after_values' in needs
    else None,
    log_probs=log_probs if 'log_probs' in needs else None,
    digests=digests.made(
      needs, log_probs, digests.seen(rollouts, rollouts.content.response)
    ),
  )


def _masked(x, mask):
  return jnp.where(mask.reshape(mask.shape + (1,) * (x.ndim - 2)), x, 0)


def all_responses(vocab: int, length: int, stop: int | None = None):
  """Every response once: tokens i32[S, T] and mask bool[S, T].

  Args:
    stop: a token that ends a response; None gives all V^T full lengths.

  Example:
    >>> tokens, mask = all_responses(vocab=2, length=2, stop=1)
    >>> tokens.tolist()
    [[0, 0], [0, 1], [1, 0]]
    >>> mask.tolist()
    [[True, True], [True, True], [True, False]]
  """
  responses, masks = [], []
  for tokens in itertools.product(range(vocab), repeat=length):
    end = tokens.index(stop) + 1 if stop in tokens else length
    if any(tokens[end:]) and stop is not None:
      continue  # what follows the stop token is padding, written as 0
    responses.append(tokens)
    masks.append([t < end for t in range(length)])
  return np.array(responses, np.int32), np.array(masks)


def as_rollouts(response, mask, *, task=None, group=None, logp=None):
  """Rollouts of bare responses: one row a group unless `group` says more."""
  rows = response.shape[0]
  zeros = jnp.zeros(rows, jnp.int32)
  mask = jnp.asarray(mask, bool)
  if logp is None:
    logp = jnp.zeros(mask.shape, jnp.float32)
  return Rollouts(
    content=Tokens(
      prompt=jnp.zeros((rows, 1), jnp.int32),
      prompt_mask=jnp.ones((rows, 1), bool),
      response=jnp.asarray(response, jnp.int32),
    ),
    response_mask=mask,
    action_mask=mask,
    logp=logp,
    paid=jnp.zeros(response.shape, jnp.float32),
    group=jnp.arange(rows, dtype=jnp.int32) if group is None else group,
    task=zeros if task is None else task,
    domain=zeros,
    valid=jnp.ones(rows, bool),
    truncated=jnp.zeros(rows, bool),
  )


def sample(params, key, task, *, samples: int, stop: int | None = None):
  """`samples` responses to each task, as rollouts with their log-probs.

  Args:
    task: i32[B]. stop: a token that ends a response.
  """
  _, nodes, vocab = params['logits'].shape
  length = next(t for t in itertools.count() if states(vocab, t) == nodes)
  task = jnp.repeat(task, samples)
  rows = task.shape[0]

  def step(carry, key):
    node, going = carry
    logits = params['logits'][task, node]
    token = jax.random.categorical(key, logits)
    token = jnp.where(going, token, 0).astype(jnp.int32)
    # After the end every node stands for padding; stay inside the table.
    following = jnp.minimum(vocab * node + token + 1, nodes - 1)
    ended = going & (token == (-1 if stop is None else stop))
    return (following, going & ~ended), (token, going)

  start = (jnp.zeros(rows, jnp.int32), jnp.ones(rows, bool))
  _, (tokens, mask) = jax.lax.scan(step, start, jax.random.split(key, length))
  group = jnp.arange(rows, dtype=jnp.int32) // samples
  rollouts = as_rollouts(tokens.T, mask.T, task=task, group=group)
  return rollouts.replace(logp=score(params, rollouts).logp)
