"""A framework of agents, as it is published, asks the policy and gets rows."""

import json

import pytest

from jaxrl_llm.serving import ledger as ledger_lib
from jaxrl_llm.tasks.speech import Call, Said
from tests.serving.letters import Letters

smolagents = pytest.importorskip('smolagents')
pytest.importorskip('openai')
pytest.importorskip('jaxrl_llm.serving.server')

from tests.serving.server_test import served  # noqa: E402

tool = smolagents.tool  # It looks for this name above the function.


class Objects(Letters):
  """Calls are JSON objects."""

  def read(self, ids, tools=(), *, cut=False):
    text = ''.join(map(chr, ids))
    call = json.loads(text.rstrip('|'))
    calls = [Call('call00000', call['name'], call['arguments'])]
    return Said(
      text, ids=ids, content='', thought='', calls=calls, ended=ord('|')
    )


@tool
def price(item: str) -> int:
  """The price of an item.

  Args:
    item: its name.
  """
  return {'a': 3}[item]


def say(text, rng):
  """Asks for the price, and says what came back."""
  del rng
  # What stands before are the examples of the framework.
  own = text.partition('What does a cost?')[2]
  told = own.partition('Observation:')[2].strip()
  if not told:
    return '{"name": "price", "arguments": {"item": "a"}}|'
  answer = {'answer': told[0]}
  return json.dumps({'name': 'final_answer', 'arguments': answer}) + '|'


def test_a_framework_that_writes_its_history_anew_gets_a_row_a_request():
  with served(say, room=(20_000, 20_000, 1_000)) as server:
    chat = Objects()
    episode = server.begin(ledger_lib.Ledger(lambda tools: chat))
    model = smolagents.OpenAIServerModel(
      'policy', api_base=server.url, api_key=episode.key
    )
    agent = smolagents.ToolCallingAgent([price], model, verbosity_level=0)
    assert agent.run('What does a cost?') == '3'
  # It asks for a call and stops of its own, and puts calls into words.
  assert episode.overruled == {'tool_choice': 2} and not episode.refused
  rows = ledger_lib.rows(episode.ledger.turns)
  assert [len(row.turns) for row in rows] == [1, 1]
  told = [''.join(map(chr, row.ids)) for row in rows]
  assert 'price' in told[0] and 'final_answer' in told[1]
