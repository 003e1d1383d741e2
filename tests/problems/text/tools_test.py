"""What plans are lent, with a real model: it agrees with itself."""

import contextlib
import copy
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm import types
from jaxrl_llm.plans import given, prefixes
from jaxrl_llm.policies.language import transformer
from jaxrl_llm.problems.text import assembly, chats, dialogue
from jaxrl_llm.problems.text.speaker import Speaker
from jaxrl_llm.problems.text.tools import Tools
from jaxrl_llm.tasks import tokens, verify
from jaxrl_llm.training import keys
from tests.end_to_end import tiny

KEY = jax.random.key(0)


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  """An untrained run of self-play, its state and a few responses."""
  config = tiny.get_config('egpo')
  config.warm_start.steps = 0
  config.data.size = 16
  folder = tmp_path_factory.mktemp('run')
  parts, params = assembly.assemble(config, folder)
  with contextlib.closing(parts):
    state = parts.init(params)
    tools = Tools(parts, state, keys.key_for(0, 0, keys.Purpose.TASKS))
    prompts = tools.draw()
    yield parts, state, tools, prompts, tools.generate(prompts, KEY, 2)


def test_scores_of_fresh_responses_are_those_of_the_sampler(run):
  _, _, tools, _, rollouts = run
  stats = tools.score(rollouts)
  # Two programs for one sum in float32.
  np.testing.assert_allclose(stats.logp, rollouts.logp, atol=1e-4)


def test_passes_say_nothing_of_tokens_that_the_policy_did_not_choose(run):
  parts, state, _, _, rollouts = run

  def blank(params, rollouts, needs):
    stats = parts.scorer(params, rollouts, needs)
    return jax.tree.map(
      lambda x: jnp.where(rollouts.action_mask, x, jnp.nan), stats
    )

  blanked = dataclasses.replace(
    parts,
    scorer=blank,
    teachers=[(blank, state.params, parts.model)],
  )
  tools = Tools(blanked, state, KEY)
  mask = rollouts.action_mask.at[:, 1].set(False)
  rollouts = rollouts.replace(action_mask=mask)
  for logp in (tools.score(rollouts).logp, tools.teachers(rollouts)[..., 0]):
    np.testing.assert_array_equal(jnp.where(mask, 0, logp), 0)
    assert jnp.all(jnp.where(mask, logp, -1) < 0)


def test_a_heat_of_one_is_the_temperature_of_the_run(run):
  parts, state, _, prompts, _ = run
  sampling = parts.answering.sampling.replace(temperature=jnp.float32(0.4))
  answering = dataclasses.replace(parts.answering, sampling=sampling)
  tools = Tools(dataclasses.replace(parts, answering=answering), state, KEY)
  plain, same, hot = (
    np.asarray(rollouts.content.response)
    for rollouts in (
      tools.generate(prompts, KEY, 2),
      tools.tempered(prompts, KEY, 2, 1.0),
      tools.tempered(prompts, KEY, 2, 2.5),
    )
  )
  np.testing.assert_array_equal(same, plain)
  assert np.any(hot != plain)


def test_greedy_takes_the_most_probable_token_everywhere(run):
  _, _, tools, prompts, _ = run
  rollouts = tools.greedy(prompts)
  assert len(rollouts.valid) == len(prompts.task)
  log_probs = tools.score(rollouts, 'log_probs').log_probs
  best = jnp.argmax(log_probs, axis=-1)
  mask = np.asarray(rollouts.response_mask)
  np.testing.assert_array_equal(
    np.asarray(best)[mask], np.asarray(rollouts.content.response)[mask]
  )


def test_a_continued_prefix_has_the_log_probs_of_the_whole(run):
  _, _, tools, _, rollouts = run
  cut = jnp.minimum(rollouts.length, jnp.arange(len(rollouts.valid)) % 4)
  more = tools.generate(prefixes.as_prompts(rollouts, cut), KEY, 1)
  whole = prefixes.joined(rollouts, cut, more)
  np.testing.assert_allclose(tools.score(whole).logp, whole.logp, atol=1e-4)


def test_a_prefix_is_sampled_from_like_any_prompt(run):
  parts, _, tools, prompts, rollouts = run
  nothing = jnp.zeros(len(rollouts.valid), jnp.int32)
  again = prefixes.as_prompts(rollouts, nothing)
  direct = tools.generate(prompts, KEY, 2)
  np.testing.assert_array_equal(
    tools.generate(again, KEY, 1).content.response, direct.content.response
  )
  short = tools.generate(prompts, KEY, 2, most=2)
  np.testing.assert_array_equal(
    short.content.response, direct.content.response[:, :2]
  )


def test_hidden_squares_are_of_the_states_before_the_tokens(run):
  parts, state, tools, _, rollouts = run
  found = np.asarray(tools.hidden_square(rollouts))
  for row in range(len(found)):
    one = jax.tree.map(lambda x, row=row: np.asarray(x[row]), rollouts)
    tokens = [
      *one.content.prompt[one.content.prompt_mask],
      *one.content.response[one.response_mask],
    ]
    tokens = jnp.asarray(tokens)[None]
    states = transformer.hidden(
      parts.sampling_params(state),
      parts.model,
      tokens,
      jnp.ones(tokens.shape, bool),
    )[0]
    first = one.content.prompt_mask.sum() - 1
    expected = [
      float(np.sum(np.asarray(states[first + t], np.float64) ** 2))
      for t in range(one.response_mask.sum())
    ]
    np.testing.assert_allclose(found[row][: len(expected)], expected, rtol=1e-4)
    assert not found[row][len(expected) :].any()


def test_a_step_ahead_moves_a_copy_and_leaves_the_run_alone(run):
  parts, state, tools, prompts, _ = run
  before = jax.tree.map(np.array, state)
  rollouts = tools.generate(prompts, KEY, 4)
  half = jnp.arange(16) % 4 > 1
  extras = {**rollouts.extras, 'opponent': half}
  rollouts = rollouts.replace(extras=extras)
  rollouts, scores = tools.verify(rollouts)
  moody = scores.replace(components=jnp.arange(16.0)[:, None] % 3)
  ahead = tools.ahead(rollouts, moody, KEY)
  jax.tree.map(np.testing.assert_array_equal, before, state)
  moved = jax.tree.map(
    lambda a, b: float(jnp.max(jnp.abs(a - b))),
    ahead._params,
    parts.sampling_params(state),
  )
  assert max(jax.tree.leaves(moved)) > 0


def test_all_who_read_a_response_see_its_special_tokens(run):
  parts, _, tools, _, rollouts = run
  tokenizer = copy.deepcopy(parts.tokenizer)
  tokenizer.add_special_tokens({'additional_special_tokens': ['<think>']})
  think, end = tokenizer.convert_tokens_to_ids(['<think>', tokenizer.eos_token])
  [[a, b]] = tools.encode(['ab'])
  rows = given.written(rollouts, [[think, a, b, end]] * 8)
  with verify.Verifiers(['format:^<think>ab$']) as verifiers:
    silent = parts.answering.chats.reader.silent
    talk = chats.Chats(dialogue.Reader(tokenizer, silent=silent))
    answering = dataclasses.replace(
      parts.answering, chats=talk, verifiers=verifiers
    )
    read = dataclasses.replace(parts, answering=answering)
    reader = Speaker(answering, {}, parts.train)
    assert reader.decode(rows) == ['<think>ab'] * 8
    assert reader.pieces(rows) == [['<think>', 'a', 'b', '']] * 8
    _, scores = reader.verify(rows)
    assert np.asarray(scores.components).tolist() == [[1.0]] * 8
    credit = types.initial_credit(rows, scores)
    shown = read.examples(rows, credit)
    assert {example['response'] for example in shown} == {'<think>ab'}
    talk = chats.Chats(dialogue.Reader(tokenizer, silent={think, end}))
    bare = dataclasses.replace(answering, chats=talk)
    assert bare.texts(rows) == ['ab'] * 8


def test_pieces_are_the_text_token_by_token(run):
  _, _, tools, _, rollouts = run
  # Bytes that are no UTF-8 by themselves have no text of their own.
  rows = given.written(rollouts, tools.encode(['ab\nc'] * 8))
  assert tools.pieces(rows) == [['a', 'b', '\n', 'c']] * 8
  assert tools.decode(rows) == ['ab\nc'] * 8


def test_a_whole_response_ends_once(run):
  _, _, tools, _, _ = run
  bare, ended = tools.responses(['ab', f'ab{tokens.EOS}'])
  assert bare == ended == [*tools.encode(['ab'])[0], 2]


def test_words_that_the_model_cannot_read_are_refused(run):
  parts, state, _, _, _ = run
  longer = copy.deepcopy(parts.tokenizer)
  longer.add_tokens(['<image>'])
  talk = chats.Chats(dialogue.Reader(longer))
  answering = dataclasses.replace(parts.answering, chats=talk)
  asked = dataclasses.replace(parts.train, chats=talk)
  speaker = Speaker(answering, state.params, asked)
  for put in (speaker.encode, speaker.responses):
    with pytest.raises(ValueError, match="'a<image>' holds '<image>', token"):
      put(['a', 'a<image>'])
  with pytest.raises(ValueError, match="a prompt holds '<image>'"):
    speaker.prompts(jnp.zeros(1, jnp.int32), ['a<image>'])
