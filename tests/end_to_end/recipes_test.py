"""One recipe of each structural kind, through sampler, learner and state."""

import functools
import math
import zlib

import chex
import jax
import numpy as np
import pytest

from jaxrl_llm.policies.language import hf, lora, score
from jaxrl_llm.problems.text import assembly
from jaxrl_llm.training import loop
from tests import thinned
from tests.end_to_end import tiny

PROMISED = {
  'reward/mean',
  'reward/std',
  'reward/low',
  'reward/high',
  'reward/shaped',
  'score/exact',
  'accuracy',
  'response/length',
  'response/truncated',
  'policy/entropy',
  'policy/kl',
  'policy/clip_fraction',
  'sampler/gap_mean',
  'sampler/gap_max',
  'groups/live',
  'grad/norm',
  'time/sample',
  'time/learn',
  'time/verify',
  'tokens/sampled',
  'tokens/learned',
}


def iterations(config, folder, count=2):
  """The metrics of the first iterations of a run."""
  parts, params = assembly.assemble(config, folder)
  state, lines = parts.init(params), []
  for step in range(count):
    state, metrics, _ = loop.iterate(parts, state, step)
    lines.append({name: float(value) for name, value in metrics.items()})
  parts.close()
  return lines


# What spares slots, columns and logits.
ECONOMY = {
  'sample.slots': 5,
  'learn.microbatches': 2,
  'learn.widths': 2,
  'model.block': 8,
}


@pytest.mark.parametrize(
  ('recipe', 'settings'),
  thinned.every(
    2,
    [
      ('grpo', {}),
      ('ppo', {'recipe.epochs': 2, 'recipe.minibatches': 2}),
      ('categorical_critic', {'recipe.minibatches': 2}),
      ('pdppo', {'recipe.minibatches': 2}),
      ('gspo', {'recipe.minibatches': 2}),
      ('dapo', {'recipe.rounds': 2}),
      ('reinforce_plus_plus', {}),
      ('grpo', {'model.lora_rank': 2}),
      ('grpo', {'sample.top_k': 8, 'sample.support': 8}),
      ('grpo', {'sample.stop': ('1',)} | ECONOMY),
    ],
  ),
)
def test_a_recipe_runs_and_keeps_the_contract(recipe, settings, tmp_path):
  config = tiny.get_config(recipe)
  config.warm_start.steps = 0
  config.data.size = 16
  config.update_from_flattened_dict(settings)
  for metrics in iterations(config, tmp_path):
    assert PROMISED <= metrics.keys()
    assert all(map(math.isfinite, metrics.values())), metrics
    assert metrics['sampler/gap_max'] < 1e-4
    assert metrics['bad_steps'] == 0
    if config.recipe.get('minibatches', 1) == 1:
      assert metrics['policy/kl'] == 0
      assert metrics['policy/clip_fraction'] == 0


def test_exported_deltas_are_the_policy_that_was_trained(tmp_path):
  config = tiny.get_config()
  config.update_from_flattened_dict(
    {'model.lora_rank': 2, 'optimizer.learning_rate': 3e-2}
  )
  parts, params = assembly.assemble(config, tmp_path)
  state = parts.init(params)
  for step in range(2):
    state, _, (rollouts, *_) = loop.iterate(parts, state, step)
  parts.close()
  parts.export(state, tmp_path / 'export')
  model, exported = hf.load(tmp_path / 'export')
  assert model == parts.model

  @functools.partial(jax.jit, static_argnames='model')
  def logp(params, model):
    return score.score(params, model, rollouts).logp

  base = logp(parts.frozen, model)
  trained = logp(lora.join(state.params, parts.frozen), model)
  assert np.abs(trained - base).max() > 0.1
  np.testing.assert_allclose(logp(exported, model), trained, atol=1e-5)


def moody(responses, rows):
  """A verifier that fails on about a third of all responses."""
  del rows
  scores = math.nan, math.inf, 0, 0.25, 0.5, 1
  return [scores[zlib.crc32(r.encode()) % 6] for r in responses]


def test_a_verifier_that_returns_nan_costs_its_rows_alone(tmp_path):
  config = tiny.get_config()
  config.warm_start.steps = 0
  config.verify.names = (f'{__name__}:moody',)
  parts, params = assembly.assemble(config, tmp_path)
  state, metrics, (rollouts, credit, _) = loop.iterate(
    parts, parts.init(params), 0
  )
  parts.close()
  failed = ~np.asarray(rollouts.valid)
  assert 0 < metrics['verify/nan'] == failed.sum() < failed.size
  assert not credit.advantages[failed].any()
  assert 0 < metrics['reward/mean'] < 1 and metrics['groups/live'] > 0
  assert metrics['bad_steps'] == 0 and metrics['grad/norm'] > 0
  chex.assert_tree_all_finite(state.params)
