"""Models and data are data: nothing that is read is run."""

import ast
import json
import pathlib
import sys

import pytest

from jaxrl_llm.problems.text import chat, sources
from jaxrl_llm.tasks import tokens

ROOT = pathlib.Path(__file__).parents[1]
# Programs that run peers, in environments of their own.
PEERS = 'peer_*.py'
CODE_IN_DATA = {'pickle', 'dill', 'joblib', 'marshal', 'shelve', 'yaml'}
RUN = {'eval', 'exec', 'compile', '__import__'}


def findings(source: str) -> set[str]:
  """What a module does that could run data."""
  found = set()
  for node in ast.walk(ast.parse(source)):
    match node:
      case ast.Import(names) if CODE_IN_DATA & {
        name.name.partition('.')[0] for name in names
      }:
        found.add('import')
      case ast.ImportFrom(module=str(module)) if (
        module.partition('.')[0] in CODE_IN_DATA
      ):
        found.add('import')
      case ast.Call(ast.Name(name)) if name in RUN:
        found.add(name)
      case ast.Call(ast.Attribute(attr='from_pretrained'), _, keywords):
        given = {k.arg: ast.unparse(k.value) for k in keywords}
        if given.get('trust_remote_code') != 'False':
          found.add('from_pretrained')
      # Of a multiprocessing connection: it reads a pickle.
      case ast.Call(ast.Attribute(attr='recv'), []):
        found.add('recv')
      case ast.keyword('allow_pickle' | 'trust_remote_code', value):
        if ast.unparse(value) != 'False':
          found.add(node.arg)
  return found


def test_no_module_runs_what_it_reads():
  found = {
    str(path.relative_to(ROOT)): findings(path.read_text())
    for folder in ('jaxrl_llm', 'experiments')
    for path in sorted((ROOT / folder).rglob('*.py'))
    if not path.match(PEERS)
  }
  assert len(found) > 100
  # Jobs that the pool of this very run sends to its own workers.
  assert found.pop('jaxrl_llm/tasks/worker.py') == {'recv'}
  # Instances of tools, which such workers alone write and read.
  assert found.pop('jaxrl_llm/tasks/toolbox.py') == {'import'}
  assert {name: what for name, what in found.items() if what} == {}


@pytest.mark.parametrize(
  ('source', 'what'),
  [
    ('import os, pickle', 'import'),
    ('from yaml import load', 'import'),
    ('eval(text)', 'eval'),
    ('def f():\n  exec(text, {})', 'exec'),
    ('AutoTokenizer.from_pretrained(folder)', 'from_pretrained'),
    ('x.from_pretrained(a, trust_remote_code=trust)', 'from_pretrained'),
    ('np.load(path, allow_pickle=True)', 'allow_pickle'),
    ('wire.recv()', 'recv'),
  ],
)
def test_the_audit_sees_what_it_looks_for(source, what):
  assert what in findings(source)


def test_code_in_a_model_folder_is_refused_and_not_run(tmp_path, monkeypatch):
  folder = tmp_path / 'model'
  tokens.toy_tokenizer(folder)
  path = folder / 'tokenizer_config.json'
  settings = json.loads(path.read_text())
  settings |= {'auto_map': {'AutoTokenizer': ['own.Own', None]}}
  path.write_text(json.dumps(settings | {'tokenizer_class': 'Own'}))
  mark = tmp_path / 'ran'
  (folder / 'own.py').write_text(f'open({str(mark)!r}, "w").close()')
  (folder / 'config.json').write_text('{"model_type": "own"}')
  # Who says yes to everything is not asked.
  monkeypatch.setattr('builtins.input', lambda *_: 'y')
  monkeypatch.setattr(sys, 'stdin', None)
  with pytest.raises(ValueError, match='custom code'):
    sources.tokenizer_of(folder)
  assert not mark.exists()


@pytest.mark.parametrize(
  'template',
  [
    '{{ messages.__class__.__mro__[1].__subclasses__() }}',
    "{{ ''.__class__.mro() }}",
    '{{ messages.append(1) }}',
    "{{ cycler.__init__.__globals__.os.system('true') }}",
    "{% include '/etc/passwd' %}",
    '{{ undefined.field }}',
    '{% for %}',
  ],
)
def test_a_chat_template_is_held_in_its_sandbox(template, tmp_path):
  tokenizer = tokens.toy_tokenizer(tmp_path, chat_template=template)
  question = [{'role': 'user', 'content': 'why?'}]
  with pytest.raises(ValueError, match='cannot write the messages'):
    chat.Template(tokenizer).encode(question)
