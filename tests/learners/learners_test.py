"""What every learner keeps to."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.ablations import reader
from jaxrl_llm.catalogue.pieces import pieces
from jaxrl_llm.environments import bandit, pendulum
from jaxrl_llm.environments.base import Discrete
from jaxrl_llm.learners import (
  bandits,
  cases,
  debate,
  experiences,
  model_based,
  texts,
  trace,
)
from jaxrl_llm.learners.base import play

KEY, STEPS = jax.random.key(0), 80
TASKS = jnp.zeros(3, jnp.int32)
COINS = bandit.Bernoulli(((0.1, 0.2, 0.9),))
# How a learner is made, and where it is at home.
LEARNERS = {
  'bandits.UCB1': (bandits.UCB1, COINS),
  'bandits.BetaThompson': (bandits.BetaThompson, COINS),
  'bandits.GaussianThompson': (
    bandits.GaussianThompson,
    bandit.Gaussian(((0.1, 0.2, 0.9),), spread=0.2),
  ),
  'model_based.ModelBased': (
    functools.partial(
      model_based.ModelBased,
      members=2,
      model_widths=(8,),
      widths=(8,),
      capacity=300,
      explore=210,
      updates=1,
      batch=16,
    ),
    pendulum.Pendulum(tasks=3, horizon=20),
  ),
}
# Its networks take half a minute to compile.
each = pytest.mark.parametrize(
  'name',
  [
    pytest.param(name, marks=[pytest.mark.slow] if 'model' in name else [])
    for name in LEARNERS
  ],
)
each_bandit = pytest.mark.parametrize(
  'name', [name for name in LEARNERS if name.startswith('bandits.')]
)
# How a learner of text is made of the policy of a world.
READERS = {
  'cases.LikelyCases': lambda world: cases.LikelyCases(world.policy),
  'cases.NearestCases': lambda world: cases.NearestCases(world.policy),
  'cases.SoftCases': lambda world: cases.SoftCases(world.policy),
  'debate.Debate': lambda world: debate.Debate(world.policy, decided(world)),
  'experiences.TrainingFreeGRPO': lambda world: experiences.TrainingFreeGRPO(
    world.policy
  ),
  'trace.Opto': lambda world: traced(world),
}
each_reader = pytest.mark.parametrize('name', READERS)
played = jax.jit(play, static_argnums=(0, 1, 2), static_argnames='seeds')


@functools.cache
def history(name, key=0, seeds=2):
  make, environment = LEARNERS[name]
  return played(
    make(), environment, STEPS, jax.random.key(key), tasks=TASKS, seeds=seeds
  )


def plain(tree):
  """With keys as the numbers that they are."""

  def of(x):
    key = jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
    return jax.random.key_data(x) if key else x

  return jax.tree.map(of, tree)


def equal(found, expected):
  jax.tree.map(np.testing.assert_array_equal, plain(found), plain(expected))


def test_every_listed_learner_is_here():
  listed = {piece.name for piece in pieces() if piece.kind == 'learner'}
  assert {f'learners.{name}' for name in LEARNERS | READERS} == listed


@each
def test_play_tells_of_every_seed_step_and_row(name):
  found, (make, environment) = history(name), LEARNERS[name]
  for leaf in jax.tree.leaves(found.replace(learner=())):
    assert leaf.shape[:3] == (2, STEPS, 3)
  match environment.spec.action:
    case Discrete(count=count):
      assert found.action.dtype == jnp.int32
      assert 0 <= found.action.min() <= found.action.max() < count
    case box:
      assert found.action.shape[3:] == box.shape
      assert box.low <= found.action.min() <= found.action.max() <= box.high
  start = make().init(environment.spec, KEY)
  for new, old in zip(jax.tree.leaves(found.learner), jax.tree.leaves(start)):
    assert (new.shape, new.dtype) == ((2, *old.shape), old.dtype)


@each
def test_a_key_is_one_story(name):
  again, found = history.__wrapped__(name), history(name)
  equal(again, found)
  other = history(name, key=1)
  assert np.any(other.outcome.reward != found.outcome.reward)


@each
def test_seeds_do_not_know_of_each_other(name):
  alone, two = history(name, seeds=1), history(name)
  # Sums of products of two at once and of one may round apart.
  np.testing.assert_allclose(alone.action[0], two.action[0], atol=1e-5)
  assert np.any(two.outcome.reward[0] != two.outcome.reward[1])


@each
def test_all_that_is_known_is_in_the_state(name):
  """A learner made anew goes on from a copy of another's state."""
  make, environment = LEARNERS[name]
  seen = jax.tree.map(lambda x: x[0], history(name))

  def told(state, first, last):
    update = jax.jit(make().update)
    for t in range(first, last):
      outcome = jax.tree.map(lambda x, t=t: x[t], seen.outcome)
      state = update(state, seen.observation[t], seen.action[t], outcome)
    return jax.tree.map(jnp.copy, state)

  # The key that `play` gives to the first of its runs.
  key = jax.random.fold_in(jax.random.fold_in(KEY, 0), STEPS + 1)
  half = told(make().init(environment.spec, key), 0, STEPS // 2)
  found = told(half, STEPS // 2, STEPS)
  # Sums of rewards, one by one here and together there.
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5),
    *map(plain, (found, seen.learner)),
  )


@each_bandit
def test_the_better_action_is_found(name):
  late = history(name).outcome.reward[:, STEPS // 2 :].mean()
  # At random it is 0.4; the best pays 0.9.
  assert late > 0.6


def decided(world):
  """A judge who knows what is right, and says the last word without."""

  def judge(question, rounds, last):
    right = world.answer(question)
    known = any(right in each for each in rounds)
    return right if known else rounds[-1].negative if last else ''

  return judge


def traced(world):
  """A workflow that shows an example of the kind that is asked for."""

  def workflow(nodes, question, key):
    shown = nodes[question.value.split()[0]]
    prompt = trace.apply(lambda a, b: f'{a}\n{b}', shown, question)
    return trace.apply(lambda text: world.policy([text], key)[0], prompt)

  examples = {
    kind: [f'{kind} 31204={way("31204")}' for way in reader.WAYS]
    for kind in reader.KINDS
  }
  start = {kind: known[0] for kind, known in examples.items()}
  return trace.Opto(workflow, start, trace.Search(examples, trials=2))


@functools.cache
def practice(name, key=0):
  """States and rewards, of learners of text that practise."""
  world = reader.world(0)
  questions = world.questions(np.random.default_rng(0), 24)
  learner = READERS[name](world)
  steps = texts.practise(
    learner,
    world.judge,
    questions,
    jax.random.key(key),
    steps=12,
    batch=8,
    samples=4,
  )
  return list(steps)


@each_reader
def test_a_key_is_one_story_of_a_reader(name):
  again, found = practice.__wrapped__(name), practice(name)
  equal([rewards for _, rewards in again], [rewards for _, rewards in found])
  assert repr(again[-1][0]) == repr(found[-1][0])
  other = np.stack([rewards for _, rewards in practice(name, key=1)])
  assert np.any(other != np.stack([rewards for _, rewards in found]))


@each_reader
def test_a_reader_says_one_answer_to_each_question_and_keeps_its_state(name):
  world = reader.world(0)
  learner, state = READERS[name](world), practice(name)[-1][0]
  before = repr(state)
  asked = world.questions(np.random.default_rng(1), 5) * 2
  first, _ = learner.act(state, asked, KEY)
  again, after = learner.act(state, asked, KEY)
  assert first == again and len(first) == 10
  learner.update(after, asked, again, world.judge(asked, again))
  assert repr(state) == before


@each_reader
def test_a_frozen_policy_answers_better_in_the_end(name):
  rewards = np.stack([rewards for _, rewards in practice(name)])
  # The policy alone is right in 0.15 of its answers; the standard error of 96
  # of them is below 0.05.
  assert rewards[-3:].mean() > 0.25
