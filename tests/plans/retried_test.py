"""Groups that are asked again: which, with what, and what they take of it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm import recipes
from jaxrl_llm.notes import base as notes
from jaxrl_llm.plans import hints, retried, sampled
from jaxrl_llm.types import Scores, Spec
from tests.plans import scripted

KEY = jax.random.key(0)
SPEC = Spec(8, 2, 12, 6)
# q is right with half of the solution and u never; e is right by itself, v
# with a quarter.
RECORDS = [
  {'prompt': 'q', 'answer': 'r', 'solution': 'abcd', 'hints': ['x', 'y', 'z']},
  {'prompt': 'e', 'answer': 'e', 'solution': 'efgh', 'hints': ['x']},
  {'prompt': 'u', 'answer': 'n', 'solution': 'ijkl', 'hints': ['x', 'w']},
  {'prompt': 'v', 'answer': 'v', 'solution': 'mnop', 'hints': ['x', 'v']},
]
QUESTIONS = [record['prompt'] for record in RECORDS]


def tools(said, width=12):
  """A policy that says said[context][sample], else 0."""

  def reply(text, i):
    answers = said.get(text, '0')
    return answers[min(i, len(answers) - 1)]

  def judge(text, record):
    return None if text == '?' else float(text == record['answer'])

  return scripted.Scripted(reply, judge, RECORDS, columns=6, width=width)


def collect(plan, lent, state=None):
  prompts = scripted.ask(*QUESTIONS, width=lent.width)
  state = plan.init(SPEC) if state is None else state
  return plan.collect(lent, prompts, state, KEY)


def shown(rollouts):
  """context>response of every row."""
  content = rollouts.content
  prompts = scripted.ask(*QUESTIONS).replace(
    tokens=content.prompt, mask=content.prompt_mask
  )
  pairs = zip(scripted.contexts(prompts), scripted.words(rollouts))
  return [f'{asked}>{said}' for asked, said in pairs]


def plan_of(name, **values):
  """The plan of a recipe, with its words behind each other."""
  phrases = {
    'igrpo': '{prompt}{draft}',
    'critique_grpo': '{prompt}{response}{critique}',
  }
  values = {'phrase': phrases.get(name, '{prompt}{hint}'), **values}
  if name == 'critique_grpo':
    values = {'right': '!', 'wrong': '?', **values}
  values['samples'] = 2
  return recipes.build(name, **values).plan


HALF = {'qab': '0r', 'e': '0e', 'vm': 'v'}


def test_ghpo_shows_more_of_the_solution_until_somebody_is_right():
  lent = tools(HALF)
  rollouts, scores, _ = collect(plan_of('ghpo'), lent)
  assert shown(rollouts) == [
    *('qab>0', 'qab>r', 'e>0', 'e>e'),
    *('uijk>0', 'uijk>0', 'vm>v', 'vm>v'),
  ]
  assert scores.components[:, 0].tolist() == [0, 1, 0, 1, 0, 0, 1, 1]
  assert rollouts.group.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
  assert rollouts.task.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
  assert lent.notes == {'plan/retried': 0.75, 'plan/too_long': 0}


def test_as_many_prompts_are_asked_as_a_few_programs_are_compiled_for():
  lent = tools(HALF)
  collect(plan_of('ghpo'), lent)
  # All, then three groups as four, two as two, one as one.
  assert [len(asked) for asked in lent.asked] == [4, 4, 2, 1]


def test_groups_are_asked_with_keys_that_no_neighbour_changes():
  seen = []

  class Lent(scripted.Scripted):
    def generate(self, prompts, key, samples, *, most=0, uids=None):
      seen.append(
        (scripted.contexts(prompts), uids, jax.random.key_data(key).tolist())
      )
      return super().generate(prompts, key, samples)

  for said in (HALF, HALF | {'q': 'r'}):
    lent = tools(said)
    own = Lent(lent.reply, lent.judge, RECORDS, columns=6, width=12)
    collect(plan_of('ghpo', shares=(0.25,)), own)
  (_, _, first), (asked, uids, key), _, (fewer, own_uids, same) = seen
  assert asked[:3] == ['qa', 'ui', 'vm'] and fewer == ['ui', 'vm']
  assert uids[2:6].tolist() == own_uids.tolist() == [4, 5, 6, 7]
  assert key == same != first


def test_a_row_keeps_the_log_probs_it_was_sampled_with():
  rollouts, _, _ = collect(plan_of('ghpo'), tools(HALF))
  mask = np.asarray(rollouts.response_mask)
  said = np.where(mask, -np.asarray(rollouts.content.response) / 10, 0)
  np.testing.assert_allclose(rollouts.logp, said, rtol=1e-6)


def test_scaf_grpo_replaces_one_failure_by_the_smallest_hint_that_helps():
  plan = plan_of('scaf_grpo', levels=3, after=0)
  lent = tools({'q': '0', 'qz': 'r', 'e': '0e', 'vv': 'v'})
  rollouts, scores, _ = collect(plan, lent)
  assert shown(rollouts) == [
    *('qz>r', 'q>0', 'e>0', 'e>e'),
    *('u>0', 'u>0', 'vv>v', 'v>0'),
  ]
  assert scores.components[:, 0].tolist() == [1, 0, 0, 1, 0, 0, 1, 0]
  assert not plan.contract.one_prompt


def test_nobody_is_asked_again_in_the_first_iterations():
  plan = plan_of('scaf_grpo', levels=3, after=1)
  said = {'qx': 'r'}
  rollouts, _, state = collect(plan, tools(said))
  assert shown(rollouts)[0] == 'q>0'
  rollouts, _, _ = collect(plan, tools(said), state)
  assert shown(rollouts)[0] == 'qx>r'


def test_sage_asks_the_policy_for_hints():
  plan = plan_of('sage', ask='{prompt}{level}{solution}', levels=2)
  said = {'q1abcd': 'h', 'q2abcd': 'k', 'qk': 'r', 'e': 'e'}
  said |= {'v1mnop': 'k', 'vk': 'v'}
  rollouts, _, _ = collect(plan, tools(said))
  assert shown(rollouts)[:4] == ['qk>r', 'qk>r', 'e>e', 'e>e']
  assert shown(rollouts)[6:] == ['vk>v', 'vk>v']


def test_a_request_for_a_hint_over_the_budget_gives_none():
  plan = plan_of('sage', ask='{prompt}{level}{solution}', levels=1)
  lent = tools({'q1abcd': 'h'}, width=5)
  assert shown(collect(plan, lent)[0])[0] == 'q>0'


def test_igrpo_shows_the_first_best_draft_whether_right_or_not():
  said = {'q': 'ab', 'e': 'xe', 'qa': 'r'}
  rollouts, _, _ = collect(plan_of('igrpo'), tools(said))
  assert shown(rollouts)[:4] == ['qa>r', 'qa>r', 'ee>0', 'ee>0']


def test_the_best_draft_is_that_of_the_whole_reward():
  class Lent(scripted.Scripted):
    def verify(self, rollouts, texts=None, rows=None):
      rollouts, scores = super().verify(rollouts)
      form = jnp.asarray([text == 'b' for text in scripted.words(rollouts)])
      return rollouts, Scores(
        jnp.stack([scores.components[:, 0], form * 1.0], 1), jnp.ones(2)
      )

  lent = tools({'q': 'ab'})
  lent = Lent(lent.reply, lent.judge, RECORDS, columns=6, width=12)
  assert shown(collect(plan_of('igrpo'), lent)[0])[0] == 'qb>0'


def test_a_draft_that_could_not_be_judged_is_not_shown():
  said = {'q': '?b', 'qb': 'r'}
  rollouts, _, _ = collect(plan_of('igrpo'), tools(said))
  assert shown(rollouts)[:2] == ['qb>r', 'qb>r']


def test_a_refinement_that_could_not_be_judged_is_not_taken():
  plan = plan_of('critique_grpo', wrong='w{answer}')
  lent = tools({'q': 'ab', 'qawr': '?', 'qbwr': 'c'})
  rollouts, _, _ = collect(plan, lent)
  assert shown(rollouts)[2] == 'q>c' and rollouts.valid[2]


def test_critique_grpo_adds_the_best_refinement_as_an_answer_to_the_question():
  plan = plan_of('critique_grpo', wrong='?{answer}')
  said = {'q': 'ab', 'qb?r': 'r', 'e': 'e', 'ee!': 'k'}
  rollouts, scores, _ = collect(plan, tools(said))
  assert shown(rollouts)[:6] == ['q>a', 'q>b', 'q>r', 'e>e', 'e>e', 'e>k']
  assert scores.components[:6, 0].tolist() == [0, 0, 1, 1, 1, 0]
  assert rollouts.group.tolist() == np.repeat(np.arange(4), 3).tolist()
  offline = np.asarray(rollouts.extras['offline'])
  assert offline.tolist() == [False, False, True] * 4
  assert plan.contract.samples == 3 and plan.contract.one_prompt


def test_critique_grpo_refines_by_what_the_policy_reasons_out():
  ask = '{prompt}{response}{verdict}:'
  said = {'q': 'ab', 'qa?:': 'j', 'qaj': 'r', 'qb?:': 'k', 'ee!:': 'm'}
  lent = tools(said)
  rollouts, _, _ = collect(plan_of('critique_grpo', ask=ask), lent)
  assert shown(rollouts)[:3] == ['q>a', 'q>b', 'q>r']
  assert lent.asked[1][:2] == ['qa?:', 'qb?:']
  assert lent.asked[2][:2] == ['qaj', 'qbk']
  # Where there is no room to ask, the verdict is the critique.
  lent = tools(said | {'qa?': 'r'}, width=3)
  rollouts, _, _ = collect(plan_of('critique_grpo', ask=ask), lent)
  assert lent.asked[2][:2] == ['qa?', 'qb?']
  assert shown(rollouts)[2] == 'q>r'


def test_a_refinement_is_scored_under_its_question():
  class Lent(scripted.Scripted):
    def score(self, rollouts, *needs):
      stats = super().score(rollouts)
      # As if log-probs were of the prompt's length.
      length = jnp.sum(rollouts.content.prompt_mask, 1, keepdims=True)
      return stats.replace(logp=jnp.where(stats.logp < 0, -length * 1.0, 0))

  lent = tools({})
  lent = Lent(lent.reply, lent.judge, RECORDS, columns=6, width=40)
  rollouts, _, _ = collect(plan_of('critique_grpo'), lent)
  assert float(rollouts.logp[2, 0]) == -1
  np.testing.assert_array_equal(rollouts.extras['log_mass'][2], 0)
  # Its neighbours stay as they were sampled.
  np.testing.assert_allclose(rollouts.logp[0, 0], -2.7, rtol=1e-6)


def test_what_does_not_fit_leaves_the_group_as_it_is_and_is_counted():
  lent = tools(HALF, width=2)
  rollouts, _, _ = collect(plan_of('ghpo'), lent)
  # A quarter fits, half does not.
  assert shown(rollouts)[:2] == ['qa>0', 'qa>0']
  assert shown(rollouts)[6:] == ['vm>v', 'vm>v']
  assert lent.notes['plan/too_long'] == 2
  lent = tools({}, width=1)
  rollouts, _, _ = collect(plan_of('critique_grpo'), lent)
  assert rollouts.valid.tolist() == [True, True, False] * 4
  assert not np.any(rollouts.extras['offline'])
  assert lent.notes == {'plan/retried': 0.0, 'plan/too_long': 4}


def test_one_of_several_prompts_may_fit():
  plan = plan_of('critique_grpo')
  lent = tools({'q': ['abc', 'd'], 'qd?': 'r'}, width=3)
  rollouts, _, _ = collect(plan, lent)
  assert shown(rollouts)[2] == 'q>r'
  assert lent.notes['plan/too_long'] == 1


def never(rewards, valid):
  del valid
  return np.zeros(len(rewards), bool)


def test_without_a_group_to_ask_it_is_the_plan_inside():
  inner = sampled.independent(samples=2)
  change = functools.partial(hints.tier, phrase='{prompt}{hint}')
  plan = retried.Retried(inner, never, change)
  found = collect(plan, tools(HALF))[:2]
  jax.tree.map(
    np.testing.assert_array_equal, found, collect(inner, tools(HALF), ())[:2]
  )


def test_a_row_whose_verifier_failed_is_no_success_and_no_best_one():
  plan = plan_of('scaf_grpo', levels=1, after=0)
  lent = tools({'q': '?0', 'qx': '?', 'u': '?', 'ux': 'n'})
  rollouts, _, _ = collect(plan, lent)
  assert shown(rollouts)[:2] == ['q>?', 'q>0']
  assert shown(rollouts)[4] == 'ux>n'
  assert rollouts.valid.tolist()[:2] == [False, True]


def test_state_counts_iterations_and_holds_that_of_the_plan_inside():
  plan = plan_of('ghpo')
  state = plan.init(SPEC)
  _, _, after = collect(plan, tools(HALF), state)
  assert int(after[0]) == 1 and after[1] == state[1] == ()
  assert after[0].dtype == state[0].dtype


def check(plan, *records):
  for refuse in plan.contract.checks:
    refuse(records)


@pytest.mark.parametrize(
  ('name', 'field'),
  [('ghpo', 'solution'), ('scaf_grpo', 'hints'), ('sage', 'solution')],
)
def test_questions_without_what_hints_are_made_of_are_refused(name, field):
  plan = plan_of(name)
  check(plan, *RECORDS)
  bare = {'prompt': 'a', field: ''}
  with pytest.raises(ValueError, match=f'1 of 5 .* "{field}".* \'a\'; add it'):
    check(plan, *RECORDS, bare)


def test_a_plan_that_asks_in_several_wordings_is_refused():
  several = recipes.build('ps_grpo').plan
  plan = retried.Retried(several, never, hints.tier)
  with pytest.raises(ValueError, match='in 4 wordings'):
    _ = plan.contract


def test_extras_that_rows_asked_again_lack_are_named():
  inner = notes.noted(sampled.independent(samples=2), notes.Answers())
  plan = plan_of('ghpo')
  plan = retried.Retried(inner, plan.when, plan.change)
  with pytest.raises(ValueError, match=r"the extras \['answer'\]"):
    collect(plan, tools(HALF))


def test_a_sampler_that_records_candidates_cannot_learn_them_elsewhere():
  class Lent(scripted.Scripted):
    def generate(self, *args, **kwargs):
      rollouts = super().generate(*args, **kwargs)
      none = jnp.full((*rollouts.logp.shape, 2), -1)
      return rollouts.replace(extras={**rollouts.extras, 'support': none})

  lent = tools({})
  lent = Lent(lent.reply, lent.judge, RECORDS, columns=6, width=40)
  with pytest.raises(ValueError, match='set sample.support = 0'):
    collect(plan_of('critique_grpo'), lent)
