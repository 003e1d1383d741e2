"""A pipelined run: rows one step old, work that overlaps, exact resumption."""

import contextlib
import dataclasses
import time
import zlib

import jax
import numpy as np
import pytest

from jaxrl_llm.problems.text import assembly
from jaxrl_llm.tasks import verify
from jaxrl_llm.training import checkpoint, keys, loop, writers
from tests import thinned
from tests.end_to_end import processes, tiny

STEPS = 5


class Judge:
  """Verifiers whose scores are a number of each text; `meanwhile` first."""

  def __init__(self, meanwhile=lambda: None):
    self.names, self.weights = ('exact',), (1.0,)
    self._meanwhile = meanwhile

  def score(self, texts, rows):
    del rows
    self._meanwhile()
    numbers = [zlib.crc32(text.encode()) % 7 / 6 for text in texts]
    counts = {f'verify/{kind}': 0 for kind in verify.KINDS}
    counts['verify/errors'] = sum(map(len, texts))
    scores = np.array(numbers, np.float32)[:, None]
    return verify.Verdict(scores, np.ones(len(texts), bool), counts)

  def close(self):
    pass


def config_of(recipe='grpo', **settings):
  config = tiny.get_config(recipe)
  config.warm_start.steps = 0
  config.steps = STEPS
  config.eval.every = 0
  config.optimizer.learning_rate = 0.03
  config.update_from_flattened_dict({'pipeline': 1} | settings)
  return config


@contextlib.contextmanager
def assembled(folder, judge=None, **settings):
  """The parts of a run, with a judge of its own, and its parameters."""
  parts, params = assembly.assemble(config_of(**settings), folder)
  parts.close()
  answering = dataclasses.replace(parts.answering, verifiers=judge or Judge())
  yield dataclasses.replace(parts, answering=answering), params


def copied(tree):
  return jax.tree.map(np.array, tree)


def logp_of(parts, params, rollouts):
  stats = jax.jit(parts.program.scorer, static_argnums=2)(
    params, rollouts, frozenset()
  )
  return np.where(rollouts.action_mask, stats.logp, 0)


def test_rows_are_of_the_policy_before_the_last_step(tmp_path):
  with assembled(tmp_path) as (parts, params):
    state, policies, found = loop.begin(parts, params), [], []
    for step in range(3):
      policies.append(copied(state.params))
      state, metrics, (rollouts, *_) = loop.iterate(parts, state, step)
      found.append((metrics, rollouts))
    for step, (metrics, rollouts) in enumerate(found):
      sampler = policies[max(step - 1, 0)]
      own = logp_of(parts, sampler, rollouts)
      # Two programs for one sum in float32.
      np.testing.assert_allclose(own, rollouts.logp, atol=1e-4)
      again = parts.answering.generate(
        sampler,
        parts.train.prompts(np.asarray(rollouts.task)[::4]),
        keys.key_for(parts.config.seed, step, keys.Purpose.SAMPLE),
        4,
      )
      np.testing.assert_array_equal(
        again.content.response, rollouts.content.response
      )
      gap = np.abs(logp_of(parts, policies[step], rollouts) - own).max()
      np.testing.assert_allclose(metrics['sampler/gap_max'], gap, atol=1e-4)
      assert (gap > 1e-2) == (step > 0)


def test_the_learner_ends_while_the_verifier_still_waits(tmp_path):
  learned, overlapped = [], []

  def wait():
    """Returns once the learner is done, which a run in turn never would."""
    end = time.monotonic() + 60
    while learned and not learned[-1].is_ready():
      assert time.monotonic() < end, 'the learner waits for the verifier'
      time.sleep(0.001)
    overlapped.append(len(learned))

  with assembled(tmp_path, Judge(wait)) as (parts, params):

    def learn(*args):
      state, metrics = parts.compiled.learn(*args)
      learned.append(metrics['loss'])
      return state, metrics

    compiled = parts.compiled._replace(learn=learn)
    run = dataclasses.replace(parts, compiled=compiled)
    state = loop.begin(run, params)
    for step in range(3):
      state, _, _ = loop.iterate(run, state, step)
  # Nothing is learned before the first rows; then each batch waits for one.
  assert overlapped == [0, 1, 2, 3]


def test_what_is_counted_goes_with_the_rows(tmp_path):
  with assembled(tmp_path) as (parts, params):
    state = loop.begin(parts, params)
    for step in range(2):
      state, metrics, (rollouts, *_) = loop.iterate(parts, state, step)
      texts = parts.tokenizer.batch_decode(
        [
          [t for t in row[mask] if t != parts.tokenizer.eos_token_id]
          for row, mask in zip(
            np.asarray(rollouts.content.response),
            np.asarray(rollouts.response_mask),
          )
        ],
        skip_special_tokens=False,
      )
      assert metrics['verify/errors'] == sum(map(len, texts))


def train(folder, judge=None, **settings):
  """A run as the command makes it, in this process; its final state."""
  with assembled(folder, judge, **settings) as (parts, params):
    state, step = loop.begin(parts, params), None
    saver = checkpoint.Checkpointer(folder / 'checkpoints')
    restored = saver.restore(state)
    if restored:
      state, step = restored.state, restored.step or None
    run = writers.Run(folder, total_steps=STEPS, resume_step=step, quiet=True)
    with contextlib.closing(run), contextlib.closing(saver):
      return loop.train(parts, state, run, saver)


class Failing(Judge):
  """A judge that raises when it is asked for the n-th time."""

  def __init__(self, calls):
    super().__init__(self._count)
    self._left = calls

  def _count(self):
    self._left -= 1
    if self._left == 0:
      raise RuntimeError('the judge is out of ink')


@pytest.mark.parametrize(
  'settings',
  thinned.every(
    3,
    [
      {},
      {'recipe': 'dapo', 'recipe.minibatches': 2, 'recipe.buffer': 2.0},
      # Its plan remembers rates of success, of which the curriculum hears too.
      {'recipe': 'knapsack'},
    ],
  ),
)
def test_a_run_that_failed_ends_as_if_it_had_not(settings, tmp_path):
  train(tmp_path / 'whole', **settings)
  # While rows of a later iteration are made and the learner is at work.
  with pytest.raises(RuntimeError, match='out of ink'):
    train(tmp_path / 'failed', Failing(4), **settings)
  assert processes.state_of(tmp_path / 'failed')[0] == 2
  train(tmp_path / 'failed', **settings)
  processes.assert_same_run(tmp_path / 'failed', tmp_path / 'whole')
  _, state = processes.state_of(tmp_path / 'whole')
  assert any('waiting' in name for name in state)


@pytest.mark.slow
def test_a_longer_run_goes_on_from_a_shorter_one(tmp_path):
  train(tmp_path / 'whole')
  train(tmp_path / 'longer', steps=2)
  train(tmp_path / 'longer')
  processes.assert_same_run(tmp_path / 'longer', tmp_path / 'whole')
