"""What the policy would say of its rows, had it been shown an answer."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.digests import OF_CANDIDATES
from jaxrl_llm.notes import self_taught
from jaxrl_llm.types import Scores, Stats
from tests.plans import scripted

RECORDS = [{'prompt': 'q', 'demonstration': 'ab'}, {'prompt': 'r'}]


class Reading(scripted.Scripted):
  """A policy whose likeliest tokens are 1 and 2, and who notes its prompts."""

  def score(self, rollouts, *needs):
    shape = rollouts.response_mask.shape
    found = jnp.broadcast_to(jnp.array([-0.5, -1.5, 1.0, 2.0]), (*shape, 4))
    zeros = jnp.zeros(shape)
    return Stats(logp=zeros, entropy=zeros, digests={needs[0]: found})

  def referred(self, rollouts, *needs):
    content = rollouts.content
    masks = np.asarray(content.prompt_mask)
    self.seen = [
      scripted.decode(t[m]) for t, m in zip(np.asarray(content.prompt), masks)
    ]
    shape = rollouts.response_mask.shape
    named = rollouts.extras['candidates']
    zeros = jnp.zeros(shape)
    said = jnp.where(named >= 0, -named / 10, 0.0)
    return Stats(logp=zeros, entropy=zeros, digests={OF_CANDIDATES: said})


def rows(*texts):
  prompts = scripted.ask('q', 'r', width=5)
  return scripted.answer(prompts, texts, 4, samples=len(texts) // 2)


def write(note, rollouts, rewards=()):
  tools = Reading(None, records=RECORDS, columns=4, width=5)
  scores = Scores(jnp.asarray(rewards, jnp.float32)[:, None], jnp.ones(1))
  extras, _ = note.write(tools, rollouts, scores, ())
  return tools, extras


def test_a_row_is_shown_the_first_other_right_answer_of_its_group():
  note = self_taught.SelfTaught(self_taught.of_group, 2, '{prompt} {text}')
  rollouts = rows('x', 'y', 'z', 'u', 'v', 'w')
  rollouts = rollouts.replace(valid=rollouts.valid.at[3].set(False))
  tools, extras = write(note, rollouts, [1, 0, 1, 1, 0, 0])
  assert tools.seen == ['q z', 'q x', 'q x', 'r', 'r', 'r']
  assert tools.notes['plan/taught'] == pytest.approx(0.5)
  named = np.asarray(extras['candidates'])
  assert (named[:3] == [1, 2]).all() and (named[3:] == -1).all()
  said = np.asarray(extras['teacher_candidates'])
  np.testing.assert_allclose(said[0, 0], [-0.1, -0.2])


def test_what_is_too_long_or_missing_is_not_shown():
  for space, asked in [(' ', 'q ab'), ('   ', 'q')]:
    phrase = '{prompt}' + space + '{text}'
    note = self_taught.SelfTaught(self_taught.demonstrated, 2, phrase)
    tools, extras = write(note, rows('x', 'y'), [0, 0])
    assert tools.seen == [asked, 'r']
    told = np.asarray(extras['candidates'] >= 0).any(axis=(1, 2))
    assert told.tolist() == [asked != 'q', False]


def test_no_candidates_are_refused():
  with pytest.raises(ValueError, match='use at least 1'):
    self_taught.SelfTaught(self_taught.of_group, 0)
