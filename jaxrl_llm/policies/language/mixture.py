"""Samples from what two policies say of every next token.

    Mixture   mix(v | prefix) ~ first(v | prefix)^(1 - share)
                                second(v | prefix)^share
    Masked    first(v | prefix) among the tokens that the second would keep

Two compiled programs as in `sampler`: one reads the prompts with both models,
the other draws tokens, each of which both models then read. The product of
the next-token distributions of a mixture is not the mixture of the
distributions over whole responses, whose normaliser is a sum over all of them;
it is what Nash-MD samples from.
"""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp

from jaxrl_llm.policies.language import caches as caches_lib
from jaxrl_llm.policies.language import drawing, truncation
from jaxrl_llm.policies.language import sampler as sampler_lib
from jaxrl_llm.policies.language.config import Config
from jaxrl_llm.policies.language.sampler import Sampler
from jaxrl_llm.policies.language.truncation import Sampling
from jaxrl_llm.types import Array, Prompts, PyTree, Rollouts


@dataclasses.dataclass(frozen=True)
class Mixture:
  """How responses of a mixture are generated.

  Attributes:
    first: sampler of the first model, with budget and ends of a response.
    config: of the second model, with the vocabulary of the first.

  Raises:
    ValueError: two vocabularies.
  """

  first: Sampler
  config: Config

  def __post_init__(self):
    if self.first.config.vocab != self.config.vocab:
      raise ValueError(
        f'a mixture of {self.first.config.vocab} and {self.config.vocab} '
        'tokens; both models must share the tokenizer'
      )

  @property
  def second(self) -> Sampler:
    return dataclasses.replace(self.first, config=self.config)

  def __call__(
    self,
    params: tuple[PyTree, PyTree],
    prompts: Prompts,
    uids: Array,
    key: Array,
    sampling: Sampling,
    share: PyTree,
    *,
    samples: int = 1,
  ) -> Rollouts:
    """`samples` responses to each prompt; those of a prompt are adjacent.

    Args:
      params: of the first and of the second model.
      prompts, uids, key, samples: as in `Sampler`.
      sampling: of the mixture. The temperature is that of both policies; what
        truncation keeps is decided on the mixture.
      share: in [0, 1], of the second policy; traced. At 0 and 1 the responses
        are those that the one `Sampler` or the other draws. Of `Masked`, what
        the second keeps.

    Returns:
      Rollouts as of `Sampler`; their `logp` is that of the mixture.
    """
    sampler_lib.check_uids(prompts, uids, samples)
    params = tuple(map(sampler_lib.decoded, params))
    sampling, share = sampling.checked(), jax.tree.map(jnp.float32, share)
    keys = sampler_lib.row_keys(key, uids)
    shared = prompts, keys, sampling, share, self.first.stop_table
    state, caches = _read(self, samples, params, *shared)
    return _write(self, params, *shared, caches, state)

  def combined(self, first: Array, second: Array, share):
    """Logits f32[N, V] to draw from, and what may be drawn of them."""
    return mixed(first, second, share), None


@dataclasses.dataclass(frozen=True)
class Masked(Mixture):
  """How responses of the first policy are generated among what another keeps.

  It keeps its most probable tokens, see `truncation.nucleus` for whose `share`
  and `least` a pair stands in the place of `share`, and those that end a
  response. Its temperature is 1, whatever that of the sampling; what that
  keeps is decided among these tokens, and `log_mass` counts all others.

  Source: NLPO, arXiv 2210.01241, algorithm 1, and its published code, which
    keeps all special tokens.
  """

  def combined(self, first, second, share):
    allowed = truncation.nucleus(second, *share)
    ends = jnp.asarray(self.first.stop_tokens, jnp.int32)
    return first.astype(jnp.float32), allowed.at[:, ends].set(True)


def mixed(first: Array, second: Array, share: Array) -> Array:
  """Logits of the mixture f32[N, V]: (1 - share) first + share second.

  What the softmax makes of them is normalised, whatever constants the logits
  of the two models hold. Exact at 0 and at 1, for finite logits.
  """
  first, second = (x.astype(jnp.float32) for x in (first, second))
  return (1 - share) * first + share * second


@functools.partial(jax.jit, static_argnums=(0, 1))
def _read(mixture, samples, params, prompts, keys, sampling, share, stop_table):
  samplers = mixture.first, mixture.second
  both = [
    sampler_lib.prompted(s, samples, p, prompts)
    for s, p in zip(samplers, params)
  ]
  logits, caches = zip(*both)
  state = drawing.initial(mixture.first, keys.shape[0])
  state = _emit(mixture, state, logits, keys, sampling, share, stop_table)
  return state, caches


@functools.partial(jax.jit, static_argnums=0)
def _write(
  mixture, params, prompts, keys, sampling, share, stop_table, read, state
):
  samplers = mixture.first, mixture.second
  own, following = zip(
    *[
      sampler_lib.decoder(s, p, prompts, cache, keys.shape[0])
      for s, p, cache in zip(samplers, params, read)
    ]
  )

  def step(carry):
    state, caches = carry
    both = [f(state, cache) for f, cache in zip(following, caches)]
    logits, caches = zip(*both)
    state = _emit(mixture, state, logits, keys, sampling, share, stop_table)
    return state, caches

  def widened(caches, columns):
    return tuple(caches_lib.widened(cache, columns) for cache in caches)

  state = sampler_lib.until_ended(mixture.first, step, state, own, widened)
  return sampler_lib.finished(prompts, state)


def _emit(mixture, state, logits, keys, sampling, share, stop_table):
  """The state after one more token of every row, from two policies' logits."""
  drawn, allowed = mixture.combined(*logits, share)
  return sampler_lib.emit(
    mixture.first, state, drawn, keys, sampling, stop_table, allowed=allowed
  )
