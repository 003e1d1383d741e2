"""Slots of a recipe are replaced by name, or refused with a reason."""

import dataclasses
import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxrl_llm import compose as compose_lib
from jaxrl_llm import control, credit, digests, parts, reads, recipes, reference
from jaxrl_llm import recipe as recipe_lib
from jaxrl_llm.catalogue import grid
from jaxrl_llm.compose import compose, told
from jaxrl_llm.objectives import base, costs
from jaxrl_llm.plans import sampled
from jaxrl_llm.tabular import policy
from jaxrl_llm.training.step import Program
from jaxrl_llm.types import Scores, Spec
from tests import battery_cases as cases
from tests.thinned import every

ESTIMATORS = list(parts.fitting('advantage'))
SURROGATES = list(parts.fitting('surrogate'))


def composed(name, **slots):
  return compose(recipes.build(name), **slots)


@pytest.mark.parametrize('name', recipes.names())
def test_an_entry_with_its_own_parts_is_that_entry(name):
  recipe = recipes.build(name)
  assert not recipe_lib.diff(compose(recipe, **told(recipe)), recipe)


@pytest.mark.parametrize(
  ('values', 'slots', 'other'),
  [
    ({'minibatches': 4}, {'surrogate': 'gspo', 'costs': 'none'}, 'gspo'),
    (
      {'minibatches': 4},
      {'surrogate': 'sequence_clip(3e-4, high=4e-4)', 'costs': 'none'},
      'gspo',
    ),
    (
      {'minibatches': 16},
      {'surrogate': 'cispo', 'aggregate': 'token_mean', 'costs': 'none'},
      'cispo',
    ),
  ],
)
def test_another_entry_is_recognised(values, slots, other):
  recipe = compose(recipes.build('grpo', **values), **slots)
  assert compose_lib.same_as(recipe) == [other]


def test_costs_are_recognised_by_what_they_are():
  plain = composed('grpo', costs='none')
  assert list(compose(plain, costs='k3:0.04').objective.costs) == ['k3']
  assert 'grpo' in compose_lib.same_as(compose(plain, costs='k3:0.04'))
  assert not compose_lib.same_as(compose(plain, costs='k3:0.05'))
  # What is a number's default may be said.
  told = composed('apo_difficulty', costs='difficulty_k3(correct=0.5):0.001')
  assert 'apo_difficulty' in compose_lib.same_as(told)


def test_other_stages_stay():
  before, after = recipes.build('dapo'), composed('dapo', advantage='centre')
  assert recipe_lib.diff(before, after).keys() == {
    'credit.stages.2',
    'credit.stages.2.epsilon',
  }
  centre = parts.fitting('advantage')['centre']
  assert after.credit.stages[2] == credit.estimate(centre)


def test_what_rows_are_compared_by_stays():
  *before, was = recipes.build('step_grpo').credit.stages
  *after, now = composed('step_grpo', advantage='centre').credit.stages
  assert after == before and now == dataclasses.replace(was, fn=now.fn)
  assert now.fn is parts.fitting('advantage')['centre']


def test_a_critic_keeps_its_cost():
  recipe = composed('ppo', costs='k2:0.1', advantage='gae(trace=0.5)')
  assert list(recipe.objective.costs) == ['value', 'k2']
  assert recipe.credit.stages[0].trace == 0.5
  assert list(composed('ppo', costs='none').objective.costs) == ['value']


def test_a_cost_that_stays_keeps_its_name():
  held = composed('grpo', costs='k3:0.1, negative_entropy:0.001').objective
  assert list(held.costs) == ['kl', 'negative_entropy']
  assert held.costs['kl'] == base.Cost(costs.k3, 0.1)


def test_a_weight_may_be_a_controller():
  recipe = composed('grpo', costs='k2:adaptive_kl(0.02, target=0.1)')
  [cost] = recipe.objective.costs.values()
  assert cost.coefficient == control.AdaptiveKL(0.02, 0.1)


def test_the_opponent_of_a_game_stays():
  before = recipes.build('nash_ema').reference
  assert isinstance(before, reference.Beside)
  after = composed('nash_ema', reference='periodic(5)').reference
  assert after == dataclasses.replace(before, held=reference.Periodic(5))


def test_parts_that_compare_rows_are_told_the_size_of_groups():
  assert composed('grpo', surrogate='elastic_clip').objective.block == 8
  alike = compose(recipes.build('grpo', samples=4), costs='difficulty_k3:0.1')
  assert alike.objective.block == 4


def test_hyper_parameters_are_bound_in_order_and_by_name():
  surrogate = composed('grpo', surrogate='dual_clip(0.1, bound=inf)').objective
  assert surrogate.surrogate.keywords == {'low': 0.1, 'bound': math.inf}


def test_gates_are_multiplied():
  text = 'truncated_importance(cap=3.0) * ratio_band * two_side'
  recipe = composed('grpo', gate=text)
  gate = recipe.objective.gate
  assert told(recipe)['gate'] == text
  assert not recipe_lib.diff(compose(recipe, **told(recipe)), recipe)
  assert gate.first.second is parts.fitting('gate')['ratio_band']
  assert recipe.needs == {'sampler_logp', 'ref_logp'}


def test_a_region_is_kept_to_by_gate_or_by_every_count():
  text = 'ratio_band(high=1.01) * outlier_rows'
  recipe = composed('grpo', keep=text)
  assert told(recipe)['keep'] == text
  assert isinstance(recipe.credit.stages[-1], credit.KeepTokens)
  assert recipe.needs >= {'sampler_logp', 'old_logp'}
  again = compose(recipe, keep='divergence_band')
  assert told(again)['keep'] == 'divergence_band'
  assert len(again.credit.stages) == len(recipe.credit.stages)
  assert 'keep' not in told(compose(recipe, keep='none'))


def test_pairs_of_likelihoods_beside_imitation_are_cpo():
  """-log sigmoid(beta (S_w - S_l)) + NLL_w over tokens, arXiv 2401.08417."""
  lengths = np.array([3, 2, 1, 3, 2, 3])
  mask = np.arange(3) < lengths[:, None]
  chosen, rejected = np.array([0, 3, 4]), np.array([1, 2, 5])
  rewards = np.isin(np.arange(6), chosen) * np.float32(1)
  group = jnp.arange(6, dtype=jnp.int32) // 2
  response = jax.random.randint(jax.random.key(1), (6, 3), 0, 4)
  rows = policy.as_rollouts(response, mask, task=group, group=group)
  params = policy.init(jax.random.key(0), tasks=3, vocab=4, length=3)
  base_recipe = recipes.build('rpo_token_mean', imitation=1.0)
  recipe = compose(base_recipe, score='likelihood')
  program = Program(recipe, policy.score, optax.sgd(1.0))
  state = program.init(params, Spec(6, 2, 1, 3, tasks=3))
  scores = Scores(jnp.asarray(rewards)[:, None], jnp.ones(1))
  after, *_ = program.iterate(state, {}, rows, scores, jax.random.key(0))

  def loss(params):
    said = jnp.where(mask, policy.score(params, rows).logp, 0).sum(axis=1)
    gap = said[chosen] - said[rejected]
    imitated = -said[chosen].sum() / lengths[chosen].sum()
    return -jax.nn.log_sigmoid(0.1 * gap).mean() + imitated

  slope = jax.grad(loss)(params)['logits']
  np.testing.assert_allclose(
    state.params['logits'] - after.params['logits'], slope, atol=1e-6
  )


def test_links_and_scores_of_pairs_are_exchanged():
  other = composed('dpo', link='ipo', score='mean_to_reference')
  assert compose_lib.same_as(other) == ['ipo_mean']
  assert compose_lib.same_as(composed('dpo', link='square')) == ['ipo']
  free = composed('dpo', link='logistic(2.0, offset=1.0)', score='simpo')
  assert 'simpo' in compose_lib.same_as(free)
  assert not free.refers and composed('lipo', score='to_reference').refers


REFUSED = [
  ('grpo', 'link', 'square', 'no loss of pairs of responses alone'),
  ('rpo', 'score', 'likelihood', 'no loss of groups of responses alone'),
  ('lipo_softmax', 'link', 'square', 'no loss of pairs of responses alone'),
  ('dpo', 'link', 'grpo', 'grpo has no loss of pairs'),
  ('dpo', 'link', 'logistics', "Did you mean 'logistic'"),
  (
    'grpo',
    'surrogate',
    'gpso',
    "unknown surrogate 'gpso'. Did you mean 'gspo'",
  ),
  ('grpo', 'surrogate', 'zzzzzz', "Known: ['balanced_clip'"),
  ('grpo', 'surrogate', 'undersampled', 'unknown surrogate'),
  ('grpo', 'surrogate', 'clip(hihg=1)', "'hihg'; it has low=0.2, high=0.2"),
  ('grpo', 'surrogate', 'clip(1, 2, 3)', '3 hyper-parameters; it has low=0.2'),
  ('grpo', 'surrogate', 'clip(1.0, low=2)', 'given low twice'),
  ('grpo', 'surrogate', "clip(low='a')", "low is 'a'; use a value of float"),
  ('grpo', 'surrogate', 'clip(low=True)', 'low is True; use a value of float'),
  ('grpo', 'surrogate', 'clip(low=print())', 'print() is no value'),
  ('grpo', 'surrogate', 'gspo(clip=1)', "no hyper-parameter 'clip'"),
  ('grpo', 'surrogate', 'dpo', 'dpo has a loss of whole responses, GroupLoss'),
  ('grpo', 'surrogate', "__import__('os').abort()", 'cannot be read'),
  ('grpo', 'surrogate', 'clip, clip', 'cannot be read'),
  ('grpo', 'surrogate', '(' * 999, 'cannot be read'),
  ('grpo', 'surrogate', 'detailed_balance', "read ['values'] of a critic"),
  ('grpo', 'surrogate', 'consistent_clip', 'whose plan does, such as copo'),
  ('grpo', 'gate', 'two_side + two_side', 'cannot be read'),
  ('grpo', 'gate', 'two_side * two_sides', "Did you mean 'two_side'"),
  ('grpo', 'surrogate', 'clip * clip', 'cannot be read'),
  ('grpo', 'keep', 'total_variation', 'unknown keep'),
  ('grpo', 'gate', 'own_tokens', "need ['guide'] with every response"),
  ('grpo', 'aggregate', 'row_weights', 'unknown aggregate'),
  ('grpo', 'advantage', 'gae', 'begin with one that does, such as ppo'),
  ('grpo', 'advantage', 'ppo', 'begin with one that does, such as ppo'),
  ('grpo', 'advantage', 'truncated_ppo', 'truncated_ppo has 0 estimators'),
  ('ppo', 'advantage', 'norm', 'trains a critic, which that estimator'),
  ('truncated_ppo', 'advantage', 'gae', '(ExtendedGAE, Refine)'),
  ('nft', 'advantage', 'norm', 'implicit_negative may not read advantages'),
  ('single_stream', 'advantage', 'norm', 'groups have one row'),
  ('dpo', 'surrogate', 'clip', 'GroupLoss, and no slot'),
  ('dpo', 'advantage', 'norm', "no slot 'advantage'"),
  ('dpo', 'gate', 'ring', "no slot 'gate'"),
  ('dpo', 'aggregate', 'token_mean', 'there are no costs'),
  ('rloo', 'reference', 'ema', 'nothing reads the reference'),
  ('grpo', 'reference', 'pool(2.5)', 'count is 2.5; use a value of int'),
  ('grpo', 'reference', 'beside', 'unknown reference'),
  ('grpo', 'costs', 'k2', 'write NAME:WEIGHT'),
  ('grpo', 'costs', 'k2:1}|{k3:1', 'write NAME:WEIGHT'),
  ('grpo', 'costs', '**k2', 'write NAME:WEIGHT'),
  ('grpo', 'costs', 'k2:0', 'use a number other than 0'),
  ('grpo', 'costs', 'k2:inf', 'use a number other than 0'),
  ('grpo', 'costs', 'k2:1, k2:2', 'name k2 twice'),
  ('grpo', 'costs', 'k4:1', "unknown costs 'k4'. Known: ['absolute'"),
  ('grpo', 'costs', 'squared_value_error:1', 'unknown costs'),
  ('grpo', 'costs', 'k2:adaptive(1)', "Did you mean 'adaptive_kl'"),
  (
    'grpo',
    'costs',
    'k2:adaptive_kl(1)',
    'be given target; it has initial',
  ),
  ('grpo', 'costs', 'teacher_k2:1', 'whose plan does, such as iw_opd'),
  ('rloo', 'costs', 'old_k3:adaptive_kl(1, 1)', "steers by 'reference/kl'"),
  ('grpo', 'cost', 'k2:1', "unknown slot 'cost'. Did you mean 'costs'"),
]


@pytest.mark.parametrize(('name', 'slot', 'text', 'words'), REFUSED)
def test_what_cannot_work_is_refused_in_one_line(name, slot, text, words):
  with pytest.raises((ValueError, KeyError)) as refused:
    composed(name, **{slot: text})
  [message] = refused.value.args
  assert words in message and '\n' not in message


def test_every_part_names_itself_and_says_what_it_is():
  for slot in (*compose_lib.SLOTS, 'controller'):
    for name, part in parts.fitting(slot).items():
      assert parts.name_of(part) == name
      assert parts.summary(part)


def test_every_estimator_and_surrogate_of_an_entry_is_known():
  """But for those that read no advantages, and stages of one entry alone."""
  found = {
    parts.kind_of(recipes.build(name).objective.surrogate).__name__
    for name in recipes.names()
    if 'surrogate' in vars(recipes.build(name).objective)
  }
  assert found - set(SURROGATES) == {
    'detailed_balance',
    'forward_looking',
    'implicit_negative',
  }


# Every pair of an estimator and a surrogate.


def test_every_pair_is_composed_or_refused_for_what_the_plan_must_give():
  refused = grid.refused()
  assert refused.keys() == {pair for pair in grid.pairs() if grid.wanted(*pair)}
  for message in refused.values():
    assert 'begin with a recipe whose plan' in message


@pytest.mark.parametrize('estimator', every(8, ESTIMATORS))
def test_a_pair_holds_its_parts(estimator):
  for surrogate in SURROGATES:
    if not grid.wanted(estimator, surrogate):
      slots = {'advantage': estimator, 'surrogate': surrogate}
      found = told(compose(grid.start_of(estimator), **slots))
      assert found['advantage'].split('(')[0] == estimator
      assert found['surrogate'] == surrogate


def generous(recipe):
  """The recipe with a plan of groups of 8 that provides what anybody asks."""
  plan = sampled.Independent(8, columns=tuple(sorted(EXTRAS)))
  return dataclasses.replace(recipe, plan=plan, epochs=1, minibatches=1)


# Of rows that are recorded nobody measures how they were sampled.
EXTRAS = reads.provided(reads.names(), 'plan') - {'recorded'}


DIGESTS = digests.among(
  reads.united(
    parts.bound(part, (), {}) for part in parts.fitting('advantage').values()
  )
)


@functools.cache
def scored():
  """Rows with all that a part may read, one structure for all of them."""
  case = cases.padded_case(8, EXTRAS)
  case = cases.trim(case, cases.groups_of(8)[0] * 8, cases.LENGTH)
  state = cases.begin(generous(recipes.build('grpo')))
  start, move, ref = cases.tables(cases.groups_of(8)[1] * 8, cases.LENGTH + 1)
  del move
  wanted = reads.statistics({*reads.names(), *DIGESTS})
  stats = cases.score(start, case.rollouts, wanted)
  said = {f'old_{name}': stats.said(name) for name in (*wanted, 'logp')}
  said |= {digest: stats.said(digest.now) for digest in DIGESTS}
  extras = {k: x for k, x in said.items() if x is not None}
  extras |= case.rollouts.extras
  extras['ref_logp'] = cases.score(ref, case.rollouts).logp
  rollouts = case.rollouts.replace(extras=extras, logp=stats.logp)
  return state, cases.Case(rollouts, case.scores)


@functools.cache
def credited(estimator):
  recipe = compose(generous(grid.start_of(estimator)), advantage=estimator)
  _, case = scored()
  program = Program(recipe, cases.score, optax.sgd(1.0))
  memory = recipe.credit.init(cases.spec_of(recipe))
  found, _, _ = jax.jit(program.assign)(memory, *case)
  return recipe.credit, found


SIXTHS = [tuple(ESTIMATORS[place::6]) for place in range(6)]


@pytest.mark.parametrize(
  ('estimators', 'surrogate'),
  # The quick ones are three sixths, each with a surrogate of its own.
  every(37, itertools.product(SIXTHS, SURROGATES)),
)
def test_every_pair_learns_from_the_policy_it_samples(estimators, surrogate):
  """The ratio is exactly 1 there, and loss and gradient are finite.

  The pair is its credit and its loss: each is compiled once for all pairs.
  """
  recipe = compose(generous(recipes.build('grpo')), surrogate=surrogate)
  program = Program(recipe, cases.score, optax.sgd(1.0))
  learn = jax.jit(program.learn)
  state, case = scored()
  state = program.init(state.params, cases.spec_of(recipe)).replace(method={
    'controllers': {'kl': ()}
  })  # fmt: skip
  for estimator in estimators:
    own, found = credited(estimator)
    pair = compose(
      generous(grid.start_of(estimator)),
      advantage=estimator,
      surrogate=surrogate,
    )
    assert pair.credit == own
    assert pair.objective.surrogate is recipe.objective.surrogate
    after, metrics = learn(state, {}, case.rollouts, found, cases.KEY)
    assert all(map(np.isfinite, metrics.values())), (estimator, metrics)
    assert metrics['bad_steps'] == 0 and metrics['policy/kl'] == 0
    moved = jax.tree.map(lambda a, b: a - b, state.params, after.params)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(moved))
  assert learn._cache_size() == 1
