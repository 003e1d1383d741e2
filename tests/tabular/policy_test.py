import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.tabular import policy

KEY = jax.random.key(0)
VOCAB, LENGTH = 3, 3


def params_of(tasks=1):
  return policy.init(KEY, tasks=tasks, vocab=VOCAB, length=LENGTH)


@pytest.mark.parametrize('stop', [None, 0, 1, VOCAB - 1])
def test_probabilities_of_all_responses_sum_to_one(stop):
  response, mask = policy.all_responses(VOCAB, LENGTH, stop)
  logp = policy.score(params_of(), policy.as_rollouts(response, mask)).logp
  np.testing.assert_allclose(jnp.exp(logp.sum(1)).sum(), 1, rtol=1e-5)


@pytest.mark.parametrize('stop', [None, 0, 1])
def test_all_responses_are_different(stop):
  response, mask = policy.all_responses(VOCAB, LENGTH, stop)
  rows = {(*r, *m) for r, m in zip(response.tolist(), mask.tolist())}
  assert len(rows) == len(response)


def test_every_prefix_has_a_state_of_its_own():
  response, _ = policy.all_responses(VOCAB, LENGTH)
  nodes = np.asarray(policy.prefix_states(jnp.asarray(response), VOCAB))
  by_prefix = {}
  for row, states in zip(response.tolist(), nodes.tolist()):
    for t, state in enumerate(states):
      assert by_prefix.setdefault(tuple(row[:t]), state) == state
  assert sorted(by_prefix.values()) == [*range(policy.states(VOCAB, LENGTH))]


def test_score_reads_the_table_of_the_task():
  params = params_of(tasks=2)
  rollouts = policy.as_rollouts(
    np.array([[2, 0, 1]] * 2), np.ones((2, 3)), task=jnp.array([0, 1])
  )
  stats = policy.score(params, rollouts, {'values', 'log_probs'})
  nodes = [0, 3, 10]
  for task in range(2):
    logits = np.asarray(params['logits'][task], np.float64)[nodes]
    rows = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    close = dict(rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(stats.log_probs[task], rows, **close)
    chosen = rows[[0, 1, 2], [2, 0, 1]]
    np.testing.assert_allclose(stats.logp[task], chosen, **close)
    entropy = -(np.exp(rows) * rows).sum(1)
    np.testing.assert_allclose(stats.entropy[task], entropy, **close)


def test_score_gives_only_what_is_needed_and_zero_off_the_mask():
  rollouts = policy.as_rollouts(np.zeros((1, 3)), np.array([[1, 0, 0]]))
  stats = policy.score(params_of(), rollouts)
  assert stats.values is None and stats.log_probs is None
  assert not np.any(stats.logp[0, 1:]) and not np.any(stats.entropy[0, 1:])


@pytest.mark.parametrize('stop', [None, 1])
def test_samples_follow_the_policy(stop):
  """Frequencies of 20,000 draws: off by about 1 / sqrt(20,000) = 0.7 %."""
  params, rows = params_of(), 20_000
  drawn = policy.sample(params, KEY, jnp.zeros(1, int), samples=rows, stop=stop)
  response, mask = policy.all_responses(VOCAB, LENGTH, stop)
  exact = policy.score(params, policy.as_rollouts(response, mask)).logp.sum(1)
  found = np.asarray(drawn.content.response)
  same = (found[:, None] == response).all(-1)
  same &= (np.asarray(drawn.response_mask)[:, None] == mask).all(-1)
  assert np.all(same.sum(1) == 1)
  np.testing.assert_allclose(same.mean(0), np.exp(exact), atol=0.02)
  assert np.all(np.asarray(drawn.logp)[~np.asarray(drawn.action_mask)] == 0)


def test_rows_of_a_group_share_their_task_and_are_adjacent():
  tasks = jnp.array([1, 0], jnp.int32)
  drawn = policy.sample(params_of(tasks=2), KEY, tasks, samples=3)
  np.testing.assert_array_equal(drawn.group, [0, 0, 0, 1, 1, 1])
  np.testing.assert_array_equal(drawn.task, [1, 1, 1, 0, 0, 0])


def test_after_values_are_those_of_the_chosen_token():
  params = policy.init(KEY, tasks=1, vocab=VOCAB, length=LENGTH, critic=(2,))
  table = jax.random.normal(KEY, params['after_values'].shape)
  rollouts = policy.as_rollouts(np.array([[2, 0, 1]]), np.array([[1, 1, 0]]))
  stats = policy.score(
    params | {'after_values': table}, rollouts, {'after_values'}
  )
  assert stats.values is None
  expected = [table[0, 0, 2], table[0, 3, 0], [0, 0]]
  np.testing.assert_array_equal(stats.after_values[0], expected)
