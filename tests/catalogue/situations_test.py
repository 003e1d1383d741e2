"""What to begin with: the page, the command, and one table for both."""

import pathlib
import re

import pytest

from jaxrl_llm import recipes, registry
from jaxrl_llm.catalogue import command, situations

ROOT = pathlib.Path(__file__).parents[2]
# One recipe that a file of somebody's own registers.
MINE = """
from jaxrl_llm.recipe import Recipe
from jaxrl_llm.registry import Paper, register
@register(Paper('My idea'))
def mine_of_a_test(*, minibatches: int = 2) -> Recipe:
  \"\"\"The plainest, in two steps.\"\"\"
  return Recipe(minibatches=minibatches)
"""


def test_page_is_the_table(tmp_path, monkeypatch, capsys):
  remedy = 'run `python -m jaxrl_llm.recipes choosing`, commit the page'
  text = situations.page()
  assert (ROOT / situations.PAGE).read_text(encoding='utf-8') == text, remedy
  monkeypatch.chdir(tmp_path)
  assert command.main(['choosing']) == 0
  assert (tmp_path / situations.PAGE).read_text(encoding='utf-8') == text
  assert 'choosing.md' in capsys.readouterr().out


@pytest.mark.parametrize(
  'row', situations.TABLE, ids=[row.recipe for row in situations.TABLE]
)
def test_a_situation_has_what_its_recipes_ask_for(row):
  named = [row.recipe, *re.findall(r'`(\w+)`', row.others)]
  for name in named:
    asks = recipes.get(name).factory().plan.contract.asks
    assert asks <= set(row.have), name
  assert {*row.have} <= situations.HAVE.keys()
  assert {*row.want} <= situations.WANT.keys()
  assert situations.fitting(row.have, row.want)[0] == row


def test_every_word_leads_somewhere():
  found = {word for row in situations.TABLE for word in (*row.have, *row.want)}
  assert found == {*situations.HAVE, *situations.WANT}


def test_what_uses_most_of_what_there_is_comes_first(capsys):
  assert command.main(['for', '--have=verifier,demonstrations,pairs']) == 0
  said = capsys.readouterr().out
  names = re.findall(r'begin with +(\w+):', said)
  assert names == ['hpt', 'grpo', 'dpo', 'sft'] and '`' not in said
  assert command.main(['for', '--have=teacher']) == 0
  assert (
    'begin with  gkd: A divergence from a teacher' in capsys.readouterr().out
  )
  assert command.main(['for', '--have=pairs, labels', '--want= light']) == 0
  assert 'begin with  simpo: Mean log-probs' in capsys.readouterr().out
  assert command.main(['for', '--have=pairs', '--want=light,hard']) == 0
  said = capsys.readouterr().out
  assert 'simpo' in said and 'hard: nothing begins with that alone' in said


@pytest.mark.parametrize(
  ('words', 'said'),
  [
    (['for'], 'say what you have, --have=verifier,'),
    (['for', '--have=verifer'], "Did you mean 'verifier'?"),
    (['for', '--have=labels', '--want=light'], 'There is pairs: simpo'),
    (['for', 'pairs'], '--have=pairs'),
    (['search'], 'search WORDS'),
    (['grpo', '--have=pairs'], '--have and --want belong to for'),
  ],
)
def test_what_leads_nowhere_is_told_what_would(words, said, capsys):
  assert command.main(words) == 2
  assert said in capsys.readouterr().err


def test_a_recipe_in_a_file_is_described_and_compared(
  tmp_path, monkeypatch, capsys
):
  monkeypatch.setattr(registry, 'ENTRIES', dict(registry.ENTRIES))
  file = tmp_path / 'mine.py'
  file.write_text(MINE)
  assert command.main(['diff', f'{file}:mine_of_a_test', 'reinforce']) == 0
  assert re.search(r'minibatches +2 +1', capsys.readouterr().out)
  monkeypatch.setattr(registry, 'ENTRIES', dict(registry.ENTRIES))
  assert command.main([f'{file}:another']) == 2
  assert "no 'another'" in capsys.readouterr().err
  assert command.main([f'{tmp_path}/absent.py:mine']) == 2
  assert 'no file at' in capsys.readouterr().err


@pytest.mark.parametrize(
  ('text', 'said'),
  [
    ('def broken(:', 'mine.py: SyntaxError: invalid syntax'),
    ('import no_such_module', 'mine.py: ModuleNotFoundError: No module named'),
    ('1 / 0', 'mine.py: ZeroDivisionError: division by zero'),
  ],
)
def test_a_file_that_does_not_run_is_told_in_one_line(
  text, said, tmp_path, capsys
):
  file = tmp_path / 'mine.py'
  file.write_text(text)
  assert command.main([f'{file}:mine']) == 2
  told = capsys.readouterr().err
  assert said in told and told.count('\n') == 1
  assert command.main([str(file)]) == 2
  assert f'{file}:NAME' in capsys.readouterr().err
