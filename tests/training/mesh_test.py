"""A mesh changes where arrays live and what crosses between devices, no more.

Programs of a small decoder: what they compute, and what they send.
"""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments import collectives
from jaxrl_llm import recipe
from jaxrl_llm.models import score, transformer
from jaxrl_llm.models.config import Config
from jaxrl_llm.rollouts.sampler import Sampler
from jaxrl_llm.rollouts.truncation import Sampling
from jaxrl_llm.training import shard
from jaxrl_llm.training.step import Program, shared_rows
from jaxrl_llm.types import Prompts, Rollouts, Scores, Spec

# Sizes that tell the axes of a shape apart, and that both mesh axes divide but
# for the 2 key-value heads, which stay whole on 4 and 8 devices.
CONFIG = Config(
  vocab=64, width=16, layers=1, heads=8, kv_heads=2, head_dim=4, mlp_width=24
)
ROWS, PROMPT, LENGTH = 32, 5, 6
KEY = jax.random.key(0)
# Running takes a millisecond and compiling seconds, so compile carelessly.
QUICKLY = {
  'xla_backend_optimization_level': 0,
  'xla_cpu_use_fusion_emitters': False,
}
MESHES = ((8, 1), (4, 2), (2, 4), (1, 8))


def rollouts(samples):
  rng = np.random.default_rng(0)
  groups = ROWS // samples
  mask = np.arange(LENGTH) < rng.integers(1, LENGTH + 1, (ROWS, 1))
  tokens = rng.integers(CONFIG.vocab, size=(ROWS, LENGTH))
  group = np.repeat(np.arange(groups), samples).astype(np.int32)
  prompt = rng.integers(CONFIG.vocab, size=(groups, PROMPT))
  prompt_mask = np.arange(PROMPT) >= rng.integers(0, PROMPT, (groups, 1))
  arrays = Rollouts(
    prompt=prompt[group].astype(np.int32),
    prompt_mask=prompt_mask[group],
    response=np.where(mask, tokens, 0).astype(np.int32),
    response_mask=mask,
    action_mask=mask,
    logp=np.where(mask, rng.normal(-4, 0.3, mask.shape), 0).astype(np.float32),
    group=group,
    task=group % 4,
    domain=np.zeros_like(group),
    valid=np.ones(ROWS, bool),
    truncated=~mask.all(1),
    extras={},
  )
  return jax.tree.map(jnp.asarray, arrays)


def begin(name, mesh, *, microbatches=2, **values):
  """A program and its state on a mesh."""
  built = recipe.build(name, **values)
  params = jax.jit(transformer.init, static_argnums=0)(CONFIG, KEY)
  table = transformer.table(CONFIG)
  axes = {path: leaf.axes for path, leaf in table.items()}
  layout = shard.layout(mesh, axes, params)
  piece = ROWS // (microbatches * built.minibatches)
  scorer = functools.partial(
    _score, shared=shared_rows(built.plan, piece, layout.data)
  )
  # The size of a first Adam step does not depend on the gradient's, so the
  # rounding of a gradient of zero would move a parameter; epsilon forbids it.
  tx = optax.adam(1e-2, eps=1e-3)
  program = Program(built, scorer, tx, microbatches, layout)
  spec = Spec(ROWS, built.plan.samples, PROMPT, LENGTH, tasks=4)

  def init(params):
    state = program.init(params, spec)
    # Away from the reference, where rounding would decide who is better.
    moved = jax.tree.map(lambda x: 1.1 * x, params)
    return layout.kept(state.replace(params=moved))

  return program, jax.jit(init)(params)


def _score(params, rollouts, needs, *, shared):
  return score.score(
    params, CONFIG, rollouts, needs=needs, chunk=0, shared=shared
  )


def iteration(program, state):
  """One iteration of the learner, as one program."""
  rows = rollouts(program.recipe.plan.samples)
  said = jnp.sin(jnp.arange(ROWS, dtype=jnp.float32))[:, None]
  scores = Scores(said, jnp.ones(1))

  def run(state):
    scored = program.score(state, {}, rows)
    credit, memory, _ = program.assign(state.method['credit'], scored, scores)
    state = state.replace(method=state.method | {'credit': memory})
    return program.learn(state, {}, scored, credit, KEY)

  return jax.jit(run).lower(state).compile(QUICKLY)


@pytest.mark.parametrize(
  ('mesh', 'name', 'settings'),
  [
    ((4, 2), 'gspo', {'samples': 4, 'minibatches': 2}),
    ((2, 4), 'dpo', {}),
    ((4, 2), 'lipo', {'samples': 4}),
    ((2, 4), 'kto', {'microbatches': 1}),
    ((8, 1), 'dcpo', {'samples': 4}),
    ((1, 8), 'grpo', {'samples': 4}),
  ],
  ids=str,
)
def test_a_mesh_learns_the_same(mesh, name, settings):
  alone = begin(name, shard.make_mesh(1, 1), **settings)
  one, one_metrics = iteration(*alone)(alone[1])
  many = begin(name, shard.make_mesh(*mesh), **settings)
  other, metrics = iteration(*many)(many[1])
  assert max(len(x.sharding.device_set) for x in jax.tree.leaves(other)) == 8
  # Sums over devices differ in their order, so all agrees to rounding. The
  # first moment is a tenth of the gradient.
  close = functools.partial(chex.assert_trees_all_close, rtol=1e-3)
  for key in ('loss', 'grad/norm', 'policy/entropy', 'tokens/learned'):
    np.testing.assert_allclose(
      one_metrics[key], metrics[key], rtol=1e-4, atol=1e-6, err_msg=key
    )
  assert one_metrics['grad/norm'] > 0
  close(one.opt, other.opt, atol=1e-6)
  close(one.params, other.params, atol=1e-5)
  close(one.method, other.method, atol=1e-6)


@pytest.fixture(scope='module')
def fsdp():
  """Collectives of an iteration on 8 devices, 2 microbatches, and its state."""
  # One policy pass and no reference: what is sent is the learner's alone.
  parts = begin('simpo', shard.make_mesh(8, 1))
  return collectives.of_program(iteration(*parts)), parts[1]


def test_gradients_are_reduced_once_a_step_not_once_a_microbatch(fsdp):
  found, _ = fsdp
  assert [each for each in found if each.looped] == []
  assert any(each.kind == 'all-reduce' for each in found)


def test_fsdp_sends_every_parameter_and_every_gradient_once(fsdp):
  """Bytes of an optimizer step, whatever its microbatches, in float32.

  all-gather 4 p,   all-reduce 4 p,   p the number of parameters
  """
  found, state = fsdp
  size = 4 * sum(x.size for x in jax.tree.leaves(state.params))
  for kind in ('all-gather', 'all-reduce'):
    sent = sum(each.bytes for each in found if each.kind == kind)
    assert sent == pytest.approx(size, rel=0.1), kind


@pytest.mark.parametrize('mesh', [(8, 1), (2, 4)], ids=str)
def test_no_logits_are_gathered(mesh, fsdp):
  found = fsdp[0]
  if mesh == (2, 4):
    # Here the vocabulary is split as well.
    found = collectives.of_program(
      iteration(*begin('simpo', shard.make_mesh(*mesh)))
    )
  # Of one microbatch on one device, whole over the vocabulary or not.
  fewest = ROWS // 2 // mesh[0] * LENGTH * CONFIG.vocab // mesh[1]
  logits = [
    each
    for each in found
    for shape in each.shapes
    if len(shape) >= 3
    and shape[-1] == CONFIG.vocab
    and np.prod(shape) >= fewest
  ]
  assert logits == []


@functools.cache
def sampled(mesh):
  """Tokens and log-probs of 16 rows, drawn on a mesh."""
  params = jax.jit(transformer.init, static_argnums=0)(CONFIG, KEY)
  axes = {p: leaf.axes for p, leaf in transformer.table(CONFIG).items()}
  layout = shard.layout(shard.make_mesh(*mesh), axes, params)
  rows = rollouts(4)
  prompts = Prompts(
    tokens=rows.prompt[::4],
    mask=rows.prompt_mask[::4],
    task=rows.task[::4],
    domain=rows.domain[::4],
  )
  drawn = Sampler(CONFIG, LENGTH, stop_tokens=(3,))(
    layout.gathered(layout.kept(params)),
    layout.rows(prompts),
    layout.rows(jnp.arange(16)),
    KEY,
    Sampling(),
    samples=2,
  )
  return jax.device_get(layout.everywhere(drawn))


@pytest.mark.parametrize('mesh', MESHES, ids=str)
def test_a_mesh_samples_the_same(mesh):
  one, many = sampled((1, 1)), sampled(mesh)
  np.testing.assert_array_equal(one.response, many.response)
  np.testing.assert_array_equal(one.response_mask, many.response_mask)
  np.testing.assert_allclose(one.logp, many.logp, rtol=0, atol=1e-5)
