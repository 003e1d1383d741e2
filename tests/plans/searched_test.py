"""Tree searches against a search on lists of tokens."""

import math
import zlib

import jax
import numpy as np
import pytest

from jaxrl_llm.plans import searched
from tests.plans import scripted

KEY = jax.random.key(0)


def number(*words):
  return zlib.crc32(repr(words).encode())


def reply(text, i):
  """One to four letters or marks, for every beginning and sample others."""
  letters = [' abc:de,'[number(text, i, k) % 8] for k in range(4)]
  return ''.join(letters[: 1 + number(text, i) % 4])


def judge(text, record):
  return number(text) % 11 / 10


def step_of(said, phrases):
  """The first phrases of some tokens; ':' and ', ' end one."""
  text, found = scripted.decode(said), 0
  for place in range(len(text)):
    found += text[place] == ':' or text[place - 1 : place + 1] == ', '
    if found == phrases:  # The end of a response is no step by itself.
      return said[: place + 1 + (said[place + 1] == 0)]
  return said


def overlap(one, other):
  one, other = (set(scripted.decode(x).split()) for x in (one, other))
  fewer = min(len(one), len(other))
  return len(one & other) / fewer if fewer else float(one == other)


def search(prompt, *, samples, children, depth, explore, columns, phrases):
  """Rows (tokens, start, path, node or None) of one prompt's tree."""
  root = {'said': [], 'n': 0, 'w': 0.0, 'below': [], 'leaf': False, 'path': []}
  nodes, rows = [root], []

  def text(said):
    return prompt + scripted.decode(said)

  for _ in range(samples // children):
    way = [root]
    while way[-1]['below']:
      n = way[-1]['n']
      way.append(
        max(
          way[-1]['below'],
          key=lambda c, n=n: (
            c['w'] / (c['n'] + 1)
            + explore * c['p'] * math.sqrt(math.log(n) / (c['n'] + 1))
          ),
        )
      )
    at = way[-1]
    for i in range(children):
      if at['leaf']:
        rows.append((None, None, None, None))
        continue
      new = scripted.encode(reply(text(at['said']), i)) + [0]
      end = (at['said'] + new)[:columns]
      step = new if len(way) == depth else step_of(new, phrases)
      said = (at['said'] + step)[:columns]
      gained = judge(scripted.decode(end), {})
      child = {
        'said': said,
        'step': step,
        'n': 1,
        'w': gained,
        'p': math.exp(np.mean([-token / 10 for token in step])),
        'below': [],
        'leaf': said == end,
        'path': [nodes.index(at), i],
      }
      for node in way:
        node['n'], node['w'] = node['n'] + 1, node['w'] + gained
      rows.append((said, len(at['said']), child['path'], child))
      nodes.append(child)
      at['below'].append(child)
    for child in at['below']:
      mine = child['said'][len(at['said']) :]
      child['alike'] = [
        overlap(mine, c['said'][len(at['said']) :]) for c in at['below']
      ]
    if at['leaf']:
      for node in way:
        node['n'] += 1
      for node in way[:-1]:
        node['w'] += at['w'] / (at['n'] - 1)
      at['w'] *= at['n'] / (at['n'] - 1)
  return rows


@pytest.mark.parametrize(
  'how',
  [
    {'samples': 12, 'children': 3, 'depth': 3, 'explore': 1.0, 'phrases': 1},
    {'samples': 16, 'children': 2, 'depth': 2, 'explore': 0.3, 'phrases': 1},
    {'samples': 20, 'children': 2, 'depth': 4, 'explore': 1.0, 'phrases': 2},
  ],
)
def test_rows_are_the_steps_of_a_search_with_its_values(how):
  asked = ['q', 'rs']
  tools = scripted.Scripted(reply, judge, columns=6)
  plan = searched.Searched(**how, mark=':|, ')
  rows, scores, _ = plan.collect(tools, scripted.ask(*asked), (), KEY)
  expected = [row for q in asked for row in search(q, **how, columns=6)]
  assert len(expected) == len(rows.valid)
  for i, (said, start, path, node) in enumerate(expected):
    assert bool(rows.valid[i]) == (said is not None)
    if said is None:
      continue
    length = int(rows.length[i])
    assert rows.content.response[i, :length].tolist() == said
    chosen = np.flatnonzero(rows.action_mask[i])
    assert chosen.tolist() == list(range(start, length))
    assert rows.extras['node_path'][i].tolist() == path
    np.testing.assert_allclose(rows.extras['overlap'][i], node['alike'])
    value = scores.components[i, 0]
    np.testing.assert_allclose(value, node['w'] / node['n'], rtol=1e-5)
  assert rows.group.tolist() == np.repeat([0, 1], how['samples']).tolist()
  assert not np.any(np.asarray(rows.logp)[~np.asarray(rows.action_mask)])


def test_a_finished_answer_is_not_gone_on_with():
  """Every step ends its response, so only the first round has rows."""
  tools = scripted.Scripted(lambda text, i: 'ab'[i], judge, columns=6)
  plan = searched.Searched(samples=6, children=2, depth=3)
  rows, _, _ = plan.collect(tools, scripted.ask('q'), (), KEY)
  assert rows.valid.tolist() == [True, True] + [False] * 4
  assert tools.notes['plan/nodes'] == 3


def test_an_end_that_was_not_judged_earns_nothing():
  def harsh(text, record):
    return None if text.startswith('a') else 1.0

  tools = scripted.Scripted(lambda text, i: 'ab'[i], harsh, columns=6)
  plan = searched.Searched(samples=2, children=2, depth=3)
  rows, scores, _ = plan.collect(tools, scripted.ask('q'), (), KEY)
  assert rows.valid.tolist() == [True, True]
  assert scores.components[:, 0].tolist() == [0, 1]


def test_what_makes_no_search_is_refused():
  with pytest.raises(ValueError, match='7 samples .* by 2 children'):
    searched.Searched(samples=7, children=2)
  with pytest.raises(ValueError, match='3 steps of 0 phrases'):
    searched.Searched(phrases=0)
