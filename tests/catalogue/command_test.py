import pytest

from jaxrl_llm import compose, parts
from jaxrl_llm.catalogue import command


@pytest.mark.parametrize(
  'words, says',
  [
    (['grpoo'], "Did you mean 'grpo'?"),
    (['diff', 'grpo', 'gpro'], "Did you mean 'grpo'?"),
    (['diff', 'grpo'], 'diff A B'),
    (['grpo', 'dapo'], 'one recipe at a time'),
    (
      ['grpo', 'surrogate=clpi'],
      "surrogate 'clpi'. Did you mean 'clip'",
    ),
    (['grpo', 'surrogat=clip'], "Did you mean 'surrogate'?"),
    (['grpo', 'samples=many'], 'many is no value'),
    (['grpo', 'samples=0.5'], 'samples is 0.5; use a value of int'),
    (['gpro', 'surrogate=clip'], "Did you mean 'grpo'?"),
  ],
)
def test_bad_requests_get_one_line_and_a_failing_exit(words, says, capsys):
  assert command.main(words) == 2
  shown = capsys.readouterr()
  assert says in shown.err and shown.err.count('\n') == 1 and not shown.out


def test_help_lists_what_fits_each_slot(capsys):
  with pytest.raises(SystemExit):
    command.main(['--help'])
  shown = capsys.readouterr().out
  for slot in (*compose.SLOTS, 'controller'):
    for name in parts.fitting(slot):
      assert f'\n  {name} ' in shown, (slot, name)
