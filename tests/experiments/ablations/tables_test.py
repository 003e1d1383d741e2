import jax.numpy as jnp
import numpy as np
import optax

from experiments.ablations import tables
from jaxrl_llm.tabular import policy


def start(key):
  params = policy.init(key, tasks=2, vocab=3, length=1, scale=0.0)
  return params, jnp.array([1, 2])


def earned(best, rows, key):
  del key
  said = rows.content.response[:, 0]
  return {'said': said}, (said == best[rows.task]) * 1.0


def measure(best, params):
  del best
  return params['logits'][:, 0]


def course(programs, steps):
  return tables.course(programs, start, earned, measure, [0, 1], steps=steps)


def test_a_course_learns_what_is_paid_for():
  program = tables.program_of('grpo', tx=optax.sgd(5.0), kl_weight=0.0)
  logits = course([program], 20)
  assert logits.shape == (2, 20, 2, 3)
  np.testing.assert_array_equal(logits[:, -1].argmax(-1), [[1, 2], [1, 2]])


def test_a_stage_goes_on_from_the_one_before():
  teaches = tables.program_of('grpo', tx=optax.sgd(5.0), kl_weight=0.0)
  rests = tables.program_of('grpo', tx=optax.sgd(0.0), kl_weight=0.0)
  logits = course([teaches, rests], 3)
  assert logits.shape == (2, 6, 2, 3)
  assert (logits[:, 2] != logits[:, 0]).any()
  for step in (3, 4, 5):
    np.testing.assert_array_equal(logits[:, step], logits[:, 2])
