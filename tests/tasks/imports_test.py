import json

import pytest

from jaxrl_llm.tasks import imports


def test_what_is_there_is_found():
  assert imports.imported('mine', 'json:loads') is json.loads
  assert imports.imported('mine', 'json.decoder:JSONDecoder')


@pytest.mark.parametrize(
  ('path', 'told'),
  [
    ('loads', 'give an import path, as in package.module:name'),
    (':loads', 'give an import path'),
    ('json:', 'give an import path'),
    (
      'nobody:f',
      "no module 'nobody' .*run from the folder that holds nobody.py",
    ),
    ('json.nobody:f', "no module 'json.nobody'"),
    ('json:laods', "json has no function or class 'laods'. .*'loads'"),
    ('json:__doc__', 'no function or class'),
    ('__main__:f', 'move f into a module of its own'),
  ],
)
def test_what_is_not_is_refused_with_the_remedy(path, told):
  with pytest.raises(ValueError, match=f"^environment 'x': .*{told}"):
    imports.imported("environment 'x'", path)


def test_what_a_module_lacks_itself_is_told_in_its_own_words(
  tmp_path, monkeypatch
):
  (tmp_path / 'lacks_one.py').write_text('import no_such_library\n')
  monkeypatch.syspath_prepend(tmp_path)
  with pytest.raises(ModuleNotFoundError, match="'no_such_library'"):
    imports.imported('mine', 'lacks_one:f')
