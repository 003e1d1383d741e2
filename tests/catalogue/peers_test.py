"""The page of other trainers' names, against what the commands make of it."""

import itertools
import pathlib

import numpy as np
import pytest

from jaxrl_llm import parts, presets
from jaxrl_llm.catalogue import command, compositions, peers
from jaxrl_llm.objectives import aggregate

ROOT = pathlib.Path(__file__).parents[2]
ROWS = [row for rows in peers.TABLE.values() for row in rows]


def test_page_is_the_table():
  remedy = 'run `python -m jaxrl_llm.recipes peers`, commit docs/peers.md'
  assert (ROOT / peers.PAGE).read_text(encoding='utf-8') == peers.page(), remedy


def test_the_command_writes_the_page_here(tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  assert command.main(['peers']) == 0
  assert (tmp_path / peers.PAGE).read_text(encoding='utf-8') == peers.page()
  assert 'peers.md' in capsys.readouterr().out


@pytest.mark.parametrize('ours', sorted({row.ours for row in ROWS}))
def test_what_stands_for_a_name_can_be_asked_for(ours):
  name, *changes = ours.split()
  changes = dict(change.split('=', 1) for change in changes)
  assert compositions.changed(name, changes)


def test_rows_say_how_they_are_known():
  assert {row.confidence for row in ROWS} == {*peers.CONFIDENCE}
  assert all(name in peers.page() for name in presets.PRESETS)


def test_every_part_that_the_page_has_no_word_for_is_a_papers():
  """New parts that peers' users ask for are named here."""
  for slot, module in (('gate', 'regions'), ('advantage', 'subsets')):
    own = parts.fitting(slot)
    names = {k for k, x in own.items() if x.__module__.endswith(module)}
    unnamed = {name for name in names if name not in peers.page()}
    assert unnamed <= {'max_at_k_left_out', 'gamma_weight'}


def test_copies_of_mixed_groups_are_the_mean_of_these_on_average():
  """POLARIS, over all draws of 1 or of 3 copies for 2 mixed groups."""
  rng = np.random.default_rng(0)
  losses = rng.normal(size=(2, 3, 4))
  mask = np.arange(4) < rng.integers(1, 5, (2, 3, 1))

  def loss(groups, keep):
    m, x = (array[groups].reshape(-1, 4) for array in (mask, losses))
    ids = np.repeat(np.arange(len(groups)), 3)
    weights = aggregate.sequence_mean(m, np.repeat(keep, 3) * 1.0, ids)
    return float(np.sum(weights * x))

  ours = loss([0, 1, 0], [1, 1, 0])  # the third is not mixed, and not kept
  for copies in (1, 3):
    draws = [*itertools.product((0, 1), repeat=copies)]
    found = [loss([0, 1, *draw], [1] * (2 + copies)) for draw in draws]
    np.testing.assert_allclose(np.mean(found), ours, rtol=1e-5)
