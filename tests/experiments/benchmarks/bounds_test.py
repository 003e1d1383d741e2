import pytest

from experiments.benchmarks import bounds, cases, chips

MODEL = cases.Model(2, 64, 4, 2, 16, 128, 512)
SHAPE = cases.Shape(prompts=2, samples=4, prompt=16, response=8)


def test_compiled_operations_are_those_counted():
  found = bounds.costs(MODEL, SHAPE)
  # The last token of a response is drawn and never read.
  rows, t = SHAPE.rows, SHAPE.response
  last = rows * (MODEL.linear + (SHAPE.prompt + t) * MODEL.pair)
  sampled = cases.shared(MODEL, SHAPE) - last
  # Prompts and responses attend to both halves of the triangle in a product,
  # and to a cache whole; norms and the like count a little.
  halves = SHAPE.prompts * SHAPE.prompt * (SHAPE.prompt - 1) / 2
  unwritten = rows * t * (t - 1) / 2
  sampled += (halves + unwritten) * MODEL.pair
  assert 1 < found['sample'].operations / sampled < 1.15
  learned = cases.shared(MODEL, SHAPE) + (halves + unwritten) * MODEL.pair
  assert 1 < found['learn'].operations / (3 * learned) < 1.15


def test_sampling_accesses_at_least_what_it_must_read():
  found = bounds.costs(MODEL, SHAPE)
  parameters = MODEL.parameters * 4 * SHAPE.response
  assert parameters < found['sample'].bytes < 4 * parameters


def test_seconds_are_at_the_rates_of_the_chip():
  chip = chips.Chip(10.0, 1.0, 4.0, 1.0, 1.0)
  least = bounds.seconds(bounds.Cost(operations=30.0, bytes=16.0), chip)
  assert least == {'arithmetic': 3.0, 'memory': pytest.approx(2.0)}
