"""Policies that write no text run through the one loop, recipes unchanged."""

import itertools
import json
import math
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest

from experiments import runs
from experiments.configs import control, flow, masked, team
from jaxrl_llm import problems
from jaxrl_llm.training import loop, writers
from jaxrl_llm.training import workdir as workdir_lib
from tests import thinned
from tests.end_to_end import processes
from tests.end_to_end.endurance_test import lines_of, until

RECIPES = 'ppo grpo dr_grpo gspo cispo reinforce_plus_plus'.split()
# A decoder that compiles in a moment.
SMALL = {
  'policy.layers': 1,
  'policy.width': 8,
  'policy.heads': 2,
  'policy.mlp_width': 16,
}


def session_of(module, recipe, tmp_path, **changed):
  config = module.get_config(recipe)
  steps = min(4, config.recipe.get('minibatches', 1))
  few = {'sample.prompts': 4}
  if steps > 1:
    few['recipe.minibatches'] = steps
  with config.unlocked():
    config.update_from_flattened_dict(few | changed)
  return problems.assemble(config, tmp_path)


KINDS = {
  'gaussian': (control, {}),
  'categorical': (control, {'environment.name': 'grid'}),
  'flow': (flow, {}),
  'masked': (masked, SMALL),
}


@pytest.mark.parametrize(
  ('kind', 'recipe'), thinned.every(10, itertools.product(KINDS, RECIPES))
)
def test_recipes_of_text_serve_them_unchanged(kind, recipe, tmp_path):
  module, changed = KINDS[kind]
  if module is flow and recipe == 'ppo':
    with pytest.raises(ValueError, match='values.*Flow policy does not give'):
      session_of(module, recipe, tmp_path, **changed)
    return
  session, params = session_of(module, recipe, tmp_path, **changed)
  state = loop.begin(session, params)
  for step in range(2):
    before = jax.tree.map(np.array, state.params)
    state, metrics, (rollouts, *_) = loop.iterate(session, state, step)
    assert all(math.isfinite(float(x)) for x in metrics.values()), metrics
    assert metrics['bad_steps'] == 0
    assert metrics['sampler/gap_max'] <= 1e-5
    moved = jax.tree.map(
      lambda a, b: float(np.abs(a - b).max()), before, state.params
    )
    assert max(jax.tree.leaves(moved)) > 0
  assert len(rollouts.valid) == session.spec.rows


@pytest.mark.parametrize(
  'name',
  [
    'point_mass',
    'pendulum',
    'cliff',
    pytest.param('ranks', marks=pytest.mark.slow),
  ],
)
def test_every_environment_runs(name, tmp_path):
  changed = {'environment.name': name}
  session, params = session_of(control, 'ppo', tmp_path, **changed)
  state = loop.begin(session, params)
  _, metrics, _ = loop.iterate(session, state, 0)
  assert metrics['bad_steps'] == 0


@pytest.mark.slow
@pytest.mark.parametrize('recipe', ['epo', 'm_grpo', 'mashost', 'gigpo'])
def test_recipes_for_agents_act_where_a_turn_is_an_action(recipe, tmp_path):
  session, params = session_of(team, recipe, tmp_path)
  state = loop.begin(session, params)
  for step in range(2):
    state, metrics, taught = loop.iterate(session, state, step)
    assert metrics['bad_steps'] == 0 and metrics['sampler/gap_max'] <= 1e-5
  assert len(taught.rollouts.valid) == session.spec.rows
  measured = session.evaluate(state, 2)
  assert ('exploitability' in measured) == (recipe == 'epo')


@pytest.mark.slow
@pytest.mark.parametrize('space', ['flat', 'hyperbolic'])
def test_a_critic_of_bins_values_what_a_policy_of_numbers_sees(space, tmp_path):
  changed = {'environment.name': 'ranks', 'policy.space': space}
  session, params = session_of(
    control, 'categorical_critic', tmp_path, **changed
  )
  state = loop.begin(session, params)
  _, metrics, _ = loop.iterate(session, state, 0)
  assert metrics['bad_steps'] == 0
  # 51 bins, none of which a new critic prefers.
  assert abs(float(metrics['loss/value']) - math.log(51)) < 0.5


@pytest.mark.slow
@pytest.mark.parametrize(
  ('kind', 'changed'),
  [('control', {}), ('flow', {}), ('masked', SMALL)],
)
def test_a_killed_run_ends_as_if_it_never_was(kind, changed, tmp_path):
  flags = (
    f'--config=experiments/configs/{kind}.py',
    '--quiet',
    '--config.steps=30',
    '--config.checkpoint.every=5',
    '--config.eval.every=10',
    '--config.eval.samples=8',
    *(f'--config.{name}={value}' for name, value in changed.items()),
  )

  def run(workdir):
    words = (sys.executable, '-m', 'experiments.train', *flags)
    return subprocess.Popen(
      [*words, f'--workdir={workdir}'],
      cwd=processes.ROOT,
      text=True,
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
    )

  whole = run(tmp_path / 'whole')
  _, said = whole.communicate(timeout=300)
  assert whole.returncode == 0, said
  killed = run(tmp_path / 'killed')
  until(lambda: lines_of(tmp_path / 'killed') > 12, killed)
  killed.kill()
  killed.communicate()
  assert killed.returncode == -signal.SIGKILL
  again = run(tmp_path / 'killed')
  _, said = again.communicate(timeout=300)
  assert again.returncode == 0, said
  assert 'going on from iteration' in said
  processes.assert_same_run(tmp_path / 'killed', tmp_path / 'whole')
  lines = writers.read(tmp_path / 'whole' / 'metrics.jsonl')
  assert 'eval/return' in lines[-1] and 'eval/optimum' in lines[-1]
  assert (tmp_path / 'whole' / 'curve.png').stat().st_size > 0
  output = tmp_path / 'eval.json'
  done = processes.run(
    'eval', f'--workdir={tmp_path / "whole"}', f'--output={output}',
    '--samples=8', config='',
  )  # fmt: skip
  assert done.returncode == 0, done.stderr
  assert json.loads(output.read_text())['return'] == pytest.approx(
    lines[-1]['eval/return']
  )


@pytest.mark.parametrize(
  ('module', 'changed', 'mesh'),
  thinned.every(
    2,
    [
      (control, {}, {'mesh.data': 4}),
      (masked, SMALL, {'mesh.data': 2, 'mesh.model': 2}),
    ],
  ),
  ids=['control', 'masked'],
)
def test_a_mesh_makes_and_learns_the_same_rows(module, changed, mesh, tmp_path):
  def first(**more):
    session, params = session_of(module, 'ppo', tmp_path, **changed, **more)
    state = loop.begin(session, params)
    _, metrics, (rollouts, *_) = loop.iterate(session, state, 0)
    return metrics['loss'], jax.tree.map(np.asarray, rollouts.content)

  alone, split = first(), first(**mesh)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
    split[1],
    alone[1],
  )
  np.testing.assert_allclose(split[0], alone[0], rtol=1e-4)


@pytest.mark.parametrize(
  ('module', 'recipe', 'changed', 'words'),
  [
    (control, 'ppo', {'environment.name': 'grit'}, "Did you mean 'grid'"),
    (control, 'ppo', {'pipeline': 1}, 'leave it 0'),
    (control, 'spo_tree', {}, 'works on text'),
    (control, 'clip_cov', {}, r"needs \['tokens'\]"),
    (
      control,
      'grpo',
      {'slots.gate': 'unclipped_covariance'},
      r"needs \['tokens'\], which a Gaussian policy does not give",
    ),
    (masked, 'ppo', {'masked.estimate': 'elbo'}, r"needs \['values'\]"),
    (masked, 'grpo', {'masked.steps': 9}, 'use 1 to 3'),
  ],
)
def test_what_cannot_run_is_refused_with_the_remedy(
  module, recipe, changed, words, tmp_path
):
  with pytest.raises(ValueError, match=words):
    session_of(module, recipe, tmp_path, **changed)


def test_there_is_nothing_to_export(tmp_path):
  session, params = session_of(control, 'ppo', tmp_path)
  with pytest.raises(ValueError, match='nothing to export'):
    session.export(session.init(params), tmp_path / 'export')


def test_a_composition_by_flags_trains_and_is_not_taken_for_another(tmp_path):
  workdir = tmp_path / 'run'
  words = [sys.executable, '-m', 'experiments.train', '--quiet']
  flags = (
    '--config=experiments/configs/control.py:grpo',
    '--config.steps=2',
    '--config.eval.every=0',
    '--config.sample.prompts=4',
    '--config.recipe.minibatches=2',
    '--config.slots.surrogate=clip_weight(high=1.0)',
    '--config.slots.advantage=centre',
    '--config.slots.costs=k2:0.01, negative_entropy:0.001',
    '--config.slots.reference=ema(0.9)',
    f'--workdir={workdir}',
  )
  done = subprocess.run(
    [*words, *flags],
    cwd=processes.ROOT,
    text=True,
    capture_output=True,
    timeout=300,
    check=False,
  )
  assert done.returncode == 0, done.stderr
  last = writers.read(workdir / 'metrics.jsonl')[-1]
  assert last['step'] == 2 and last['coef/k2'] == pytest.approx(0.01)
  assert all(math.isfinite(x) for x in last.values())
  record = json.loads((workdir / 'config.json').read_text())
  assert record['recipe']['credit'] == 'estimate: group.centre'
  assert record['recipe']['reference'] == 'EMA'
  config = runs.config_of(workdir)
  workdir_lib.check_config(workdir, config.to_dict())
  config.slots.costs = 'k3:0.01, negative_entropy:0.001'
  with pytest.raises(workdir_lib.WorkdirError, match='slots.costs is "k2:0.01'):
    workdir_lib.check_config(workdir, config.to_dict())
