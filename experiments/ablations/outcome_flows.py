"""Flows learned without a reward, and how soon a reward is sampled by them.

  python -m experiments.sweep --all \\
      --study=experiments/ablations/outcome_flows.py

OC-GFN (arXiv 2310.03419) claims that a policy which was trained to end in any
outcome it is told, without rewards, samples by a new reward at once, that the
sum over outcomes which this takes can be learned, that both find modes sooner
than a policy trained from the start, and that outcomes are reached more surely
where each step of a walk is told how it ended, outcome teleportation.

A grid of 6 by 6, from a corner by steps in either direction to where one stops:
36 outcomes, up to 252 ways to one. Rewards of the paper's kind: 0.01, 0.5 more
in the corners, 2 by 2 cells each, 2 more at the inmost of each, times a factor
of 1 to 2 that each corner draws. Pre-training: 4,000 steps of Adam from 0.2 to
0 on 32 walks, half towards a uniform outcome, half at random, which stop one
time in 11. Tables carry nothing over from one outcome to another, so each walk
is learned for every outcome, of log-reward 0 where it ended and -8 elsewhere.
Then `extracted` sums over all outcomes, without a walk. So do `contrastive` and
`teleported`, where a walk is learned as published: one at random for its end
alone, one that was led for its goal alone, by `balance` or `teleported`.
`amortised` learns the sum and the shares of outcomes, a tenth of its loss
evenly and the rest by its own shares, on 32 walks of its own a step; `scratch`
is detailed balance on 32 walks a step. Both walk one time in ten evenly, Adam
at 0.05, 600 steps.
Measured exactly: the L1 distance of where the policy ends from the target, of 2
at most; the chance to end where one is told after pre-training; and walks until
the distance is 0.3, 19,200 where it never is. Expected: the extracted policy at
once, the amortised one before that from scratch, `teleported` nearest to where
it is told.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.ablations.study import Figure, over
from jaxrl_llm.tabular import outcomes

SIDE, WALKS, LONGEST, RATE = 6, 32, 11, 0.05
FIRST, STEPS, EVERY, NEAR, FLOOR, EVEN = 4000, 600, 20, 0.3, -8.0, 0.1
CELLS, STOP = SIDE * SIDE, 2
PLACE = np.stack(np.divmod(np.arange(CELLS), SIDE), axis=1)
# The next state of either step, itself where one cannot be taken or stops.
CAN = np.concatenate([PLACE < SIDE - 1, np.ones((CELLS, 1), bool)], axis=1)
NEXT = np.stack([np.arange(CELLS) + d for d in (SIDE, 1, 0)], axis=1)
NEXT = np.where(CAN, NEXT, np.arange(CELLS)[:, None])
BACKWARD = -np.log(np.maximum((PLACE > 0).sum(axis=1), 1))
# Logits of steps at random that stop one time in LONGEST.
ROAMING = np.array([0.0, 0.0, np.log(2 / (LONGEST - 1))]) * np.ones((CELLS, 1))
FIGURE = Figure(
  y='L1 distance',
  x='walks',
  series='policy',
  title='where the policy ends, and the reward, after pre-training',
)


def cells():
  policies = ['extracted', 'amortised', 'scratch', 'contrastive', 'teleported']
  return over(policy=policies, seed=range(4))


def possible(logits):
  """Log-probs f32[..., A] or f32[S, A, Y] of actions that can be taken."""
  if logits.ndim == 3:
    can = CAN[:, :, None]
    return jax.nn.log_softmax(jnp.where(can, logits, -1e9), axis=1)
  return jax.nn.log_softmax(jnp.where(CAN, logits, -1e9), axis=-1)


def walks(key, at):
  """States, actions and whether they count, i32[LONGEST, WALKS] each.

  Args:
    at: f(states i32[WALKS]) -> log-probs f32[WALKS, A].
  """

  def step(carry, key):
    state, going = carry
    action = jax.random.categorical(key, at(state))
    after = jnp.asarray(NEXT)[state, action]
    return (after, going & (action != STOP)), (state, action, going)

  start = jnp.zeros(WALKS, jnp.int32), jnp.ones(WALKS, bool)
  return jax.lax.scan(step, start, jax.random.split(key, LONGEST))


def ends(log_policy):
  """f32[CELLS]: where a policy f32[S, A] ends, exactly."""
  chance = jnp.exp(log_policy)
  mass = jnp.zeros(CELLS).at[0].set(1.0)
  total = jnp.zeros(CELLS)
  for _ in range(LONGEST):
    total = total + mass * chance[:, STOP]
    moved = jnp.zeros(CELLS)
    for action in range(STOP):
      moved = moved.at[NEXT[:, action]].add(mass * chance[:, action])
    mass = moved
  return total


def told(params):
  """The chance to end where one is told, over all outcomes."""
  forward = possible(params['forward'])
  found = jax.vmap(ends, in_axes=-1)(forward)
  return jnp.mean(jnp.diagonal(found))


def after_of(state, action, log_flow, log_end):
  """log F of the next state, or what the end is worth."""
  flow = log_flow(jnp.asarray(NEXT)[state, action])
  return jnp.where(action == STOP, log_end, flow)


def backward(state, action):
  after = jnp.asarray(NEXT)[state, action]
  return jnp.where(action == STOP, 0.0, jnp.asarray(BACKWARD)[after])


def mean_square(residual, going):
  return jnp.sum(jnp.where(going, residual, 0.0) ** 2) / jnp.sum(going)


def pretrained(key, policy):
  """log F f32[S, Y] and logits f32[S, A, Y], learned without a reward."""
  params = {
    'flow': jnp.zeros((CELLS, CELLS)),
    'forward': jnp.zeros((CELLS, 3, CELLS)),
  }
  tx = optax.adam(optax.linear_schedule(4 * RATE, 0.0, FIRST))
  led = jnp.arange(WALKS) < WALKS // 2

  def loss(params, seen, goal):
    state, action, going = seen
    forward, flow = possible(params['forward']), params['flow']
    stopped = going & (action == STOP)
    ended = jnp.max(jnp.where(stopped, state, -1), axis=0)
    paid = jnp.where(ended[:, None] == jnp.arange(CELLS), 0.0, FLOOR)
    teleported = policy == 'teleported'
    after = after_of(
      state[..., None],
      action[..., None],
      lambda s: flow[s[..., 0]],
      0.0 if teleported else paid,
    )
    back = backward(state, action)[..., None]
    given = flow[state], forward[state, action], back, after
    if teleported:
      residual = outcomes.teleported(*given, paid)
    else:
      residual = outcomes.balance(*given)
    learned = going[..., None]
    if policy in ('contrastive', 'teleported'):
      one = jnp.where(led, goal, ended)
      learned = learned & (one[:, None] == jnp.arange(CELLS))
    return mean_square(residual, learned)

  def step(carry, key):
    params, opt = carry
    draw, aim = jax.random.split(key)
    goal = jax.random.randint(aim, (WALKS,), 0, CELLS)
    forward, even = possible(params['forward']), possible(ROAMING)

    def at(state):
      rows = jnp.arange(WALKS)
      own = forward[state][rows, :, goal]
      return jnp.where(led[:, None], own, even[state])

    _, seen = walks(draw, at)
    slope = jax.grad(loss)(params, seen, goal)
    change, opt = tx.update(slope, opt)
    return (optax.apply_updates(params, change), opt), None

  carry = params, tx.init(params)
  return jax.lax.scan(step, carry, jax.random.split(key, FIRST))[0][0]


def log_reward(key):
  """f32[CELLS]: the grid's, turned about so that seeds differ."""
  mode = np.isin(PLACE, [1, SIDE - 2]).all(axis=1)
  outside = (np.abs(PLACE - (SIDE - 1) / 2) > 1).all(axis=1)
  worth = 0.01 + 0.5 * outside + 2.0 * mode
  # Of the four modes each has another height.
  height = 1.0 + jax.random.uniform(key, (2, 2))
  corner = (PLACE >= SIDE // 2).astype(int)
  return jnp.log(worth * height[corner[:, 0], corner[:, 1]])


def evenly(log_policy):
  """The policy, mixed with uniform steps."""
  share = jnp.log(EVEN) + possible(jnp.zeros(CAN.shape))
  return jnp.logaddexp(jnp.log1p(-EVEN) + log_policy, share)


def learned(key, params, loss, policy, worth):
  """Distances f32[STEPS / EVERY] of a policy that learns from its walks."""
  tx = optax.adam(RATE)
  target = jax.nn.softmax(worth)

  def step(carry, key):
    params, opt = carry
    mixed = evenly(policy(params))
    _, seen = walks(key, lambda state: mixed[state])
    slope = jax.grad(loss)(params, seen)
    change, opt = tx.update(slope, opt)
    params = optax.apply_updates(params, change)
    gap = jnp.sum(jnp.abs(ends(policy(params)) - target))
    return (params, opt), gap

  keys = jax.random.split(key, STEPS)
  return jax.lax.scan(step, (params, tx.init(params)), keys)[1]


def scratch(key, worth):
  """Detailed balance without any pre-training."""
  params = {'flow': jnp.zeros(CELLS), 'forward': jnp.zeros(CAN.shape)}

  def loss(params, seen):
    state, action, going = seen
    forward, flow = possible(params['forward']), params['flow']
    after = after_of(state, action, lambda s: flow[s], worth[state])
    residual = outcomes.balance(
      flow[state], forward[state, action], backward(state, action), after
    )
    return mean_square(residual, going)

  policy = lambda params: possible(params['forward'])  # noqa: E731
  return learned(key, params, loss, policy, worth)


def amortised(key, before, worth):
  """The sum over outcomes, learned of those that its own Q draws."""
  flow, forward = before['flow'], possible(before['forward'])
  params = {
    'total': jnp.zeros(CAN.shape),
    'posterior': jnp.zeros((*CAN.shape, CELLS)),
  }

  def loss(params, seen):
    state, action, going = seen
    posterior = jax.nn.log_softmax(params['posterior'])[state, action]
    residual = outcomes.amortised(
      params['total'][state, action][..., None],
      posterior,
      worth,
      flow[state],
      forward[state, action],
    )
    drawn = jax.lax.stop_gradient(jnp.exp(posterior))
    square = jnp.sum((EVEN / CELLS + drawn) * residual**2, axis=-1)
    return jnp.sum(jnp.where(going, square, 0.0)) / jnp.sum(going)

  return learned(
    key, params, loss, lambda params: possible(params['total']), worth
  )


def run(seeds, *, policy):
  """Distances along the walks after pre-training."""

  def one(key):
    first, reward, then = jax.random.split(key, 3)
    worth = log_reward(reward)
    before = pretrained(first, policy)
    if policy == 'scratch':
      return scratch(then, worth), jnp.float32(0)
    if policy == 'amortised':
      return amortised(then, before, worth), told(before)
    found = outcomes.extracted(
      worth, before['flow'], possible(before['forward'])
    )
    gap = jnp.sum(jnp.abs(ends(found) - jax.nn.softmax(worth)))
    return jnp.full(STEPS, gap), told(before)

  keys = jax.vmap(jax.random.key)(jnp.asarray(seeds))
  gaps, right = (np.asarray(x) for x in jax.jit(jax.vmap(one))(keys))
  near = gaps < NEAR
  first = np.where(near.any(axis=1), near.argmax(axis=1), STEPS - 1) + 1
  if policy not in ('amortised', 'scratch'):
    first = np.where(near.any(axis=1), 0, STEPS)  # It learns from no walk.
  steps = np.arange(EVERY, STEPS + 1, EVERY)
  result = {
    'walks': np.tile(WALKS * steps, (len(gaps), 1)),
    'L1 distance': gaps[:, EVERY - 1 :: EVERY],
    'final': gaps[:, -1],
    'walks until 0.3': WALKS * first,
  }
  if policy != 'scratch':
    result['ends where told'] = right
  return result
