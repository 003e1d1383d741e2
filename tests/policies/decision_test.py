import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import traverse_util

from jaxrl_llm.environments.quadratic import double_integrator
from jaxrl_llm.policies import acting, decision
from jaxrl_llm.policies.gaussian import Gaussian
from jaxrl_llm.policies.language import lora
from jaxrl_llm.policies.language.config import Config
from jaxrl_llm.policies.protocol import initial
from tests.oracles import decision as oracle
from tests.policies.language import decoders

DECODER = Config(5, 8, 2, 2, 2, 4, 12)
POLICY = decision.DecisionTransformer(DECODER, 2, 1, horizon=6, context=4)
LENGTHS = [6, 2, 4]
RNG = np.random.default_rng(0)
TEXT = jnp.asarray(RNG.integers(0, 5, (3, 7)))
TEXT_MASK = jnp.asarray(np.arange(7) < np.array([[7], [4], [1]]))


def made(policy=POLICY, rank=2):
  """Parameters that are all random, norms, biases and products too."""
  params = initial(policy.table(), jax.random.key(0))
  if rank:
    params = lora.add(
      params, DECODER, jax.random.key(1), rank=rank, alpha=4, targets='qkv'
    )
  rng = np.random.default_rng(1)
  return jax.tree.map(
    lambda x: jnp.asarray(x + rng.normal(0, 0.2, x.shape), jnp.float32), params
  )


def steps_of(lengths=LENGTHS, columns=6):
  shape = len(lengths), columns
  return decision.Steps(
    returns=jnp.asarray(RNG.normal(size=shape), jnp.float32),
    observation=jnp.asarray(RNG.normal(size=(*shape, 2)), jnp.float32),
    action=jnp.asarray(RNG.normal(size=(*shape, 1)), jnp.float32),
    time=jnp.broadcast_to(jnp.arange(columns), shape),
    mask=jnp.asarray(np.arange(columns) < np.array(lengths)[:, None]),
  )


STEPS, PARAMS = steps_of(), made()
losses = jax.jit(
  decision.loss, static_argnums=1, static_argnames='language_weight'
)
predicted = jax.jit(POLICY.predicted)


def answered(params, steps):
  """Of the oracle, of each row the steps that are there."""
  params, steps = jax.tree.map(np.float64, (params, steps))
  return [
    oracle.answers(
      params,
      *(x[row, :length] for x in (steps.returns, steps.observation)),
      steps.action[row, :length],
      np.arange(length),
    )
    for row, length in enumerate(LENGTHS)
  ]


@pytest.mark.parametrize('hidden', [True, False])
def test_loss_is_the_papers_with_and_without_its_mlps(hidden):
  policy = dataclasses.replace(POLICY, hidden=hidden)
  params = PARAMS if hidden else made(policy)
  found, parts = losses(
    params, policy, STEPS, TEXT, TEXT_MASK, language_weight=0.3
  )
  wrong = [
    np.mean((answer - action) ** 2, axis=-1)
    for answer, action in zip(answered(params, STEPS), np.float64(STEPS.action))
    for answer, action in [(answer, action[: len(answer)])]
  ]
  texts = [list(np.asarray(row)[:n]) for row, n in zip(TEXT, (7, 4, 1))]
  cost = oracle.unlikelihood(jax.tree.map(np.float64, params), texts)
  error = np.mean(np.concatenate(wrong))
  np.testing.assert_allclose(parts['control'], error, rtol=1e-4)
  np.testing.assert_allclose(parts['language'], cost, rtol=1e-4)
  np.testing.assert_allclose(found, error + 0.3 * cost, rtol=1e-4)


def test_an_action_is_answered_before_it_is_read_and_padding_is_inert():
  before = predicted(PARAMS, STEPS)
  changed = STEPS.replace(
    action=STEPS.action.at[0, 3].add(5.0).at[1, 2:].set(jnp.nan)
  )
  after = predicted(
    PARAMS, changed.replace(action=jnp.nan_to_num(changed.action))
  )
  np.testing.assert_allclose(after[0, :4], before[0, :4], atol=1e-6)
  assert np.abs(after[0, 4:] - before[0, 4:]).max() > 1e-3
  np.testing.assert_allclose(after[1, :2], before[1, :2], atol=1e-6)


def test_without_text_the_loss_is_the_decision_transformers():
  found, parts = losses(
    PARAMS, POLICY, STEPS, TEXT, TEXT_MASK, language_weight=0.0
  )
  assert found == parts['control'] and parts['language'] == 0
  empty = STEPS.replace(mask=jnp.zeros_like(STEPS.mask))
  found, _ = losses(PARAMS, POLICY, empty, TEXT, TEXT_MASK, language_weight=0.0)
  assert found == 0


def test_only_products_and_what_is_made_of_numbers_are_fitted():
  found, parts = decision.fit(
    PARAMS,
    POLICY,
    STEPS,
    TEXT,
    jax.random.key(0),
    tx=optax.adam(0.03),
    updates=30,
    batch=4,
  )
  assert parts['control'][-5:].mean() < parts['control'][:5].mean()
  old, new = map(traverse_util.flatten_dict, (PARAMS, found))
  moved = {path for path in old if np.any(old[path] != new[path])}
  expected = {path for path in old if path[0] in ('numbers', 'answer')}
  expected |= {path for path in old if path[-1] in ('lora_a', 'lora_b')}
  assert moved == expected


def test_windows_are_of_one_episode_and_begin_anywhere_in_it():
  drawn = jax.jit(functools.partial(decision.drawn, batch=4000, context=4))(
    STEPS, jax.random.key(0)
  )
  first = np.asarray(drawn.time[:, 0])
  row = np.array(
    [
      np.flatnonzero(np.asarray(STEPS.returns[:, t]) == value)[0]
      for t, value in zip(first, np.asarray(drawn.returns[:, 0]))
    ]
  )
  # Rows as often as they are long, and all of their beginnings alike.
  counts = np.zeros((3, 6))
  np.add.at(counts, (row, first), 1)
  expected = 4000 * np.asarray(STEPS.mask) / sum(LENGTHS)
  np.testing.assert_array_less(
    np.abs(counts - expected), 5 * np.sqrt(expected) + 1e-9
  )
  inside = np.asarray(drawn.mask)
  left = np.minimum(np.array(LENGTHS)[row] - first, 4)
  np.testing.assert_array_equal(inside.sum(axis=1), left)
  for place in range(50):
    for column in range(left[place]):
      at = row[place], first[place] + column
      assert drawn.returns[place, column] == STEPS.returns[at]
      assert drawn.time[place, column] == at[1]


@pytest.fixture(scope='module')
def recorded():
  world = double_integrator(horizon=6)
  policy = Gaussian(2, 1, widths=(4,))
  rows = acting.unroll(
    policy,
    world,
    initial(policy.table(), jax.random.key(2)),
    jnp.zeros(3, jnp.int32),
    jnp.arange(3),
    jax.random.key(3),
  )
  return world, rows, decision.recording(rows, scale=2.0)


def test_a_recording_has_returns_to_go_in_its_scale(recorded):
  _, rows, recording = recorded
  paid = np.float64(rows.paid)
  to_go = np.cumsum(paid[:, ::-1], axis=1)[:, ::-1] / 2.0
  np.testing.assert_allclose(recording.steps.returns, to_go, rtol=1e-5)
  seen = np.float64(rows.content.observation).reshape(-1, 2)
  np.testing.assert_allclose(recording.mean, seen.mean(axis=0), atol=1e-5)
  standard = (seen - seen.mean(axis=0)) / (seen.std(axis=0) + 1e-6)
  np.testing.assert_allclose(
    recording.steps.observation.reshape(-1, 2), standard, atol=1e-4
  )


def test_acting_reads_what_was_seen_done_and_is_still_asked_for(recorded):
  world, _, recording = recorded
  tasks, key, wanted = jnp.zeros(2, jnp.int32), jax.random.key(4), jnp.ones(2)
  found = decision.earned(
    PARAMS, POLICY, world, recording, tasks, key, wanted=wanted
  )
  starting, moving = jax.random.split(key)
  state, left, total = world.reset(tasks, starting), wanted / 2.0, 0.0
  past = []
  for time in range(6):
    seen = (world.observe(state) - recording.mean) / recording.spread
    past.append([left, seen, jnp.zeros((2, 1)), jnp.full(2, time)])
    # Padded, so that all steps are one program.
    last = past[-4:]
    read = [jnp.stack(x, axis=1) for x in zip(*last + [last[-1]] * 4)]
    mask = jnp.broadcast_to(jnp.arange(4) < len(last), (2, 4))
    steps = decision.Steps(*(x[:, :4] for x in read), mask=mask)
    action = predicted(PARAMS, steps)[:, len(last) - 1]
    past[-1][2] = action
    state, outcome = world.step(state, action, jax.random.fold_in(moving, time))
    left, total = left - outcome.reward / 2.0, total + outcome.reward
  np.testing.assert_allclose(found, total, rtol=1e-4)


def test_what_cannot_be_read_is_refused(recorded):
  world, _, recording = recorded
  with pytest.raises(ValueError, match='say more to its layers'):
    decision.DecisionTransformer(decoders.CONFIGS['global'], 2, 1, horizon=6)
  short = dataclasses.replace(POLICY, horizon=5)
  with pytest.raises(ValueError, match='give it horizon=6'):
    decision.earned(
      PARAMS,
      short,
      world,
      recording,
      jnp.zeros(2, jnp.int32),
      jax.random.key(4),
      wanted=jnp.ones(2),
    )
