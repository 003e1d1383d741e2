"""The agents of the guide, as they are written there, asked for real."""

import json
import re
import sys

import pytest

from jaxrl_llm.serving import ledger as ledger_lib
from jaxrl_llm.tasks import toolbox, toolboxes
from jaxrl_llm.tasks.speech import Call, Said

pytest.importorskip('openai')
pytest.importorskip('jaxrl_llm.serving.server')

from tests.serving import transcripts  # noqa: E402
from tests.serving.letters import Letters  # noqa: E402
from tests.serving.server_test import served  # noqa: E402

ROW = {'prompt': 'Which is cheapest?', 'prices': {'x': 3, 'y': 2}}


@pytest.fixture
def guide(monkeypatch, tmp_path):
  """The folder with the files of the guide, where Python finds them."""
  transcripts.with_guide(tmp_path)
  monkeypatch.syspath_prepend(tmp_path)
  for path in tmp_path.iterdir():
    monkeypatch.delitem(sys.modules, path.stem, raising=False)
  return tmp_path


class Prices(Letters):
  """Calls are the names of items behind a question mark."""

  def read(self, ids, tools=(), *, cut=False):
    said = super().read(ids, tools, cut=cut)
    text = said.rstrip('|')
    calls = [
      Call(f'call{i:05d}', 'price', {'item': name})
      for i, name in enumerate(re.findall(r'\?(\w)', text))
    ]
    return Said(text, ids=ids, calls=calls, ended=said.ended)


def say(text, rng):
  """Asks for both prices at once, and names the cheaper."""
  del rng
  told = re.findall(r't(\d)', text.partition('cheapest')[2])
  return '?x?y|' if not told else 'xy'[told.index(min(told))] + '|'


def test_the_first_agent_has_fifteen_lines_at_most(guide):
  lines = (guide / 'shop.py').read_text().splitlines()
  assert len([line for line in lines if line.strip()]) <= 15


def test_the_agent_makes_one_row_in_process_and_over_http(guide):
  rows, reward = transcripts.in_process()
  others, earned = transcripts.over_http(anew=False)
  assert (reward, len(rows)) == (earned, len(others)) == (1.0, 1)
  assert rows[0].ids == others[0].ids
  assert [(at, t.said) for at, t in rows[0].turns] == [
    (at, t.said) for at, t in others[0].turns
  ]


@pytest.mark.usefixtures('namespaces')
def test_the_transcripts_are_those_of_the_page(guide):
  assert transcripts.page() == transcripts.PAGE.read_text()


def test_the_agent_that_asks_over_http_is_answered_and_paid(guide):
  import agent
  import payment

  with served(say) as server:
    episode = server.begin(ledger_lib.Ledger(lambda tools: Prices()))
    assert agent.solve(ROW, server.url, episode.key) == 1.0
    payment.pay(server.url, episode.key, 0.5)
  [row] = ledger_lib.rows(episode.ledger.turns)
  assert [''.join(map(chr, turn.said)) for _, turn in row.turns] == [
    '?x?y|',
    'y|',
  ]
  assert [turn.earned for _, turn in row.turns] == [0.0, 0.5]


@pytest.mark.usefixtures('namespaces')
def test_the_agent_with_a_sandbox_computes(guide):
  _, _, detail = toolbox.outcome('wiki:Clerk', ('reset',), {})
  state = json.loads(detail)['state']
  call = Call('call00000', 'python', {'code': 'print(6 * 7)'})
  _, _, detail = toolbox.outcome('wiki:Clerk', ('call', state, [call], 99), {})
  told = json.loads(detail)
  assert told['results'] == [[True, '42\n']]
  found = toolbox.outcome(
    'wiki:Clerk', ('reward', told['state'], 'It is 42.'), {}
  )
  toolboxes._jail().close()
  toolboxes._jail.cache_clear()
  assert found == ('ok', 1.0, '')
