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
    (['grpo', 'samples='], 'samples= is no value; write one such as samples='),
    (['grpo', 'kl_weight=k2:0.1'], 'such as kl_weight=0.04'),
    (['grpo', 'kl=k2:0.5'], 'Write kl=k2, and kl_weight=0.5 for another'),
    (['grpo', 'kl='], 'Write kl=NAME, and kl_weight=NUMBER'),
    (['reinforce', 'kl=k2:0.5'], 'write costs=k2:0.5'),
    (['grpo', 'surrogate=clip:0.1'], 'write clip(0.1), for only costs'),
    (['grpo', 'reference=ema:0.99'], 'write ema(0.99)'),
    (['grpo', 'budget_mean'], 'write aggregate=budget_mean'),
    (['grpo', 'gate=ring', 'aggregate:budget_mean'], 'aggregate=budget_mean'),
    (['grpo', 'costs:k2=0.1'], 'write costs=k2:0.1'),
    (['grpo', 'surrogate'], 'write surrogate=PART'),
    (['grpo', 'zzz'], 'write SLOT=PART or HYPER_PARAMETER=VALUE'),
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
