import dataclasses

import pytest

from experiments.benchmarks import cases, chips

MODEL, SHAPE = chips.QWEN3_8B, chips.SHAPE


def test_qwen3_8b_has_as_many_parameters_as_published():
  # Its model card says 8.2 B, of which 6.95 B are not embeddings.
  assert chips.parameters(MODEL) == pytest.approx(8.19e9, rel=1e-3)
  assert MODEL.linear // 2 == pytest.approx(6.95e9, rel=1e-3)


def test_an_iteration_by_hand_on_a_model_of_one_layer():
  model = cases.Model(1, 8, 2, 1, 4, 16, 32)
  shape = cases.Shape(prompts=4, samples=2, prompt=3, response=5)
  asked = chips.need(model, shape, 2, 4)
  attention, mlp = 8 * 4 * (2 * 2 + 2 * 1), 3 * 8 * 16
  weights = attention + mlp + 2 * 8 * 32
  assert chips.parameters(model) == weights
  # Three programs gather, and the gradients are summed once.
  assert asked.far == 4 * 4 * weights * (1 / 2) / 4
  # 4 rows on a chip. Three forward passes and a backward one of 8 tokens, and
  # sampling: 5 tokens and half a prompt. Two outputs of 8 bfloat16 numbers.
  tokens = 4 * (8 * 4 + 5 + 3 / 2)
  assert asked.near == 2 * (3 / 4) * 2 * 8 * 2 * tokens
  assert asked.kept == 16 * weights / 8
  row = 8 * 2 * (attention + mlp) + 36 * (4 * 2 * 4) + 5 * 2 * 8 * 32
  prompt = 3 * 2 * (attention + mlp) + 6 * (4 * 2 * 4)
  assert asked.operations == (8 * row - 4 * prompt + 5 * 8 * row) / 8


def test_chips_share_operations_and_what_is_kept():
  few, many = (chips.need(MODEL, SHAPE, n, 4) for n in (4, 64))
  assert few.operations == pytest.approx(16 * many.operations)
  assert few.kept == pytest.approx(16 * many.kept)
  assert few.near == pytest.approx(16 * many.near)
  assert many.read < few.read < 16 * many.read


def test_an_axis_of_one_sends_nothing():
  assert chips.need(MODEL, SHAPE, 1, 8).far == 0
  assert chips.need(MODEL, SHAPE, 8, 1).near == 0


def test_the_slowest_part_is_named():
  text = chips.table()
  assert text.count('\n') == 1 + 2 * 2 * 3
  chip = dataclasses.replace(chips.CHIPS['H200'], far=1.0)
  times = chips.seconds(chips.need(MODEL, SHAPE, 2, 8), chip)
  assert max(times, key=times.get) == 'data links'
