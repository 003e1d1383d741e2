"""A language model that opens the tokens of its response in any order.

The response begins as L mask tokens. In each of K steps the model, whose every
token sees all others, reads prompt and response; tokens are drawn at some of
the masked positions and stay. Nothing is told of the time.

    x_s        response before step s: tokens at opened positions, else MASK
    A_s        positions that step s opens, of those masked in x_s
    x^i  ~  p(. | q, x_s)      for i in A_s, independently of one another

The mask token itself is never drawn. Step s opens L // K positions, the first
L mod K steps one more. Which ones, is one of

    random      a uniform permutation, drawn before anything is read
    confident   those whose most probable token is the most probable

Both are settled before the tokens of the step are drawn, so the log-prob of a
response that was opened in a given order is a sum over its tokens:

    log p(x | q, A) = sum_s sum_{i in A_s} log p(x^i | q, x_s)            path

The rows keep the order, so sampler and scorer read the same K states. Under
`random` the order does not depend on the parameters, and the gradient of an
expected reward is exact; under `confident` it is that with the order held.

What the literature calls the log-prob is often less: an estimate from readings
of the finished response x with some positions hidden, in place of its path.

    log p(x | q) >= E[L / l sum_{i hidden} log p(x^i | q, x with l hidden)] elbo
    log p(x | q) ~~ sum_i log p(x^i | q, all hidden)                    one_step

l is uniform on {1, ..., L} and the hidden positions are any l. They are drawn
when a row is written and kept with it, so that every pass over it reads the
same ones: an on-policy ratio is 1 exactly, and ratios have no noise of their
own. The per-token share of `elbo` is 0 for a token that no reading hides.

Source: LLaDA, arXiv 2502.09992 (steps, low-confidence remasking, which at
  temperature 0 is `confident`, and the bound); MDLM, arXiv 2406.07524 (no
  probability for the mask; opened tokens stay); d1, arXiv 2504.12216
  (`one_step`; it also hides tokens of the prompt, anew in every optimizer step,
  which is left out); TraceRL, arXiv 2509.06949 (`path`).
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_llm.policies.language import heads, parameters, transformer
from jaxrl_llm.policies.language.config import Config
from jaxrl_llm.types import Array, PyTree, Rollouts, Stats, Unmasking

ORDERS = ('random', 'confident')
ESTIMATES = ('path', 'elbo', 'one_step')
# Of the mask token's logit. Finite, so that gradients stay finite.
_NEVER = -1e30


@dataclasses.dataclass(frozen=True)
class Masked:
  """A masked-diffusion language model on responses of one length.

  Attributes:
    config: of the decoder, read without its causal mask. The last token of its
      vocabulary is MASK.
    length: L, tokens of a response. steps: K, at most L.
    order: one of `ORDERS`. estimate: one of `ESTIMATES`, what `score` calls
      the log-prob.
    readings: M, of the finished response, for 'elbo'.
    temperature: logits are divided by it, in sampling and learning.
    critic: whether there is a head for values, which 'path' alone has.
  """

  config: Config
  length: int
  steps: int
  order: str = 'confident'
  estimate: str = 'path'
  readings: int = 1
  temperature: float = 1.0
  critic: bool = False

  def __post_init__(self):
    if not 1 <= self.steps <= self.length:
      raise ValueError(
        f'{self.steps} steps cannot open {self.length} tokens, at least one '
        f'each; use 1 to {self.length}'
      )
    for name, known in (('order', ORDERS), ('estimate', ESTIMATES)):
      if getattr(self, name) not in known:
        raise ValueError(
          f'{name} {getattr(self, name)!r} is none of {", ".join(known)}'
        )
    if not (self.readings >= 1 and self.temperature > 0):
      raise ValueError(
        f'readings {self.readings} must be at least 1 and temperature '
        f'{self.temperature} more than 0'
      )

  @property
  def gives(self):
    values = self.critic and self.estimate == 'path'
    return frozenset({'entropy', *(['values'] if values else [])})

  @property
  def mask_token(self) -> int:
    """What stands at a position that is not open."""
    return self.config.vocab - 1

  @property
  def step_of(self) -> np.ndarray:
    """i32[L]: the step of each column."""
    each, more = divmod(self.length, self.steps)
    counts = each + (np.arange(self.steps) < more)
    return np.repeat(np.arange(self.steps), counts).astype(np.int32)

  def table(self):
    found = parameters.table(self.config)
    return found | (heads.value_table(self.config) if self.critic else {})

  def write(
    self, params: PyTree, prompt: Array, prompt_mask: Array, keys: Array
  ) -> tuple[Unmasking, Array]:
    """Responses, and the log-probs of their tokens f32[N, L].

    Args:
      prompt: i32[N, P]. prompt_mask: bool[N, P]. keys: [N], one a row.
    """
    rows = prompt.shape[0]
    orders, draws, hides = jax.vmap(_split, out_axes=1)(keys)
    rank = self._ranks(orders)
    counts = np.bincount(self.step_of)

    def step(carry, inputs):
      number, count = inputs
      response, opened, logp = carry
      closed = opened == self.steps
      rows_of, _ = self._read(params, prompt, prompt_mask, response)
      if self.order == 'random':
        first = -rank.astype(jnp.float32)
      else:
        first = jnp.max(rows_of, axis=-1)
      first = jnp.where(closed, first, -jnp.inf)
      # Ties go to the left: the sort is stable.
      place = jnp.argsort(jnp.argsort(-first, axis=-1), axis=-1)
      now = closed & (place < count)
      own = jax.vmap(jax.random.fold_in, (0, None))(draws, number)
      token = jax.vmap(jax.random.categorical)(own, rows_of)
      return (
        jnp.where(now, token, response),
        jnp.where(now, number, opened),
        jnp.where(now, _at(rows_of, token), logp),
      ), None

    shape = rows, self.length
    carry = (
      jnp.full(shape, self.mask_token),
      jnp.full(shape, self.steps),
      jnp.zeros(shape),
    )
    (response, opened, logp), _ = jax.lax.scan(
      step, carry, (jnp.arange(self.steps), jnp.asarray(counts))
    )
    position = jnp.argsort(opened, axis=-1, stable=True)
    content = Unmasking(
      prompt=prompt,
      prompt_mask=prompt_mask,
      token=jnp.take_along_axis(response, position, axis=-1),
      position=position,
      hidden=self._hidden(hides),
    )
    if self.estimate == 'path':
      return content, jnp.take_along_axis(logp, position, axis=-1)
    everything = jnp.ones(shape, bool)
    return content, self._score(params, content, everything, False).logp

  def score(
    self, params: PyTree, rollouts: Rollouts, needs=frozenset()
  ) -> Stats:
    """Log-probs and entropies of every token, as the estimate has them.

    Entropies are weighed as the log-probs are: that of the distribution which
    a token was drawn from, or what each reading says in its place.

    Args:
      rollouts: with `Unmasking`. A position whose token is off
        `response_mask` counts as never opened.
      needs: 'values' adds what a head says of the mean state of the response
        before the step that opened a token; one number a step.
    """
    return self._score(
      params, rollouts.content, rollouts.response_mask, 'values' in needs
    )

  def _score(self, params, content, mask, valued):
    columns = mask.shape[1]
    step = jnp.broadcast_to(self.step_of[:columns], mask.shape)
    # Off the mask positions may repeat others: what is lost cannot be opened.
    place = jnp.where(mask, content.position, self.length)

    def placed(x, rest):
      empty = jnp.full((mask.shape[0], self.length), rest)
      return jax.vmap(lambda y, at, x: y.at[at].set(x, mode='drop'))(
        empty, place, x
      )

    response = placed(content.token, self.mask_token)
    opened = placed(step, self.steps)

    @jax.checkpoint
    def reading(total, inputs):
      hidden, weight = inputs
      seen = jnp.where(hidden, self.mask_token, response)
      rows, state = self._read(
        params, content.prompt, content.prompt_mask, seen
      )
      said = [_at(rows, response), -jnp.sum(jnp.exp(rows) * rows, axis=-1)]
      if valued:
        value = heads.value(params['value_head'], jnp.mean(state, axis=1))
        said.append(jnp.broadcast_to(value[:, None], weight.shape))
      return [x + weight * y for x, y in zip(total, said)], None

    start = [jnp.zeros(opened.shape)] * (3 if valued else 2)
    # One at a time, so that memory is that of one state, however many.
    found, _ = jax.lax.scan(reading, start, self._readings(content, opened))
    at = jnp.minimum(place, self.length - 1)
    found = [jnp.take_along_axis(x, at, axis=-1) for x in found]
    stats = Stats(found[0], found[1], found[2] if valued else None)
    return stats.on(mask)

  def _readings(self, content, opened):
    """What each reading hides, bool[M, N, L], and weighs, f32[M, N, L]."""
    if self.estimate == 'path':
      steps = jnp.arange(self.steps)[:, None, None]
      return opened >= steps, (opened == steps).astype(jnp.float32)
    hidden = jnp.moveaxis(content.hidden, 1, 0)
    count = jnp.sum(hidden, axis=-1, keepdims=True)
    return hidden, hidden * self.length / (count * hidden.shape[0])

  def _hidden(self, keys):
    """bool[N, M, L] of M readings; None where the path is read.

    The counts of hidden tokens are spread evenly over the M readings, each of
    them uniform by itself.
    """
    if self.estimate == 'path':
      return None
    if self.estimate == 'one_step':
      return jnp.ones((*keys.shape, 1, self.length), bool)

    def row(key):
      shift, mix = jax.random.split(key)
      spread = jnp.arange(self.readings) / self.readings
      level = (jax.random.uniform(shift) + spread) % 1.0
      count = 1 + jnp.floor(level * self.length).astype(jnp.int32)
      count = jnp.minimum(count, self.length)
      ranks = self._ranks(jax.random.split(mix, self.readings))
      return ranks < count[:, None]

    return jax.vmap(row)(keys)

  def _ranks(self, keys):
    """i32[N, L], a permutation of the positions for each key."""
    return jax.vmap(lambda key: jax.random.permutation(key, self.length))(keys)

  def _read(self, params, prompt, prompt_mask, response):
    """Log-probs f32[N, L, V] at every position, and states [N, L, D]."""
    tokens = jnp.concatenate([prompt, response], axis=1)
    everything = jnp.ones(response.shape, bool)
    mask = jnp.concatenate([prompt_mask, everything], axis=1)
    state = transformer.hidden(params, self.config, tokens, mask, causal=False)[
      :, prompt.shape[1] :
    ]
    logits = transformer.logits(params, self.config, state) / self.temperature
    never = jnp.arange(self.config.vocab) == self.mask_token
    return jax.nn.log_softmax(jnp.where(never, _NEVER, logits)), state


def _split(key):
  return jax.random.split(key, 3)


def _at(rows, token):
  return jnp.take_along_axis(rows, token[..., None], axis=-1)[..., 0]
