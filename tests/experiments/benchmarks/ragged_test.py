import numpy as np
import pytest

from experiments.benchmarks import cases, ragged


def test_operations_read_a_prompt_once_a_microbatch():
  model, prompt = cases.MODELS['tiny'], cases.SHAPES['ragged'].prompt
  row = cases.forward(model, cases.Shape(1, 1, prompt, 512))
  assert ragged.operations([512, 512], 1) == pytest.approx(2 * row)
  alone = cases.forward(model, cases.Shape(1, 1, prompt, 0))
  both = ragged.operations([64], 2)
  assert both == pytest.approx(
    2 * cases.forward(model, cases.Shape(1, 1, prompt, 64)) - alone
  )


def test_rows_have_the_lengths_of_the_shape_or_all_the_longest():
  rollouts, keep = ragged.made_up('ragged')
  lengths = np.asarray(rollouts.length)
  assert keep.all() and lengths.min() >= 8 and lengths.max() == 512
  assert np.median(lengths) < 64  # a heavy tail
  rollouts, keep = ragged.made_up('half dead')
  assert np.asarray(rollouts.length).min() == 512
  of_groups = np.asarray(keep).reshape(-1, 8)
  np.testing.assert_array_equal(of_groups[:, 0], [1, 0] * 4)
  assert (of_groups == of_groups[:, :1]).all()


def test_a_patient_verifier_says_what_the_others_say():
  texts = ['t8 t9', 't10']
  assert cases.patient(texts) == cases.rewards(texts)
