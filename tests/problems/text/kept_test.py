"""Episodes whose keys and values are kept, against those that read anew."""

import contextlib
import dataclasses

import jax
import numpy as np
import pytest

from jaxrl_llm.plans import playing, resampled
from jaxrl_llm.problems.text import assembly
from jaxrl_llm.problems.text.speaker import Speaker
from jaxrl_llm.tasks import environments
from tests.end_to_end import tiny

KEY = jax.random.key(0)


class Talkative:
  """Says something of another length to everybody, and ends some episodes."""

  def reset(self, rows):
    return [0] * len(rows)

  def step(self, states, actions):
    return [self._answer(*pair) for pair in zip(states, actions)]

  def _answer(self, turn, action):
    size = len(action) % 5 + turn
    done = len(action) % 7 == 6
    return environments.Step(turn + 1, '+' * size, done=done)


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  config = tiny.get_config('grpo')
  config.warm_start.steps = 0
  config.data.size = 16
  config.sample.max_response = 40
  # Turns that end early, at many places.
  config.sample.stop = tuple('abcdefghijklmnop')
  folder = tmp_path_factory.mktemp('run')
  parts, params = assembly.assemble(config, folder)
  with contextlib.closing(parts):
    yield parts, params


def speaker_of(run, **changed):
  parts, params = run
  answering = dataclasses.replace(parts.answering, **changed)
  speaker = Speaker(answering, params, parts.train)
  speaker.environment = Talkative()
  return speaker


def played(run, speaker, turns=4):
  prompts = run[0].train.prompts(np.arange(4))
  return playing.play(speaker, prompts, KEY, samples=3, turns=turns)


def check_equal(found, wanted):
  for name in ('content', 'response_mask', 'action_mask', 'valid', 'truncated'):
    jax.tree.map(
      np.testing.assert_array_equal,
      getattr(found, name),
      getattr(wanted, name),
    )
  np.testing.assert_allclose(found.logp, wanted.logp, atol=1e-5)


@pytest.mark.parametrize('unroll', [True, False])
def test_what_is_kept_changes_no_episode(run, unroll):
  sampler = dataclasses.replace(run[0].answering.sampler, unroll=unroll)
  found, log = played(run, speaker_of(run, sampler=sampler))
  wanted, other = played(run, speaker_of(run, sampler=sampler, keep=False))
  check_equal(found, wanted)
  np.testing.assert_array_equal(log.stop, other.stop)
  taken = log.taken.sum(axis=1)
  assert taken.min() < taken.max() == 4, 'episodes of one length prove little'


def test_episodes_that_part_in_their_middle_are_read_from_there(run):
  """Rows begin with as many tokens as came before the turn that is redone."""
  plan, prompts = (
    resampled.Resampled(turns=4),
    run[0].train.prompts(np.arange(4)),
  )
  found, wanted = (
    plan.collect(_noting(speaker_of(run, **changed)), prompts, None, KEY)
    for changed in ({}, {'keep': False})
  )
  check_equal(found[0], wanted[0])
  first = np.asarray(found[0].extras['resampled'])
  assert first.min() < first.max()


def test_rows_are_read_anew_where_slots_are_fewer(run):
  sampler = dataclasses.replace(run[0].answering.sampler, slots=4)
  assert not speaker_of(run, sampler=sampler)._answering.keeps(12)
  assert speaker_of(run, sampler=sampler)._answering.keeps(4)


def _noting(speaker):
  speaker.note = lambda name, value: None
  return speaker
