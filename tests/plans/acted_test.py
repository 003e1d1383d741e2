"""Rows of agents that act, against loops over their episodes."""

import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm import recipes
from jaxrl_llm.environments.grid import Grid
from jaxrl_llm.environments.research import Research
from jaxrl_llm.environments.werewolf import Werewolf
from jaxrl_llm.plans import acted, aligned, by_turn, episodes
from jaxrl_llm.policies import acting
from jaxrl_llm.policies.categorical import Categorical
from jaxrl_llm.policies.protocol import initial
from jaxrl_llm.policies.several import Several
from jaxrl_llm.problems.pure import Tools

TASKS, SAMPLES = 3, 4
KEY = jax.random.key(0)
RESEARCH = Research(documents=3, words=2, calls=2, price=0.1)
PLAYED = {
  'werewolf': (Werewolf(), Categorical(81, 5, critic=False)),
  'research': (RESEARCH, Several(13, 3, critic=False, agents=(9, 4))),
}


class Lent(Tools):
  """Tools of episodes that were acted by a policy."""

  def __init__(self, name):
    environment, policy = PLAYED[name]
    params = initial(policy.table(), KEY)
    self._run = functools.partial(acting.played, policy, environment, params)

  def generate(self, prompts, key, samples, *, most=0):
    tasks = jnp.repeat(prompts.task, samples)
    rows = jnp.arange(len(tasks), dtype=jnp.int32)
    return self._run(tasks, rows, key).replace(group=rows // samples)


@functools.cache
def collected(name, plan):
  spec = PLAYED[name][0].spec
  tools = Lent(name)
  prompts = types.SimpleNamespace(task=jnp.arange(TASKS, dtype=jnp.int32))
  found = acted.acted(plan, spec)
  rows, scores, _ = found.collect(tools, prompts, (), KEY)
  played = tools.generate(prompts, KEY, SAMPLES)
  return found, *jax.device_get((played, rows, scores))


def test_every_seat_of_a_game_is_a_row_in_which_its_turns_are_chosen():
  plan, played, rows, scores = collected(
    'werewolf', episodes.MultiTurn(SAMPLES, 4)
  )
  assert plan.contract.groups == 2 and plan.contract.samples == SAMPLES
  turns = {0: [0, 2, 3], 1: [1]}
  number = 0
  for task in range(TASKS):
    for seat in range(2):
      for sample in range(SAMPLES):
        episode = task * SAMPLES + sample
        words = played.content.action[episode]
        np.testing.assert_array_equal(rows.content.action[number], words)
        own = [t in turns[seat] for t in range(4)]
        assert rows.action_mask[number].tolist() == own
        assert rows.extras['action_end'][number].tolist() == own
        assert rows.response_mask[number].all()
        assert rows.group[number] == task * 2 + seat
        assert rows.task[number] == task
        logp = np.where(own, played.logp[episode], 0)
        np.testing.assert_array_equal(rows.logp[number], logp)
        named = [rows.extras['turn'][number, t] for t in turns[seat]]
        assert [int(x) for x in named] == list(range(len(turns[seat])))
        won = int(words[2]) == int(words[3]) == task // 2
        assert scores.components[number, 0] == (won if seat == 0 else not won)
        # Asking, and accusing the wolf, are key turns of the village.
        key = [words[0] == 4, False, words[2] == task // 2, False]
        key = [bool(x) and seat == 0 for x in key]
        assert (rows.extras['decision_reward'][number] > 0).tolist() == key
        number += 1
  assert number == len(rows.valid)
  assert 0 < scores.components[:, 0].sum() < number
  assert not {'actor', 'own', 'seats'} & set(rows.extras)


def test_every_step_is_a_row_with_the_reward_of_its_episode():
  plan, played, rows, scores = collected('research', by_turn.Steps(SAMPLES, 5))
  assert plan.contract.samples == SAMPLES * 5
  number, seen = 0, {}
  for episode in range(TASKS * SAMPLES):
    length = int(played.length[episode])
    paid = np.asarray(played.paid[episode], np.float64)
    own = np.asarray(played.extras['own'][episode], np.float64)
    assert own[length:].sum() == paid[length:].sum() == 0
    total = paid.sum() + own.sum()
    for step in range(5):
      there = step < length
      assert rows.valid[number] == there
      np.testing.assert_allclose(
        scores.components[number, 0], total if there else 0, atol=1e-6
      )
      if there:
        at = int(played.content.observation[episode, step])
        assert rows.content.observation[number, 0] == at
        assert (
          rows.content.action[number] == played.content.action[episode, step]
        )
        assert rows.extras['agent'][number] == (at >= 9)
        assert rows.extras['step_reward'][number] == own[step]
        anchor = int(rows.extras['anchor'][number])
        assert seen.setdefault(at, anchor) == anchor
      assert rows.group[number] == episode // SAMPLES
      assert rows.extras['trajectory'][number] == episode % SAMPLES
      assert rows.extras['step'][number] == step
      number += 1
  assert len(set(seen.values())) == len(seen) and number == len(rows.valid)
  assert rows.extras['agent'].sum() > 0


def test_sub_agents_are_aligned_as_those_of_texts_are():
  plan, _, rows, _ = collected(
    'research', aligned.Aligned(by_turn.Steps(SAMPLES, 5), 2)
  )
  assert plan.contract.provides >= {'copies', 'agent'}
  copies = np.asarray(rows.extras['copies'])
  sub = np.asarray(rows.valid) & (np.asarray(rows.extras['agent']) == 1)
  called = 0
  for start in range(0, len(copies), 5):
    own = sub[start : start + 5]
    called += own.any()
    assert copies[start : start + 5][own].sum() == (2 if own.any() else 0)
  assert called


def test_other_plans_are_none_and_other_turns_an_error():
  spec = Grid().spec
  assert acted.acted(recipes.build('grpo').plan, spec) is None
  with pytest.raises(ValueError, match='recipe.turns is 4.* at most 50 steps'):
    acted.acted(episodes.MultiTurn(turns=4), spec)
