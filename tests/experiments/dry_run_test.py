"""What `--dry_run` says equals what a count by hand says."""

import re

import jax
import pytest

from experiments import dry_run
from tests.end_to_end import tiny

WIDTH, HEADS, KV_HEADS, MLP, HEAD = 32, 2, 2, 64, 16
PROMPTS, SAMPLES, PROMPT, RESPONSE = 4, 4, 16, 6
DATA, MODEL = 4, 2


@pytest.fixture(scope='module')
def said():
  """The report on a mesh of 4 x 2, as lines."""
  config = tiny.get_config()
  config.model.fresh.kv_heads = KV_HEADS
  config.warm_start.steps = 0
  config.mesh.data, config.mesh.model = DATA, MODEL
  lines = []
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(
      'builtins.print', lambda *words: lines.append(' '.join(words))
    )
    assert dry_run.report(config) == 0
  return lines


def sizes(said, name):
  """(numbers, bytes, bytes on a device) of a row of the table."""
  # The last of this name: a recipe may have a slot that is called the same.
  *_, row = [line for line in said if line.startswith(f'  {name} ')]
  count, whole, unit, part, part_unit = row.removeprefix(f'  {name}').split()
  units = {'B': 1, 'KiB': 2**10, 'MiB': 2**20}
  return (
    int(count.replace(',', '')),
    float(whole) * units[unit],
    float(part) * units[part_unit],
  )


def test_parameters_and_what_is_kept_of_them(said):
  count, whole, part = sizes(said, 'trained parameters')
  vocab = next(int(x) for x in re.findall(r'vocab=(\d+)', '\n'.join(said)))
  attention = WIDTH * HEAD * (2 * HEADS + 2 * KV_HEADS)
  mlp = 3 * WIDTH * MLP
  # Norms: two of a layer, the last one, and those of queries and keys.
  norms, head_norms = 3 * WIDTH, 2 * HEAD
  assert count == vocab * WIDTH + attention + mlp + norms + head_norms
  assert whole == pytest.approx(4 * count, rel=1e-3)
  # `model` does not divide the vocabulary of bytes, which is odd.
  assert vocab % MODEL == 1
  spread = (vocab * WIDTH + norms) / DATA + (attention + mlp) / (DATA * MODEL)
  assert part == pytest.approx(4 * (spread + head_norms), rel=5e-3)
  # Two moments of Adam, and some counters.
  assert sizes(said, 'optimiser')[0] == pytest.approx(2 * count, abs=8)
  assert sizes(said, 'reference')[0] == count


def test_the_cache_of_keys_and_values(said):
  count, whole, part = sizes(said, 'KV cache')
  prompts = PROMPTS * PROMPT
  responses = PROMPTS * SAMPLES * RESPONSE
  assert count == 2 * KV_HEADS * HEAD * (prompts + responses)
  assert whole == pytest.approx(4 * count, rel=1e-3)
  assert part == pytest.approx(whole / (DATA * MODEL), rel=1e-2)


def test_every_program_says_what_it_keeps_and_sends(said):
  starts = [i for i, line in enumerate(said) if 'per device: ' in line]
  names = [said[i].split()[0] for i in starts]
  assert names == ['gather', 'sample', 'score', 'learn']
  for start, end in zip(starts, [*starts[1:], len(said)]):
    for part in ('arguments', 'results', 'activations'):
      assert re.search(rf'{part} [\d.]+ [KM]?i?B', said[start])
    assert re.search(r'; [\d.]+ s of processors to compile$', said[start])
    sent = said[start + 1 : end]
    assert any('all-gather' in line for line in sent), said[start]
    assert all(line.endswith(('bytes', 'loop')) for line in sent)
  # Gradients are summed over the devices that rows are split over.
  assert any('reduce' in line for line in said[starts[-1] :])


def test_an_iteration_is_said_in_rows_and_tokens(said):
  rows = PROMPTS * SAMPLES
  [line] = [line for line in said if line.startswith('one iteration')]
  assert f'{rows} rows of at most {PROMPT} + {RESPONSE} tokens' in line
  assert f'{rows * RESPONSE} to sample' in line


def test_nothing_but_shapes_is_made():
  config = tiny.get_config()
  config.warm_start.steps = 0
  before = {id(x) for x in jax.live_arrays()}
  dry_run.report(config)
  made = [x for x in jax.live_arrays() if id(x) not in before]
  # Keys and the numbers of questions, no parameters.
  assert max((x.size for x in made), default=0) <= 64
