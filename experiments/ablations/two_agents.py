"""A main agent and its sub-agent learn together, each with its own parameters.

  python -m experiments.sweep --all --study=experiments/ablations/two_agents.py

M-GRPO (arXiv 2511.13288) claims that training main and sub-agents together is
better and more stable than a frozen sub-agent, with rewards normalised for each
apart, and with as many calls of sub-agents in every episode, some repeated or
left out.

A question is of one of eight kinds. The main agent says how often its sub-agent
is called, up to three times. Each call answers in two symbols of four, one pair
of which is right for the kind. The episode is right if one of the answers is,
and each call costs 0.1. Main agent and sub-agent are tables of logits of their
own, 0 at first. 16 questions of 8 episodes an iteration, 100 iterations, Adam
at 0.05. `m_grpo` pays a right call 0.5 and aligns to two calls; `not aligned`
counts each call once; `outcome alone` pays none; `sub-agent frozen` trains the
main one alone, `main agent frozen` the sub-agent; `one baseline` is GRPO of the
same rewards, where all turns on a question are compared. Measured: episodes
that are right, their mean over training and in the last ten iterations, and
calls. Expected: together better than either alone, apart faster than beside one
baseline, and alignment neither gains nor costs much, since a table has no use
for a batch of one size.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.ablations import tables
from experiments.ablations.study import Figure, over
from jaxrl_llm.plans import aligned
from jaxrl_llm.tabular import policy

KINDS, VOCAB, COLUMNS, CALLS = 8, 4, 2, 3
MAIN, COST, PAY = 0, 0.1, 0.5
QUESTIONS, SAMPLES, STEPS, EVERY, LATE = 16, 8, 100, 5, 10
# What differs from the entry in each learner.
LEARNERS: dict[str, dict[str, float]] = {
  'm_grpo': {},
  'not aligned': {'aligned': 0.0},
  'outcome alone': {},
  'sub-agent frozen': {},
  'main agent frozen': {},
  'one baseline': {},
}

FIGURE = Figure(
  y='right',
  x='iteration',
  series='learner',
  title='a main agent and its sub-agent',
)


def cells():
  return over(learner=tuple(LEARNERS), seed=range(5))


def episodes(params, key, kind):
  """Rows of main agent and calls, whether each episode was right, and calls."""
  first, second = jax.random.split(key)
  count = len(kind) * SAMPLES
  told = policy.sample(
    params, first, jnp.full(len(kind), MAIN), samples=SAMPLES
  )
  calls = jnp.minimum(told.content.response[:, 0], CALLS)
  said = policy.sample(params, second, 1 + kind, samples=SAMPLES * CALLS)
  target = jnp.stack([kind % VOCAB, (3 * kind + 1) % VOCAB], axis=1)
  wanted = jnp.repeat(target, SAMPLES * CALLS, axis=0)
  good = (said.content.response == wanted).all(axis=1).reshape(count, CALLS)
  made = jnp.arange(CALLS) < calls[:, None]
  good &= made
  # Each episode's rows stand together, the main agent's first.
  both = jax.tree.map(
    lambda x, y: jnp.concatenate(
      [x[:, None], y.reshape(count, CALLS, *y.shape[1:])], axis=1
    ).reshape(-1, *x.shape[1:]),
    told,
    said,
  )
  place = jnp.arange(count * (1 + CALLS), dtype=jnp.int32)
  step = place % (1 + CALLS)
  column = jnp.arange(COLUMNS)
  mask = (step[:, None] > 0) | (column == 0)
  nobody = jnp.zeros((count, 1), bool)
  pay = PAY * jnp.concatenate([nobody, good], axis=1).reshape(-1)
  both = both.replace(
    response_mask=mask,
    action_mask=mask,
    logp=jnp.where(mask, both.logp, 0.0),
    group=place // (SAMPLES * (1 + CALLS)),
    valid=jnp.concatenate([~nobody, made], axis=1).reshape(-1),
    extras={
      'trajectory': place // (1 + CALLS) % SAMPLES,
      'step': step,
      'agent': (step > 0).astype(jnp.int32),
      'step_reward': pay,
    },
  )
  return both, good.any(axis=1), calls


def run(seeds, *, learner):
  """Episodes that are right along training."""
  one = learner == 'one baseline'
  values: dict[str, Any] = {'turns': 1 + CALLS, 'calls': 2}
  values |= {'samples': SAMPLES, **LEARNERS[learner]}
  if one:
    values = {'kl_weight': 0.0, 'samples': SAMPLES * (1 + CALLS)}
  program = tables.program_of(
    'grpo' if one else 'm_grpo',
    tx=optax.adam(0.05),
    minibatches=1,
    **values,
  )

  def train(key):
    nodes = policy.states(VOCAB, COLUMNS)
    start = {
      'logits': jnp.zeros((1 + KINDS, nodes, VOCAB)),
      'values': jnp.zeros((1, nodes)),
    }

    def step(state, key):
      ask, draw, align, update = jax.random.split(key, 4)
      kind = jax.random.randint(ask, (QUESTIONS,), 0, KINDS)
      made, right, calls = episodes(state.params, draw, kind)
      copies = aligned.copies(made, align, calls=2)
      made = made.with_extras(copies=copies)
      frozen = {'sub-agent frozen': 1, 'main agent frozen': 0}.get(learner, -1)
      paid = made.extras['step_reward'] * (learner != 'outcome alone')
      own = made.valid & (made.extras['agent'] != frozen)
      paid = jnp.where(own, paid, 0.0)
      outcome = jnp.repeat(right - COST * calls, 1 + CALLS)
      total = jnp.repeat(paid.reshape(-1, 1 + CALLS).sum(axis=1), 1 + CALLS)
      reward = outcome + (paid if one else total)
      made = made.replace(valid=own).with_extras(step_reward=paid)
      state, _ = tables.learn(program, state, made, reward, update)
      return state, (jnp.mean(right), jnp.mean(calls * 1.0))

    state = tables.begin(program, start, prompts=QUESTIONS)
    return jax.lax.scan(step, state, jax.random.split(key, STEPS))[1]

  right, calls = tables.over_seeds(train, seeds)
  steps = np.arange(EVERY, STEPS + 1, EVERY)
  return {
    'iteration': np.tile(steps, (len(right), 1)),
    'right': right[:, EVERY - 1 :: EVERY],
    'at the end': right[:, -LATE:].mean(axis=1),
    'over training': right.mean(axis=1),
    'calls': calls[:, -LATE:].mean(axis=1),
  }
