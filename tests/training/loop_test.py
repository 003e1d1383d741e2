"""When a run stops because nothing can come of it."""

import contextlib
import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from jaxrl_llm import compose, recipes
from jaxrl_llm.problems.text import assembly
from jaxrl_llm.training import checkpoint, loop, metrics, writers
from jaxrl_llm.training import programs as compiling
from tests.end_to_end import tiny


def train(workdir, **changed):
  config = tiny.get_config()
  config.warm_start.steps = 0
  config.eval.every = 0
  config.steps = 2
  config.update_from_flattened_dict(
    {name.replace('__', '.'): value for name, value in changed.items()}
  )
  parts, params = assembly.assemble(config, workdir)
  state, counts = parts.init(params), {}
  saver = checkpoint.Checkpointer(workdir / 'checkpoints', asynchronous=False)
  restored = saver.restore(state)
  if restored:
    state, counts = restored.state, restored.metadata
  run = writers.Run(workdir, total_steps=config.steps, quiet=True)
  with (
    contextlib.closing(parts),
    contextlib.closing(run),
    contextlib.closing(saver),
  ):
    return loop.train(parts, state, run, saver, **counts)


# It is given responses and rows, and raises TypeError at both.
NEVER = {'verify__names': ('json:loads',)}


def test_a_run_in_which_nothing_could_be_judged_is_no_success(tmp_path):
  for _ in range(2):  # The second start finds all iterations done.
    with pytest.raises(loop.Diverged, match='2 iterations in a row, up to 2'):
      train(tmp_path, **NEVER)


def test_it_stops_as_soon_as_one_that_explodes_would(tmp_path):
  with pytest.raises(loop.Diverged) as stopped:
    train(tmp_path, **NEVER, max_bad_steps=1, steps=9)
  for words in ('1 iterations in a row', 'could be judged (verify/errors=16)'):
    assert words in str(stopped.value)
  assert int(np.max([x['step'] for x in writers.read(
    tmp_path / 'metrics.jsonl')])) == 1  # fmt: skip


def test_programs_that_ask_nothing_are_named_where_nothing_was_judged():
  """Else nobody could tell why, as no verifier was asked either."""
  told = {'rows/valid': 0.0, 'programs/requests': 0.0, 'stop/done': 1.0}
  words = '(stop/done=1, programs/requests=0: no program asked anything)'
  assert words in loop._diagnosis(1, 1, told)


def test_a_run_of_good_iterations_ends_well_and_logs_what_the_table_says(
  tmp_path, monkeypatch
):
  said = []
  monkeypatch.setattr(loop.logging, 'warning', lambda *x: said.append(x))
  monkeypatch.setattr(loop, 'GAP', -1.0)
  assert int(train(tmp_path, eval__every=1, eval__samples=2).step) == 2
  # Of a gap beyond the bound, once.
  assert sum('sampler and learner' in str(words) for words in said) == 1
  lines = writers.read(tmp_path / 'metrics.jsonl')
  assert [line.pop('step') for line in lines] == [0, 1, 2]
  for name, value in (pair for line in lines for pair in line.items()):
    row = metrics.find(name)
    assert row.low - 1e-6 <= value <= row.high + 1e-6, f'{name} = {value}'


@pytest.mark.parametrize(
  ('name', 'gap', 'lag', 'warns'),
  [
    ('grpo', 0.1, 0, True),
    ('grpo', 0.015, 0, False),  # what rounding makes of it
    ('grpo', 0.1, 1, False),  # rows are one step old, and weighed for it
    ('sampler_truncated', 0.1, 0, False),
    ('nash_md', 0.1, 0, False),  # samples from a mixture of policies
  ],
)
def test_a_sampler_that_is_not_the_learner_is_told_of(name, gap, lag, warns):
  config = ConfigDict({'pipeline': lag})
  said = loop.mismatch(
    config, recipes.build(name), 7, {'sampler/gap_mean': gap}
  )
  assert bool(said) == warns
  if warns:
    assert 'iteration 7' in said and '0.100 nats' in said
    [slot] = re.findall(r"slots.gate='(.*?)'", said)
    mended = compose.compose(recipes.build(name), gate=slot)
    assert not loop.mismatch(config, mended, 7, {'sampler/gap_mean': gap})


def test_a_step_that_breaks_the_parameters_is_not_taken(tmp_path):
  # Loss and gradient are fine: what is added to the parameters is not.
  with pytest.raises(loop.Diverged, match='new parameters that are not finite'):
    train(tmp_path, optimizer__learning_rate=float('inf'))
  saved = checkpoint.load(tmp_path / 'checkpoints', _fresh(tmp_path))
  for leaf in jax.tree.leaves(saved.state.params):
    assert np.isfinite(leaf).all()


def _fresh(workdir):
  config = tiny.get_config()
  config.warm_start.steps = 0
  parts, params = assembly.assemble(config, workdir)
  parts.close()
  return parts.init(params)


def test_a_run_whose_last_half_taught_nothing_is_no_success(tmp_path):
  # The first step makes parameters of which no loss can be computed.
  with pytest.raises(loop.Diverged, match='1 iterations in a row, up to 2'):
    train(tmp_path, optimizer__learning_rate=1e30, optimizer__weight_decay=0.1)


def test_groups_of_equal_rewards_stop_a_run_that_asks_for_it(tmp_path, caplog):
  # A fresh model sorts nothing.
  train(tmp_path, steps=1, max_idle_steps=2)
  assert '1 iterations in a row, up to 1, had no group' in caplog.text
  with pytest.raises(loop.Diverged, match='up to 2, .* earn the same'):
    train(tmp_path, steps=9, max_idle_steps=2)


def _guarded(program):
  def run(*arguments):
    with jax.transfer_guard('disallow'):
      return program(*arguments)

  return run


@pytest.mark.parametrize('pipeline', [0, 1])
def test_what_is_compiled_is_given_what_is_on_the_device_already(
  tmp_path, pipeline
):
  config = tiny.get_config()
  config.warm_start.steps, config.pipeline = 0, pipeline
  parts, params = assembly.assemble(config, tmp_path)
  with contextlib.closing(parts):
    state, _, _ = loop.iterate(parts, loop.begin(parts, params), 0)
    programs = type(parts.compiled)(*map(_guarded, parts.compiled))
    parts = dataclasses.replace(parts, compiled=programs)
    state, _, _ = loop.iterate(parts, state, 1)
    assert int(state.step) == 2
    saver = checkpoint.Checkpointer(tmp_path / 'c')
    saver.save(2, state, {})
    saved = saver.restore(checkpoint.shapes(state))
    before = compiling.count()
    state, _, _ = loop.iterate(parts, saved.state, 2)
    # To go on is no other program than not to stop.
    assert compiling.count() == before
    saver.close()
  with pytest.raises(Exception, match='host-to-device'):
    _guarded(jax.jit(jnp.sum))(np.ones(3))
