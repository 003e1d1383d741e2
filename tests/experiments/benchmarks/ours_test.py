import jax.numpy as jnp
import numpy as np
import pytest

from experiments.benchmarks import cases, folders, ours
from jaxrl_llm.training import loop


@pytest.mark.parametrize('length', [1, 2, 7, 9])
def test_countdown_ends_a_row_at_the_length_of_its_first_token(length):
  lengths = np.array([length, 3])
  table = ours._countdown(lengths, 9)
  state, drawn = table[0, 0], 1
  while state != 9:
    state, drawn = table[state, 1], drawn + 1
  assert drawn == length


@pytest.mark.parametrize('share', [True, False])
def test_iteration_is_one_of_a_run_with_the_lengths_of_the_shape(
  tmp_path, monkeypatch, share
):
  monkeypatch.setitem(cases.MODELS, 'atom', cases.Model(1, 16, 2, 1, 8, 16, 32))
  shape = cases.Shape(2, 2, 3, 9, least=2)
  monkeypatch.setitem(cases.SHAPES, 'atom', shape)
  # Fewer than the four rows, so that slots are refilled.
  monkeypatch.setattr(ours, '_SLOTS', 2)
  seen = []
  iterate = loop.iterate

  def recorded(session, *args):
    assert session.program.widths == (5, 9)
    assert session.program.shared == (2 if share else 1)
    seen.append(iterate(session, *args))
    return seen[-1]

  monkeypatch.setattr(loop, 'iterate', recorded)
  folder = folders.folder_of('atom', tmp_path)
  iteration = ours.prepare(
    {
      'model': folder,
      'shape': 'atom',
      'dtype': 'float32',
      'microbatch': 2,
      'set': ['learn.widths=2'],
      'share_prompts': share,
    }
  )
  outcome = iteration()
  _, metrics, (rollouts, credit, _) = seen[0]
  wanted = np.array(shape.lengths(32))[rollouts.content.response[:, 0]]
  np.testing.assert_array_equal(rollouts.length, wanted)
  assert outcome['tokens'] == wanted.sum()
  assert metrics['verify/errors'] == 0 and jnp.all(credit.keep == 1)
  whole = outcome['sample'] + outcome['learn']
  assert outcome['step'] == pytest.approx(whole)
  assert 0 < outcome['verify'] <= outcome['host'] < outcome['learn']
