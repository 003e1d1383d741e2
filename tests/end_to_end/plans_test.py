"""One recipe of each way to make responses, through model and learner."""

import contextlib
import json
import math

import jax
import numpy as np
import pytest

from jaxrl_llm import types
from jaxrl_llm.plans import playing
from jaxrl_llm.problems.text import assembly
from jaxrl_llm.problems.text.speaker import Speaker
from jaxrl_llm.tasks import environments
from jaxrl_llm.training import checkpoint, keys, loop
from tests import thinned
from tests.end_to_end import tiny

AGENT = {
  'environment': 'lookup',
  'data.path': 'lookup',
  'sample.max_response': 24,
  'sample.stop': ('\n',),
  'recipe.turns': 4,
  'warm_start.steps': 150,
}

# The same with tools, through a chat template.
TOOLS = {
  'environment': 'prices',
  'data.path': 'prices',
  'model.fresh.chat': True,
  'sample.max_prompt': 36,
  'sample.max_response': 72,
  'recipe.turns': 3,
  'warm_start.steps': 150,
}


def tiny_config(recipe, settings):
  config = tiny.get_config(recipe)
  config.warm_start.steps = 0
  config.data.size = 32
  config.update_from_flattened_dict(settings)
  return config


@contextlib.contextmanager
def assembled(config, folder):
  """The parts of a run and its beginning; ended with its verifiers."""
  parts, params = assembly.assemble(config, folder)
  with contextlib.closing(parts):
    yield parts, parts.init(params)


def iterate(parts, state, count=2):
  """The state and the last rollouts of a run, checked on the way."""
  for step in range(count):
    state, metrics, (rollouts, *_) = loop.iterate(parts, state, step)
    metrics = {name: float(value) for name, value in metrics.items()}
    assert all(map(math.isfinite, metrics.values())), metrics
    assert metrics['bad_steps'] == 0
    # What was put together from pieces is what the learner reads.
    assert metrics['sampler/gap_max'] < 1e-4
  assert all(len(x) == parts.spec.rows for x in jax.tree.leaves(rollouts))
  contract = parts.recipe.plan.contract
  assert contract.provides <= rollouts.extras.keys()
  if contract.one_prompt:
    for x in rollouts.content.prompt, rollouts.content.prompt_mask:
      groups = np.asarray(x).reshape(-1, contract.samples, x.shape[1])
      assert (groups == groups[:, :1]).all()
  return state, rollouts


@pytest.mark.parametrize(
  ('recipe', 'settings'),
  thinned.every(
    5,
    [
      ('remax', {}),
      ('spo_chain', {'recipe.continuations': 2}),
      ('hpt', {}),
      ('chord', {}),
      ('single_stream', {}),
      ('progrpo', {}),
      ('spo_tree', {'recipe.depth': 2}),
      ('truncated_ppo', {}),
      ('egpo', {}),
      ('aepo', {}),
      ('direct_advantage', {'recipe.first': 1}),
      ('variance_aware', {}),
      ('hapo', {}),
      ('hnpg', {}),
      ('props', {}),
      ('critique_grpo', {'sample.max_prompt': 48}),
      ('nlpo', {'recipe.least': 4, 'sample.support': 8}),
      ('ppo_ptx', {}),
      ('foretold_budgets', {}),
    ],
  ),
)
def test_a_plan_feeds_its_recipe(recipe, settings, tmp_path):
  with assembled(tiny_config(recipe, settings), tmp_path) as run:
    iterate(*run)


@pytest.mark.slow
@pytest.mark.parametrize(
  ('recipe', 'settings'),
  [
    ('xpo', {'recipe.samples': 2}),
    ('rso', {'recipe.samples': 2, 'recipe.candidates': 6}),
  ],
)
def test_responses_of_the_reference_are_learned_from(
  recipe, settings, tmp_path
):
  with assembled(tiny_config(recipe, settings), tmp_path) as run:
    iterate(*run)


@pytest.mark.slow
@pytest.mark.parametrize('share', [0.0, 1.0])
def test_a_teacher_that_is_the_policy_is_no_distance_away(share, tmp_path):
  with assembled(tiny_config('grpo', {}), tmp_path) as (parts, state):
    parts.export(state, tmp_path / 'teacher')
  given = {'teacher.paths': (str(tmp_path / 'teacher'),), 'recipe.size': 300}
  settings = given | {'recipe.share': share, 'recipe.samples': 1}
  with assembled(tiny_config('gkd', settings), tmp_path) as (parts, state):
    state, metrics, (rollouts, *_) = loop.iterate(parts, state, 0)
    named = np.asarray(rollouts.extras['candidates'])
  assert abs(float(metrics['loss/teacher'])) < 1e-5
  # All tokens are candidates, each once, and nothing fills up what remains.
  vocab = parts.model.vocab
  first = np.sort(named[0, 0])[::-1]
  np.testing.assert_array_equal(first[:vocab], np.arange(vocab)[::-1])
  assert (first[vocab:] == -1).all()


@pytest.mark.slow
def test_a_second_policy_learns_beside_the_first_and_is_resumed(tmp_path):
  config = tiny_config('prime', {'recipe.low': 0.0, 'recipe.high': 1.0})
  with assembled(config, tmp_path) as (parts, fresh):
    first = jax.tree.leaves(fresh.method['rater'].params)
    state, metrics, (rollouts, *_) = loop.iterate(parts, fresh, 0)
    assert metrics['bad_steps'] == 0 and metrics['plan/rater_loss'] > 0
    said = np.asarray(rollouts.extras['implicit_reward'])
    # It began as the policy, and has taken a step of its own.
    assert said.any() and not said[~np.asarray(rollouts.action_mask)].any()
    second = jax.tree.leaves(state.method['rater'].params)
    own = jax.tree.leaves(state.params)
    assert any(np.any(a != b) for a, b in zip(first, second))
    assert any(np.any(a != b) for a, b in zip(own, second))
    saver = checkpoint.Checkpointer(tmp_path / 'saved', asynchronous=False)
    saver.save(1, state, {})
    restored = saver.restore(jax.eval_shape(lambda: state)).state
    rows = [loop.iterate(parts, s, 1)[2][0] for s in (state, restored)]
  jax.tree.map(np.testing.assert_array_equal, *rows)


def test_draws_that_are_masked_want_a_sampler_that_says_of_what(tmp_path):
  with pytest.raises(ValueError, match='nlpo .* sample.support=0'):
    assembly.assemble(tiny_config('nlpo', {}), tmp_path)


@pytest.mark.slow
def test_a_guide_completes_what_the_policy_began(tmp_path):
  with assembled(tiny_config('grpo', {}), tmp_path / 'guide'):
    guide = {'teacher.paths': (str(tmp_path / 'guide' / 'model'),)}
  config = tiny_config('aggrevated', guide | {'recipe.restart': 1.0})
  with assembled(config, tmp_path / 'run') as run:
    _, rollouts = iterate(*run)
  completed = np.asarray(rollouts.extras['guide'])
  assert completed.any() and not completed[:, 0].any()
  assert np.all(np.asarray(rollouts.action_mask)[completed])


@pytest.mark.slow
def test_a_frozen_model_answers_with_what_the_policy_wrote(tmp_path):
  with assembled(tiny_config('grpo', {}), tmp_path / 'frozen'):
    frozen = {'teacher.paths': (str(tmp_path / 'frozen' / 'model'),)}
  settings = frozen | {'sample.max_prompt': 24}
  settings |= {'recipe.least': 4, 'sample.support': 8}
  config = tiny_config('directional_stimulus', settings)
  with assembled(config, tmp_path / 'run') as run:
    iterate(*run)


@pytest.mark.slow
def test_a_rewritten_episode_is_what_the_learner_reads(tmp_path):
  settings = TOOLS | {'sample.max_response': 110, 'warm_start.steps': 100}
  with assembled(tiny_config('agent_r', settings), tmp_path) as (parts, state):
    for step in range(2):
      state, metrics, _ = loop.iterate(parts, state, step)
      assert metrics['plan/reflected'] > 0
      assert metrics['sampler/gap_max'] < 1e-4


def test_what_a_plan_remembers_survives_a_restart(tmp_path):
  config = tiny_config('single_stream', {'data.size': 8})
  with assembled(config, tmp_path) as (parts, fresh):
    state, _ = iterate(parts, fresh)
    saver = checkpoint.Checkpointer(tmp_path / 'saved', asynchronous=False)
    saver.save(2, state, {})
    restored = saver.restore(jax.eval_shape(lambda: state)).state
    rows = [loop.iterate(parts, s, 2)[2][0] for s in (state, restored)]
  assert np.any(rows[0].extras['drift'] > 0)  # eight questions come again
  jax.tree.map(np.testing.assert_array_equal, *rows)


def questions(folder, **fields):
  path = folder / 'questions.jsonl'
  rows = [
    {'prompt': f'sort {i}{j}=', 'answer': f'{i}{j}', **fields}
    for i in range(4)
    for j in range(i, 6)
  ]
  path.write_text('\n'.join(map(json.dumps, rows)))
  return {'data.path': str(path), 'data.held_out': 4}


def test_numbers_of_the_data_reach_the_recipe(tmp_path):
  config = tiny_config(
    'value_at_state_zero', questions(tmp_path, predicted_reward=0.25)
  )
  with assembled(config, tmp_path) as run:
    _, rollouts = iterate(*run)
  np.testing.assert_array_equal(rollouts.extras['predicted_reward'], 0.25)


def test_wordings_of_a_question_have_a_group_each(tmp_path):
  given = questions(tmp_path, wordings=['sort it='])
  config = tiny_config('ps_grpo', given | {'recipe.wordings': 2})
  with assembled(config, tmp_path) as (parts, state):
    _, rollouts = iterate(parts, state)
  assert parts.spec.rows == 4 * 2 * 4
  assert np.unique(rollouts.group).tolist() == list(range(8))


def test_a_teacher_from_a_folder_says_what_it_thinks(tmp_path):
  with assembled(tiny_config('grpo', {}), tmp_path) as (parts, state):
    parts.export(state, tmp_path / 'teacher')
  config = tiny_config('kdrl', {'teacher.paths': (str(tmp_path / 'teacher'),)})
  # The same folder is the policy's: before the first step the two agree.
  with assembled(config, tmp_path) as (parts, state):
    _, rollouts = iterate(parts, state, count=1)
  np.testing.assert_allclose(
    rollouts.extras['teacher_logp'], rollouts.logp, atol=1e-4
  )


@pytest.mark.slow
@pytest.mark.parametrize('name', ['sdpo', 'sdft'])
def test_the_policy_is_its_own_teacher(name, tmp_path):
  given = questions(tmp_path, demonstration='0123')
  more = {'recipe.size': 8, 'sample.max_prompt': 24, 'recipe.decay': 0.5}
  config = tiny_config(name, given | more)
  with assembled(config, tmp_path) as (parts, state):
    _, rollouts = iterate(parts, state)
  named = np.asarray(rollouts.extras['candidates'])
  assert name == 'sdpo' or (named >= 0).all(axis=-1).any()


@pytest.mark.slow
def test_a_soup_is_between_the_policies_that_it_is_made_of(tmp_path):
  given = {'seed': 1}
  with assembled(tiny_config('grpo', given), tmp_path / 'a') as (parts, state):
    parts.export(state, tmp_path / 'other')
  paths = {'reference.paths': (str(tmp_path / 'other'),)}
  found = []
  for weight in (0.0, 0.5, 1.0):
    more = {**paths, 'reference.weight': weight}
    config = tiny_config('salsa', more)
    with assembled(config, tmp_path / str(weight)) as (parts, state):
      _, rollouts = iterate(parts, state, count=1)
    found.append(np.asarray(rollouts.extras['ref_logp'] - rollouts.logp))
  start, soup, other = (float(np.abs(x).mean()) for x in found)
  assert start < 1e-4
  assert 1e-3 < soup < other


def greedy_accuracy(parts, state):
  """The share of held-out episodes that end with the answer, by hand."""
  params = parts.sampling_params(state)
  answering, held_out = parts.answering, parts.held_out
  speaker = Speaker(answering, params, held_out, answering.greedy)
  prompts = held_out.prompts(np.arange(len(held_out)))
  key, turns = jax.random.key(0), parts.recipe.plan.contract.turns
  _, log = playing.play(speaker, prompts, key, samples=1, turns=turns)
  answers = [row['answer'] for row in held_out.rows]
  return np.mean([a == b.strip() for a, b in zip(answers, log.last)])


@pytest.mark.parametrize(
  ('recipe', 'settings'), thinned.every(2, [('otc', TOOLS), ('gigpo', AGENT)])
)
def test_agents_take_turns_and_are_evaluated_in_them(
  recipe, settings, tmp_path
):
  with assembled(tiny_config(recipe, settings), tmp_path) as (parts, state):
    state, rollouts = iterate(parts, state)
    key = keys.key_for(0, 1, keys.Purpose.EVAL)
    found = parts.answering.evaluate(
      parts.sampling_params(state), parts.held_out, key
    )
    assert found['accuracy'] == greedy_accuracy(parts, state)
    saver = checkpoint.Checkpointer(tmp_path / 'saved', asynchronous=False)
    saver.save(2, state, {})
    restored = saver.restore(jax.eval_shape(lambda: state)).state
    # Tools run in other processes, and say the same again.
    rows = [loop.iterate(parts, s, 2)[2][0] for s in (state, restored)]
    jax.tree.map(np.testing.assert_array_equal, *rows)
    none = types.Scores(np.zeros((parts.spec.rows, 1)), np.ones(1))
    shown = parts.examples(rollouts, types.initial_credit(rollouts, none))
  steps = recipe == 'gigpo'
  turn = np.asarray(rollouts.extras['step' if steps else 'turn'])
  # The demonstrations that it imitated ask before they answer.
  assert np.max(turn[np.asarray(rollouts.valid)]) >= 2
  told = np.asarray(rollouts.response_mask & ~rollouts.action_mask)
  assert told.any() != steps  # a row of a step holds the policy's words alone
  assert {each['stop'] for each in shown} <= set(environments.STOPS)
  if not steps:
    turns = [part for each in shown for part in each['turns']]
    assert any(part.get('told', '').startswith('r:') for part in turns)
    assert any(part.get('said', '').startswith('[price') for part in turns)
