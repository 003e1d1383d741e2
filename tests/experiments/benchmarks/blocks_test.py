from experiments.benchmarks import blocks


def test_operations_by_hand():
  # Two products forth, four back and one again, of 2 responses of 4 tokens
  # that see 3 + 4 keys, in each of 4 heads of 64.
  assert blocks.operations(('tiny', 3, 2, 4)) == 7 * 2 * 64 * 4 * (2 * 4 * 7)
  assert blocks.operations(('small', 5, 0, 0)) == 7 * 2 * 64 * 8 * 25


def test_tiles_reserve_less_than_all_scores():
  cell = ('tiny', 64, 4, 256)
  whole, few = (
    program.memory_analysis().temp_size_in_bytes
    for _, program, _ in (
      blocks._compiled(cell, 2**62),
      blocks._compiled(cell, 2**14),
    )
  )
  assert few < whole / 3
