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
  state, metrics, (rollouts, credit) = loop.iterate(parts, state, 0)
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
