"""Programs are counted by shape, and a run soon needs no new ones."""

import contextlib
import os
import pathlib
import platform

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.problems.text import assembly
from jaxrl_llm.training import loop, programs
from tests.end_to_end import tiny


def test_a_program_is_counted_once_for_every_shape():
  programs.count()
  three, four = jnp.zeros(3), jnp.zeros(4)
  double = jax.jit(lambda x: 2 * x)
  before = programs.count()
  for x in (three, four, three, four):
    double(x)
  since = programs.count() - before
  assert since.loaded == 2 and 0 <= since.found <= 2 and since.seconds > 0
  assert since.compiled == since.loaded - since.found


def resident():
  """Bytes of memory that this process holds."""
  pages = pathlib.Path('/proc/self/statm').read_text().split()[1]
  return int(pages) * os.sysconf('SC_PAGE_SIZE')


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='asks glibc')
def test_what_was_freed_in_pieces_is_given_back():
  pieces = [np.ones(2**12) for _ in range(2**12)]  # 32 KiB each
  del pieces[:-1]  # The last one keeps the heap from shrinking.
  before = resident()
  programs.give_back()
  assert before - resident() > 2**26


def test_it_is_after_a_program_that_took_long(monkeypatch):
  programs.count()
  given = []
  monkeypatch.setattr(programs, 'give_back', lambda: given.append(1))
  for seconds in (0.1, 2.0):
    jax.monitoring.record_event_duration_secs(programs._LOADED, seconds)
  assert given == [1]


@pytest.mark.parametrize(
  ('recipe', 'settings'),
  [('grpo', {}), ('grpo', {'pipeline': 1}), ('knapsack', {})],
)
def test_later_iterations_load_no_new_programs(recipe, settings, tmp_path):
  config = tiny.get_config(recipe)
  config.warm_start.steps = 0
  config.update_from_flattened_dict(settings)
  parts, params = assembly.assemble(config, tmp_path)
  with contextlib.closing(parts):
    state = loop.begin(parts, params)
    counts = []
    for step in range(5):
      state, _, _ = loop.iterate(parts, state, step)
      parts.answering.evaluate(
        parts.sampling_params(state), parts.held_out, jax.random.key(step)
      )
      counts.append(programs.count())
  # The second may see arrays where programs left them, not as they were made.
  assert (counts[-1] - counts[1]).loaded == 0
