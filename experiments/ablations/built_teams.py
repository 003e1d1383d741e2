"""What single building actions earn makes teams of agents lean.

  python -m experiments.sweep --all --study=experiments/ablations/built_teams.py

MasHost (arXiv 2506.08507) claims that a policy which builds a team of agents
action by action learns teams that are right and hold nothing needless from
HRPO: the advantage of a whole graph in its group, and a reward of each action.

A query needs one of three roles and, fed by it, another. In each of four steps
the policy says a node, a role to add, `delete` of the last agent or `exit`, and
for a role an edge, the agent that feeds it: node and edge are drawn one after
the other, jointly, from a table of logits for every history, 0 at first. The
graph is right if it holds the two roles and the edge, and earns 1. An action
that adds what the query needs is rational and earns 0, one that adds a role
again, or one that is not needed, or an edge that is not, earns -1, and so does
a deletion of what is needed. 48 groups of 8 graphs an iteration, 100
iterations, Adam at 0.05. `mashost` at three weights of the actions' rewards; at
weight 0 it is GRPO of the outcome; `grpo, summed` is told the outcome and 0.3
of what all actions earned. Measured on the graphs of the last ten iterations:
how many are right, the share of their agents that the query needs, agents.
Expected: the outcome alone builds right teams with needless agents, and the
reward of actions leaves those out; a weight that is too large builds nothing,
since what earns below 0 is avoided whatever it leads to.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.ablations import tables
from experiments.ablations.study import Figure, over
from jaxrl_llm.tabular import policy

ROLES, VOCAB, BUILDING = 3, 5, 4
DELETE, EXIT = 3, 4
COLUMNS = 2 * BUILDING
# The role that feeds, and the one that is fed.
QUERIES = np.array([[0, 1], [1, 2], [2, 0]])
GROUPS, SAMPLES, STEPS, EVERY, LATE = 48, 8, 100, 5, 10
SUMMED = 0.3
WEIGHTS = {
  'mashost': 0.3,
  'mashost, weight 0.1': 0.1,
  'mashost, weight 3': 3.0,
  'grpo of the outcome': 0.0,
  'grpo, summed': 0.0,
}

FIGURE = Figure(
  y='right', x='iteration', series='learner', title='teams built by actions'
)


def cells():
  return over(learner=tuple(WEIGHTS), seed=range(5))


class Graphs:
  """N graphs that are built; agents are places, -1 is nobody."""

  def __init__(self, query):
    shape = (len(query), BUILDING)
    self.roles = jnp.full(shape, -1)
    self.fed = jnp.full(shape, -1)
    self.wanted = jnp.asarray(QUERIES)[query]
    self.live = jnp.ones(len(query), bool)

  @property
  def count(self):
    return jnp.sum(self.roles >= 0, axis=1)

  def rational(self, role, edge):
    """bool[N]: whether the query needs an agent of a role at an edge."""
    giver, taker = self.wanted.T
    feeder = jnp.take_along_axis(self.roles, edge[:, None], 1)[:, 0]
    again = (self.roles == role[:, None]).any(axis=1)
    fits = jnp.where(role == taker, feeder == giver, edge == 0)
    return ((role == giver) | (role == taker)) & ~again & fits

  def act(self, node, edge):
    """f32[N]: what an action earns; it is done."""
    count, live = self.count, self.live
    adds = live & (node < ROLES)
    drops = live & (node == DELETE) & (count > 0)
    good = self.rational(node, edge)
    last = jnp.maximum(count - 1, 0)[:, None]
    role, source = (
      jnp.take_along_axis(x, last, axis=1)[:, 0] for x in (self.roles, self.fed)
    )
    here = jnp.arange(BUILDING)
    self.roles = jnp.where(drops[:, None] & (here == last), -1, self.roles)
    # Once it is gone, an agent that was needed is needed again.
    lost = drops & self.rational(role, jnp.maximum(source, 0))
    place = adds[:, None] & (here == count[:, None])
    self.roles = jnp.where(place, node[:, None], self.roles)
    self.fed = jnp.where(place, edge[:, None], self.fed)
    self.live = live & (node != EXIT)
    return -1.0 * ((adds & ~good) | lost)

  def judged(self):
    """Whether each is right, and how many of its agents are needed."""
    giver, taker = self.wanted.T
    feeder = jnp.take_along_axis(self.roles, jnp.maximum(self.fed, 0), axis=1)
    edges = (self.roles == taker[:, None]) & (feeder == giver[:, None])
    right = edges.any(axis=1)
    needed = right * 2 + ~right * (
      (self.roles == giver[:, None]).any(axis=1) * 1
    )
    return right, needed


def build(params, key, query):
  """Rows of graphs for queries i32[N], what is right, and their agents."""
  graphs, node_of = Graphs(query), jnp.zeros(len(query), jnp.int32)
  said, read, chosen, earned = [], [], [], []
  for _ in range(BUILDING):
    key, first, second = jax.random.split(key, 3)
    live = graphs.live
    node = jax.random.categorical(first, params['logits'][query, node_of])
    node_of = VOCAB * node_of + node.astype(jnp.int32) + 1
    # An agent there is, or the query itself, where the team is empty.
    legal = jnp.arange(VOCAB) < jnp.maximum(graphs.count, 1)[:, None]
    edge = jax.random.categorical(second, params['logits'][query, node_of])
    edge = jnp.where(
      jnp.take_along_axis(legal, edge[:, None], 1)[:, 0], edge, 0
    )
    links = live & (node < ROLES)
    edge = jnp.where(links, edge, 0)
    node_of = VOCAB * node_of + edge.astype(jnp.int32) + 1
    pay = graphs.act(node, edge)
    said += [node, edge]
    read += [live, live]
    chosen += [live, links]
    earned += [pay, pay]
  right, needed = graphs.judged()
  tokens = jnp.stack(said, axis=1).astype(jnp.int32)
  own = jnp.stack(chosen, axis=1)
  found = policy.as_rollouts(
    tokens,
    jnp.stack(read, axis=1),
    task=query,
    group=jnp.arange(len(query), dtype=jnp.int32) // SAMPLES,
  ).replace(action_mask=own)
  pay = jnp.where(own, jnp.stack(earned, axis=1), 0.0)
  found = found.replace(
    logp=jnp.where(own, policy.score(params, found).logp, 0.0),
    extras={'decision_reward': pay},
  )
  total = jnp.sum(pay[:, ::2], axis=1)
  return found, right * 1.0, total, (right, needed, graphs.count)


def run(seeds, *, learner):
  """How many graphs are right along training, and what they hold at its end."""
  program = tables.program_of(
    'mashost',
    tx=optax.adam(0.05),
    samples=SAMPLES,
    turns=BUILDING,
    weight=WEIGHTS[learner],
  )

  def train(key):
    nodes = policy.states(VOCAB, COLUMNS)
    start = {
      'logits': jnp.zeros((len(QUERIES), nodes, VOCAB)),
      'values': jnp.zeros((1, nodes)),
    }

    def step(state, key):
      ask, draw, update = jax.random.split(key, 3)
      query = jax.random.randint(ask, (GROUPS,), 0, len(QUERIES))
      made, outcome, total, told = build(
        state.params, draw, jnp.repeat(query, SAMPLES)
      )
      reward = outcome + SUMMED * total * (learner == 'grpo, summed')
      state, _ = tables.learn(program, state, made, reward, update)
      right, needed, count = (jnp.sum(x * 1.0) for x in told)
      return state, (right / len(made.valid), needed, count)

    state = tables.begin(program, start, prompts=GROUPS)
    return jax.lax.scan(step, state, jax.random.split(key, STEPS))[1]

  right, needed, count = tables.over_seeds(train, seeds)
  rows = GROUPS * SAMPLES
  late = slice(-LATE, None)
  steps = np.arange(EVERY, STEPS + 1, EVERY)
  return {
    'iteration': np.tile(steps, (len(right), 1)),
    'right': right[:, EVERY - 1 :: EVERY],
    'at the end': right[:, late].mean(axis=1),
    'over training': right.mean(axis=1),
    'needed': needed[:, late].sum(axis=1)
    / np.maximum(count[:, late].sum(axis=1), 1),
    'agents': count[:, late].mean(axis=1) / rows,
  }
