import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm import recipes, types
from jaxrl_llm.plans import proposed
from jaxrl_llm.tasks.environments import Opening, Step
from tests.plans import scripted
from tests.recipes import cases

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


class Shelf:
  """Says of a letter what stands behind it; anything else is an end."""

  def __init__(self, opens=False):
    self.opens, self.asked = opens, []

  def reset(self, rows):
    self.asked.append([row['prompt'] for row in rows])
    return [Opening('', '') if self.opens else '' for _ in rows]

  def step(self, states, actions):
    return [
      Step('', f'<{BEHIND[said]}>', done=False)
      if said in BEHIND
      else Step('', done=True)
      for said in actions
    ]


BEHIND = {'x': 'y', 'y': 'z'}
# What is said to each context: proposals to documents, and their answers.
SPEECH = {
  'da': ['x'],
  'dax<y>': ['q:y'],
  'db': ['r:y'],
  'dc': ['q:q'],
  'dd': ['x'],
  'ddx<y>': ['x'],
  'q': ['x', 'y', 'x', 'z'],
  'qx<y>': ['y', 'x'],
  'qy<z>': ['z'],
  'r': ['y'] * 4,
  'ry<z>': ['y'],
}


class Speech(scripted.Scripted):
  """Says to a context what `SPEECH` has, one after the other."""

  def __init__(self, environment):
    records = [{'prompt': f'd{x}', 'answer': '', 'n': x} for x in 'abcd']
    super().__init__(
      None,
      lambda text, row: float(text == row['answer']),
      records=records,
      columns=24,
      environment=environment,
      width=2,
    )
    self.agents, self.judged = [], None

  def generate(self, prompts, key, samples, **how):
    raise AssertionError('episodes are played')

  def turn(self, rollouts, kept, key, *, most, going, agents):
    self.agents.append({*np.asarray(agents).tolist()})
    prompts = scripted.prefixes.as_prompts(rollouts, rollouts.length)
    contexts = [text.replace('\n', '') for text in scripted.contexts(prompts)]
    count = {}
    said = []
    for text in contexts:
      choices = SPEECH.get(text, ['!'])
      said.append(choices[count.get(text, 0) % len(choices)])
      count[text] = count.get(text, 0) + 1
    return scripted.answer(prompts, said, most), None

  def verify(self, rollouts, texts=None, rows=None):
    self.judged = list(zip(texts, [row['answer'] for row in rows]))
    return super().verify(rollouts, texts, rows)


def searched(environment):
  tools = Speech(environment)
  prompts = scripted.ask('da', 'db', 'dc', 'dd')
  prompts = prompts.replace(extras={'hops': jnp.array([2.0, 2, 1, 2])})
  plan = proposed.Proposed(4, f'{__name__}:parse', phase=0, turns=2)
  return tools, *plan.collect(tools, prompts, jnp.int32(0), KEY)[:2]


@pytest.mark.parametrize('opens', [False, True])
def test_in_turns_both_search_before_they_ask_and_answer(opens):
  """What is searched is told; what is said last is asked or judged."""
  shelf = Shelf(opens)
  tools, rows, scores = searched(shelf)
  assert tools.agents == [{1}, {1}, {0}, {0}]
  # No question: one that names its answer, and a search at the end.
  assert shelf.asked[1] == np.repeat(['q', 'r', 'dc', 'dd'], 4).tolist()
  assert tools.judged[:4] == [('y', 'y'), ('z', 'y'), ('x', 'y'), ('z', 'y')]
  found = np.asarray(scores.components[:, 0]).reshape(4, 5)
  assert found[:, 0].tolist() == [0.25, 1, 0, 0]
  valid = np.asarray(rows.valid).reshape(4, 5)
  assert valid[:, 0].all()
  assert valid[:, 1:].all(axis=1).tolist() == [True, True, False, False]
  assert not valid[2:, 1:].any()
  # The first searched and read its answer, the second did neither.
  form = np.asarray(rows.extras['form']).reshape(4, 5)
  np.testing.assert_allclose(form[:, 0], [1, 1 / 3, 0, 0], rtol=1e-6)
  assert not form[:, 1:].any()
  said = scripted.words(rows)
  assert said[0].replace('\n', '') == 'x<y>q:y'


def test_only_what_was_drawn_is_learned_from_searches():
  _, rows, _ = searched(Shelf())
  masks = np.asarray(rows.action_mask), np.asarray(rows.response_mask)
  heard = np.asarray(rows.content.response)[0][masks[1][0] & ~masks[0][0]]
  assert scripted.decode(heard) == '<y>'


def test_turns_ask_for_an_environment():
  assert not proposed.Proposed().contract.asks
  contract = proposed.Proposed(turns=3).contract
  assert contract.asks == {'environment'} and contract.turns == 3
  with pytest.raises(ValueError, match='recipe.turns is 0'):
    proposed.Proposed(turns=0)


def ranked(rewards, alike, epsilon=1e-6):
  """f64[N]: in units of the spread of those alike, 0 where one is alone."""
  found = np.zeros(len(rewards))
  for key in set(alike):
    rows = [i for i, other in enumerate(alike) if other == key]
    own = np.array([rewards[i] for i in rows], np.float64)
    if len(own) > 1:
      found[rows] = (own - own.mean()) / (own.std(ddof=1) + epsilon)
  return found


@pytest.mark.parametrize(
  'hops', [(2, 2, 1, 2), (2, 2, 2, 2), (1, 2, 3, 4)], ids=str
)
def test_the_entry_credits_searches_as_the_paper_does(hops):
  """Read off the texts in float64: equation 3, hops, and answers by question.

  The first question is answered right by one of four, the second by all, the
  third names its answer and the fourth is none.
  """
  tools = Speech(Shelf())
  prompts = scripted.ask('da', 'db', 'dc', 'dd')
  prompts = prompts.replace(extras={'hops': jnp.array(hops, jnp.float32)})
  recipe = recipes.build(
    'dr_zero', solvers=4, parse=f'{__name__}:parse', phase=0, turns=2
  )
  rows, scores, _ = recipe.plan.collect(tools, prompts, jnp.int32(0), KEY)
  spec = types.Spec(20, 5, 2, 24, tasks=4, component_names=('score',))
  program = cases.program_of(recipe)
  credit, _, _ = program.assign(recipe.credit.init(spec), rows, scores)

  right = np.array([[1, 0, 0, 0], [1, 1, 1, 1]], np.float64)
  searches, read = (1, 0), ('dax<y>', 'db')
  earned = []
  for i, answers in enumerate(right):
    k, n, answer = answers.sum(), 4, 'y'
    searched = min((1 + searches[i]) / hops[i], 1) if searches[i] else 0
    searched = searched or float(hops[i] == 1)
    form = (1 + searched + (answer in read[i])) / 3
    earned.append(0.5 * form + ((n - k) / (n - 1) if 0 < k < n else 0))
  wanted = np.zeros((4, 5))
  wanted[:, 0] = ranked([*earned, 0.0, 0.0], hops)
  for i, answers in enumerate(right):
    wanted[i, 1:] = ranked(answers, [0] * 4)
  mask = np.asarray(rows.loss_mask)
  np.testing.assert_allclose(
    credit.advantages, wanted.reshape(-1, 1) * mask, atol=2e-6
  )
  # What was heard is learned by nobody.
  assert not mask[0, 2:5].any() and mask[0, :2].all() and mask[0, 5:].any()
