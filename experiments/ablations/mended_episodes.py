"""Imitating good episodes, and bad ones that were mended.

  python -m experiments.sweep --all \\
      --study=experiments/ablations/mended_episodes.py

Agent-R (arXiv 2501.11425) claims that imitating bad episodes, cut at their
first wrong turn, with a word that it was wrong and the rest of a good one
behind, teaches an agent to recover from errors, which good episodes alone do
not; episodes come from a tree search, which finds good ones beside bad ones.

16 tasks of 4 moves among 4, of which one is right at each place; a wrong one
leads astray, from where only a fifth action, turning back, leads on. 8 actions
at most. The policy is a table by task, place and being astray; at first the
right move is 2.7 times as likely as any other, and turning back has a chance of
one in 78. Groups of 8 episodes, Adam at 0.05, 60 iterations: `agent_r` with
mended episodes, of which the turn back and what follows are learned, from
independent episodes and from as many of a tree, two of them from each node;
without mended ones; and GRPO. Measured from 64 episodes a task: tasks done, and
done by an agent that was led astray at the first place, at the end and over
training. Expected: mended episodes teach to turn back, and the others GRPO
alone; a tree finds good ones sooner.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.ablations import tables
from experiments.ablations.study import Figure, over
from jaxrl_llm import recipes
from jaxrl_llm.plans.episode_tree import Tree
from jaxrl_llm.tabular import policy
from jaxrl_llm.training.step import Program
from jaxrl_llm.types import Spec, Stats

TASKS, PLACES, MOVES, TURNS, BACK = 16, 4, 4, 8, 4
STEPS, EVERY, RATE, TESTED = 60, 5, 0.05, 64
LEARNERS: dict[str, tuple[str, dict[str, Any]]] = {
  'agent_r': ('agent_r', {'turns': TURNS}),
  'agent_r of a tree': ('agent_r', {'turns': TURNS}),
  'agent_r, good ones alone': ('agent_r', {'turns': TURNS}),
  'grpo': ('grpo', {'kl_weight': 0.0}),
}
FIGURE = Figure(
  y='recovered',
  x='iteration',
  series='learner',
  title='tasks done by an agent that was led astray',
)


def cells():
  return over(learner=list(LEARNERS), seed=range(4))


def score(params, rows, needs=frozenset()):
  del needs
  said = jax.nn.log_softmax(params[rows.task[:, None], rows.extras['state']])
  response, mask = rows.content.response[..., None], rows.response_mask
  logp = jnp.take_along_axis(said, response, axis=-1)[..., 0]
  entropy = -jnp.sum(jnp.exp(said) * said, axis=-1)
  return Stats(
    logp=jnp.where(mask, logp, 0), entropy=jnp.where(mask, entropy, 0)
  )


def moved(state, action, right):
  """The next state; 2 place + astray, and 2 PLACES where the task is done."""
  onwards = jnp.where(action == right, state + 2, state + 1)
  back = jnp.where(action == BACK, state - 1, state)
  # Turning back on the right way leads astray as well.
  return jnp.where(state % 2 == 0, onwards, back)


@functools.partial(jax.jit, static_argnames='samples')
def played(params, right, key, samples, state=0):
  """Episodes of all tasks, from a state: actions, states, and the last one."""
  task = jnp.repeat(jnp.arange(TASKS), samples)
  state = jnp.full(len(task), state)

  def step(state, key):
    here = jnp.minimum(state, 2 * PLACES - 1)
    action = jax.random.categorical(key, params[task, here])
    there = moved(here, action, right[task, here // 2])
    there = jnp.where(state < 2 * PLACES, there, state)
    return there, (action, state)

  last, (action, states) = jax.lax.scan(
    step, state, jax.random.split(key, TURNS)
  )
  return action.T, states.T, last


def searched(params, right, key, samples):
  """The same from the prompts, most of them from nodes of a tree search."""
  first, *keys = jax.random.split(key, samples // 2)
  action, states, last = map(np.asarray, played(params, right, first, 2))
  states = np.concatenate([states, last[:, None]], axis=1)
  trees = [Tree() for _ in range(TASKS)]
  _add(trees, action, states, 0)
  for number, after in enumerate(keys, 1):
    nodes = [tree.next() for tree in trees]
    found = [i * 2 * number + episode for i, (episode, _) in enumerate(nodes)]
    source, turn = np.repeat(found, 2), np.repeat([t for _, t in nodes], 2)
    start = states[source, turn]
    more, there, end = map(
      np.asarray, played(params, right, after, 2, jnp.asarray(start))
    )
    there = np.concatenate([there, end[:, None]], axis=1)
    late = np.arange(TURNS + 1) - turn[:, None]
    there = np.where(
      late < 0, states[source], np.take_along_axis(there, abs(late), 1)
    )
    late = late[:, :-1]
    more = np.where(
      late < 0, action[source], np.take_along_axis(more, abs(late), 1)
    )
    _add(trees, more, there, 2 * number)
    action, states = (
      np.concatenate(
        [x.reshape(TASKS, -1, x.shape[1]) for x in pair], axis=1
      ).reshape(-1, pair[0].shape[1])
      for pair in ((action, more), (states, there))
    )
  return action, states[:, :-1], states[:, -1]


def _add(trees, action, states, number):
  for row, (said, seen) in enumerate(zip(action, states)):
    taken = said[seen[:-1] < 2 * PLACES]
    done = float(seen[-1] == 2 * PLACES)
    trees[row // 2].add(number + row % 2, [*map(str, taken)], done)


def mended(action, state, last):
  """Bad episodes with the rest of the first good one of their task behind.

  Returns:
    Actions, states, bool[N, T] which are learned, and which rows are good.
  """
  action, state = np.array(action), np.array(state)
  good = np.asarray(last) == 2 * PLACES
  learned = np.ones(action.shape, bool)
  samples = len(action) // TASKS
  for first in range(0, len(action), samples):
    group = np.arange(first, first + samples)
    if not good[group].any():
      continue
    model = group[good[group].argmax()]
    for row in group[~good[group]]:
      wrong = (state[row] % 2 == 1).argmax()  # astray from this turn on
      place = state[row, wrong] - 1
      start = (state[model] == place).argmax()
      ended = state[model, start:] == 2 * PLACES
      size = ended.argmax() if ended.any() else TURNS - start
      if size > TURNS - wrong - 1:
        continue  # there is no room for the rest
      rest = slice(start, start + size)
      action[row, wrong] = BACK
      learned[row, :wrong] = False
      action[row, wrong + 1 : wrong + 1 + size] = action[model, rest]
      state[row, wrong + 1 : wrong + 1 + size] = state[model, rest]
      state[row, wrong + 1 + size :] = 2 * PLACES
      good[row] = True
  return action, state, learned, good


def train(seed, learner):
  """Tasks done from the start and from astray, after each iteration."""
  name, values = LEARNERS[learner]
  program = Program(recipes.build(name, **values), score, optax.adam(RATE))
  samples = program.recipe.plan.contract.samples
  key = jax.random.key(seed)
  right = jax.random.randint(key, (TASKS, PLACES), 0, MOVES)
  moves = jax.nn.one_hot(right, MOVES + 1).at[..., BACK].set(-2.6)
  params = jnp.repeat(moves, 2, axis=1)
  spec = Spec(TASKS * samples, samples, 1, TURNS, tasks=TASKS)
  state = program.init(params, spec)
  learn = jax.jit(lambda *given: tables.learn(program, *given)[0])
  found = []
  for step in range(STEPS):
    sample, update, test = jax.random.split(jax.random.fold_in(key, step), 3)
    play = searched if learner == 'agent_r of a tree' else played
    action, states, last = play(state.params, right, sample, samples)
    given = np.ones(action.shape, bool)
    good = np.asarray(last) == 2 * PLACES
    if learner in ('agent_r', 'agent_r of a tree'):
      action, states, given, good = mended(action, states, last)
    there = jnp.asarray(states) < 2 * PLACES
    place = jnp.arange(len(good), dtype=jnp.int32) // samples
    rows = policy.as_rollouts(action, there, task=place, group=place)
    seen = jnp.minimum(jnp.asarray(states), 2 * PLACES - 1)
    rows = rows.replace(
      action_mask=there & jnp.asarray(given), extras={'state': seen}
    )
    rows = rows.replace(
      logp=jnp.where(rows.action_mask, score(state.params, rows).logp, 0)
    )
    state = learn(state, rows, jnp.asarray(good, jnp.float32), update)
    ends = [
      played(state.params, right, k, TESTED, start)[2]
      for k, start in zip(jax.random.split(test), (0, 1))
    ]
    found.append([float((x == 2 * PLACES).mean()) for x in ends])
  return found


def run(seeds, *, learner):
  """Tasks that are done."""
  found = np.array([train(int(seed), learner) for seed in seeds])
  done, recovered = found[..., 0], found[..., 1]
  return {
    'iteration': np.tile(np.arange(EVERY, STEPS + 1, EVERY), (len(seeds), 1)),
    'recovered': recovered[:, EVERY - 1 :: EVERY],
    'done at the end': done[:, -1],
    'done over training': done.mean(1),
    'recovered at the end': recovered[:, -1],
    'recovered over training': recovered.mean(1),
  }
