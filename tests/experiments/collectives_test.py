import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec

from experiments import collectives
from jaxrl_llm.training import shard

MESH = shard.make_mesh(8, 1)


def compiled(f, *arrays):
  return jax.jit(f).lower(*jax.device_put(arrays, shard.rows(MESH))).compile()


def test_an_all_gather_has_the_bytes_of_its_result():
  def whole(x):
    return jax.lax.with_sharding_constraint(x, shard.replicated(MESH))

  (found,) = collectives.of_program(compiled(whole, jnp.ones((8, 3))))
  assert found == ('all-gather', ((8, 3),), 4 * 24, False)


def test_what_a_loop_sends_is_marked():
  def total(x):
    return jax.lax.fori_loop(
      0, 5, lambda _, y: y + jnp.sum(jnp.sin(x + y)), 0.0
    )

  found = collectives.of_program(compiled(total, jnp.ones(8)))
  assert [(each.kind, each.looped) for each in found] == [('all-reduce', True)]


def test_results_of_one_collective_are_added():
  def both(x):
    def sums(x):
      return jax.lax.psum((x, 2 * x[:, :1]), 'data')

    spec = PartitionSpec('data')
    return jax.shard_map(sums, mesh=MESH, in_specs=spec, out_specs=spec)(x)

  found = collectives.of_program(compiled(both, jnp.ones((8, 4))))
  assert sum(each.bytes for each in found) == 4 * (4 + 1)


@pytest.mark.parametrize(
  ('line', 'expected'),
  [
    (
      '%a = (f32[2], f32[16]) all-gather-start(%b), dimensions={0}',
      ('all-gather', ((16,),), 64, False),
    ),
    (
      '%a = (bf16[4,2]{1,0}, /*index=1*/pred[3]) all-reduce-start(%b, %c)',
      ('all-reduce', ((4, 2), (3,)), 19, False),
    ),
    ('%a = s32[] collective-permute(%b)', ('collective-permute', ((),), 4, 0)),
  ],
  ids=['asynchronous', 'several', 'scalar'],
)
def test_lines_of_other_compilers_are_read(line, expected):
  class Program:
    def as_text(self):
      return f'ENTRY %main (p: f32[2]) -> f32[2] {{\n  {line}\n}}'

  assert collectives.of_program(Program()) == [expected]


def test_the_table_says_how_many_and_how_much():
  each = collectives.Collective('all-reduce', ((2,),), 8, True)
  (line,) = collectives.table([each, each])
  assert line.split() == '2 all-reduce 16 bytes a turn of a loop'.split()
