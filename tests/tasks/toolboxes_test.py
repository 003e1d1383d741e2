"""Tools that come with the house."""

import json

import pytest

from jaxrl_llm.tasks import toolbox, toolboxes
from jaxrl_llm.tasks.speech import Call

ROOM = 'jaxrl_llm.tasks.toolboxes'


def called(name, tool, *given):
  """The results of calls with one argument each."""
  spec = f'{ROOM}:{name}'
  kind, _, detail = toolbox.outcome(spec, ('reset',), {'prices': {}})
  assert kind == 'ok', detail
  argument = 'code' if tool == 'python' else 'query'
  made = [Call('call00000', tool, {argument: value}) for value in given]
  state = json.loads(detail)['state']
  _, _, detail = toolbox.outcome(spec, ('call', state, made, 9999), {})
  return [text for good, text in json.loads(detail)['results'] if good]


@pytest.mark.usefixtures('namespaces')
def test_programs_are_run_and_their_errors_shown(monkeypatch):
  monkeypatch.setattr(toolboxes.Python, 'python_seconds', 1.0)
  printed, divided, unread, nothing, late, gone = called(
    'Python',
    'python',
    'import math\nx = math.pi\nprint(f"{x:.2f}", __name__)',
    'print("so far")\n\n1 / 0',
    'print(1',
    'x = 7',
    'print("on", flush=True)\nwhile True: pass',
    'print(x)',
  )
  toolboxes._jail().close()
  toolboxes._jail.cache_clear()
  assert printed == '3.14 __main__\n'
  assert divided.startswith('so far\n') and 'line 3' in divided
  assert 'ZeroDivisionError' in divided and 'SyntaxError' in unread
  assert nothing == 'nothing was printed'
  assert late == 'on\n\nno end within 1 s'
  assert 'NameError' in gone


def test_passages_are_found_by_their_words(tmp_path, monkeypatch):
  (tmp_path / 'animals.txt').write_text(
    'Cats sleep.\n\nA dog runs after two cats.\n\nBirds fly "high".'
  )
  (tmp_path / 'more').mkdir()
  (tmp_path / 'more' / 'dogs.md').write_text('Dogs bark at dogs.')
  (tmp_path / 'ignored.py').write_text('dogs = 1')
  monkeypatch.setattr(toolboxes.Search, 'documents', str(tmp_path))
  monkeypatch.setattr(toolboxes.Search, 'passages', 2)
  dogs, birds, none, empty = called(
    'Search', 'search', 'the dog', 'HIGH" OR birds*', 'whales', '?!'
  )
  assert dogs == (
    'more/dogs.md: Dogs bark at dogs.\n\n'
    'animals.txt: A dog runs after two cats.'
  )
  assert birds == 'animals.txt: Birds fly "high".'
  assert (none, empty) == ('nothing was found', 'a query needs words')


def test_a_search_without_documents_does_not_begin(tmp_path, monkeypatch):
  for folder in ('', str(tmp_path)):
    monkeypatch.setattr(toolboxes.Search, 'documents', folder)
    kind, _, detail = toolbox.outcome(f'{ROOM}:Search', ('reset',), {})
    assert kind == 'errors' and 'set it to a folder with some' in detail


@pytest.mark.parametrize('kind', ['Prices', 'Python', 'Search'])
def test_they_can_be_shown_to_a_policy(kind):
  assert toolbox.schemas(getattr(toolboxes, kind))
