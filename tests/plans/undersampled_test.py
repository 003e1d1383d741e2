"""Samplers that make up for earlier responses, on tables of one token."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxrl_llm import recipes
from jaxrl_llm.plans import undersampled
from jaxrl_llm.tabular import policy
from jaxrl_llm.training.step import Program
from jaxrl_llm.types import Prompts, Scores, Spec
from tests.plans import scripted

QUESTIONS, ARMS, SAMPLES = 8, 4, 8
# One answer in eight is wrong.
CHANCES = np.array([0.5, 0.25, 0.125, 0.125])


class Tables:
  """What a plan is lent, where a question is a row of logits.

  Attributes:
    params: a table. learn: f(params, rollouts, key) -> params, metrics.
    samplers: all that have answered so far. notes: of the last update.
  """

  def __init__(self, params, learn, samplers=()):
    self.params, self.learn = params, learn
    self.samplers, self.notes = list(samplers), {}

  def generate(self, prompts, key, samples):
    self.samplers.append(self)
    return policy.sample(self.params, key, prompts.task, samples=samples)

  def score(self, rollouts, *needs):
    return policy.score(self.params, rollouts)

  def verify(self, rollouts):
    right = rollouts.content.response[:, :1] < ARMS - 1
    return rollouts, Scores(right * 1.0, jnp.ones(1))

  def moved(self, rollouts, key):
    params, self.notes = self.learn(self.params, rollouts, key)
    other = Tables(params, self.learn)
    other.samplers = self.samplers
    return other


def _learner(recipe, rate=0.05):
  """The sampler's update, as a session makes it."""
  program = Program(recipe, policy.score, optax.adam(rate))
  spec = Spec(QUESTIONS * SAMPLES, SAMPLES, 1, 1, tasks=QUESTIONS)
  nothing = Scores(jnp.zeros((spec.rows, 1)), jnp.ones(1))

  @jax.jit
  def learn(params, rollouts, key):
    state = program.init(params, spec)
    rows = program.score(state, {}, rollouts)
    credit, _, _ = program.assign(state.method['credit'], rows, nothing)
    state, metrics = program.learn(state, {}, rows, credit, key)
    return state.params, metrics

  return learn


def _table():
  logits = jnp.broadcast_to(jnp.log(CHANCES), (QUESTIONS, 1, ARMS))
  return {'logits': logits, 'values': jnp.zeros((QUESTIONS, 1))}


def _collected(plan, seeds=1):
  """The tools, rollouts and scores of some iterations."""
  learn = _learner(plan.sampler)
  task = jnp.arange(QUESTIONS, dtype=jnp.int32)
  tokens = jnp.zeros((QUESTIONS, 1), jnp.int32)
  prompts = Prompts(tokens, tokens == 0, task, jnp.zeros_like(task))
  for key in jax.random.split(jax.random.key(0), seeds):
    tools = Tables(_table(), learn)
    yield tools, *plan.collect(tools, prompts, (), key)[:2]


def _plan(rounds=2, **values):
  values |= {'samples': SAMPLES, 'rounds': rounds}
  return recipes.build('props', **values).plan


def _chances(speaker):
  return np.exp(jax.nn.log_softmax(speaker.params['logits'][:, 0]))


def test_the_sampler_stays_near_the_policy_at_the_defaults_of_the_entry():
  """Its answers stay right; without its limits it unlearns all of them."""
  [(tools, _, _)] = _collected(_plan())
  first, second = map(_chances, tools.samplers)
  np.testing.assert_allclose(first, np.tile(CHANCES, (QUESTIONS, 1)), rtol=1e-5)
  kl = np.sum(first * np.log(first / second), axis=1).mean()
  assert 1e-4 < kl < 0.03
  assert second[:, :3].sum(axis=1).mean() > 0.8
  assert 0 < tools.notes['steps/taken'] < 1
  free = _plan(limit=np.inf, kl_weight=0.0, epochs=64)
  [(loose, _, _)] = _collected(free)
  wild = _chances(loose.samplers[1])
  assert np.sum(first * np.log(first / wild), axis=1).mean() > 0.1


def test_every_round_starts_from_the_policy():
  [(tools, _, _)] = _collected(_plan(rounds=4))
  assert len(tools.samplers) == 4
  for speaker in tools.samplers[1:]:
    kl = np.sum(CHANCES * np.log(CHANCES / _chances(speaker)), axis=1).mean()
    assert 0 < kl < 0.06


def test_later_rounds_give_what_earlier_ones_lack():
  """The arms' shares are nearer to their chances than of plain samples."""

  def error(rounds):
    total, plan = 0.0, _plan(rounds, limit=0.1, kl_weight=0.0)
    for _, rollouts, _ in _collected(plan, seeds=24):
      arms = np.asarray(rollouts.content.response).reshape(QUESTIONS, SAMPLES)
      shares = np.stack([(arms == a).mean(axis=1) for a in range(ARMS)], 1)
      total += np.sum((shares - CHANCES) ** 2)
    return total

  assert error(4) < 0.9 * error(1)


def test_rows_have_the_log_probs_of_the_policy_and_stand_by_group():
  [(_, rollouts, scores)] = _collected(_plan())
  arms = np.asarray(rollouts.content.response[:, 0])
  np.testing.assert_allclose(rollouts.logp[:, 0], np.log(CHANCES)[arms], 1e-5)
  np.testing.assert_array_equal(
    rollouts.task, np.repeat(np.arange(QUESTIONS), SAMPLES)
  )
  np.testing.assert_array_equal(rollouts.group, rollouts.task)
  assert rollouts.valid.all() and not rollouts.extras['log_mass'].any()
  np.testing.assert_array_equal(scores.components[:, 0], arms < ARMS - 1)


def test_the_sampler_is_moved_by_the_rows_that_are_there():
  """Rounds to come are rows of the same groups that do not count."""

  class Listening(scripted.Scripted):
    def moved(self, rollouts, key):
      del key
      heard.append((scripted.words(rollouts), rollouts.valid.tolist()))
      return scripted.Scripted(lambda text, i: f'{text}x', columns=6)

  heard = []
  tools = Listening(lambda text, i: text)
  plan = undersampled.Undersampled(None, samples=3, rounds=3)
  rollouts, _, _ = plan.collect(
    tools, scripted.ask('q', 'r'), (), jax.random.key(0)
  )
  assert [valid for _, valid in heard] == [
    [True, False, False] * 2,
    [True, True, False] * 2,
  ]
  assert heard[1][0] == ['q', 'qx', 'q', 'r', 'rx', 'r']
  assert scripted.words(rollouts) == ['q', 'qx', 'qx', 'r', 'rx', 'rx']


def test_one_round_is_plain_sampling():
  plan = undersampled.Undersampled(None, samples=2, rounds=1)
  tools = scripted.Scripted(lambda text, i: f'{text}{i}')
  rollouts, _, _ = plan.collect(tools, scripted.ask('q'), (), jax.random.key(0))
  assert scripted.words(rollouts) == ['q0', 'q1']


@pytest.mark.parametrize('rounds', [3, 16])
def test_rounds_that_share_unevenly_are_refused(rounds):
  with pytest.raises(
    ValueError, match=f'8 samples .* evenly by {rounds} rounds'
  ):
    _plan(rounds)
