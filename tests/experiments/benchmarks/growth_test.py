import json

import pytest

from experiments.benchmarks import cases, growth


def _lines(power):
  return [
    {'size': size, 'value': value, 'git_commit': 'abc'}
    | {
      f'{program} {unit}': 3.0 * value**power
      for program in growth.PROGRAMS
      for unit in ('seconds', 'bytes')
    }
    for size, values in growth.SIZES.items()
    for value in values
  ]


@pytest.mark.parametrize('power', [0.0, 1.0, 2.0])
def test_slope_of_a_power_is_its_exponent(power):
  x = (2, 8, 64)
  assert growth.slope(x, [5 * v**power for v in x]) == pytest.approx(power)


def test_all_sizes_begin_at_one_cell_and_change_one_thing():
  starts = {growth.of(size, values[0]) for size, values in growth.SIZES.items()}
  assert len(starts) == 1
  (model, shape) = starts.pop()
  for size, values in growth.SIZES.items():
    other_model, other_shape = growth.of(size, values[-1])
    assert (other_model == model) != (other_shape == shape)


def test_expected_slopes_are_those_of_the_largest_terms():
  found = growth.curves(_lines(1.0))

  def expected(size, name):
    x, _, amounts = found[size, name]
    return growth.slope(x[-2:], amounts[-2:])

  # Rows of a microbatch stay, so more responses take time and no memory.
  assert expected('responses to a prompt', 'learn seconds') == pytest.approx(1)
  assert expected('responses to a prompt', 'learn bytes') == 0
  # Maps between states grow with the square of the width.
  assert 1.5 < expected('model width', 'learn seconds') < 2
  assert 1.5 < expected('model width', 'sample bytes') < 2
  # Responses take their part, whatever the length of prompts.
  assert 0.8 < expected('prompt tokens', 'learn seconds') < 1
  assert 0.8 < expected('vocabulary', 'learn bytes') < 1


def test_bytes_kept_by_hand():
  model = cases.Model(1, 4, 1, 1, 2, 3, 5)
  shape = cases.Shape(prompts=2, samples=4, prompt=3, response=2)
  kept = growth.kept(model, shape)
  # 68 weights, caches of 4 numbers for 2 * 3 prompt tokens and 8 * 2 others,
  # 8 rows of 5 logits, 9 pairs of each prompt, and 4 + 2 * 3 of its tokens.
  assert kept['sample'] == 4 * (68 + 4 * (6 + 16) + 8 * 5 + 2 * 9 + 6 * 10)
  # 4 rows share their prompt: 3 + 8 tokens of 4*4 + 8 + 3*3 numbers, 9 + 4*2*5
  # pairs, twice 8 logits of 5; 88 parameters twice.
  assert model.parameters == 2 * (4 * 4) + 3 * 12 + 20
  assert kept['learn'] == 4 * (2 * 88 + 11 * 33 + 49 + 2 * 8 * 5)


def test_page_and_figure_show_every_size(tmp_path):
  lines = _lines(2.0)
  page = growth.page([json.loads(json.dumps(line)) for line in lines])
  for size in growth.SIZES:
    assert f'| {size} |' in page
  assert '| 2.00 (' in page and 'at `abc`' in page
  growth.figure(lines, tmp_path / 'growth.png')
  assert (tmp_path / 'growth.png').stat().st_size > 10_000


def test_measured_cell_has_every_quantity():
  model = cases.Model(1, 16, 2, 1, 8, 16, 32)
  shape = cases.Shape(prompts=2, samples=4, prompt=3, response=4)
  found = growth.measure(model, shape)
  for program in growth.PROGRAMS:
    assert found[f'{program} seconds'] > 0
    assert found[f'{program} bytes'] > 0
