"""The policy of a run on text: its parameters, where they live, its scorer."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import traverse_util
from ml_collections import ConfigDict

from jaxrl_llm.policies import agents
from jaxrl_llm.policies.language import heads, hf, lora, score
from jaxrl_llm.policies.language import parameters as parameters_lib
from jaxrl_llm.policies.language.config import Config
from jaxrl_llm.training import shard
from jaxrl_llm.types import PyTree, Stats


def scorer(
  model: Config, config: ConfigDict, layout: shard.Layout = shard.ALONE
) -> Callable[..., Stats]:
  """The policy as objectives see it: a scorer of `shared` rows together.

  It is scored at the entry 'temperature' of the parameters, f32[], where they
  have it, and else at that of the config.
  """
  return functools.partial(
    _score,
    model=model,
    layout=layout,
    temperature=config.sample.temperature,
    chunk=config.model.chunk,
    block=config.model.block,
    dtype=jnp.dtype(config.model.dtype),
    remat=config.model.remat,
    unroll=config.model.unroll or 1,
  )


def _score(params, rollouts, needs, *, model, layout, temperature, **options):
  with layout.known():
    return score.score(
      params,
      model,
      rollouts,
      needs=needs,
      temperature=params.get('temperature', temperature),
      **options,
    )


@functools.partial(jax.jit, static_argnums=0)
def merged(layout, *parts):
  """Trained and frozen parameters as one decoder's, LoRA products merged."""
  return lora.merge(layout.gathered(lora.join(*parts)))


def parameters(
  config, recipe, source, model, mesh, abstract
) -> tuple[PyTree, shard.Layout]:
  """All parameters, the decoder's, LoRA's, the critic's head; where they live.

  A head that stands beside the decoder, of the shape that the recipe asks for,
  goes on from where it was; others begin anew. Several agents begin alike.

  Raises:
    ValueError: parameters that no sharding rule covers.
  """
  key = jax.random.key(config.seed)
  shape = recipe.critic.shape
  wanted = recipe.statistics
  critics = [name for need, name in heads.NAMES.items() if need in wanted]

  deltas = _deltas(config, source, model)

  def complete(params):
    if deltas:
      params = lora.add(params, model, key, **deltas)
    for number, name in enumerate(critics):
      own = jax.random.fold_in(key, number)
      params |= {name: heads.init_value(model, own, shape=shape)}
    return params

  def alike(params):
    return agents.copies(params, config.model.agents)

  base = jax.eval_shape(lambda: parameters_lib.init(model, key))
  shapes = jax.eval_shape(lambda params: alike(complete(params)), base)
  axes = _axes(deltas, recipe, model, critics)
  if config.model.agents > 1:
    # Beside those of one, which is loaded before it is copied.
    axes |= {
      (name, *path): found
      for name in agents.names(config.model.agents)
      for path, found in axes.items()
    }
  layout = shard.layout(mesh, axes, shapes)
  if abstract:
    return layout.abstract(shapes), layout
  _, params = hf.load(source, shardings=layout.shardings(base))
  params = complete(params)
  before = heads.kept(hf.resolve(source))
  for name in before.keys() & set(critics):
    if before[name]['kernel'].shape == params[name]['kernel'].shape:
      params |= {name: before[name]}
  if config.model.adapter:
    family = hf.description_of(source)['model_type']
    found = hf.adapters.load(hf.resolve(config.model.adapter), model, family)
    params = lora.join(traverse_util.unflatten_dict(found), params)
  return layout.kept(alike(params)), layout


def _deltas(config, source, model) -> dict[str, Any]:
  """The arguments of `lora.table`; {} where everything is trained."""
  settings = config.model
  if settings.adapter:
    family = hf.description_of(source)['model_type']
    folder = hf.resolve(settings.adapter)
    return hf.adapters.describe(folder, model, family)._asdict()
  if not settings.lora_rank:
    return {}
  return {
    'rank': settings.lora_rank,
    'alpha': settings.lora_alpha,
    'targets': settings.lora_targets,
  }


def _axes(deltas, recipe, model, critics):
  """Logical axes of every parameter by path, out of the models' tables."""
  tables = parameters_lib.table(model)
  if deltas:
    tables |= lora.table(model, **deltas)
  for name in critics:
    tables |= heads.value_table(model, name=name, shape=recipe.critic.shape)
  return {path: leaf.axes for path, leaf in tables.items()}
