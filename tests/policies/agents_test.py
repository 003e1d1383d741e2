"""Policies side by side: what one of them learns is its own rows' affair."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxrl_llm import recipes, types
from jaxrl_llm.policies import agents
from jaxrl_llm.training.step import Program
from tests import battery_cases as cases

KEY = jax.random.key(0)


def tables(seed, rows):
  start, *_ = cases.tables(rows, cases.LENGTH)
  return jax.tree.map(
    lambda x: jax.random.normal(jax.random.key(seed), x.shape), start
  )


def moved(recipe, scorer, tx, params, rollouts, credit):
  """How the parameters move in one iteration."""
  program = Program(recipe, scorer, tx)
  held = {name: c.init() for name, c in recipe.objective.controllers.items()}
  method = {'credit': (), 'controllers': held}
  state = types.TrainState(params, tx.init(params), (), method, jnp.int32(0))
  after, metrics = jax.jit(program.learn)(state, {}, rollouts, credit, KEY)
  moves = jax.tree.map(lambda a, b: a - b, after.params, params)
  return moves, after.opt, metrics


@pytest.fixture(scope='module')
def case():
  """Rows of two agents, their credit, and parameters of each."""
  recipe = recipes.build('m_grpo', samples=2, turns=4)
  rollouts, scores = cases.case_of(recipe)
  credit = types.initial_credit(rollouts, scores)
  credit = credit.replace(rewards=scores.total)
  credit, _ = recipe.credit.update(credit, rollouts, recipe.credit.init(None))
  params = {
    name: tables(seed, len(rollouts.valid))
    for seed, name in enumerate(agents.names(2))
  }
  return recipe, rollouts, credit, params


def test_each_agent_moves_as_it_would_alone_with_its_own_rows(case):
  """And with their mean: one model, GRPO's loss, the other's rows left out."""
  recipe, rollouts, credit, params = case
  tx = agents.apart(optax.sgd(1.0), 2)
  score = agents.scorer(cases.score, 2)
  both, _, metrics = moved(recipe, score, tx, params, rollouts, credit)
  assert metrics['policy/kl'] == 0  # on policy, the ratio is 1
  alone = recipes.build('m_grpo', samples=2, turns=4, apart=0.0)
  for number, name in enumerate(agents.names(2)):
    mine = rollouts.valid & (rollouts.extras['agent'] == number)
    found, *_ = moved(
      alone,
      cases.score,
      optax.sgd(1.0),
      params[name],
      rollouts.replace(valid=mine),
      credit,
    )
    size = max(float(jnp.abs(x).max()) for x in jax.tree.leaves(found))
    assert size > 1e-3
    for a, b in zip(jax.tree.leaves(both[name]), jax.tree.leaves(found)):
      np.testing.assert_allclose(a, b, atol=1e-6)


def test_rows_are_what_their_agents_say(case):
  _, rollouts, _, params = case
  found = agents.scorer(cases.score, 2)(params, rollouts, frozenset())
  for number, name in enumerate(agents.names(2)):
    mine = np.asarray(rollouts.extras['agent'] == number)
    said = cases.score(params[name], rollouts)
    np.testing.assert_array_equal(found.logp[mine], said.logp[mine])
    assert np.any(np.asarray(found.logp != said.logp)[~mine])
  assert agents.scorer(cases.score, 1) is cases.score


def test_who_learned_nothing_stays_with_all_its_moments(case):
  """Momentum and decay would move an agent that no row is of."""
  recipe, rollouts, credit, params = case
  tx = agents.apart(optax.adamw(0.1, weight_decay=0.1), 2)
  score = agents.scorer(cases.score, 2)
  none = rollouts.replace(
    valid=rollouts.valid & (rollouts.extras['agent'] == 0)
  )
  one = {**params, 'agent_1': jax.tree.map(jnp.ones_like, params['agent_1'])}
  start = tx.init(one)
  gradients = jax.tree.map(jnp.ones_like, one)
  _, held = tx.update(gradients, start, one)
  program = Program(recipe, score, tx)
  method = {'credit': (), 'controllers': {}}
  state = types.TrainState(one, held, (), method, jnp.int32(0))
  after, _ = jax.jit(program.learn)(state, {}, none, credit, KEY)
  for name, same in (('agent_0', False), ('agent_1', True)):
    for before, now in (
      (one[name], after.params[name]),
      (held.inner_states[name], after.opt.inner_states[name]),
    ):
      pairs = zip(jax.tree.leaves(before), jax.tree.leaves(now))
      assert all(np.array_equal(a, b) for a, b in pairs) == same


def stepped(gradients, **options):
  """The step of each agent, with clipping at a norm of 1 before it."""
  clipped = optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(1.0))
  tx = agents.apart(clipped, 2, **options)
  updates, _ = tx.update(gradients, tx.init(gradients), gradients)
  return updates


SMALL = {name: {'x': jnp.full(4, 0.01)} for name in agents.names(2)}


def test_a_large_gradient_of_one_agent_leaves_the_step_of_the_other():
  both = stepped({**SMALL, 'agent_1': {'x': jnp.full(4, 1e4)}})
  np.testing.assert_array_equal(both['agent_0']['x'], -SMALL['agent_0']['x'])
  np.testing.assert_allclose(optax.tree.norm(both['agent_1']), 1, rtol=1e-5)


def test_a_schedule_counts_the_steps_of_its_agent():
  tx = agents.apart(optax.sgd(optax.linear_schedule(1.0, 0.0, 4)), 2)
  state = tx.init(SMALL)
  resting = {'x': jnp.zeros(4)}
  for _ in range(3):
    _, state = tx.update({**SMALL, 'agent_1': resting}, state, SMALL)
  last, _ = tx.update(SMALL, state, SMALL)
  np.testing.assert_allclose(last['agent_0']['x'], -0.0025, rtol=1e-5)
  np.testing.assert_allclose(last['agent_1']['x'], -0.01, rtol=1e-5)


def test_who_is_frozen_stays():
  found = stepped(SMALL, frozen=(1,))
  assert not np.any(found['agent_1']['x']) and np.all(found['agent_0']['x'])
  with pytest.raises(ValueError, match=r'names the agents \[2\]; there are 2'):
    stepped(SMALL, frozen=(2,))


def test_one_policy_is_all_agents_and_several_are_none_but_themselves():
  single = {'logits': jnp.zeros(2)}
  assert agents.copies(single, 1) is single
  [(number, params, rows)] = agents.actors(single, np.array([0, 1]))
  assert (number, params is single, rows.tolist()) == (0, True, [True] * 2)
  two = agents.copies(single, 2)
  found = agents.actors(two, np.array([1, 0, 1]), np.array([True, False, True]))
  assert [(n, rows.tolist()) for n, _, rows in found] == [
    (1, [True, False, True])
  ]
  with pytest.raises(ValueError, match='agent 2 acts, and 2 are trained'):
    agents.own(two, 2)


def test_rows_that_do_not_say_who_acted_are_refused(case):
  _, rollouts, _, params = case
  rollouts = rollouts.replace(extras={})
  with pytest.raises(ValueError, match='do not say who acted'):
    agents.scorer(cases.score, 2)(params, rollouts, frozenset())
