"""Notes that run a model, with a model that is a function of tokens."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm import digests
from jaxrl_llm.notes import base as notes
from jaxrl_llm.notes import passes
from jaxrl_llm.plans import sampled
from jaxrl_llm.types import Spec
from tests.plans import scripted

SPEC = Spec(2, 1, 3, 4, tasks=3)


def test_prompts_are_read_as_responses_to_their_first_token():
  rollouts = scripted.answer(scripted.ask('abc', 'x'), ['q', 'r'], 4)
  rows, shift = passes.as_responses(rollouts)
  assert shift.tolist() == [0, 2]
  assert scripted.words(rows) == ['bc', '']
  assert [scripted.decode(t) for t in np.asarray(rows.content.prompt)] == [
    'a',
    'x',
  ]


def test_prompt_logp_stands_at_the_prompts_own_tokens():
  tools = scripted.Scripted(lambda text, i: '')
  rollouts = scripted.answer(scripted.ask('abc', 'yz'), ['q', 'r'], 4)
  extras, _ = passes.PromptLogp().write(tools, rollouts, None, ())
  logp = -np.array(scripted.encode('bcz')) / 10
  expected = [[0, logp[0], logp[1]], [0, 0, logp[2]]]
  np.testing.assert_allclose(extras['prompt_logp'], expected, rtol=1e-6)


def test_a_prompt_of_one_token_has_nothing_to_predict():
  tools = scripted.Scripted(lambda text, i: '')
  rollouts = scripted.answer(scripted.ask('a', 'b'), ['q', 'r'], 4)
  extras, _ = passes.PromptLogp().write(tools, rollouts, None, ())
  assert extras['prompt_logp'].tolist() == [[0], [0]]


class Moving(scripted.Scripted):
  """A policy whose log-probs are scaled by `scale`."""

  scale = 1.0

  def score(self, rollouts, *needs):
    stats = super().score(rollouts, *needs)
    return stats.replace(logp=self.scale * stats.logp)


def visit(tools, state, *answers, scale=1.0, tasks=(0, 1)):
  tools.scale = scale
  prompts = scripted.ask(*['abc'] * len(answers))
  rollouts = scripted.answer(prompts, answers, 4)
  rollouts = rollouts.replace(task=jnp.asarray(tasks, jnp.int32))
  extras, state = passes.Drift().write(tools, rollouts, None, state)
  return extras['drift'], state


def test_drift_is_zero_first_and_then_the_mean_change_of_the_last_response():
  tools = Moving(lambda text, i: '')
  state = passes.Drift().init(SPEC)
  first, state = visit(tools, state, 'ab', 'c')
  assert first.tolist() == [0, 0]
  second, state = visit(tools, state, 'z', 'z', scale=3.0)
  # Tokens of 'ab' and the end have log-probs -0.1, -0.2, 0, and thrice that.
  expected = [(0.2 + 0.4 + 0) / 3, (0.6 + 0) / 2]
  np.testing.assert_allclose(second, expected, rtol=1e-5)
  # What is remembered now was said by the policy as it is now.
  third, _ = visit(tools, state, 'a', 'a', scale=3.0)
  np.testing.assert_allclose(third, [0, 0], atol=1e-6)


def test_a_task_that_is_not_visited_is_not_forgotten():
  tools = Moving(lambda text, i: '')
  state = passes.Drift().init(SPEC)
  _, state = visit(tools, state, 'ab', 'c', tasks=(0, 2))
  drift, _ = visit(tools, state, 'a', 'a', scale=2.0, tasks=(1, 2))
  np.testing.assert_allclose(drift, [0, 0.3 / 2], rtol=1e-5)


def test_the_last_valid_row_of_a_task_is_remembered():
  rng = np.random.default_rng(0)
  memory = {'x': jnp.zeros((5, 2)), 'y': jnp.zeros(5, jnp.int32)}
  task = rng.integers(0, 5, 12)
  valid = rng.random(12) < 0.6
  rows = {
    'x': rng.standard_normal((12, 2)).astype(np.float32),
    'y': np.arange(12, dtype=np.int32),
  }
  expected = {name: np.array(value) for name, value in memory.items()}
  for row in range(12):
    if valid[row]:
      for name in expected:
        expected[name][task[row]] = rows[name][row]
  found = passes.remembered(memory, rows, jnp.asarray(task), jnp.asarray(valid))
  jax.tree.map(np.testing.assert_array_equal, found, expected)


class Taught(scripted.Scripted):
  def teachers(self, rollouts):
    logp = self.score(rollouts).logp
    return jnp.stack([logp, 2 * logp], axis=-1)


def test_the_first_teacher_teaches_and_all_constrain():
  tools = Taught(lambda text, i: '')
  rollouts = scripted.answer(scripted.ask('a'), ['bc'], 3)
  taught, _ = passes.Teacher().write(tools, rollouts, None, ())
  np.testing.assert_array_equal(taught['teacher_logp'], rollouts.logp)
  held, _ = passes.Constraints(2).write(tools, rollouts, None, ())
  np.testing.assert_array_equal(
    held['constraint_logp'][..., 1], 2 * rollouts.logp
  )
  with pytest.raises(ValueError, match='names 2 policies, .* weighs 3'):
    passes.Constraints(3).write(tools, rollouts, None, ())


def test_coverage_is_the_mean_share_of_the_demonstrations_words():
  records = ({'demonstration': 'a b'}, {'demonstration': 'c'})
  said = {'q': ['a', 'b a'], 'r': ['c', 'd']}
  lent = scripted.Scripted(
    lambda text, i: said[text][i],
    lambda text, record: len(text) / 4,
    records,
    columns=4,
  )
  plan = notes.noted(sampled.independent(samples=2), passes.Coverage())
  state = plan.init(Spec(4, 2, 1, 4))
  rollouts, _, _ = plan.collect(
    lent, scripted.ask('q', 'r'), state, jax.random.key(0)
  )
  extras = rollouts.extras
  np.testing.assert_allclose(extras['coverage'], [0.75, 0.75, 0.5, 0.5])
  np.testing.assert_allclose(
    extras['demonstration_reward'], [0.75, 0.75, 0.25, 0.25]
  )


@pytest.mark.parametrize(
  ('text', 'demonstration', 'share'),
  [('a b', 'a b', 1), ('a', 'a a b', 0.5), ('x', 'a', 0), ('', '', 1)],
)
def test_words_covered_counts_different_words(text, demonstration, share):
  assert passes.words_covered(text, demonstration) == share


class Distributed(scripted.Scripted):
  """A policy and a teacher that find c likeliest after every prefix, then b."""

  def score(self, rollouts, *needs):
    stats = super().score(rollouts)
    rows = jnp.log(jnp.array([0.1, 0.05, 0.25, 0.6]))
    log_probs = jnp.broadcast_to(rows, (*stats.logp.shape, 4))
    seen = digests.seen(rollouts, rollouts.content.response)
    return stats.replace(digests=digests.made(needs, log_probs, seen))

  taught = score


def test_a_teacher_names_what_it_finds_likely():
  tools = Distributed(lambda text, i: '')
  rollouts = scripted.answer(scripted.ask('a'), ['b'], 3)
  said, _ = passes.TeacherCandidates(2).write(tools, rollouts, None, ())
  # 'b' and the end count, the third column does not.
  assert said['candidates'].tolist() == [[[3, 2], [3, 2], [0, 0]]]
  assert said['candidates'].dtype == jnp.int32
  expected = [[np.log([0.6, 0.25]), np.log([0.6, 0.25]), [0, 0]]]
  np.testing.assert_allclose(said['teacher_candidates'], expected, rtol=1e-6)
  with pytest.raises(ValueError, match='at least 1'):
    passes.TeacherCandidates(0)


def test_the_policy_names_what_it_finds_likely_itself():
  tools = Distributed(lambda text, i: '')
  rollouts = scripted.answer(scripted.ask('a'), ['b'], 3)
  said, _ = passes.OwnCandidates(3).write(tools, rollouts, None, ())
  assert said.keys() == passes.OwnCandidates.provides
  assert said['candidates'][0, :2].tolist() == [[3, 2, 0], [3, 2, 0]]
  with pytest.raises(ValueError, match='at least 1'):
    passes.OwnCandidates(0)
