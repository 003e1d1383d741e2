"""A mesh changes where arrays live and what crosses between devices, no more.

Programs of a small decoder: what they compute, and what they send. Every mesh
and every kind once; `python -m experiments.benchmarks.meshes` runs them all.
"""

import jax
import numpy as np
import pytest

from experiments import collectives
from experiments.benchmarks import equality
from experiments.benchmarks.equality import DENSE, KINDS, LENGTH, ROWS
from tests import thinned

ONE_PASS = KINDS['pair, no reference']


@pytest.mark.parametrize(
  ('kind', 'mesh'),
  thinned.every(
    5,
    [
      ('pointwise', (1, 8)),
      ('sequence', (4, 2)),
      ('pair', (2, 4)),
      ('group', (4, 2)),
      ('experts', (4, 2)),
      ('batch', (2, 4)),
      ('critic', (8, 1)),
      ('stateful', (8, 1)),
      ('low rank', (1, 8)),
    ],
  ),
  ids=str,
)
def test_a_mesh_samples_and_learns_the_same(kind, mesh):
  found = equality.difference(kind, mesh)
  assert found.pop('tokens') == 0
  for name, apart in found.items():
    assert apart < equality.CLOSE, name
  many = equality.learned(kind, mesh)
  assert many.places == 8 and many.metrics['grad/norm'] > 0


@pytest.fixture(scope='module')
def fsdp():
  """Collectives of an iteration on 8 devices, 2 microbatches, and its state."""
  parts = equality.begin(ONE_PASS, (8, 1))
  return collectives.of_program(equality.iteration(parts)), parts


def test_gradients_are_reduced_once_a_step_not_once_a_microbatch(fsdp):
  found, _ = fsdp
  assert [each for each in found if each.looped] == []
  assert any(each.kind == 'all-reduce' for each in found)


def test_fsdp_sends_every_parameter_and_every_gradient_once(fsdp):
  """Bytes of an optimizer step, whatever its microbatches, in float32.

  all-gather 4 p,   all-reduce 4 p,   p the number of parameters
  """
  found, parts = fsdp
  size = equality.own_bytes(parts)
  assert size == 4 * sum(x.size for x in jax.tree.leaves(parts.state.params))
  for kind in ('all-gather', 'all-reduce'):
    sent = sum(each.bytes for each in found if each.kind == kind)
    assert sent == pytest.approx(size, rel=0.1), kind


@pytest.mark.parametrize('mesh', [(8, 1), (2, 4)], ids=str)
def test_no_logits_are_gathered(mesh, fsdp):
  found = fsdp[0]
  if mesh == (2, 4):
    # Here the vocabulary is split as well.
    parts = equality.begin(ONE_PASS, mesh)
    found = collectives.of_program(equality.iteration(parts))
  # Of one microbatch on one device, whole over the vocabulary or not.
  fewest = ROWS // 2 // mesh[0] * LENGTH * DENSE.vocab // mesh[1]
  logits = [
    each
    for each in found
    for shape in each.shapes
    if len(shape) >= 3 and shape[-1] == DENSE.vocab and np.prod(shape) >= fewest
  ]
  assert logits == []
