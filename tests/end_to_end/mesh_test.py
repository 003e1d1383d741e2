"""A mesh changes where arrays live, not what a run computes."""

import functools

import chex
import jax
import numpy as np
import pytest

from jaxrl_llm.policies.language import hf, parameters
from jaxrl_llm.problems.text import assembly
from jaxrl_llm.tasks import tokens
from jaxrl_llm.training import loop
from tests import thinned
from tests.end_to_end import tiny
from tests.policies.language import families

# What the rows sampled and what credit they got; sums over devices differ in
# their order, so float metrics of the learner agree to rounding.
EXACT = ('reward/mean', 'response/length', 'response/truncated', 'accuracy')
CLOSE = ('loss', 'grad/norm', 'policy/entropy')


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """Holds the one fresh model that all runs of this module start from."""
  return tmp_path_factory.mktemp('mesh')


def first_iteration(folder, data, model, recipe='grpo', **settings):
  """State, metrics and rollouts after one iteration, on the host."""
  config = tiny.get_config(recipe)
  config.warm_start.steps = 0
  config.data.size = 16
  # A mesh axis of 4 splits the heads; the 2 kv heads stay whole on it.
  config.model.fresh.heads = 4
  config.model.fresh.kv_heads = 2
  config.sample.prompts = 8
  # The size of a first Adam step does not depend on the gradient's, so the
  # rounding of a gradient of zero would move a parameter; epsilon forbids it.
  config.optimizer.epsilon = 1e-3
  config.update_from_flattened_dict(
    {'mesh.data': data, 'mesh.model': model, **settings}
  )
  if config.model.path:
    config.model.path = str(mixture(folder / config.model.path))
  parts, params = assembly.assemble(config, folder)
  state, metrics, (rollouts, *_) = loop.iterate(parts, parts.init(params), 0)
  parts.close()
  places = {len(leaf.sharding.device_set) for leaf in jax.tree.leaves(params)}
  return places, jax.device_get((state, metrics, rollouts))


def mixture(folder):
  """The folder of a model of four experts, made once."""
  if not folder.exists():
    tokenizer = tokens.toy_tokenizer(folder.parent)
    source = families.hf_config(
      'qwen3_moe',
      vocab_size=len(tokenizer),
      num_hidden_layers=1,
      num_experts=4,
      bos_token_id=tokenizer.bos_token_id,
      eos_token_id=tokenizer.eos_token_id,
      pad_token_id=tokenizer.pad_token_id,
    )
    config = hf.config_of(source)
    params = jax.jit(parameters.init, static_argnums=0)(
      config, jax.random.key(0)
    )
    hf.save(folder, config, params, source=source, tokenizer=tokenizer)
  return folder


@functools.cache
def on_one_device(folder, recipe, settings):
  return first_iteration(folder, 1, 1, recipe, **dict(settings))


GRPO = ('grpo', {'learn.microbatches': 2})
CRITIC = ('ppo', {'recipe.minibatches': 2, 'recipe.epochs': 1})
DELTAS = ('gspo', {'recipe.minibatches': 2, 'model.lora_rank': 2})
EXPERTS = ('grpo', {'model.path': 'experts'})


@pytest.mark.parametrize(
  ('method', 'data', 'model'),
  thinned.every(
    4,
    [
      (GRPO, 4, 2),
      (EXPERTS, 2, 4),
      (CRITIC, 4, 2),
      (DELTAS, 2, 4),
    ],
  ),
  ids=lambda x: x[0] if isinstance(x, tuple) else str(x),
)
def test_a_mesh_samples_and_learns_the_same(folder, method, data, model):
  recipe, settings = method
  plain, (state, metrics, rollouts) = on_one_device(
    folder, recipe, tuple(settings.items())
  )
  spread, (other, other_metrics, other_rollouts) = first_iteration(
    folder, data, model, recipe, **settings
  )
  assert plain == {1} and max(spread) == data * model
  np.testing.assert_array_equal(
    rollouts.content.response, other_rollouts.content.response
  )
  np.testing.assert_array_equal(
    rollouts.response_mask, other_rollouts.response_mask
  )
  for name in EXACT:
    assert metrics[name] == other_metrics[name], name
  for name in CLOSE:
    np.testing.assert_allclose(
      metrics[name], other_metrics[name], rtol=1e-4, atol=1e-6, err_msg=name
    )
  chex.assert_trees_all_close(state.params, other.params, rtol=0, atol=1e-6)
  chex.assert_trees_all_close(state.opt, other.opt, rtol=1e-3, atol=1e-6)
