"""What a recipe's own plan says of its responses makes a difference.

The battery feeds made-up extras. Here a recipe runs the plan that it has, and
the numbers that come of it must matter: were they the same for all rows, the
credit would be another.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_llm import digests, reads, recipes
from jaxrl_llm.plans import by_turn, recorded
from jaxrl_llm.tasks import environments
from jaxrl_llm.types import Scores, Spec, Stats
from tests import thinned
from tests.plans import scripted
from tests.recipes import cases

QUESTIONS = ('qa', 'qb', 'qab', 'qba', 'qaa', 'qbb')
COLUMNS = 24
# Answers, lists, calls of a tool with and without words before, and too long.
SAYINGS = (
  *('a', 'b', 'hm a', 'b a\nb', '72', '7\n2', 'ab ba', 'hm hm hm hm 72'),
  *('<short>a', '<think>b'),
)
RECORD = {
  'prompt': 'q',
  'wordings': ['qq', 'qqq', 'qqqq'],
  'answers': ['b', 'a', 'b', 'a'],
  'digits': {'a': '7', 'b': '2'},
  'answer': 'b\na',
  'demonstration': 'b a',
}
KEY = jax.random.key(0)
# A mark that the sayings have, and the phase that reads everything.
VALUES = {
  'a_lol': {'first': 0},
  'funrl': {'end': ' '},
  'graphrag_r1': {'formal': 0},
  'prime': {'rounds': 1},
  'dr_zero': {'parse': 'tests.recipes.extras_test:question', 'phase': 0},
}
# Behind a leading episode a step is an episode, and earns what that does; the
# plan of the same rows over HTTP has several to an episode.
PLANS = {'step_grpo': by_turn.Steps()}


def question(text):
  """As wide as ours, with its answer; nothing where somebody hesitates."""
  return None if 'hm' in text else ('qqq', 'a')


def _built(name):
  return recipes.build(name, **VALUES.get(name, {}))


def _needed(name):
  """The extras that a recipe's credit reads, passes of the loop left out."""
  read = reads.reads_of(recipes.build(name).credit)
  return sorted(reads.provided(read, 'plan'))


class Tools(scripted.Scripted):
  """A policy that says anything, and a model that changes between rounds."""

  def __init__(self, plan):
    self.rng = np.random.default_rng(0)
    super().__init__(
      reply=lambda text, i: self.rng.choice(SAYINGS),
      records=[RECORD | {'prompt': q} for q in QUESTIONS],
      columns=_columns(plan),
      environment=environments.Lookup(),
      components=('exact', *plan.contract.scores),
    )
    self.round = 0

  def tempered(self, prompts, key, samples, heat):
    del heat
    return self.generate(prompts, key, samples)

  def varied(self, prompts, key, samples, *, swing, scale):
    del swing, scale
    rollouts = self.generate(prompts, key, samples)
    return rollouts, jnp.ones_like(rollouts.logp)

  tasks = len(QUESTIONS)

  def questions(self, tasks):
    return scripted.ask(*(QUESTIONS[task] for task in tasks))

  def draw(self):
    return scripted.ask(*QUESTIONS)

  def tell(self, scores):
    assert len(scores) == self.tasks

  def rival(self, prompts, key, samples):
    return self.generate(prompts, key, samples)

  def masked(self, prompts, key, samples, *, share, least):
    del share, least
    return self.generate(prompts, key, samples)

  def opponent(self, prompts, key, samples, share):
    del share
    return self.generate(prompts, key, samples)

  def ahead(self, rollouts, scores, key):
    del rollouts, scores, key
    return self

  def verify(self, rollouts, texts=None, rows=None):
    del texts, rows
    shape = rollouts.valid.shape[0], len(self.components)
    scores = self.rng.integers(0, 2, shape).astype(np.float32)
    return rollouts, Scores(jnp.asarray(scores), jnp.ones(shape[1]))

  def score(self, rollouts, *needs):
    stats = super().score(rollouts, *needs)
    made = self._digests(rollouts, needs, np.random.default_rng(3))
    # Thousandths of a nat, and more for some rows than for others: were all
    # far, or all near, every drift would count as the same one.
    far = 1e-3 * (1 + jnp.arange(stats.logp.shape[0]) % 8)[:, None]
    logp = stats.logp * (1 + far * self.round)
    return Stats(logp=logp, entropy=stats.entropy, digests=made)

  def referred(self, rollouts, *needs):
    return self.taught(rollouts, *needs)

  def hidden_square(self, rollouts):
    return 2e3 * (rollouts.content.response % 5)

  def rated(self, rollouts, scores):
    noise = self.rng.standard_normal(rollouts.content.response.shape)
    return jnp.asarray(noise, jnp.float32)

  def taught(self, rollouts, *needs):
    made = self._digests(rollouts, needs, self.rng)
    return self.score(rollouts).replace(digests=made)

  def _digests(self, rollouts, needs, rng):
    shape = *rollouts.content.response.shape, len(scripted.LETTERS) + 1
    log_probs = jax.nn.log_softmax(rng.standard_normal(shape))
    seen = digests.seen(rollouts, rollouts.content.response)
    return digests.made(needs, jnp.asarray(log_probs, jnp.float32), seen)

  def teachers(self, rollouts):
    logp = -0.1 * (1 + rollouts.content.response % 7)
    return jnp.stack([logp, 2 * logp[:, ::-1]], axis=-1)


def _columns(plan):
  """Tokens of a response, with those that the plan writes into it."""
  return COLUMNS + max(map(len, plan.contract.written), default=0)


def _collected(plan, spec):
  """The second iteration of a plan: the questions have come before."""
  tools, state = Tools(plan), plan.init(spec)
  prompts = scripted.ask(*QUESTIONS)
  rng = np.random.default_rng(1)
  prompts = prompts.replace(
    extras={
      name: jnp.asarray(3 * rng.random(len(QUESTIONS)))
      for name in plan.contract.columns
    }
  )
  if isinstance(plan, recorded.Recorded):
    prompts = prompts.replace(extras={**prompts.extras, **_recorded(plan)})
  for tools.round in range(2):
    rollouts, scores, state = plan.collect(tools, prompts, state, KEY)
  return rollouts, scores


def _recorded(plan):
  """Columns of responses that the data holds, of 1 to 3 letters each."""
  shape = len(QUESTIONS), plan.samples, COLUMNS
  length = np.arange(shape[0] * shape[1]).reshape(shape[:2]) % 3 + 1
  mask = np.arange(COLUMNS) < length[..., None]
  return {
    'recorded': jnp.asarray(np.where(mask, 1, 0)),
    'recorded_mask': jnp.asarray(mask),
    'recorded_score': jnp.zeros(shape[:2]),
    'recorded_cut': jnp.zeros(shape[:2], bool),
  }


def _with_passes(rollouts, needs):
  """The rollouts with what the loop itself would compute."""
  rng = np.random.default_rng(2)
  shape = rollouts.content.response.shape
  logits = rng.standard_normal((*shape, len(scripted.LETTERS) + 1))
  found = {
    'old_logp': rollouts.logp,
    'ref_logp': rollouts.logp - 0.1 * rng.random(shape),
    'old_entropy': rng.random(shape),
    'old_values': rng.standard_normal(shape),
    'old_after_values': rng.standard_normal(shape),
    'old_log_probs': jax.nn.log_softmax(logits),
  }
  wanted = sorted(reads.provided(needs, 'pass'))
  seen = digests.seen(rollouts, rollouts.content.response)
  for digest in digests.among(wanted):
    found[digest] = digest.fn(found['old_log_probs'], seen)
  passes = {name: jnp.asarray(found[name], jnp.float32) for name in wanted}
  return rollouts.replace(extras={**rollouts.extras, **passes})


def _credit(recipe, spec, rollouts, scores):
  memory = recipe.credit.init(spec)
  program = cases.program_of(recipe)
  for _ in range(2):  # some remember an iteration before
    credit, memory, _ = program.assign(memory, rollouts, scores)
  return credit


@pytest.mark.parametrize(
  'name',
  thinned.every(5, [n for n in recipes.names() if _needed(n)]),
)
def test_credit_depends_on_what_the_plan_says(name):
  recipe = _built(name)
  plan = PLANS.get(name, recipe.plan)
  terms = plan.contract
  groups = len(QUESTIONS) * terms.groups
  spec = Spec(
    groups * terms.samples,
    terms.samples,
    3,
    _columns(plan),
    tasks=len(QUESTIONS),
    component_names=('exact', *terms.scores),
  )
  rollouts, scores = _collected(plan, spec)
  rollouts = _with_passes(rollouts, recipe.needs)
  credit = _credit(recipe, spec, rollouts, scores)
  for key in _needed(name):
    others = []
    for same in _alike(rollouts.extras[key]):
      dumb = rollouts.replace(extras={**rollouts.extras, key: same})
      other = _credit(recipe, spec, dumb, scores)
      others += zip(jax.tree.leaves(credit), jax.tree.leaves(other))
    assert any(not np.allclose(*pair) for pair in others), key


def _alike(said):
  """What says the same of all rows: the first of them, and the least.

  Where that is what was said, of an iteration, in another one it differs.
  """
  for one in (said.reshape(-1)[0], said.min()):
    same = jnp.broadcast_to(one, said.shape)
    yield same + 1 if jnp.all(same == said) else same
