"""Games in a run: oracle, opponents, standing on held-out questions."""

import contextlib
import math

import numpy as np
import pytest

from jaxrl_llm.problems.text import assembly
from jaxrl_llm.problems.text import encoding as text
from jaxrl_llm.tasks import toys
from jaxrl_llm.training import loop
from tests import thinned
from tests.end_to_end import tiny


def game(recipe, **changed):
  config = tiny.get_config(recipe)
  config.warm_start.steps = 0
  config.data.path = 'cycle'
  config.sample.max_response = 3
  config.verify.preference = 'cycle'
  config.verify.names = config.verify.weights = ()
  config.eval.samples = 4
  config.update_from_flattened_dict(
    {name.replace('__', '.'): value for name, value in changed.items()}
  )
  return config


@pytest.mark.parametrize(
  ('recipe', 'changed'),
  thinned.every(
    3,
    [
      ('nash_md', {'recipe__share': 0.3}),
      ('nash_ema', {'recipe__decay': 0.5, 'model__lora_rank': 2}),
      ('egpo', {'verify__names': ('listed',), 'verify__weights': (0.0,)}),
    ],
  ),
)
def test_an_oracle_judges_every_group(recipe, changed, tmp_path):
  parts, params = assembly.assemble(game(recipe, **changed), tmp_path)
  with contextlib.closing(parts):
    state = parts.init(params)
    for step in range(2):
      state, metrics, (rollouts, credit, _) = loop.iterate(parts, state, step)
      metrics = {name: float(value) for name, value in metrics.items()}
      assert all(map(math.isfinite, metrics.values())), metrics
      assert metrics['bad_steps'] == metrics['verify/preferences'] == 0
      assert metrics['sampler/gap_max'] < 1e-4
  said = text.decode(parts.tokenizer, rollouts)
  groups = np.arange(len(said)).reshape(-1, 4)
  for group in groups:
    rows = [parts.train.rows[int(rollouts.task[i])] for i in group]
    for i in group:
      expected = toys.cycle_duel([said[i]] * 4, [said[j] for j in group], rows)
      np.testing.assert_array_equal(credit.preference[i], expected)


def test_a_policy_is_level_with_its_start_until_it_moves(tmp_path):
  config = game('nash_self_play', data__held_out=32, eval__samples=16)
  config.model.lora_rank = 2
  parts, params = assembly.assemble(config, tmp_path)
  with contextlib.closing(parts):
    state = parts.init(params)
    found = loop.evaluation(parts, state, 0)
  # 32 questions of 16 times 16 duels, of which almost all are draws.
  assert abs(found['eval/win_rate'] - 0.5) < 0.05
  assert -0.05 < found['eval/exploitability'] < 0.55
  assert 'eval/accuracy' not in found


def test_a_run_needs_a_verifier_or_a_game(tmp_path):
  config = game('nash_self_play', verify__preference='')
  with pytest.raises(ValueError, match='verify.preference of a game'):
    assembly.assemble(config, tmp_path)
