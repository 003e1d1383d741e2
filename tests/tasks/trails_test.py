"""What is asked of documents."""

import pathlib
import random
import re

import pytest

from jaxrl_llm.tasks import toolboxes, trails


def test_a_document_is_shown_with_its_number_of_hops(tmp_path):
  (tmp_path / 'a.txt').write_text('x' * 50)
  folder, drawn = str(tmp_path), random.Random(0)
  rows = [
    trails.document(drawn, folder=folder, hops=2, limit=9) for _ in range(300)
  ]
  assert {row['document'] for row in rows} == {'x' * 9}
  assert all(row['documents'] == folder for row in rows)
  assert f'must take {rows[0]["hops"]} steps' in rows[0]['prompt']
  # Twice as many of one hop; three standard errors are 25.
  assert abs(sum(row['hops'] == 1 for row in rows) - 200) < 25
  with pytest.raises(ValueError, match='hops=0'):
    trails.document(drawn, hops=0)


def test_walks_end_where_documents_lead():
  """Of two kinds of books, none of which is of both."""
  kinds = []
  for kept in (False, True):
    rows = [trails.walk(random.Random(i), hops=3, kept=kept) for i in range(50)]
    for row in rows:
      name, *ways = re.findall(r'[a-z]|\d\d', row['prompt'])
      assert len(ways) == row['hops']
      for way in ways:
        path = pathlib.Path(row['documents']) / f'{name}.txt'
        title, road = path.read_text().split()
        assert (title, road[:-1]) == (name, way)
        name = road[-1]
      assert name == row['answer'] != row['prompt'][0]
    kinds.append({row['documents'] for row in rows})
  assert not kinds[0] & kinds[1]


def test_a_teacher_who_asks_has_searched_once_for_every_hop_but_one():
  for i in range(20):
    row = trails.trail(random.Random(i), hops=3)
    said = row['demonstration']
    assert len(said) == 2 * (row['hops'] - 1) + 1
    question, answer = trails.asked(said[-1]['content'])
    assert question[0] == row['document'][0]
    assert question + answer == row['answer']
    found = [m['content'] for m in said if m['role'] == 'tool']
    # The last road of the question is in what was read last.
    assert f'{question[-3:-1]}{answer}' in [row['document'], *found][-1]


def test_what_a_search_found_is_what_the_tool_finds():
  row = next(
    row
    for row in (trails.walk(random.Random(i)) for i in range(50))
    if row['hops'] == 2
  )
  box = toolboxes.Search()
  box.reset(row)
  said = row['demonstration']
  for asks, told in zip(said[:-1:2], said[1::2], strict=True):
    [call] = asks['tool_calls']
    query = call['function']['arguments']['query']
    assert box.search(query) == told['content']


def test_a_careless_teacher_searches_nothing():
  rows = [trails.walk(random.Random(i), careless=0.5) for i in range(400)]
  guesses = sum(len(row['demonstration']) == 1 for row in rows)
  assert abs(guesses - 200) < 30  # three standard errors
  assert trails.asked('no question') is None
