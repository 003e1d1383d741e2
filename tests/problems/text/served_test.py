"""Programs that ask the policy of a run, and the rows that come of it."""

import contextlib
import dataclasses
import random
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.configs import agent, program
from jaxrl_llm import credit, types
from jaxrl_llm.plans import by_turn, ending, episodes, given, playing
from jaxrl_llm.problems.text import assembly
from jaxrl_llm.problems.text.speaker import Speaker
from jaxrl_llm.tasks import environments
from jaxrl_llm.training import loop
from tests.end_to_end import tiny

pytest.importorskip('openai')  # As of all tests of servers.
pytest.importorskip('uvicorn')

KEY = jax.random.key(0)
AGENTS = 'tests.serving.agents'


def config_of(program, recipe='grpo', **settings):
  config = tiny.get_config(recipe)
  config.warm_start.steps = 0
  config.data.size = 16
  config.update_from_flattened_dict(
    {
      'data.path': 'lookup',
      'sample.max_response': 24,
      'sample.stop': ('\n',),
      'program': f'{AGENTS}:{program}',
      'serve.answer': 6,
      'serve.workers': 2,
      'serve.seconds': 30.0,
      **settings,
    }
  )
  return config


class Scripted(Speaker):
  """Says a line that is a function of all that was said before it."""

  def __init__(self, parts, environment=None):
    answering = dataclasses.replace(parts.answering, keep=False)
    super().__init__(answering, {}, parts.train)
    self.environment, self.notes = environment, {}

  def generate(self, prompts, key, samples, *, most=0, uids=None, agents=0):
    del key, uids, agents
    tokens, masks = np.asarray(prompts.tokens), np.asarray(prompts.mask)
    rows = [self._line(ids[mask]) for ids, mask in zip(tokens, masks)]
    late = np.array([len(ids) > most for ids in rows])
    blank = given.blank(prompts, samples, most)
    said = given.written(blank, [ids[:most] for ids in rows])
    logp = -0.1 * said.content.response
    return said.replace(
      action_mask=said.response_mask,
      logp=jnp.where(said.response_mask, logp, 0.0),
      truncated=jnp.asarray(late),
      extras={**said.extras, 'log_mass': jnp.zeros_like(logp)},
    )

  def _line(self, ids):
    text = self._answering.tokenizer.decode(
      ids, clean_up_tokenization_spaces=False
    )
    word = text.split('=')[0].split()[-1]
    rng, asked = random.Random(text), text.partition('=')[2].count('\n') // 2
    said = word[asked] if asked < len(word) else str(rng.randrange(100))
    [ids] = self.encode([f'{said}\n'])
    return ids

  def note(self, name, value):
    self.notes[name] = value


class Shopping(Scripted):
  """Asks for prices, now and then for one that nobody knows."""

  def _line(self, ids):
    tokenizer = self._answering.tokenizer
    text = tokenizer.decode(ids)
    [word] = re.findall(r'prices of (\w+)', text)
    told, rng = re.findall('r:(.)', text), random.Random(text)
    said = ''.join(told)
    if len(told) < len(word):
      item = rng.choice([word[len(told)], '-'])
      said = f'[price {{"item":"{item}"}}]'
    [ids] = self.encode([said])
    return [*ids, tokenizer.eos_token_id]


class Bulk(Shopping):
  """Asks for all prices in one turn, and for one that nobody knows."""

  def _line(self, ids):
    tokenizer = self._answering.tokenizer
    text = tokenizer.decode(ids)
    [word] = re.findall(r'prices of (\w+)', text)
    said = ''.join(re.findall('r:(\\d)', text))
    if not said:
      said = ''.join(f'[price {{"item":"{item}"}}]' for item in f'{word}-')
    [ids] = self.encode([said])
    return [*ids, tokenizer.eos_token_id]


class Thinking(Shopping):
  """Thinks before it says anything, which clients do not send back."""

  def _line(self, ids):
    [thought] = self.encode(['<think>hm</think>'])
    return [*thought, *super()._line(ids)]


@contextlib.contextmanager
def assembled(config, folder):
  parts, _ = assembly.assemble(config, folder, abstract=True)
  with contextlib.closing(parts):
    yield parts


def collected(parts, speaker=None):
  speaker = speaker or Scripted(parts)
  plan = parts.recipe.plan
  prompts = parts.train.prompts(np.arange(2))
  rollouts, scores, _ = plan.collect(speaker, prompts, plan.init(None), KEY)
  return speaker, prompts, rollouts, scores


def check_equal(speaker, prompts, found, scores, turns):
  """A program's rows, beside those of the environment that it plays."""
  rollouts, log = playing.play(speaker, prompts, KEY, samples=4, turns=turns)
  wanted, marks = ending.judged(speaker, rollouts, log)
  for name in ('content', 'response_mask', 'action_mask', 'logp', 'valid'):
    for a, b in zip(
      *(jax.tree.leaves(getattr(each, name)) for each in (found, wanted))
    ):
      np.testing.assert_array_equal(a, b)
  np.testing.assert_array_equal(scores.components, marks.components)


def test_a_program_makes_the_rows_that_its_environment_makes(tmp_path):
  """Text, tokens, masks, log-probs and scores, through HTTP and without."""
  config = config_of('spell_for_pay')
  config.program = 'experiments.programs:lookup'
  with assembled(config, tmp_path) as parts:
    speaker, prompts, found, scores = collected(
      parts, Scripted(parts, environments.Lookup())
    )
    check_equal(speaker, prompts, found, scores, turns=4)
  assert np.asarray(found.action_mask).sum(axis=1).min() > 4
  assert speaker.notes['stop/done'] == 1
  assert speaker.notes['programs/requests'] == 4
  assert found.extras['episode'].tolist() == list(range(8))


def shops(recipe='grpo'):
  """The same tools as a program over HTTP, and in process."""
  configs = program.get_config(recipe), agent.get_config()
  for config in configs:
    config.unlock()
    config.sample.max_response, config.warm_start.steps = 288, 0
    config.data.size, config.data.held_out = 16, 4
    config.recipe.samples, config.eval.every = 4, 0
  configs[0].serve.answer = 96
  return configs


@pytest.mark.parametrize('kind', [Shopping, Bulk])
def test_tools_are_called_alike_over_http_and_in_process(tmp_path, kind):
  """Through a chat template, with calls that go wrong among them.

  Of several calls at once the program sends the results back to front.
  """
  configs = shops()
  configs[0].program = f'{AGENTS}:prices_backwards'
  with assembled(configs[0], tmp_path) as parts:
    _, prompts, found, scores = collected(parts, kind(parts))
  with assembled(configs[1], tmp_path) as parts:
    speaker = kind(parts, parts.answering.environment)
    check_equal(speaker, prompts, found, scores, turns=3)
    rows, *_ = episodes.MultiTurn(samples=4, turns=3).collect(
      speaker, prompts, None, KEY
    )
    texts = parts.answering.texts(found, whole=True)
  for name in ('tool_calls', 'tool_start'):
    np.testing.assert_array_equal(found.extras[name], rows.extras[name])
  assert np.asarray(found.extras['tool_calls']).min() == 1
  said = np.asarray(scores.components)
  if kind is Shopping:
    assert 0 < said.mean() < 1
  else:
    calls = re.findall(r'(?:\[price[^]]*\])+', texts[0])
    assert [call.count('price') for call in calls] == [3]
    assert texts[0].count('KeyError') == 1 and (said == 1).all()


@pytest.mark.slow  # compiles the learner
def test_tools_teach_the_same_over_http_and_in_process(tmp_path):
  """One gradient, which a step of size 1 takes off the weights.

  Without a baseline, as the samples of a prompt are alike here.
  """
  over_http, within = shops('reinforce')
  over_http.optimizer.name, over_http.optimizer.learning_rate = 'sgd', 1.0
  over_http.optimizer.warmup, over_http.sample.prompts = 0, 2
  with assembled(within, tmp_path) as parts:
    speaker = Shopping(parts, parts.answering.environment)
    prompts = parts.train.prompts(np.arange(2))
    plan = episodes.MultiTurn(samples=4, turns=3)
    rows, marks, _ = plan.collect(speaker, prompts, None, KEY)
  parts, params = assembly.assemble(over_http, tmp_path)
  with contextlib.closing(parts):
    _, _, found, scores = collected(parts, Shopping(parts))
    learned = []
    for rollouts, judged in ((found, scores), (rows, marks)):
      state = parts.init(jax.tree.map(jnp.copy, params))
      rollouts = parts.compiled.score(state, parts.fixed, rollouts)
      made = loop._learn(parts, state, rollouts, judged, 0)
      learned.append((made.state.params, made.metrics))
  jax.tree.map(np.testing.assert_array_equal, *learned)
  own, metrics = learned[0]
  moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), own, params)
  assert min(jax.tree.leaves(moved)) > 0 and metrics['bad_steps'] == 0


PAID = {'verify.names': ('returned',), 'verify.weights': (1.0,)}


def test_what_answers_are_paid_is_what_the_environment_pays(tmp_path):
  """Lookup pays the first turn, and the credit puts it there."""
  with assembled(config_of('spell_for_pay', **PAID), tmp_path) as parts:
    speaker, prompts, found, scores = collected(
      parts, Scripted(parts, environments.Lookup())
    )
    plan = episodes.MultiTurn(samples=4, turns=4)
    wanted, marks, _ = plan.collect(speaker, prompts, None, KEY)
  np.testing.assert_array_equal(scores.components, marks.components)
  np.testing.assert_array_equal(found.paid, wanted.paid)
  mask = np.asarray(found.response_mask)
  for name in ('turn', 'action_end', 'decision_reward'):
    mine, theirs = (np.asarray(x.extras[name]) for x in (found, wanted))
    np.testing.assert_array_equal(mine[mask], theirs[mask])
  earned = np.asarray(credit.earned(scores.components[:, 0], found))
  for row in range(8):
    own = np.flatnonzero(found.action_mask[row])
    [first, *_] = np.flatnonzero(found.extras['action_end'][row])
    assert earned[row, first] == np.float32(0.1) and first in own
    total = np.float32(scores.components[row, 0])
    assert earned[row].sum() == pytest.approx(total) and total > 0.1


def test_steps_of_a_program_are_those_of_its_environment(tmp_path):
  """And each is compared by what it earned, with those of its time."""
  config = config_of('spell_for_pay', 'step_grpo', **PAID)
  with assembled(config, tmp_path) as parts:
    speaker, prompts, found, scores = collected(
      parts, Scripted(parts, environments.Lookup())
    )
    plan = by_turn.Steps(episodes=4, turns=4)
    wanted, marks, _ = plan.collect(speaker, prompts, None, KEY)
    made = parts.recipe.credit
  np.testing.assert_array_equal(found.valid, wanted.valid)
  for name in ('trajectory', 'step', 'step_reward'):
    np.testing.assert_array_equal(found.extras[name], wanted.extras[name])
  assert (np.asarray(found.extras['step_reward'])[::4] == 0.1).all()
  advantages = []
  for rows, judged in ((found, scores), (wanted, marks)):
    start = types.initial_credit(rows, judged)
    start = start.replace(rewards=start.components[:, 0])
    got, _ = made.update(start, rows, made.init(None))
    advantages.append(np.asarray(got.advantages).sum(axis=1))
  lengths = (np.asarray(x.action_mask).sum(axis=1) for x in (found, wanted))
  np.testing.assert_array_equal(*lengths)
  np.testing.assert_allclose(*advantages, atol=1e-6)


def test_a_helper_is_paid_and_compared_with_helpers(tmp_path):
  config = config_of('delegating', 'm_grpo', **PAID)
  with assembled(config, tmp_path) as parts:
    _, _, found, scores = collected(parts)
    shaped = parts.recipe.credit.stages[0]
  own = np.asarray(found.valid)
  assert own.sum() == 16
  agent, paid = (
    np.asarray(found.extras[name])[own] for name in ('agent', 'step_reward')
  )
  helper = agent[paid > 0]
  assert (len(helper), {*helper}, {*agent}) == (8, {helper[0]}, {*agent[:2]})
  start = types.initial_credit(found, scores)
  start = start.replace(rewards=start.components[:, 0])
  made, _ = shaped.update(start, found, ())
  np.testing.assert_allclose(np.asarray(made.rewards)[own], 1.0 + paid)


@pytest.mark.parametrize('kind', [Shopping, Thinking])
def test_a_template_writes_the_same_history_over_http_and_in_process(
  tmp_path, kind
):
  """With thoughts that it leaves out, every turn is a row."""
  made = []
  for config in shops():
    config.serve.history, config.serve.rows = 'template', 3
    with assembled(config, tmp_path) as parts:
      speaker = kind(parts, parts.answering.environment)
      made.append(collected(parts, speaker))
  (_, _, found, scores), (speaker, _, rows, marks) = made
  for name in ('content', 'response_mask', 'action_mask', 'logp', 'valid'):
    for a, b in zip(
      *(jax.tree.leaves(getattr(each, name)) for each in (found, rows))
    ):
      np.testing.assert_array_equal(a, b)
  np.testing.assert_array_equal(scores.components, marks.components)
  for name in ('episode', 'turn', 'action_end', 'tool_calls', 'tool_start'):
    np.testing.assert_array_equal(found.extras[name], rows.extras[name])
  several = np.asarray(rows.valid).reshape(8, 3).sum(axis=1) > 1
  assert several.all() == several.any() == (kind is Thinking)


def test_steps_whose_history_is_written_anew_are_rows(tmp_path):
  config = agent.get_config('step_grpo').unlock()
  config.sample.max_response, config.warm_start.steps = 288, 0
  config.data.size, config.data.held_out = 16, 4
  config.recipe.samples, config.eval.every = 4, 0
  config.serve.history = 'template'
  with assembled(config, tmp_path) as parts:
    speaker = Thinking(parts, parts.answering.environment)
    _, prompts, found, _ = collected(parts, speaker)
    plan = by_turn.Steps(episodes=4, turns=3)
    wanted, *_ = plan.collect(speaker, prompts, None, KEY)
    judged = parts.answering._judged(speaker, prompts, KEY, 4)
  for name in ('valid', 'logp', 'action_mask'):
    mine, theirs = (np.asarray(getattr(x, name)) for x in (found, wanted))
    assert mine.sum() == theirs.sum()
  for name in ('trajectory', 'step', 'step_reward', 'anchor', 'node', 'agent'):
    np.testing.assert_array_equal(found.extras[name], wanted.extras[name])
  assert len(judged[0].valid) == 8 and judged[0].valid.all()


def test_rows_of_what_the_template_rewrites_count_as_one_episode(tmp_path):
  """Every token that was drawn is in a row, once, and weighs the same."""
  drawn, weight, values = {}, {}, {}
  for history, rows in (('append', 1), ('template', 3)):
    config = program.get_config().unlock()
    config.sample.max_response, config.warm_start.steps = 288, 0
    config.data.size, config.data.held_out = 16, 4
    config.recipe.samples, config.eval.every = 4, 0
    config.serve.answer, config.serve.rows = 96, rows
    config.serve.history = history
    with assembled(config, tmp_path) as parts:
      speaker, _, found, scores = collected(parts, Thinking(parts))
      recipe = parts.recipe
    assert speaker.notes['stop/done'] == 1
    valid = np.asarray(found.valid).reshape(8, rows)
    assert (valid.sum(axis=1) > 1).any() == (history == 'template')
    start = types.initial_credit(found, scores)
    start = start.replace(rewards=start.components[:, 0])
    made, _ = recipe.credit.update(start, found, recipe.credit.init(None))
    share = recipe.weights(found.loss_mask, made.keep, found)
    for name, x in (
      (drawn, found.action_mask),
      (weight, share),
      (values, share * made.advantages),
    ):
      name[history] = np.asarray(x).reshape(8, -1).sum(axis=1)
  np.testing.assert_array_equal(drawn['append'], drawn['template'])
  np.testing.assert_allclose(
    weight['append'] / weight['append'].sum(),
    weight['template'] / weight['template'].sum(),
    rtol=1e-6,
  )
  np.testing.assert_allclose(
    values['append'] / weight['append'],
    values['template'] / weight['template'],
    atol=1e-6,
  )


def test_an_episode_may_have_several_rows(tmp_path):
  with assembled(config_of('helped', **{'serve.rows': 2}), tmp_path) as parts:
    speaker, _, rollouts, scores = collected(parts)
    kept = parts.working_memory()['KV cache']
  # Contexts that stay, and those of requests that are answered.
  config, model = parts.config, parts.model
  whole = config.sample.max_prompt + config.sample.max_response
  each = 2 * model.layers * model.kv_heads * model.head_dim
  count = sum(np.prod(x.shape) for x in jax.tree.leaves(kept))
  assert count == (config.serve.kept + config.serve.workers) * whole * each
  assert rollouts.valid.all() and len(rollouts.valid) == 16
  pairs = np.asarray(scores.components).reshape(8, 2)
  assert (pairs[:, 0] == pairs[:, 1]).all()
  assert (np.asarray(rollouts.extras['episode']) == np.arange(16) // 2).all()
  assert speaker.notes['programs/rows'] == 2


def test_evaluation_judges_an_episode_once_whatever_its_rows(tmp_path):
  with assembled(config_of('helped'), tmp_path) as parts:
    prompts = parts.train.prompts(np.arange(2))
    rollouts, scores, said = parts.answering._judged(
      Scripted(parts), prompts, KEY, 3
    )
  assert rollouts.valid.all() and len(said) == len(scores.components) == 6


def test_more_rows_than_there_are_places_for_do_not_count(tmp_path, caplog):
  with assembled(config_of('helped'), tmp_path) as parts:
    speaker, _, rollouts, _ = collected(parts)
  assert not rollouts.valid.any() and speaker.notes['stop/rows'] == 1


@pytest.mark.slow  # compiles the sampler in four widths, and the learner
def test_when_programs_ask_changes_neither_rows_nor_what_is_learned(tmp_path):
  config = config_of('wandering', **{'serve.rows': 2, 'serve.workers': 4})
  config.sample.stop = ()
  parts, params = assembly.assemble(config, tmp_path)
  with contextlib.closing(parts):
    state = parts.init(params)

    def made(parts=parts):
      tools = parts.lend(state, KEY)
      rollouts, scores, _ = parts.recipe.plan.collect(
        tools, tools.draw(), (), KEY
      )
      return rollouts, scores

    first, second = made(), made()
    jax.tree.map(np.testing.assert_array_equal, first, second)
    assert first[0].valid.sum() == 32
    anew, _ = made(
      dataclasses.replace(
        parts, answering=dataclasses.replace(parts.answering, keep=False)
      )
    )
    for name in ('content', 'response_mask', 'action_mask', 'valid'):
      jax.tree.map(
        np.testing.assert_array_equal,
        *(getattr(each, name) for each in (first[0], anew)),
      )
    np.testing.assert_allclose(first[0].logp, anew.logp, rtol=0, atol=1e-5)
    _, metrics, _ = loop.iterate(parts, state, 0)
  assert metrics['sampler/gap_max'] < 1e-4 and metrics['bad_steps'] == 0
  assert metrics['programs/requests'] == 4
