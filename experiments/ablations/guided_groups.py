"""Groups without a success, asked again with hints, drafts or critiques.

  python -m experiments.sweep --all \\
      --study=experiments/ablations/guided_groups.py

GHPO (arXiv 2507.10628), Scaf-GRPO (2510.19807) and SAGE (2602.03143) claim that
a hint, where all of a group fail, makes signal of questions that GRPO learns
nothing from; iGRPO (2602.09000) and Critique-GRPO (2506.03106) that refining
drafts is worth its samples; ARPO (2505.16282) that earlier successes are worth
showing again where there is none; DaGRPO (2512.06337) that an expert's answer
anchors the group there, and that pairs which are alike are better left out.

The plans of the recipes themselves, on a policy that reads. 16 questions are
answered by words of 4 symbols of 6, of which one is right; what is learned is
logits of each question's places, normal at first, so that one answer in 1,000
to 2,500 is right. A symbol that the prompt shows at a place gets 4 added to its
logit there, one that a critique calls wrong 4 less: so hints are read from the
start, and what is learned with them carries over. SAGE's hints are what this
policy writes when it is shown as many symbols of the solution as the level
says. DaGRPO's anchor is the right answer, and its quality the share of right
symbols, of which pairs have to differ by 0.1. Adam at 0.05, 150 iterations of
all questions; groups of 8, GRPO also of 16, as many as iGRPO and Critique-GRPO
draw. Measured: the mean chance of the right answer without hints, exact, along
training; and groups with a success. Expected: hints first, by far; drafts and
replays help once there is a success.
"""

import functools
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.ablations import tables
from experiments.ablations.study import Figure, over
from jaxrl_llm import recipes
from jaxrl_llm.tabular import policy
from jaxrl_llm.training.step import Program
from jaxrl_llm.types import Prompts, Scores, Spec, Stats

TASKS, LENGTH, VOCAB, STEPS, EVERY = 16, 4, 6, 150, 10
SHOWN, RATE = 4.0, 0.05
LETTERS = 'abcdef'
LEARNERS = {
  'grpo': {'kl_weight': 0.0},
  'grpo of 16': {'kl_weight': 0.0, 'samples': 16},
  'ghpo': {},
  'scaf_grpo': {'after': 0, 'minibatches': 1},
  'sage': {'minibatches': 1},
  'sage_light': {'minibatches': 1},
  'igrpo': {},
  'arpo_replay': {'minibatches': 1},
  'dagrpo': {},
  'critique_grpo': {'right': 'right', 'wrong': 'wrong', 'minibatches': 1},
}
FIGURE = Figure(
  y='right',
  x='iteration',
  series='learner',
  title='chance of the right answer without hints',
)


def cells():
  return over(learner=list(LEARNERS), seed=range(3))


def logits(params, rows):
  """f32[N, LENGTH, VOCAB]: what was learned, and what the prompt shows.

  The prompt holds a number for each place: 0 for nothing, v + 1 for symbol v,
  -v - 1 for one that is called wrong.
  """
  shown = rows.content.prompt
  told = jax.nn.one_hot(jnp.abs(shown) - 1, VOCAB) * jnp.sign(shown)[..., None]
  return params[rows.task] + SHOWN * told


def score(params, rows, needs=frozenset()):
  del needs
  said = jax.nn.log_softmax(logits(params, rows))
  response = rows.content.response[..., None]
  return Stats(
    logp=jnp.take_along_axis(said, response, axis=-1)[..., 0],
    entropy=-jnp.sum(jnp.exp(said) * said, axis=-1),
  )


@functools.partial(jax.jit, static_argnames='samples')
def answers(params, prompts, key, uids, samples):
  """Rows [N] that the policy says; each by its own key."""
  rows = prompts.task.shape[0] * samples
  shown, task = (
    jnp.repeat(x, samples, axis=0) for x in (prompts.tokens, prompts.task)
  )
  empty = policy.as_rollouts(
    jnp.zeros((rows, LENGTH), jnp.int32),
    jnp.ones((rows, LENGTH), bool),
    task=task,
    group=jnp.arange(rows, dtype=jnp.int32) // samples,
  )
  empty = empty.replace(
    content=empty.content.replace(prompt=shown, prompt_mask=shown != 0),
    extras={'log_mass': jnp.zeros((rows, LENGTH))},
  )
  keys = jax.vmap(jax.random.fold_in, (None, 0))(key, uids)
  said = jax.vmap(jax.random.categorical)(keys, logits(params, empty))
  content = empty.content.replace(response=said.astype(jnp.int32))
  found = empty.replace(content=content)
  return found.replace(logp=score(params, found).logp)


def alike(text, answer):
  """The share of symbols that are those of the answer."""
  return sum(a == b for a, b in zip(text, answer)) / len(answer)


class Lent:
  """What these plans are lent, see `plans.lent.Tools`.

  The policy, and questions whose answers are words.
  """

  columns, components = LENGTH, ('right', 'quality')

  def __init__(self, params, records, graded=False):
    self.params, self.records, self.graded = params, records, graded

  def responses(self, texts):
    return [[LETTERS.index(v) for v in text] for text in texts]

  def prompts(self, tasks, texts):
    tokens = jnp.asarray([read(text) for text in texts], jnp.int32)
    task = jnp.asarray(tasks, jnp.int32)
    return Prompts(tokens, tokens != 0, task, jnp.zeros_like(task))

  def fits(self, tasks, texts):
    return [True for _ in texts]

  def generate(self, prompts, key, samples, *, most=0, uids=None):
    del most
    if uids is None:
      uids = np.arange(prompts.task.shape[0] * samples)
    return answers(self.params, prompts, key, uids, samples)

  def decode(self, rollouts):
    said = np.asarray(rollouts.content.response)
    return [''.join(LETTERS[v] for v in row) for row in said]

  def rows(self, tasks):
    return [self.records[task] for task in np.asarray(tasks)]

  def verify(self, rollouts, texts=None, rows=None):
    pairs = zip(self.decode(rollouts), self.rows(rollouts.task))
    shares = [alike(text, row['answer']) for text, row in pairs]
    quality = jnp.asarray(shares, jnp.float32)
    right = (quality == 1) * 1.0
    if not self.graded:
      return rollouts, tables.scores_of(right)
    both = jnp.stack([right, quality], axis=1)
    return rollouts, Scores(both, jnp.array([1.0, 0.0]))

  def score(self, rollouts, *needs):
    return score(self.params, rollouts)

  def note(self, name, value):
    del name, value


def read(text):
  """What the words of a prompt show at each place, see `logits`."""
  words, level, sign = re.findall('[a-f]+', text), LENGTH, 1
  if asked := re.match(r'hint (\d):', text):
    level, words = int(asked[1]), words[-1:]
  elif 'wrong' in text:
    sign = -1
  word = next((w for w in words if len(w) <= LENGTH), '')
  shown = [sign * (LETTERS.index(v) + 1) for v in word[:level]]
  return shown + [0] * (LENGTH - len(shown))


def world(seed):
  """Logits f32[TASKS, LENGTH, VOCAB], the right symbols, and the records."""
  start, draw = jax.random.split(jax.random.key(seed))
  params = jax.random.normal(start, (TASKS, LENGTH, VOCAB))
  right = jax.random.randint(draw, (TASKS, LENGTH), 0, VOCAB)
  words = [''.join(LETTERS[v] for v in row) for row in np.asarray(right)]
  records = [
    {
      'prompt': str(task),
      'answer': word,
      'solution': word,
      'demonstration': word,
      'hints': [word[: i + 1] for i in range(LENGTH)],
    }
    for task, word in enumerate(words)
  ]
  return params, right, records


@jax.jit
def chance(params, right):
  """f32[TASKS]: of the right answer, without anything shown."""
  said = jax.nn.log_softmax(params)
  logp = jnp.take_along_axis(said, right[..., None], axis=-1)
  return jnp.exp(jnp.sum(logp, axis=(1, 2)))


def train(seed, name, values):
  """Chances and the share of groups with a success, after each iteration."""
  params, right, records = world(seed)
  program = Program(recipes.build(name, **values), score, optax.adam(RATE))
  plan, iterate = program.recipe.plan, jax.jit(program.iterate)
  samples = plan.contract.samples
  graded = name == 'dagrpo'
  names = Lent.components[: 1 + graded]
  spec = Spec(
    *(TASKS * samples, samples, LENGTH, LENGTH),
    tasks=TASKS,
    component_names=names,
  )
  state, memory = program.init(params, spec), plan.init(spec)
  prompts = Lent(params, records).prompts(np.arange(TASKS), ['-'] * TASKS)
  found = []
  for step in range(STEPS):
    key = jax.random.fold_in(jax.random.key(seed), step)
    sample, learn = jax.random.split(key)
    lent: Any = Lent(state.params, records, graded)
    rows, scores, memory = plan.collect(lent, prompts, memory, sample)
    state, _, _, _ = iterate(state, {}, rows, scores, learn)
    earned = np.asarray(scores.components)[:, 0].reshape(TASKS, samples)
    solved = earned.any(axis=1)
    found.append((float(chance(state.params, right).mean()), solved.mean()))
  return found


def run(seeds, *, learner):
  """Chances along training, and how often there was something to learn."""
  name = learner.split()[0]
  found = np.array([train(int(s), name, LEARNERS[learner]) for s in seeds])
  steps = np.arange(EVERY, STEPS + 1, EVERY)
  chances, solved = found[..., 0], found[..., 1]
  return {
    'iteration': np.tile(steps, (len(found), 1)),
    'right': chances[:, EVERY - 1 :: EVERY],
    'final': chances[:, -1],
    'over training': chances.mean(axis=1),
    'groups with a success, first 30': solved[:, :30].mean(axis=1),
  }
