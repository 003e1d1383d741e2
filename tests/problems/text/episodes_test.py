"""Episodes through a chat template, of a policy that says what it is to say."""

import contextlib
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm import types
from jaxrl_llm.plans import by_turn, given, playing
from jaxrl_llm.problems.text import assembly
from jaxrl_llm.problems.text.speaker import Speaker
from jaxrl_llm.tasks import environments, tokens
from tests.end_to_end import tiny

KEY = jax.random.key(0)


class Echo:
  """Repeats what was said, as a text or as messages, until it is 'stop'."""

  def __init__(self):
    self.said = []

  def reset(self, rows):
    return [None] * len(rows)

  def step(self, states, actions):
    self.said.append(actions)
    return [self._answer(action) for action in actions]

  def _answer(self, action):
    if action == 'stop':
      return environments.Step(None, done=True)
    echo = f'{action}{tokens.EOS}a:no'
    if action.cut:
      echo = [
        {'role': 'user', 'content': 'late'},
        {'role': 'system', 'content': echo},
      ]
    return environments.Step(None, echo)


class Scripted(Speaker):
  """Says its lines in turn, ended where they fit."""

  def __init__(self, parts, lines):
    answering = dataclasses.replace(parts.answering, keep=False)
    super().__init__(answering, {}, parts.train)
    self.environment, self.lines, self.drawn = Echo(), lines, []

  def generate(self, prompts, key, samples, *, most=0, agents=0):
    del key, agents
    turn = len(self.drawn)
    rows = [
      [*self.encode([script[min(turn, len(script) - 1)]])[0], end]
      for script in self.lines
      for end in [self._answering.tokenizer.eos_token_id]
    ]
    self.drawn.append([ids[:most] for ids in rows])
    blank = given.blank(prompts, samples, most)
    said = given.written(blank, self.drawn[-1])
    late = np.array([len(ids) > most for ids in rows])
    return said.replace(
      action_mask=said.response_mask,
      logp=jnp.where(said.response_mask, -1.0, 0.0),
      truncated=jnp.asarray(late),
    )


@pytest.fixture(scope='module', params=[True, False], ids=['chat', 'plain'])
def run(request, tmp_path_factory):
  config = tiny.get_config('grpo')
  config.warm_start.steps = 0
  config.data.size = 16
  config.model.fresh.chat = request.param
  config.sample.max_prompt, config.sample.max_response = 24, 100
  folder = tmp_path_factory.mktemp('run')
  parts, _ = assembly.assemble(config, folder, abstract=True)
  with contextlib.closing(parts):
    yield parts


LINES = [['one', 'two', 'stop'], ['x' * 30, 'stop'], ['stop'], ['y', 'y']]


def played(parts):
  speaker = Scripted(parts, LINES)
  prompts = parts.train.prompts(np.arange(len(LINES)))
  rollouts, log = playing.play(speaker, prompts, KEY, samples=1, turns=4)
  return speaker, rollouts, log


def test_rows_hold_what_was_drawn_and_nothing_else_is_an_action(run):
  speaker, rollouts, log = played(run)
  for row in range(len(LINES)):
    taken = int(log.taken[row].sum())
    drawn = [i for turn in speaker.drawn[:taken] for i in turn[row]]
    own = np.asarray(rollouts.action_mask[row])
    assert np.asarray(rollouts.content.response[row])[own].tolist() == drawn
    assert np.asarray(rollouts.logp[row] == -1)[own].all()
    assert [list(x.ids) for x in log.action[row, :taken]] == [
      turn[row] for turn in speaker.drawn[:taken]
    ]
  assert [environments.STOPS[i] for i in log.ended] == [
    'done',
    'done',
    'done',
    'turns',
  ]


class Opens(Echo):
  """Begins every other question with words of its own."""

  def reset(self, rows):
    tool = {'type': 'function', 'function': {'name': 'add'}}
    return [
      environments.Opening(None, 'zz=', [tool]) if row % 2 else None
      for row in range(len(rows))
    ]


def test_what_is_asked_first_is_what_reset_says(run):
  speaker = Scripted(run, LINES)
  speaker.environment = Opens()
  prompts = run.train.prompts(np.arange(len(LINES)))
  found, log = playing.play(speaker, prompts, KEY, samples=1, turns=4)
  said = run.train.reworded(np.arange(len(LINES)), ['zz='] * len(LINES))
  decode = run.answering.tokenizer.decode
  for row in range(len(LINES)):
    wanted = said if row % 2 else prompts
    ids = np.asarray(found.content.prompt[row])[found.content.prompt_mask[row]]
    plain = np.asarray(wanted.tokens[row])[wanted.mask[row]]
    # The tool is shown where the template writes the prompt.
    shown = row % 2 == 1 and run.train.in_messages
    assert ('add' in decode(ids)) == shown
    np.testing.assert_array_equal(
      ids[len(ids) - len(plain) + shown :], plain[shown:]
    )
  talk = log.talk[1, 1]
  words = talk.prompt
  assert 'zz=' in (words if isinstance(words, str) else words[-1]['content'])
  assert talk.turns[0]['content'].startswith('xxx')


def test_rows_read_as_the_conversation(run):
  """Text and control tokens; what the environment says has none of them."""
  _, rollouts, log = played(run)
  tokenizer = run.tokenizer
  ids = np.asarray(rollouts.content.response)
  masks = np.asarray(rollouts.response_mask)
  whole = [
    tokenizer.decode(r[m], clean_up_tokenization_spaces=False)
    for r, m in zip(ids, masks)
  ]
  end = tokens.EOS
  if not run.train.in_messages:
    assert whole[0] == f'one{end}one{end}a:notwo{end}two{end}a:nostop{end}'
    return
  told = f'q:one{end}a:no{end}a:two{end}q:two{end}a:no{end}a:stop{end}'
  assert whole[0] == f'one{end}{told}'
  assert ids[0][masks[0]].tolist().count(tokenizer.eos_token_id) == 5
  cut = f'q:late{end}s:{"x" * 25}{end}a:no{end}a:'
  # The budget cut the turn: its end is put behind it, and nobody drew it.
  assert whole[1] == f'{"x" * 25}{end}{cut}stop{end}'
  own = np.asarray(rollouts.action_mask[1])[masks[1]]
  assert own.sum() == 25 + len('stop') + 1 and not own[25]
  # The template writes the same of the whole conversation.
  talk = log.talk[0, 2]
  template = run.answering.chats.templated.template
  written = template.write([*talk.prompt, *talk.turns], asks=True)
  prompt = rollouts.content.prompt[0][rollouts.content.prompt_mask[0]]
  assert (
    tokenizer.decode([*prompt.tolist(), *ids[0][masks[0]].tolist()])
    == tokenizer.decode(template.tokens(written)) + f'stop{end}'
  )


def test_samples_show_who_said_what(run):
  _, rollouts, log = played(run)
  rollouts = rollouts.replace(extras={'stop': log.ended})
  credit = types.initial_credit(
    rollouts, types.Scores(jnp.zeros((len(LINES), 1)), jnp.ones(1))
  )
  shown = run.examples(rollouts, credit)
  assert 'turns' not in shown[0]
  answering = run.answering
  object.__setattr__(answering, 'turns', 4)
  try:
    shown = run.examples(rollouts, credit)
    said = [t['said'] for t in shown[0]['turns'] if 'said' in t]
    assert said == [f'{line}{tokens.EOS}' for line in LINES[0]]
    told = [t['told'] for t in shown[0]['turns'] if 'told' in t]
    assert len(told) == 2 and 'one' in told[0]
    assert shown[3]['stop'] == 'turns'
    steps = by_turn.as_steps(rollouts, log.start, log.end, most=25)
    rows = steps.valid.shape[0]
    credit = types.initial_credit(
      steps, types.Scores(jnp.zeros((rows, 1)), jnp.ones(1))
    )
    run.config.log.samples = rows
    shown = [x['turns'] for x in run.examples(steps, credit)]
    later = [x for x in shown if x and [*x[0]] == ['before']]
    assert later and all([*x[1]] == ['said'] for x in later)
    assert any(x[0]['before'].startswith('one') for x in later)
  finally:
    object.__setattr__(answering, 'turns', 0)
    run.config.log.samples = 4


def test_a_run_says_what_its_template_does(run):
  lines = '\n'.join(run.remarks)
  if run.train.in_messages:
    assert f"a turn ends with '{tokens.EOS}', as does a response" in lines
    assert 'several calls a turn' in lines
  else:
    assert not lines
