"""Whose dialogues a turn is learned in: REFUEL's own against recorded ones.

  python -m experiments.sweep --all \\
      --study=experiments/ablations/refuel_histories.py

REFUEL (arXiv 2410.04612) claims that a policy of many turns must learn each
turn in dialogues that it leads itself: recorded dialogues are of another
distribution than those it will meet, and the last turn alone is too little.

Dialogues of 5 turns of 3 choices, a table with a row per history; the return is
the mean of a normal reward of each turn after its history, the reference the
softmax of normal logits times 2, so that most of its dialogues are few. Each
iteration takes 32 dialogues up to a turn and lets the policy go on twice from
there: `refuel`, scale 4, regresses the turn's log-ratios on the difference of
returns. Learners differ in who led the dialogue so far, the policy (`own`) or
the reference (`recorded`), and in the turn, any or the last, whose dialogues
are the reference's either way. Measured: the exact expected return along
training, relative to the best dialogue's. Expected: any turn in own dialogues
highest.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.ablations import tables
from experiments.ablations.study import Figure, over
from jaxrl_llm.tabular import policy

CHOICES, TURNS, DIALOGUES, STEPS, EVERY = 3, 5, 32, 300, 15
EVERY_DIALOGUE, MASK = policy.all_responses(CHOICES, TURNS)

FIGURE = Figure(
  y='share of the best return',
  x='iteration',
  series='learner',
  title='expected return, by whose dialogues are learned from',
)


def cells():
  learners = ['any, own', 'any, recorded', 'last, recorded']
  return over(learner=learners, seed=range(6))


def resumed(params, key, history, turn):
  """i32[N, TURNS]: dialogues that go on from a turn of the histories."""

  def step(node, inputs):
    key, said, column = inputs
    chosen = jax.random.categorical(key, params['logits'][0, node])
    token = jnp.where(column < turn, said, chosen)
    return CHOICES * node + token + 1, token

  keys = jax.random.split(key, TURNS)
  start = jnp.zeros(len(turn), jnp.int32)
  columns = jnp.arange(TURNS)
  return jax.lax.scan(step, start, (keys, history.T, columns))[1].T


def run(seeds, *, learner):
  """Expected return along training."""
  which, leader = learner.split(', ')
  program = tables.program_of(
    'refuel', tx=optax.sgd(1.0), scale=4.0, minibatches=1
  )
  everything = policy.as_rollouts(EVERY_DIALOGUE, MASK)

  def train(key):
    worth_key, ref_key, learn = jax.random.split(key, 3)
    shape = (policy.states(CHOICES, TURNS), CHOICES)
    worth = jax.random.normal(worth_key, shape)
    ref = policy.init(ref_key, tasks=1, vocab=CHOICES, length=TURNS, scale=2.0)

    def returned(dialogues):
      nodes = policy.prefix_states(dialogues, CHOICES)
      return jnp.mean(worth[nodes, dialogues], axis=1)

    def step(state, key):
      turn_key, lead, go_on, update = jax.random.split(key, 4)
      turn = jax.random.randint(turn_key, (DIALOGUES,), 0, TURNS)
      turn = turn if which == 'any' else jnp.full(DIALOGUES, TURNS - 1)
      led = state.params if leader == 'own' else ref
      nothing = jnp.zeros((DIALOGUES, TURNS), jnp.int32)
      history = resumed(led, lead, nothing, jnp.zeros_like(turn))
      turn, history = (jnp.repeat(x, 2, axis=0) for x in (turn, history))
      dialogues = resumed(state.params, go_on, history, turn)
      rollouts = policy.as_rollouts(
        dialogues, jnp.ones(dialogues.shape), group=jnp.arange(len(turn)) // 2
      )
      columns = jnp.broadcast_to(jnp.arange(TURNS), dialogues.shape)
      rollouts = rollouts.replace(extras={'turn': columns, 'resampled': turn})
      rewards = returned(dialogues)
      state, _ = tables.learn(program, state, rollouts, rewards, update)
      chance = jnp.exp(jnp.sum(policy.score(state.params, everything).logp, 1))
      return state, chance @ returned(EVERY_DIALOGUE)

    state = tables.begin(program, ref, prompts=DIALOGUES)
    path = jax.lax.scan(step, state, jax.random.split(learn, STEPS))[1]
    return path / jnp.max(returned(EVERY_DIALOGUE))

  share = tables.over_seeds(train, seeds)
  steps = np.arange(EVERY, STEPS + 1, EVERY)
  return {
    'iteration': np.tile(steps, (len(seeds), 1)),
    'share of the best return': share[:, EVERY - 1 :: EVERY],
    'mean share': share.mean(1),
    'final share': share[:, -1],
  }
