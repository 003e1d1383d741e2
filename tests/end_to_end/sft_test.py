"""Supervised fine-tuning through the loop that also serves RL."""

import jax
import numpy as np
import pytest

from jaxrl_llm.policies.language import hf
from jaxrl_llm.problems.text import assembly
from jaxrl_llm.training import loop
from tests.end_to_end import preference_test, tiny
from tests.problems.text import transcripts_test


def config_of(**changed):
  changed = {'optimizer__learning_rate': 1e-2, 'eval__every': 4} | changed
  return transcripts_test.config_of(**changed)


@pytest.mark.slow
def test_a_run_learns_continues_byte_for_byte_and_begins_an_rl_run(tmp_path):
  config = config_of(steps=0, data__epochs=0.5)
  whole, lines = preference_test.train(config, tmp_path / 'whole')
  first, last = lines[0], lines[-1]
  assert last['step'] == 8  # half of 64 records, 4 an iteration
  assert last['eval/nll'] < first['eval/nll'] - 1
  assert last['eval/token_accuracy'] > first['eval/token_accuracy']
  assert 0 <= last['eval/accuracy'] <= 1
  assert first['data/records'] == 64 and 'preference/margin' not in last

  preference_test.train(config, tmp_path / 'cut', stop_at=3)
  again, continued = preference_test.train(config, tmp_path / 'cut')
  jax.tree.map(np.testing.assert_array_equal, whole, again)
  kept = preference_test.deterministic
  assert [*map(kept, lines)] == [*map(kept, continued)]

  parts, _ = assembly.assemble(config, tmp_path / 'cut')
  parts.export(again, tmp_path / 'export')
  parts.close()
  config = tiny.get_config('grpo')
  config.warm_start.steps = 0
  config.model.path = str(tmp_path / 'export')
  parts, params = assembly.assemble(config, tmp_path / 'rl')
  jax.tree.map(np.testing.assert_array_equal, params, again.params)
  _, metrics, _ = loop.iterate(parts, parts.init(params), 0)
  parts.close()
  assert metrics['sampler/gap_max'] < 1e-4 and metrics['bad_steps'] == 0


@pytest.mark.parametrize(
  'settings',
  [
    {'model__lora_rank': 2},
    pytest.param({'mesh__data': 4}, marks=pytest.mark.slow),
    pytest.param({'learn__microbatches': 2}, marks=pytest.mark.slow),
  ],
)
def test_loss_is_the_mean_over_all_tokens_of_the_step(settings, tmp_path):
  """Whatever is trained, and however the rows are divided."""
  config = config_of(**settings)
  parts, params = assembly.assemble(config, tmp_path)
  state = parts.init(jax.tree.map(np.array, params))
  tools = parts.lend(state, jax.random.key(0))
  state, metrics, (rollouts, credit, _) = loop.iterate(parts, state, 0)
  logp = np.asarray(tools.score(rollouts).logp)
  mask = np.asarray(rollouts.action_mask)
  assert (np.asarray(credit.advantages)[mask] == 1).all()
  np.testing.assert_allclose(
    metrics['loss'], -np.sum(logp * mask) / np.sum(mask), rtol=1e-5
  )
  if config.model.lora_rank:
    written = parts.export(state, tmp_path / 'export')
    assert written and hf.load(tmp_path / 'export')[0] == parts.model
  parts.close()


ROWS = {'sample__prompts': 8, 'sample__max_prompt': 32}


def after_one_iteration(config, tmp_path):
  """Parameters, metrics, and what part of the columns was computed."""
  parts, params = assembly.assemble(config, tmp_path)
  state, metrics, _ = loop.iterate(parts, parts.init(params), 0)
  if config.data.responses == 'demonstrated':
    metrics |= parts.rated(state)
  parts.close()
  metrics = preference_test.deterministic(metrics)
  return state.params, metrics, metrics.pop('learn/columns', 1.0)


@pytest.mark.parametrize(
  ('recipe', 'settings'),
  [
    ('sft', {'learn__microbatches': 4}),
    ('dpo', {'learn__microbatches': 4}),
    pytest.param(
      'sft',
      {'learn__microbatches': 2, 'mesh__data': 2},
      marks=pytest.mark.slow,
    ),
    pytest.param(
      'rebel',
      {
        'learn__microbatches': 2,
        'recipe__minibatches': 2,
        'model__lora_rank': 2,
      },
      marks=pytest.mark.slow,
    ),
    pytest.param(
      'reward_model', {'learn__microbatches': 4}, marks=pytest.mark.slow
    ),
  ],
)
def test_packing_changes_nothing_but_the_order_of_sums(
  recipe, settings, tmp_path
):
  """On rows, passes of a reference, pairs and ratings, and those held out."""
  if recipe == 'sft':
    config = config_of(**ROWS, **settings)
  else:
    config = preference_test.config_of(recipe, **ROWS, **settings)
  # So small a rate that Adam does not magnify what rounding leaves of 0.
  config.optimizer.learning_rate = 1e-5
  one, metrics, _ = after_one_iteration(config, tmp_path)
  config.learn.packing = True
  two, others, share = after_one_iteration(config, tmp_path)
  assert share == 0.5  # Two of these have room in a row.
  assert metrics.keys() == others.keys()
  for name, value in metrics.items():
    np.testing.assert_allclose(others[name], value, 1e-5, 1e-6, err_msg=name)
  jax.tree.map(
    lambda x, y: np.testing.assert_allclose(x, y, atol=1e-6), one, two
  )


@pytest.mark.slow
def test_a_packed_run_continues_byte_for_byte(tmp_path):
  config = config_of(
    **ROWS, steps=6, learn__microbatches=4, learn__packing=True
  )
  whole, lines = preference_test.train(config, tmp_path / 'whole')
  preference_test.train(config, tmp_path / 'cut', stop_at=3)
  again, continued = preference_test.train(config, tmp_path / 'cut')
  jax.tree.map(np.testing.assert_array_equal, whole, again)
  kept = preference_test.deterministic
  assert [*map(kept, lines)] == [*map(kept, continued)]
  assert lines[-1]['learn/columns'] < 1


@pytest.mark.parametrize(
  ('settings', 'words'),
  [
    ({}, 'learn.microbatches=1 leaves one; set it to 2 or more'),
    ({'learn__widths': 2, 'learn__microbatches': 2}, 'choose one'),
    ({'data__responses': 'sampled'}, 'use learn.widths for sampled ones'),
    (
      {'mesh__context': 2, 'learn__microbatches': 2},
      'mesh.context=2 splits rows of one',
    ),
  ],
)
def test_packing_that_would_do_nothing_is_refused(settings, words, tmp_path):
  config = config_of(learn__packing=True, **settings)
  if config.data.responses == 'sampled':
    config = preference_test.config_of(
      'grpo', data__responses='sampled', learn__packing=True
    )
  with pytest.raises(ValueError, match=words):
    assembly.assemble(config, tmp_path)


def test_a_loss_of_a_whole_step_has_no_remedy_but_to_leave_packing(tmp_path):
  for microbatches in (1, 4):  # Each was once told the other number.
    config = preference_test.config_of(
      'kto', learn__packing=True, learn__microbatches=microbatches
    )
    with pytest.raises(ValueError, match='kto compares all.*leave learn.packi'):
      assembly.assemble(config, tmp_path)
