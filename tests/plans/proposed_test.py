import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm.plans import proposed
from tests.plans import scripted

KEY = jax.random.key(0)
# What is proposed to each document, and how its solvers answer.
PROPOSALS = {'da': 'q:x', 'db': 'no:', 'dc': 'r:y', 'dd': 'toolong:z'}
ANSWERS = {'q': 'xxyz', 'r': 'zzzz', 'db': 'zzzz', 'dd': 'zzzz'}


def parse(text):
  """A question before a colon, and its answer behind."""
  question, colon, answer = text.partition(':')
  return (question, answer) if colon else None


def reply(text, i):
  return PROPOSALS[text] if text in PROPOSALS and i == 0 else ANSWERS[text][i]


def judge(text, record):
  """None, a verifier that fails, where a record has no answer."""
  return float(text == record['answer']) if 'answer' in record else None


class Tools(scripted.Scripted):
  """Asks documents once and questions several times."""

  def generate(self, prompts, key, samples, **how):
    if samples == 1:
      return super().generate(prompts, key, samples, **how)
    self.asked.append(scripted.contexts(prompts))
    said = [
      ANSWERS[text][i]
      for text in scripted.contexts(prompts)
      for i in range(samples)
    ]
    return scripted.answer(prompts, said, self.columns, samples=samples)


def documents():
  """Tools whose records, documents, have no answers."""
  return Tools(
    reply,
    judge,
    records=[{'prompt': document} for document in PROPOSALS],
    columns=12,
    width=2,
  )


@pytest.fixture(scope='module')
def made():
  tools = documents()
  prompts = scripted.ask(*PROPOSALS, width=2)
  prompts = prompts.replace(extras={'hops': jnp.array([1.0, 2, 1, 3])})
  plan = proposed.Proposed(solvers=4, parse=f'{__name__}:parse', phase=0)
  return tools, *plan.collect(tools, prompts, jnp.int32(0), KEY)[:2]


def test_a_group_is_a_proposal_and_its_solvers(made):
  tools, rows, _ = made
  assert tools.asked == [list(PROPOSALS), ['q', 'db', 'r', 'dd']]
  said = np.array(scripted.words(rows)).reshape(4, 5)
  assert said[:, 0].tolist() == list(PROPOSALS.values())
  assert said[0, 1:].tolist() == list('xxyz')
  assert rows.group.tolist() == np.repeat(range(4), 5).tolist()
  asked = scripted.contexts(
    scripted.Prompts(
      rows.content.prompt, rows.content.prompt_mask, rows.task, rows.domain
    )
  )
  assert asked[:6] == ['da', 'q', 'q', 'q', 'q', 'db']


def test_the_share_of_right_solvers_is_the_score_of_a_proposal(made):
  _, _, scores = made
  found = np.asarray(scores.components[:, 0]).reshape(4, 5)
  assert found[:, 0].tolist() == [0.5, 0, 0, 0]
  assert found[0, 1:].tolist() == [1, 1, 0, 0]


def test_without_a_question_in_the_budget_solvers_do_not_count(made):
  tools, rows, _ = made
  valid = np.asarray(rows.valid).reshape(4, 5)
  assert valid[:, 0].all()
  assert valid[:, 1:].all(axis=1).tolist() == [True, False, True, False]
  assert valid[:, 1:].any(axis=1).tolist() == [True, False, True, False]
  form = np.asarray(rows.extras['form']).reshape(4, 5)
  assert form[:, 0].tolist() == [1, 0, 1, 0] and not form[:, 1:].any()
  assert tools.notes == {'plan/proposed': 0.5, 'plan/solved': 0.125}


def test_proposals_are_compared_by_hops_and_answers_by_question(made):
  _, rows, _ = made
  compared = np.asarray(rows.extras['compared']).reshape(4, 5)
  assert compared[0, 0] == compared[2, 0]
  assert len({*compared[:, 0]}) == 3
  assert (compared[:, 1:] == compared[:, 1:2]).all()
  assert len({*compared[:, 1], *compared[:, 0]}) == 7
  mark = np.asarray(rows.extras['proposed']).reshape(4, 5)
  assert mark[:, 0].all() and not mark[:, 1:].any()


def test_what_reads_proposals_is_there_before_a_run():
  with pytest.raises(ValueError, match="parse 'nowhere:f'"):
    proposed.Proposed(parse='nowhere:f')


def test_proposer_and_solver_are_two_agents_who_learn_in_turns():
  """Each for two iterations, the proposer first; both are asked in all."""
  tools = documents()
  prompts = scripted.ask(*PROPOSALS, width=2)
  prompts = prompts.replace(extras={'hops': jnp.ones(4)})
  plan = proposed.Proposed(solvers=4, parse=f'{__name__}:parse', phase=2)
  state, who = plan.init(None), []
  for _ in range(5):
    rows, scores, state = plan.collect(tools, prompts, state, KEY)
    agent, valid = np.asarray(rows.extras['agent']), np.asarray(rows.valid)
    np.testing.assert_array_equal(agent, rows.extras['proposed'])
    who.append({*agent[valid].tolist()})
    shares = np.asarray(scores.components[agent == 1, 0])
    np.testing.assert_array_equal(shares, [0.5, 0, 0, 0])
  assert who == [{1}, {1}, {0}, {0}, {1}]
  with pytest.raises(ValueError, match='recipe.phase is -1'):
    proposed.Proposed(phase=-1)
