"""Agents of text that are models of their own, in one run."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.policies.language import hf
from jaxrl_llm.problems.text import assembly
from jaxrl_llm.tasks import environments
from jaxrl_llm.training import checkpoint, loop
from tests.end_to_end import tiny

KEY = jax.random.key(0)
pytestmark = pytest.mark.slow


class Alone(environments.Lookup):
  """Agent 0 does everything."""

  def step(self, states, actions):
    return [step._replace(agent=0) for step in super().step(states, actions)]


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """In which all runs find one model that knows how to ask."""
  return tmp_path_factory.mktemp('runs')


@contextlib.contextmanager
def assembled(folder, **settings):
  """The parts of a run and its beginning, where agents differ."""
  config = tiny.get_config('m_grpo').unlock()
  config.data.path = config.environment = 'lookup'
  config.data.size = 32
  config.sample.max_response, config.sample.stop = 24, ('\n',)
  config.recipe.turns = config.recipe.samples = 4
  config.verify.names, config.verify.weights = ('numeric', 'returned'), (1, 1)
  config.warm_start.steps = 150
  config.update_from_flattened_dict(
    {name.replace('__', '.'): x for name, x in settings.items()}
  )
  parts, params = assembly.assemble(config, folder)
  with contextlib.closing(parts):
    yield parts, parts.init(params)


def apart(params):
  """Agents that are not alike."""
  other = jax.tree.map(lambda x: 0.95 * x, params['agent_1'])
  return {**params, 'agent_1': other}


def same_within(first, second, **how):
  for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
    np.testing.assert_allclose(a, b, **how)


def collected(parts, state):
  tools = parts.lend(state, KEY)
  rows, scores, _ = parts.recipe.plan.collect(tools, tools.draw(), (), KEY)
  return rows, scores


@pytest.fixture(scope='module')
def run(folder):
  with assembled(folder, model__agents=2) as (parts, state):
    params = apart(state.params)
    state = parts.init(params)
    yield parts, state, *collected(parts, state)


def test_each_turn_is_drawn_by_the_model_of_its_agent(run, folder):
  _, state, rows, _ = run
  agent, valid = np.asarray(rows.extras['agent']), np.asarray(rows.valid)
  with assembled(folder) as (single, _):
    said = [
      single.scorer(state.params[f'agent_{number}'], rows, frozenset())
      for number in range(2)
    ]
  for number in range(2):
    mine = ((agent == number) & valid)[:, None] & np.asarray(rows.action_mask)
    assert mine.sum() > 9
    drawn = np.asarray(rows.logp)[mine]
    own, other = (np.asarray(said[i].logp)[mine] for i in (number, 1 - number))
    np.testing.assert_allclose(own, drawn, atol=1e-4)
    assert np.abs(other - drawn).max() > 1e-2


def test_what_agents_keep_between_their_turns_changes_no_episode(run, folder):
  _, state, rows, _ = run
  with assembled(folder, model__agents=2, sample__keep=False) as (parts, _):
    again, _ = collected(parts, state)
  for a, b in zip(
    jax.tree.leaves(rows.content), jax.tree.leaves(again.content)
  ):
    np.testing.assert_array_equal(a, b)
  np.testing.assert_allclose(rows.logp, again.logp, atol=1e-4)


def test_the_gradient_of_an_agent_is_that_of_its_rows_in_a_run_of_one(
  run, folder
):
  """With plain steps: what moves is the gradient, and the mean is its own."""
  parts, state, rows, scores = run
  plain = {
    'optimizer__name': 'sgd',
    'optimizer__clip_norm': np.inf,
    'optimizer__learning_rate': 1.0,
  }
  credit, *_ = parts.compiled.assign(state.method['credit'], rows, scores)
  # Rows that say the same cancel where they are compared.
  random = jax.random.normal(KEY, credit.advantages.shape)
  credit = credit.replace(advantages=random * rows.action_mask)

  def moves(parts, params, rows):
    start = parts.init(jax.tree.map(jnp.copy, params))
    after, _ = parts.compiled.learn(start, parts.fixed, rows, credit, KEY)
    return jax.tree.map(lambda a, b: a - b, after.params, params)

  with assembled(folder, model__agents=2, **plain) as (two, _):
    both = moves(two, state.params, rows)
  with assembled(folder, recipe__apart=0.0, **plain) as (one, _):
    for number, name in enumerate(both):
      mine = rows.valid & (rows.extras['agent'] == number)
      alone = moves(one, state.params[name], rows.replace(valid=mine))
      largest = max(float(jnp.abs(x).max()) for x in jax.tree.leaves(alone))
      assert largest > 1e-3
      same_within(both[name], alone, atol=1e-3 * largest)


def test_one_agent_of_two_is_the_run_of_one(folder):
  alone = {'environment': f'{__name__}:Alone'}
  with assembled(folder, model__agents=2, **alone) as (parts, state):
    two, metrics, (rows, *_) = loop.iterate(parts, state, 0)
  with assembled(folder, **alone) as (parts, state):
    one, _, (same, *_) = loop.iterate(parts, state, 0)
  assert metrics['policy/kl'] == 0 and metrics['bad_steps'] == 0
  np.testing.assert_array_equal(rows.content.response, same.content.response)
  same_within(two.params['agent_0'], one.params, atol=1e-6)


def test_two_agents_on_two_devices_are_those_on_one(folder):
  """Episodes to the token, and what both learn of them to rounding."""
  found = []
  for data in (1, 2):
    how = {
      'model__agents': 2,
      'mesh__data': data,
      'optimizer__name': 'sgd',
      'optimizer__clip_norm': np.inf,
      'optimizer__learning_rate': 1.0,
    }
    with assembled(folder, **how) as (parts, state):
      places = {len(x.sharding.device_set) for x in jax.tree.leaves(state)}
      assert max(places) == data
      before = jax.device_get(state.params)
      rows, scores = collected(parts, state)
      rows = parts.compiled.score(state, parts.fixed, rows)
      credit, *_ = parts.compiled.assign(state.method['credit'], rows, scores)
      # Rows that say the same cancel where they are compared.
      random = jax.random.normal(KEY, credit.advantages.shape)
      credit = credit.replace(advantages=random * rows.action_mask)
      after, _ = parts.compiled.learn(state, parts.fixed, rows, credit, KEY)
      moves = jax.tree.map(
        lambda a, b: a - b, jax.device_get(after.params), before
      )
      found.append(jax.device_get((rows, scores)) + (moves,))
  [(rows, scores, one), (others, same, two)] = found
  np.testing.assert_array_equal(rows.content.response, others.content.response)
  np.testing.assert_array_equal(rows.extras['agent'], others.extras['agent'])
  np.testing.assert_array_equal(scores.components, same.components)
  for name in ('agent_0', 'agent_1'):
    largest = max(np.abs(x).max() for x in jax.tree.leaves(one[name]))
    assert largest > 1e-3, name
    same_within(one[name], two[name], rtol=0, atol=1e-4 * largest)


def test_a_run_of_two_resumes_bit_for_bit_and_exports_both(folder, tmp_path):
  with assembled(folder, model__agents=2) as (parts, state):
    state, *_ = loop.iterate(parts, state, 0)
    saver = checkpoint.Checkpointer(tmp_path / 'saved', asynchronous=False)
    saver.save(1, state, {})
    restored = saver.restore(jax.eval_shape(lambda: state)).state
    jax.tree.map(np.testing.assert_array_equal, restored, state)
    after = [loop.iterate(parts, s, 1)[0] for s in (restored, state)]
    jax.tree.map(np.testing.assert_array_equal, *after)
    state = after[0]
    text = str(parts.export(state, tmp_path / 'export'))
    found = parts.evaluate(state, 0)
  assert text.count('float32') == 2 and 0 <= found['accuracy'] <= 1
  for name in ('agent_0', 'agent_1'):
    _, params = hf.load(tmp_path / 'export' / name)
    jax.tree.map(np.testing.assert_array_equal, params, state.params[name])


@pytest.mark.parametrize(
  ('settings', 'message'),
  [
    ({'model.agents': 0}, 'model.agents=0'),
    ({'model.frozen': (1,)}, 'set model.agents to the number'),
    ({'model.agents': 2, 'model.lora_rank': 2}, 'model.lora_rank=2 is of one'),
    ({'model.agents': 2, 'model.frozen': (2,)}, r'agents \[2\]; there are 2'),
  ],
)
def test_what_agents_cannot_be_is_refused(settings, message, tmp_path):
  config = tiny.get_config('m_grpo').unlock()
  config.environment = config.data.path = 'lookup'
  config.sample.max_response = 24
  config.update_from_flattened_dict(settings)
  with pytest.raises(ValueError, match=message):
    assembly.assemble(config, tmp_path, abstract=True)


def test_rows_must_say_who_acts(tmp_path):
  config = tiny.get_config('grpo').unlock()
  config.model.agents = 2
  with pytest.raises(ValueError, match='does not say who acts'):
    assembly.assemble(config, tmp_path, abstract=True)
