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
from jaxrl_llm.plans import episodes, prefixes
from jaxrl_llm.problems.text import assembly
from jaxrl_llm.problems.text.tools import Speaker
from jaxrl_llm.tasks import environments
from jaxrl_llm.training import loop
from tests.end_to_end import tiny

pytest.importorskip('openai')  # As of all tests of servers.
pytest.importorskip('uvicorn')

KEY = jax.random.key(0)
AGENTS = 'tests.serving.agents'


def config_of(program, **settings):
  config = tiny.get_config('grpo')
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

  def generate(self, prompts, key, samples, *, most=0, uids=None):
    del key, uids
    tokens, masks = np.asarray(prompts.tokens), np.asarray(prompts.mask)
    rows = [self._line(ids[mask]) for ids, mask in zip(tokens, masks)]
    late = np.array([len(ids) > most for ids in rows])
    blank = prefixes.blank(prompts, samples, most)
    said = prefixes.written(blank, [ids[:most] for ids in rows])
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
  rollouts, log = episodes.play(speaker, prompts, KEY, samples=4, turns=turns)
  wanted, marks = episodes.judged(speaker, rollouts, log)
  for name in ('content', 'response_mask', 'action_mask', 'logp', 'valid'):
    for a, b in zip(
      *(jax.tree.leaves(getattr(each, name)) for each in (found, wanted))
    ):
      np.testing.assert_array_equal(a, b)
  np.testing.assert_array_equal(scores.components, marks.components)


def test_a_program_makes_the_rows_that_its_environment_makes(tmp_path):
  """Text, tokens, masks, log-probs and scores, through HTTP and without."""
  with assembled(config_of('spell'), tmp_path) as parts:
    speaker, prompts, found, scores = collected(
      parts, Scripted(parts, environments.Lookup())
    )
    check_equal(speaker, prompts, found, scores, turns=4)
  assert np.asarray(found.action_mask).sum(axis=1).min() > 4
  assert speaker.notes['stop/done'] == 1
  assert speaker.notes['programs/requests'] == 4
  assert found.extras['episode'].tolist() == list(range(8))


def test_tools_are_called_alike_over_http_and_in_process(tmp_path):
  """Through a chat template, with calls that go wrong among them."""
  configs = program.get_config(), agent.get_config()
  for config in configs:
    config.unlock()
    config.sample.max_response, config.warm_start.steps = 144, 0
    config.data.size, config.data.held_out = 16, 4
    config.recipe.samples, config.eval.every = 4, 0
  with assembled(configs[0], tmp_path) as parts:
    _, prompts, found, scores = collected(parts, Shopping(parts))
  with assembled(configs[1], tmp_path) as parts:
    speaker = Shopping(parts, parts.answering.environment)
    check_equal(speaker, prompts, found, scores, turns=3)
  said = np.asarray(scores.components)
  assert 0 < said.mean() < 1


def test_an_episode_may_have_several_rows(tmp_path):
  with assembled(config_of('helped', **{'serve.rows': 2}), tmp_path) as parts:
    speaker, _, rollouts, scores = collected(parts)
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
