"""Each step of a search is routed to a knowledge base, and learns of its own.

  python -m experiments.sweep --all \\
      --study=experiments/ablations/routed_steps.py

R1-Router (arXiv 2505.22095) claims that rewards of single steps, compared among
answers to one step behind one history (Step-GRPO), teach a policy what to ask
next and where, better than the outcome of the episode.

A question is of one of eight kinds and is answered in three steps. In both of
the first the policy says a sub-question, of four, and one of four knowledge
bases; if both are right, and those before were, the fact is found. The last
step is an answer of two symbols of four: one pair is right, and it can be known
only where both facts were found, else it is one of 16 by chance. The policy is
a table of logits for kind, step, and whether all facts were found so far, 0 at
first. 16 questions, 8 answers to each of their steps an iteration, 150
iterations, Adam at 0.05. A step earns half a point for its sub-question and
half for its base, the last one point for a right answer. `step_grpo, recorded`
learns behind the steps that the data holds, which are right, and `step_grpo,
own lead` behind one episode of the policy; the others are GRPO of 8 whole
episodes, of their outcome alone and of the sum of what their steps earned.
Measured on whole episodes of the policy itself: how many are right, and first
facts that are found. Expected: recorded steps first, since all steps are
learned at once; behind an own lead a step is learned once those before it are;
the sum, of which every step of an episode learns, later; the outcome alone,
which is a lucky guess where nothing is found, hardly.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.ablations import tables
from experiments.ablations.study import Figure, over
from jaxrl_llm.tabular import policy

KINDS, STEPS, VOCAB, COLUMNS = 8, 3, 4, 2
QUESTIONS, SAMPLES, ITERATIONS, EVERY, LATE = 16, 8, 150, 5, 10
LEARNERS = (
  'step_grpo, recorded',
  'step_grpo, own lead',
  'grpo of the sum',
  'grpo of the outcome',
)
# What is right in each step of each kind: sub-question and base, or the answer.
RIGHT = np.random.default_rng(0).integers(0, VOCAB, (KINDS, STEPS, COLUMNS))

FIGURE = Figure(
  y='right', x='iteration', series='learner', title='routed step by step'
)


def cells():
  return over(learner=LEARNERS, seed=range(5))


def turn(params, key, kind, step, found, *, samples=1):
  """Rows of one step, what they earn, and whether all facts are found then.

  Args:
    kind, found: [N], the history of a row. step: which of `STEPS`.
  """
  row = (kind * STEPS + step) * 2 + found
  said = policy.sample(params, key, row, samples=samples)
  kind, found = (jnp.repeat(x, samples) for x in (kind, found))
  hit = said.content.response == jnp.asarray(RIGHT)[kind, step]
  if step < STEPS - 1:
    return said, hit.mean(axis=1), found & hit.all(axis=1)
  # Without the facts the answer is any of 16, whatever is said.
  guess = jax.random.randint(jax.random.fold_in(key, 1), kind.shape, 0, 16)
  right = jnp.where(found, hit.all(axis=1), guess == 0)
  return said, right * 1.0, right


def episodes(params, key, kind):
  """Every step of an episode of each kind: rows, pay, and facts found."""
  found, told = jnp.ones(kind.shape, bool), []
  for step in range(STEPS):
    key, draw = jax.random.split(key)
    said, pay, found = turn(params, draw, kind, step, found)
    told.append((said, pay, found))
  return told


def behind(params, key, kind, recorded):
  """`SAMPLES` answers to each step of a leading episode, and their pay."""
  lead, key = jax.random.split(key)
  led = episodes(params, lead, kind)
  before = [jnp.ones(kind.shape, bool), *(found for _, _, found in led[:-1])]
  told = []
  for step in range(STEPS):
    key, draw = jax.random.split(key)
    found = before[0] if recorded else before[step]
    said, pay, _ = turn(params, draw, kind, step, found, samples=SAMPLES)
    told.append((said, pay))
  return told


def joined(told):
  """Rows of a question adjacent, and what each earned."""
  rows = [said.replace(group=jnp.zeros_like(said.group)) for said, _ in told]
  pay = [pay for _, pay in told]

  def together(*parts):
    each = [x.reshape(QUESTIONS, SAMPLES, *x.shape[1:]) for x in parts]
    both = jnp.stack(each, axis=1)
    return both.reshape(-1, *both.shape[3:])

  count = QUESTIONS * STEPS * SAMPLES
  place = jnp.arange(count, dtype=jnp.int32)
  both = jax.tree.map(together, *rows).replace(group=place // (STEPS * SAMPLES))
  return both, together(*pay), place


def run(seeds, *, learner):
  """Episodes of the policy itself that are right along training."""
  own = learner.startswith('step_grpo')
  program = tables.program_of(
    'step_grpo' if own else 'grpo',
    tx=optax.adam(0.05),
    kl_weight=0.0,
    **({'turns': STEPS} if own else {'samples': SAMPLES}),
  )

  def train(key):
    start = {
      'logits': jnp.zeros(
        (KINDS * STEPS * 2, policy.states(VOCAB, COLUMNS), 4)
      ),
      'values': jnp.zeros((1, policy.states(VOCAB, COLUMNS))),
    }

    def step(state, key):
      ask, draw, look, update = jax.random.split(key, 4)
      kind = jax.random.randint(ask, (QUESTIONS,), 0, KINDS)
      if own:
        told = behind(state.params, draw, kind, learner.endswith('recorded'))
        made, pay, place = joined(told)
        # Each is a trajectory of one step, as behind any leading episode.
        made = made.with_extras(
          step=place // SAMPLES % STEPS, trajectory=place, step_reward=pay
        )
      else:
        whole = episodes(state.params, draw, jnp.repeat(kind, SAMPLES))
        made, pay, place = joined([(said, pay) for said, pay, _ in whole])
        by_step = pay.reshape(QUESTIONS, STEPS, SAMPLES)
        outcome = by_step[:, -1] if 'outcome' in learner else by_step.sum(1)
        pay = jnp.broadcast_to(outcome[:, None], by_step.shape).reshape(-1)
        # Steps of one number are compared, and have the outcomes of episodes.
        made = made.replace(group=place // SAMPLES)
      state, _ = tables.learn(program, state, made, pay, update)
      seen = episodes(state.params, look, jnp.repeat(kind, SAMPLES))
      return state, (jnp.mean(seen[-1][2]), jnp.mean(seen[0][2]))

    prompts = QUESTIONS if own else QUESTIONS * STEPS
    state = tables.begin(program, start, prompts=prompts)
    return jax.lax.scan(step, state, jax.random.split(key, ITERATIONS))[1]

  right, first = tables.over_seeds(train, seeds)
  steps = np.arange(EVERY, ITERATIONS + 1, EVERY)
  return {
    'iteration': np.tile(steps, (len(right), 1)),
    'right': right[:, EVERY - 1 :: EVERY],
    'at the end': right[:, -LATE:].mean(axis=1),
    'over training': right.mean(axis=1),
    'first fact over training': first.mean(axis=1),
  }
