"""Rows that are one step old: their weights, and who may learn from them."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.configs import base
from jaxrl_llm import recipes
from jaxrl_llm.objectives import gates
from jaxrl_llm.problems.text import recordings
from jaxrl_llm.tabular import policy
from jaxrl_llm.training import pipeline
from jaxrl_llm.training.step import Program
from jaxrl_llm.types import Scores, Spec
from tests.oracles import gates as oracle

VOCAB, LENGTH, TASKS, GROUPS, SAMPLES = 3, 3, 2, 8, 4
CAP = 1.5


def config_of(name, **settings):
  config = base.base(name)
  config.update_from_flattened_dict(settings)
  return config


def lagged(name, **values):
  config = config_of(name, pipeline=1, pipeline_cap=CAP)
  return pipeline.corrected(recipes.build(name, **values), config)


def params_of(seed):
  key = jax.random.key(seed)
  return policy.init(key, tasks=TASKS, vocab=VOCAB, length=LENGTH)


def sampled():
  """Rows of the older policy, with rewards that differ within groups."""
  task = jnp.arange(GROUPS) % TASKS
  rollouts = policy.sample(
    params_of(0), jax.random.key(1), task, samples=SAMPLES, stop=VOCAB - 1
  )
  rewards = jnp.sum(rollouts.content.response == 1, axis=1) * 1.0
  return rollouts, Scores(rewards[:, None], jnp.ones(1))


def learn(built, weights=None):
  """The present policy after a step on those rows, advantages weighed."""
  program = Program(built, policy.score, optax.sgd(1.0))
  spec = Spec(GROUPS * SAMPLES, SAMPLES, 1, LENGTH, tasks=TASKS)
  state = program.init(params_of(2), spec)
  rollouts, scores = sampled()
  rollouts = program.score(state, {}, rollouts)
  credit, _, _ = program.assign(state.method['credit'], rollouts, scores)
  if weights is not None:
    credit = credit.replace(advantages=credit.advantages * weights)
  key = jax.random.key(3)
  after, metrics = program.learn(state, {}, rollouts, credit, key)
  assert metrics['grad/norm'] > 0
  return after.params['logits']


def weights_of_loops():
  """min(pi_learner / pi_sampler, cap), token by token."""
  rollouts, _ = sampled()
  now = np.asarray(policy.score(params_of(2), rollouts).logp, np.float64)
  then = np.asarray(rollouts.logp, np.float64)
  mask = np.asarray(rollouts.loss_mask)
  return oracle.truncated_importance(
    now, now, None, mask, sampler_logp=then, cap=CAP
  )


@pytest.mark.parametrize(
  ('name', 'values'),
  [
    ('reinforce', {}),
    ('grpo', {'kl_weight': 0.0}),
    # Later steps weigh by the policy at the start of the iteration as well.
    ('grpo', {'kl_weight': 0.0, 'minibatches': 2}),
    ('rec_one_side', {'minibatches': 2}),
  ],
)
def test_tokens_are_weighed_by_the_truncated_ratio_to_their_sampler(
  name, values
):
  values = values | {'samples': SAMPLES}
  weights = weights_of_loops()
  inside = weights[weights > 0]
  assert inside.min() < 0.5 and inside.max() == CAP
  # These losses are linear in advantages that keep their signs.
  plain = learn(recipes.build(name, **values), weights.astype(np.float32))
  np.testing.assert_allclose(learn(lagged(name, **values)), plain, atol=1e-6)


def test_a_recipe_that_corrects_itself_is_not_corrected_twice():
  for name in ('sampler_truncated', 'sampler_masked', 'selective_buffer'):
    built = recipes.build(name)
    assert pipeline.corrected(built, config_of(name, pipeline=1)) is built


def test_a_gate_of_the_recipe_multiplies_the_weights():
  gate = lagged('rec_two_side').objective.gate
  assert isinstance(gate, gates.Product)
  assert gate.first.func is gates.two_side
  assert gate.second.func is gates.truncated_importance
  assert gate.second.keywords == {'cap': CAP}


@pytest.mark.parametrize(
  ('name', 'settings', 'words'),
  [
    ('dpo', {}, 'whole responses'),
    ('egpo', {}, 'the plan HalfStep'),
    ('hpt', {}, 'the plan WithDemonstration'),
    ('trpo', {}, 'update rule'),
    ('grpo', {'optimizer.name': 'hessian_aided'}, 'hessian_aided'),
    ('grpo', {'verify.names': ()}, 'none without verifiers'),
  ],
)
def test_what_cannot_learn_from_old_rows_is_refused(name, settings, words):
  config = config_of(name, pipeline=1, **settings)
  with pytest.raises(ValueError, match=words) as caught:
    pipeline.corrected(recipes.build(name), config)
  assert 'pipeline=1' in str(caught.value)
  assert 'Set pipeline=0' in str(caught.value)


def test_recorded_responses_leave_nothing_to_overlap():
  built = recordings.planned(recipes.build('reinforce'))
  with pytest.raises(ValueError, match='recorded responses are not sampled'):
    pipeline.corrected(built, config_of('reinforce', pipeline=1))


def test_without_lag_the_weights_are_one():
  built = lagged('reinforce', samples=SAMPLES)
  rollouts, _ = sampled()
  mask = rollouts.loss_mask
  weights = built.objective.gate(
    rollouts.logp, rollouts.logp, mask * 1.0, mask, sampler_logp=rollouts.logp
  )
  np.testing.assert_array_equal(np.asarray(weights)[np.asarray(mask)], 1)
