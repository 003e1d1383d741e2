import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

from experiments import compilation


@pytest.mark.parametrize(
  ('jaxlib', 'known'),
  [
    ('0.10.2', True),
    ('0.11.0', True),
    ('0.11.1', False),
    ('0.12.0.1', False),
    ('0.13.0.dev20270101', False),
  ],
)
def test_an_option_is_given_only_to_those_who_know_it(jaxlib, known):
  options = compilation.careless(jaxlib)
  assert ('xla_cpu_use_fusion_emitters' in options) == known


def test_flags_are_spelt_as_in_the_environment():
  assert compilation.flags({'a': '0', 'b': False}) == '--a=0 --b=false'


def test_the_installed_jaxlib_knows_every_option():
  """As flags of a new process, which an unknown one ends, and to a compiler."""
  flags = compilation.flags(compilation.QUICKLY)
  program = 'import jax; print(jax.numpy.ones(3).sum())'
  done = subprocess.run(
    [sys.executable, '-c', program],
    env=os.environ | {'XLA_FLAGS': flags},
    capture_output=True,
    text=True,
  )
  assert done.stdout == '3.0\n', done.stderr
  lowered = jax.jit(jnp.sum).lower(jnp.ones(3))
  assert lowered.compile(compilation.QUICKLY)(jnp.ones(3)) == 3
