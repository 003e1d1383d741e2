"""Preference data through the loop that also serves sampled responses."""

import contextlib
import math

import jax
import numpy as np
import pytest

from jaxrl_llm.plans import recorded
from jaxrl_llm.problems.text import assembly, reward_models
from jaxrl_llm.problems.text import encoding as text
from jaxrl_llm.training import checkpoint, loop, writers
from tests import thinned
from tests.end_to_end import tiny

PROMISED = {
  'preference/accuracy',
  'preference/margin',
  'preference/chosen_logp',
  'preference/rejected_logp',
  'score/recorded',
  'reward/mean',
  'policy/entropy',
  'grad/norm',
  'tokens/learned',
}


def config_of(recipe='dpo', samples=2, **changed):
  config = tiny.get_config(recipe)
  config.warm_start.steps = 0
  config.data.responses = 'recorded'
  config.recipe.samples = samples
  config.steps = 4
  config.eval.every = 2
  config.eval.samples = 0
  config.update_from_flattened_dict(
    {name.replace('__', '.'): value for name, value in changed.items()}
  )
  return config


def train(config, workdir, stop_at=math.inf):
  """A run, stopped after some iterations; its final state and its lines."""
  parts, params = assembly.assemble(config, workdir)
  state, step = parts.init(params), None
  saver = checkpoint.Checkpointer(
    workdir / 'checkpoints', every=1, keep=2, keep_every=0, asynchronous=False
  )
  restored = saver.restore(state)
  if restored:
    state, step = restored.state, restored.step
  run = writers.Run(
    workdir, total_steps=config.steps, resume_step=step, quiet=True
  )
  done = step or 0

  def stopping():
    nonlocal done
    done += 1
    return done > stop_at

  with (
    contextlib.closing(parts),
    contextlib.closing(run),
    contextlib.closing(saver),
  ):
    state = loop.train(parts, state, run, saver, stopping=stopping)
  lines = writers.read(workdir / 'metrics.jsonl')
  return state, lines


def deterministic(line):
  return {k: v for k, v in line.items() if not k.startswith('time/')}


@pytest.mark.parametrize(
  ('recipe', 'samples', 'settings'),
  thinned.every(
    3,
    [
      ('ipo', 2, {'learn__microbatches': 2}),
      ('kto', 2, {}),
      ('simpo', 2, {'model__lora_rank': 2}),
      ('lipo', 4, {}),
      ('rebel', 2, {'recipe__minibatches': 2}),
      ('grpo', 4, {}),
    ],
  ),
)
def test_a_recipe_learns_from_records(recipe, samples, settings, tmp_path):
  config = config_of(recipe, samples, **settings)
  parts, params = assembly.assemble(config, tmp_path)
  state = parts.init(params)
  for step in range(2):
    state, metrics, _ = loop.iterate(parts, state, step)
    assert PROMISED <= metrics.keys()
    assert not any(name.startswith('sampler/') for name in metrics)
    assert all(math.isfinite(float(x)) for x in metrics.values()), metrics
    assert metrics['bad_steps'] == 0 and metrics['grad/norm'] > 0
  parts.close()


def test_dpo_learns_what_is_better_and_continues_byte_for_byte(tmp_path):
  config = config_of(optimizer__learning_rate=3e-3, steps=8)
  whole, lines = train(config, tmp_path / 'whole')
  first, last = lines[0], lines[-1]
  assert first['data/records'] == 64 and first['data/identical'] == 0
  assert first['eval/preference/accuracy'] == 0.5
  assert first['eval/preference/margin'] == 0
  assert last['eval/preference/accuracy'] > 0.6
  assert last['eval/preference/margin'] > 0.1
  assert 0 <= last['eval/accuracy'] <= 1

  train(config, tmp_path / 'cut', stop_at=3)
  again, continued = train(config, tmp_path / 'cut')
  jax.tree.map(np.testing.assert_array_equal, whole, again)
  assert [*map(deterministic, lines)] == [*map(deterministic, continued)]


@pytest.mark.slow
def test_own_samples_are_learned_from_beside_recorded_pairs(tmp_path):
  config = config_of('hypo', verify__names=(), verify__weights=(), steps=2)
  _, lines = train(config, tmp_path)
  assert lines[-1]['preference/accuracy'] <= 1
  assert {'eval/preference/accuracy', 'reference/kl'} <= lines[-1].keys()
  # Of the policy's own rows alone: recorded ones come with no log-probs.
  assert lines[-1]['sampler/gap_max'] < 1e-4
  assert lines[-1]['bad_steps'] == 0


@pytest.mark.slow
def test_recorded_responses_are_weighed_by_what_the_reference_earns(tmp_path):
  config = config_of('a_lol', steps=3, recipe__first=1)
  _, lines = train(config, tmp_path)
  assert lines[-1]['bad_steps'] == 0
  assert {'loss/value', 'eval/accuracy'} <= lines[-1].keys()


def test_records_without_answers_need_no_verifier(tmp_path):
  config = config_of(verify__names=(), verify__weights=(), steps=2)
  _, lines = train(config, tmp_path)
  assert 'eval/preference/accuracy' in lines[-1]
  assert 'eval/accuracy' not in lines[-1]


def test_a_sharded_step_is_the_step_of_one_device(tmp_path):
  outcomes = []
  for number, data in enumerate((1, 4)):
    config = config_of(mesh__data=data)
    parts, params = assembly.assemble(config, tmp_path / str(number))
    state, metrics, _ = loop.iterate(parts, parts.init(params), 0)
    parts.close()
    outcomes.append((metrics, jax.device_get(state.params)))
  (one, params), (four, sharded) = outcomes
  for name in PROMISED:
    np.testing.assert_allclose(one[name], four[name], rtol=1e-4, atol=1e-5)
  jax.tree.map(
    # AdamW's first step divides by the gradient: signs decide.
    lambda a, b: np.testing.assert_allclose(a, b, atol=2e-4),
    params,
    sharded,
  )


def test_a_reward_model_is_trained_exported_and_trained_against(tmp_path):
  """Generated lists are rated; then a policy earns those ratings."""
  config = config_of(
    'reward_model',
    samples=3,
    steps=8,
    optimizer__learning_rate=3e-3,
    verify__names=(),
    verify__weights=(),
  )
  parts, params = assembly.assemble(config, tmp_path)
  state = parts.init(params)
  before = parts.rated(state)
  for step in range(config.steps):
    state, _, _ = loop.iterate(parts, state, step)
  after = parts.rated(state)
  parts.export(state, tmp_path / 'export')
  parts.close()
  assert after['rating/nll'] < before['rating/nll']
  assert 0 <= after['rating/ece'] <= 1
  assert after['rating/best_of_2'] > after['rating/best_of_1']

  config = tiny.get_config('grpo')
  config.warm_start.steps = 0
  config.verify.names = (f'reward_model:{tmp_path / "export"}',)
  parts, params = assembly.assemble(config, tmp_path / 'policy')
  _, metrics, (rollouts, credit, _) = loop.iterate(parts, parts.init(params), 0)
  parts.close()
  prompts = [parts.train.rows[t]['prompt'] for t in rollouts.task.tolist()]
  texts = text.decode(parts.tokenizer, rollouts)
  model = reward_models.load([tmp_path / 'export'])
  np.testing.assert_allclose(
    credit.rewards, model(prompts, texts)[0], rtol=1e-4, atol=1e-5
  )
  assert metrics['verify/nan'] == 0 and metrics['grad/norm'] > 0


def test_a_preference_model_reads_both_responses(tmp_path):
  config = config_of(
    'reward_model',
    data__responses='compared',
    verify__names=(),
    verify__weights=(),
    sample__max_response=14,
  )
  parts, params = assembly.assemble(config, tmp_path)
  rollouts, _ = recorded.rows(parts.train.prompts([0]))
  first, second = (
    row[mask].tolist()
    for row, mask in zip(
      np.asarray(rollouts.content.response), np.asarray(rollouts.response_mask)
    )
  )
  half = len(first) // 2
  assert first == second[half:] + second[:half]
  assert first.count(parts.tokenizer.eos_token_id) == 2
  _, metrics, _ = loop.iterate(parts, parts.init(params), 0)
  parts.close()
  assert metrics['grad/norm'] > 0
