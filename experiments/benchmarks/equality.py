"""What a mesh must not change: programs of a small decoder, on one and on many.

A kind is a structure that a recipe can have, with the sizes of the model that
it trains. Of each, two programs: one samples, the other is an iteration of the
learner. `difference` says how far two meshes are apart.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments import collectives
from experiments.compilation import QUICKLY
from jaxrl_llm import recipes
from jaxrl_llm.policies.language import (
  heads,
  lora,
  parameters,
  score,
)
from jaxrl_llm.policies.language.config import Config
from jaxrl_llm.policies.language.sampler import Sampler
from jaxrl_llm.policies.language.truncation import Sampling
from jaxrl_llm.training import shard
from jaxrl_llm.training.step import Program, shared_rows
from jaxrl_llm.types import Prompts, Rollouts, Scores, Spec, Tokens

# Sizes that tell the axes of a shape apart, and that both mesh axes divide but
# for the 2 key-value heads, which stay whole on 4 and 8 devices.
DENSE = Config(
  vocab=64, width=16, layers=1, heads=8, kv_heads=2, head_dim=4, mlp_width=24
)
# Split by experts over 2 and 4 devices, by the columns of each over 8.
MIXTURE = dataclasses.replace(
  DENSE, experts=4, experts_per_token=2, experts_norm=True
)
ROWS, PROMPT, LENGTH = 32, 5, 6
KEY = jax.random.key(0)
# (data, model).
MESHES = ((8, 1), (4, 2), (2, 4), (1, 8))
ALONE = (1, 1)
# Relative to the largest entry: float32 sums in another order.
CLOSE = 1e-4


@dataclasses.dataclass(frozen=True)
class Kind:
  """A recipe and the model it trains.

  Attributes:
    name: of the recipe. values: of its hyper-parameters.
    config: of the decoder.
    microbatches: of an optimizer step.
    rank: of the low-rank deltas that are trained; 0 trains everything.
  """

  name: str
  values: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  config: Config = DENSE
  microbatches: int = 2
  rank: int = 0


_FOURS = {'samples': 4}
KINDS = {
  'pointwise': Kind('grpo', _FOURS),
  'sequence': Kind('gspo', _FOURS | {'minibatches': 2}),
  'pair': Kind('dpo'),
  # One pass of the policy: what crosses the network is the learner's alone.
  'pair, no reference': Kind('simpo'),
  'group': Kind('lipo', _FOURS),
  'batch': Kind('kto', microbatches=1),
  'critic': Kind('ppo', {'minibatches': 2, 'epochs': 1}),
  'stateful': Kind('dcpo', _FOURS),
  'low rank': Kind('grpo', _FOURS, rank=2),
  'experts': Kind('grpo', _FOURS, config=MIXTURE),
}


@dataclasses.dataclass(frozen=True)
class Parts:
  """A program of the learner, its state on a mesh, and what it trains not."""

  program: Program
  state: Any
  frozen: Any


def rollouts(samples: int) -> Rollouts:
  """Recorded rows: some groups of `samples`, of all lengths."""
  rng = np.random.default_rng(0)
  groups = ROWS // samples
  mask = np.arange(LENGTH) < rng.integers(1, LENGTH + 1, (ROWS, 1))
  tokens = rng.integers(DENSE.vocab, size=(ROWS, LENGTH))
  group = np.repeat(np.arange(groups), samples).astype(np.int32)
  prompt = rng.integers(DENSE.vocab, size=(groups, PROMPT))
  prompt_mask = np.arange(PROMPT) >= rng.integers(0, PROMPT, (groups, 1))
  logp = np.where(mask, rng.normal(-4, 0.3, mask.shape), 0)
  return Rollouts(
    content=Tokens(
      prompt=jnp.asarray(prompt[group], jnp.int32),
      prompt_mask=jnp.asarray(prompt_mask[group]),
      response=jnp.asarray(np.where(mask, tokens, 0), jnp.int32),
    ),
    response_mask=jnp.asarray(mask),
    action_mask=jnp.asarray(mask),
    logp=jnp.asarray(logp, jnp.float32),
    paid=jnp.zeros(mask.shape, jnp.float32),
    group=jnp.asarray(group),
    task=jnp.asarray(group % 4),
    domain=jnp.zeros(ROWS, jnp.int32),
    valid=jnp.ones(ROWS, bool),
    truncated=jnp.asarray(~mask.all(1)),
    extras={},
  )


def begin(kind: Kind, mesh: tuple[int, int]) -> Parts:
  """A program and its state on a mesh."""
  built = recipes.build(kind.name, **kind.values)
  params, axes = _model(kind, built)
  layout = shard.layout(shard.make_mesh(*mesh), axes, params)
  piece = ROWS // (kind.microbatches * built.minibatches)
  scorer = functools.partial(
    _score,
    config=kind.config,
    layout=layout,
    shared=shared_rows(built.plan.contract, piece, layout.data),
  )
  # The size of a first Adam step does not depend on the gradient's, so the
  # rounding of a gradient of zero would move a parameter; epsilon forbids it.
  tx = optax.adam(1e-2, eps=1e-3)
  program = Program(built, scorer, tx, kind.microbatches, layout)
  spec = Spec(ROWS, built.plan.contract.samples, PROMPT, LENGTH, tasks=4)
  trainable, frozen = lora.split(params)

  def init(params):
    state = program.init(params, spec)
    # Away from the reference, where rounding would decide who is better.
    moved = jax.tree.map(lambda x: 1.1 * x, params)
    return layout.kept(state.replace(params=moved))

  frozen = jax.jit(layout.kept)(frozen)
  return Parts(program, jax.jit(init)(trainable), frozen)


def _model(kind, built):
  """Parameters of a kind with what its recipe reads, and their logical axes."""
  table = parameters.table(kind.config)
  params = jax.jit(parameters.init, static_argnums=0)(kind.config, KEY)
  if kind.rank:
    options = {'rank': kind.rank, 'alpha': 1.0, 'targets': ('q', 'v', 'o')}
    deltas = lora.table(kind.config, **options)
    params = lora.add(params, kind.config, KEY, **options)
    # Both factors as after some training: one that is 0 hides the other.
    params = jax.tree.map(lambda x: jnp.where(x == 0, 0.1, x), params)
    table |= deltas
  for need, name in heads.NAMES.items():
    if need in built.statistics:
      table |= heads.value_table(kind.config, name=name)
      params |= {name: heads.init_value(kind.config, KEY)}
  return params, {path: leaf.axes for path, leaf in table.items()}


def _score(params, rows, needs, *, config, layout, shared):
  with layout.known():
    return score.score(
      params, config, rows, needs=needs, chunk=0, shared=shared
    )


def iteration(parts: Parts):
  """One iteration of the learner, compiled: f(state, frozen)."""
  program = parts.program
  rows = rollouts(program.recipe.plan.contract.samples)
  said = jnp.sin(jnp.arange(ROWS, dtype=jnp.float32))[:, None]
  scores = Scores(said, jnp.ones(1))

  def run(state, frozen):
    scored = program.score(state, frozen, rows)
    credit, memory, _ = program.assign(state.method['credit'], scored, scores)
    state = state.replace(method=state.method | {'credit': memory})
    return program.learn(state, frozen, scored, credit, KEY)

  return jax.jit(run).lower(parts.state, parts.frozen).compile(QUICKLY)


def sampling(kind: Kind, mesh: tuple[int, int]):
  """A sampler of 16 rows, compiled, and its parameters on the mesh."""
  params, axes = _model(kind, recipes.build(kind.name, **kind.values))
  layout = shard.layout(shard.make_mesh(*mesh), axes, params)
  rows = rollouts(4)
  prompts = Prompts(
    tokens=rows.content.prompt[::4],
    mask=rows.content.prompt_mask[::4],
    task=rows.task[::4],
    domain=rows.domain[::4],
  )
  sampler = Sampler(kind.config, LENGTH, stop_tokens=(3,))

  def run(params):
    with layout.known():
      drawn = sampler(
        layout.gathered(lora.merge(params)),
        layout.rows(prompts),
        layout.rows(jnp.arange(16)),
        KEY,
        Sampling(),
        samples=2,
      )
    return layout.everywhere(drawn)

  kept = jax.jit(layout.kept)(params)
  return jax.jit(run).lower(kept).compile(QUICKLY), kept


class Sampled(NamedTuple):
  """Rows that were sampled, and what the devices sent each other for it."""

  rows: Rollouts
  sent: list[collectives.Collective]


class Learned(NamedTuple):
  """An iteration of the learner.

  Attributes:
    before: its state. after: likewise. metrics: of the iteration.
    sent: what the devices sent each other.
    own: `own_bytes`. places: devices that the state is on.
  """

  before: Any
  after: Any
  metrics: Any
  sent: list[collectives.Collective]
  own: int
  places: int


@functools.cache
def sampled(kind: str, mesh: tuple[int, int]) -> Sampled:
  """What a kind samples on a mesh."""
  compiled, params = sampling(KINDS[kind], mesh)
  rows = jax.device_get(compiled(params))
  return Sampled(rows, collectives.of_program(compiled))


@functools.cache
def learned(kind: str, mesh: tuple[int, int]) -> Learned:
  """What a kind learns on a mesh."""
  parts = begin(KINDS[kind], mesh)
  compiled = iteration(parts)
  state, metrics = compiled(parts.state, parts.frozen)
  before, after, metrics = jax.device_get((parts.state, state, metrics))
  return Learned(
    before,
    after,
    metrics,
    sent=collectives.of_program(compiled),
    own=own_bytes(parts),
    places=max(len(x.sharding.device_set) for x in jax.tree.leaves(state)),
  )


def difference(kind: str, mesh: tuple[int, int]) -> dict[str, float]:
  """How far a mesh is from one device.

      max |a - b| / max |b|,       over all entries, b of one device

  Returns:
    'tokens': how many differ, or exist on one alone. 'logp': of those drawn,
    nats. 'gradient' (the mean that Adam keeps), 'step' (of the parameters) and
    'memory' (of the method), relative as above. 'loss', relative to itself or
    to 1, whichever is more: it may be what is left of terms that cancel.
  """
  drawn, alone = sampled(kind, mesh).rows, sampled(kind, ALONE).rows
  other, one = learned(kind, mesh), learned(kind, ALONE)
  tokens = drawn.content.response != alone.content.response
  tokens |= drawn.response_mask != alone.response_mask

  def loss(found):
    return np.float64(found.metrics['loss'])

  def step(found):
    return jax.tree.map(np.subtract, found.after.params, found.before.params)

  return {
    'tokens': int(np.sum(tokens)),
    'logp': float(np.max(np.abs(drawn.logp - alone.logp))),
    'loss': float(abs(loss(other) - loss(one)) / max(abs(loss(one)), 1.0)),
    'gradient': _apart(other.after.opt[0].mu, one.after.opt[0].mu),
    'step': _apart(step(other), step(one)),
    'memory': _apart(other.after.method, one.after.method),
  }


def _apart(tree, expected) -> float:
  """The largest difference relative to the largest entry; 0 for no entries."""
  pairs = [
    (np.asarray(a, np.float64), np.asarray(b, np.float64))
    for a, b in zip(*map(jax.tree.leaves, (tree, expected)))
  ]
  if not pairs:
    return 0.0
  most = max(np.max(np.abs(b), initial=0.0) for _, b in pairs)
  apart = max(np.max(np.abs(a - b), initial=0.0) for a, b in pairs)
  return float(apart / max(most, np.finfo(np.float32).tiny))


def own_bytes(parts: Parts) -> int:
  """Of all parameters in float32 on one device while a program runs."""
  tree = lora.join(parts.state.params, parts.frozen)
  tree = parts.program.layout.abstract(tree, whole='data')
  shapes = [x.sharding.shard_shape(x.shape) for x in jax.tree.leaves(tree)]
  return sum(4 * int(np.prod(shape)) for shape in shapes)
