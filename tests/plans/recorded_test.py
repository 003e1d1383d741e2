"""Recorded responses as rows: fixed shapes, masks, and what is counted."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_llm.plans import recorded
from jaxrl_llm.problems.text import recordings
from jaxrl_llm.types import Prompts

END = 9


class Letters:
  """A tokenizer of the letters a to f, 0 to 5."""

  eos_token_id = END

  def __call__(self, texts, add_special_tokens):
    assert not add_special_tokens
    return {'input_ids': [['abcdef'.index(c) for c in t] for t in texts]}


RECORDS = [
  {'responses': ['ab', 'c'], 'scores': [1.0, 0.0]},
  {'responses': ['', 'b', 'd'], 'scores': [0.2, 0.1, 0.4]},
  {'responses': ['abcd', 'abcf'], 'scores': [0.0, 1.0]},
]


def encoded():
  return recordings.encode(RECORDS, Letters(), samples=3, length=3)


def prompts(columns, tasks):
  task = jnp.asarray(tasks, jnp.int32)
  return Prompts(
    tokens=task[:, None],
    mask=jnp.ones((len(tasks), 1), bool),
    task=task,
    domain=jnp.zeros_like(task),
    extras={name: jnp.asarray(x[task]) for name, x in columns.items()},
  )


def test_identical_empty_and_truncated_responses_are_counted():
  # Two responses that differ beyond the budget are cut to the same tokens.
  assert encoded()[1] == {
    'data/records': 3,
    'data/identical': 1,
    'data/empty': 1,
    'data/truncated': 1,
  }


def test_rows_are_the_responses_with_their_end_and_scores():
  rollouts, scores = recorded.rows(prompts(encoded()[0], [1, 0]))
  found = [
    tuple(np.asarray(r)[np.asarray(m)].tolist())
    for r, m in zip(rollouts.content.response, rollouts.response_mask)
  ]
  missing = ()
  assert found == [(END,), (1, END), (3, END), (0, 1, END), (2, END), missing]
  assert rollouts.valid.tolist() == [True] * 5 + [False]
  assert not rollouts.truncated.any()
  assert rollouts.group.tolist() == [0, 0, 0, 1, 1, 1]
  assert rollouts.task.tolist() == [1, 1, 1, 0, 0, 0]
  assert rollouts.content.prompt[:, 0].tolist() == [1, 1, 1, 0, 0, 0]
  np.testing.assert_array_equal(rollouts.action_mask, rollouts.response_mask)
  np.testing.assert_allclose(scores.components[:, 0], [0.2, 0.1, 0.4, 1, 0, 0])
  assert scores.weights.tolist() == [1]


def test_a_response_over_the_budget_is_cut_and_says_so():
  rollouts, _ = recorded.rows(prompts(encoded()[0], [2]))
  assert rollouts.content.response[:2].tolist() == [[0, 1, 2], [0, 1, 2]]
  assert rollouts.truncated.tolist() == [True, True, False]


def test_the_plan_asks_nothing_of_its_tools():
  plan = recorded.Recorded(samples=3)
  asked = prompts(encoded()[0], [0, 2])
  state = plan.init(None)
  rollouts, scores, after = plan.collect(None, asked, state, None)
  expected = recorded.rows(asked)
  jax.tree.map(np.testing.assert_array_equal, (rollouts, scores), expected)
  assert after == state
  assert plan.contract.provides == rollouts.extras.keys()
