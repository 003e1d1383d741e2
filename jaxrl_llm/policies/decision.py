"""A decision transformer on a language model: recorded episodes as sentences.

Every step of an episode is three tokens, what is still to come of its return,
what was seen and what was done:

    R_1 s_1 a_1  R_2 s_2 a_2  ...        R_t = sum_{u >= t} r_u / scale

    h = W1 x + b1,   e = W2 gelu(h) + b2 + h             each kind its own
    token = LayerNorm(e) + time_t                  the same time for all three
    a^_t  = V2 gelu(V1 y + c1) + c2        of the state y that s_t was read to

A return that is asked for stands in place of R_1 when the policy acts. The
decoder is any of `language.config`, with weights that it learned from text, and
goes on being asked about text, so that it does not forget:

    loss = mean (a^_t - a_t)^2 + language_weight mean -log p(w_k | w_<k)

With LoRA leaves the decoder stays as it was but for their products
(`language.lora`); what is made of numbers and the answer are always learned.
"""

from __future__ import annotations

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import optax
from flax import struct

from jaxrl_llm import numerics
from jaxrl_llm.environments.base import Environment
from jaxrl_llm.policies.language import lora, parameters, transformer
from jaxrl_llm.policies.language.config import Config
from jaxrl_llm.policies.protocol import Param, Table
from jaxrl_llm.types import Array, PyTree, Rollouts

_KINDS = ('returns', 'observation', 'action')
_EPSILON = 1e-5  # Of LayerNorm, as in GPT-2.


class Steps(struct.PyTreeNode):
  """Steps of episodes, in their order.

  Attributes:
    returns: f32[N, T], to go, over the scale. observation: f32[N, T, o],
      standardised. action: f32[N, T, a]. time: i32[N, T], from 0.
    mask: bool[N, T], steps that are there, without a gap.
  """

  returns: Array
  observation: Array
  action: Array
  time: Array
  mask: Array


class Recording(struct.PyTreeNode):
  """Whole episodes, and how what is seen of them is measured.

  Attributes:
    steps: `Steps` of all. mean, spread: f32[o], of what was seen.
    scale: f32[], a unit of returns in which they are about 1.
  """

  steps: Steps
  mean: Array
  spread: Array
  scale: Array


@dataclasses.dataclass(frozen=True)
class DecisionTransformer:
  """What is done next, of episodes read by a decoder.

  Attributes:
    decoder: of the language model. observation, action: numbers of each.
    horizon: the most steps of an episode. context: K, steps that are read.
    hidden: whether numbers go through `h` and the answer through `V1`; else
      all of them are linear, as in the decision transformer.

  Raises:
    ValueError: a decoder whose tokens say more than their embedding.

  Source: LaMo, arXiv 2310.20587, and its published code. There dropout is 0.1,
    and the text loss has one batch of WikiText a step. Deviates: rows are
    padded behind their steps, not before, and attention turns by positions
    where GPT-2 adds them.
  """

  decoder: Config
  observation: int
  action: int
  horizon: int
  context: int = 20
  hidden: bool = True

  def __post_init__(self):
    if self.decoder.token_width:
      raise ValueError(
        'tokens of this decoder say more to its layers than their embedding, '
        'which numbers have not; use one without per-layer embeddings'
      )

  def table(self) -> Table:
    """The decoder's parameters, and those of numbers, times and answers."""
    width, found = self.decoder.width, dict(parameters.table(self.decoder))
    zeros, ones = jax.nn.initializers.zeros, jax.nn.initializers.ones

    def linear(name, rows, columns):
      small = jax.nn.initializers.normal(rows**-0.5)
      found[*name, 'kernel'] = Param((rows, columns), (None, None), small)
      found[*name, 'bias'] = Param((columns,), (None,), zeros)

    for kind, size in zip(_KINDS, (1, self.observation, self.action)):
      linear(('numbers', kind, 'first'), size, width)
      if self.hidden:
        linear(('numbers', kind, 'second'), width, width)
    found['numbers', 'norm', 'scale'] = Param((width,), (None,), ones)
    found['numbers', 'norm', 'bias'] = Param((width,), (None,), zeros)
    times = jax.nn.initializers.normal(0.02)
    found['numbers', 'time'] = Param((self.horizon, width), (None, None), times)
    if self.hidden:
      linear(('answer', 'first'), width, width)
    linear(('answer', 'second'), width, self.action)
    return found

  def predicted(self, params: PyTree, steps: Steps) -> Array:
    """f32[N, T, a]: a^_t, of R_1 s_1 a_1 ... R_t s_t; no meaning off the mask.

    What stands at a_t itself changes nothing.
    """
    rows, columns = steps.mask.shape
    chex.assert_shape(steps.observation, (rows, columns, self.observation))
    chex.assert_shape(steps.action, (rows, columns, self.action))
    own = params['numbers']
    numbers = steps.returns[..., None], steps.observation, steps.action
    tokens = jnp.stack(
      [_embedded(own[kind], x) for kind, x in zip(_KINDS, numbers)], axis=2
    )
    tokens = _normed(own['norm'], tokens) + own['time'][steps.time][:, :, None]
    states, _ = transformer.sequence(
      params,
      self.decoder,
      tokens.reshape(rows, 3 * columns, -1),
      jnp.repeat(steps.mask, 3, axis=1),
      dtype=jnp.float32,
    )
    x = states.reshape(rows, columns, 3, -1)[:, :, 1]
    if 'first' in params['answer']:
      x = _gelu(_linear(params['answer']['first'], x))
    return _linear(params['answer']['second'], x)


def loss(
  params: PyTree,
  policy: DecisionTransformer,
  steps: Steps,
  tokens: Array,
  mask: Array,
  *,
  language_weight: float,
) -> tuple[Array, dict[str, Array]]:
  """f32[] and its two parts, of steps and of text beside them.

  Args:
    tokens: i32[M, S], text. mask: bool[M, S], tokens that are there.
    language_weight: lambda; 0 leaves text out.
  """
  error = jnp.mean((policy.predicted(params, steps) - steps.action) ** 2, -1)
  control = numerics.masked_mean(error, steps.mask)
  if not language_weight:
    return control, {'control': control, 'language': jnp.zeros(())}
  language = unlikelihood(params, policy.decoder, tokens, mask)
  parts = {'control': control, 'language': language}
  return control + language_weight * language, parts


def unlikelihood(
  params: PyTree, decoder: Config, tokens: Array, mask: Array
) -> Array:
  """f32[]: the mean of -log p(w_k | w_<k), k > 0, in nats."""
  x = transformer.hidden(params, decoder, tokens, mask)
  scores = transformer.logits(params, decoder, x[:, :-1])
  logp = jnp.take_along_axis(
    jax.nn.log_softmax(scores), tokens[:, 1:, None], axis=-1
  )
  return numerics.masked_mean(-logp[..., 0], mask[:, 1:])


def recording(rollouts: Rollouts, *, scale: float = 1.0) -> Recording:
  """What is learned from, made of episodes of vectors."""
  content, mask = rollouts.content, rollouts.loss_mask
  paid = jnp.where(mask, rollouts.paid, 0.0)
  there = mask[..., None]
  mean = jnp.mean(content.observation, axis=(0, 1), where=there)
  spread = jnp.std(content.observation, axis=(0, 1), where=there) + 1e-6
  columns = jnp.arange(mask.shape[1], dtype=jnp.int32)
  steps = Steps(
    returns=numerics.discounted_sum(paid, mask) / scale,
    observation=jnp.where(there, (content.observation - mean) / spread, 0.0),
    action=jnp.where(there, content.action, 0.0),
    time=jnp.broadcast_to(columns, mask.shape),
    mask=mask,
  )
  return Recording(steps, mean, spread, jnp.float32(scale))


def drawn(steps: Steps, key: Array, *, batch: int, context: int) -> Steps:
  """[batch, context] steps on end: episodes by their length, any beginning."""
  which, where = jax.random.split(key)
  length = jnp.sum(steps.mask, axis=1)
  row = jax.random.choice(
    which, length.shape[0], (batch,), p=length / jnp.sum(length)
  )
  chance = jax.random.uniform(where, (batch,))
  # A chance near 1 is rounded up to the length.
  start = jnp.minimum((chance * length[row]).astype(jnp.int32), length[row] - 1)
  column = start[:, None] + jnp.arange(context)
  inside = column < length[row][:, None]
  column = jnp.minimum(column, steps.mask.shape[1] - 1)
  taken = jax.tree.map(lambda x: x[row[:, None], column], steps)
  return taken.replace(mask=taken.mask & inside)


@functools.partial(
  jax.jit,
  static_argnames=('policy', 'tx', 'updates', 'batch', 'language_weight'),
)
def fit(
  params: PyTree,
  policy: DecisionTransformer,
  steps: Steps,
  text: Array,
  key: Array,
  *,
  tx: optax.GradientTransformation,
  updates: int,
  batch: int = 64,
  language_weight: float = 0.1,
) -> tuple[PyTree, dict[str, Array]]:
  """The parameters after some updates, and the losses of each, f32[updates].

  Args:
    text: i32[M, S], of which `batch` rows are asked about in each update.
    tx: published are AdamW with rate 1e-4 after 2500 steps of warm-up, decay
      1e-4, and gradients clipped at 0.25.
  """
  trained, frozen = lora.split(params)

  def update(carry, key):
    trained, moments = carry
    episodes, pages = jax.random.split(key)
    chosen = drawn(steps, episodes, batch=batch, context=policy.context)
    page = text[jax.random.randint(pages, (batch,), 0, text.shape[0])]
    slope, parts = jax.grad(
      lambda trained: loss(
        lora.join(trained, frozen),
        policy,
        chosen,
        page,
        jnp.ones(page.shape, bool),
        language_weight=language_weight,
      ),
      has_aux=True,
    )(trained)
    change, moments = tx.update(slope, moments, trained)
    return (optax.apply_updates(trained, change), moments), parts

  start = trained, tx.init(trained)
  (trained, _), parts = jax.lax.scan(
    update, start, jax.random.split(key, updates)
  )
  return lora.join(trained, frozen), parts


@functools.partial(jax.jit, static_argnames=('policy', 'environment'))
def earned(
  params: PyTree,
  policy: DecisionTransformer,
  environment: Environment,
  recording: Recording,
  tasks: Array,
  key: Array,
  *,
  wanted: Array,
) -> Array:
  """f32[N]: what an episode of each task pays where `wanted` is asked for.

  Args:
    recording: by which returns and what is seen are measured.
    tasks: i32[N]. wanted: f32[N], returns, in units of the environment. What
      was paid is taken off what is still asked for.

  Raises:
    ValueError: episodes of more steps than the policy has times for.
  """
  rows, horizon = tasks.shape[0], environment.spec.horizon
  if horizon > policy.horizon:
    raise ValueError(
      f'episodes of {horizon} steps, and the policy knows {policy.horizon} '
      f'times; give it horizon={horizon}'
    )
  starting, moving = jax.random.split(key)
  state = environment.reset(tasks, starting)
  steps = Steps(
    returns=jnp.zeros((rows, horizon)),
    observation=jnp.zeros((rows, horizon, policy.observation)),
    action=jnp.zeros((rows, horizon, policy.action)),
    time=jnp.broadcast_to(jnp.arange(horizon), (rows, horizon)),
    mask=jnp.zeros((rows, horizon), bool),
  )
  size = min(policy.context, horizon)

  def step(carry, time):
    state, steps, live, left = carry
    seen = environment.observe(state) - recording.mean
    steps = steps.replace(
      returns=steps.returns.at[:, time].set(left),
      observation=steps.observation.at[:, time].set(seen / recording.spread),
      mask=steps.mask.at[:, time].set(True),
    )
    first = jnp.maximum(time - size + 1, 0)
    read = jax.tree.map(
      lambda x: jax.lax.dynamic_slice_in_dim(x, first, size, axis=1), steps
    )
    action = policy.predicted(params, read)[:, time - first]
    steps = steps.replace(action=steps.action.at[:, time].set(action))
    moved = jax.random.fold_in(moving, time)
    state, outcome = environment.step(state, action, moved)
    reward = jnp.where(live, outcome.reward, 0.0)
    live &= ~outcome.ended
    left -= reward / recording.scale
    return (state, steps, live, left), reward

  left = wanted / recording.scale
  carry = state, steps, jnp.ones(rows, bool), left
  return jnp.sum(jax.lax.scan(step, carry, jnp.arange(horizon))[1], axis=0)


def _embedded(layers, x):
  """e of the module's docstring, or its first map alone."""
  x = _linear(layers['first'], x)
  return x + _linear(layers['second'], _gelu(x)) if 'second' in layers else x


def _linear(layer, x):
  return x @ layer['kernel'] + layer['bias']


def _gelu(x):
  return jax.nn.gelu(x, approximate=False)


def _normed(layer, x):
  centred = x - jnp.mean(x, axis=-1, keepdims=True)
  variance = jnp.mean(centred**2, axis=-1, keepdims=True)
  return (
    centred * jax.lax.rsqrt(variance + _EPSILON) * layer['scale']
    + layer['bias']
  )
