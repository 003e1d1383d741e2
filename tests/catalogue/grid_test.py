from jaxrl_llm.catalogue import command, grid


def test_pairs_are_counted_and_what_others_lack_is_said(monkeypatch, capsys):
  # To compose all takes 20 seconds, and compose_test does.
  few = [pair for pair in grid.pairs() if pair[1] == 'clip']
  monkeypatch.setattr(grid, 'pairs', lambda: few)
  assert command.main(['pairs']) == 0
  first, _, _, *arrays = capsys.readouterr().out.splitlines()
  number = len(grid.pairs())
  refused = sum(bool(grid.wanted(*pair)) for pair in grid.pairs())
  assert first.startswith(f'{number} pairs of an estimator and a surrogate')
  assert first.endswith(f'{number - refused} compose, {refused} are refused')
  assert any(line.endswith('answer, as in copo') for line in arrays)
