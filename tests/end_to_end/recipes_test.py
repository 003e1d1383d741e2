"""One recipe of each structural kind, through sampler, learner and state."""

import math

import pytest

from jaxrl_llm.training import loop, session
from tests.end_to_end import tiny

PROMISED = {
  'reward/mean',
  'reward/std',
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
  parts, params = session.assemble(config, folder)
  state, lines = parts.init(params), []
  for step in range(count):
    state, metrics, _ = loop.iterate(parts, state, step)
    lines.append({name: float(value) for name, value in metrics.items()})
  parts.close()
  return lines


@pytest.mark.parametrize(
  ('recipe', 'settings'),
  [
    ('grpo', {}),
    ('ppo', {'recipe.epochs': 2, 'recipe.minibatches': 2}),
    ('gspo', {'recipe.minibatches': 2}),
    ('dapo', {'recipe.rounds': 2}),
    ('reinforce_plus_plus', {}),
    ('grpo', {'model.lora_rank': 2}),
    ('grpo', {'sample.top_k': 8, 'sample.support': 8}),
    ('grpo', {'sample.stop': ('1',)}),
  ],
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
