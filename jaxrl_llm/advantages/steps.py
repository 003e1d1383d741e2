"""Advantages over the steps of trajectories, and over trees of them.

    estimate_tokens   f(rewards f32[N], rollouts) -> f32[N, T]
    refine            f(advantages f32[N, T], rollouts) -> f32[N, T]

Where a row is one step of an agent, `rewards` holds the outcome of its whole
trajectory, and these extras say what belongs together, each i32[N]:

    trajectory   equal for the steps of one trajectory of a prompt
    step         the time of the step in its trajectory
    anchor       equal for steps taken in one state of a prompt's environment
    node         equal for steps with one context and one action
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from jaxrl_llm import grouping, numerics
from jaxrl_llm.advantages import group as group_lib
from jaxrl_llm.advantages.prompts import per_token
from jaxrl_llm.reads import reads


def of_trajectories(rewards, rollouts, *, fn):
  """f32[N]: `fn` with every trajectory counted once, however many its steps.

  Args:
    rewards: f32[N]; the score of a trajectory is the mean of its rows'.
    rollouts: reads the extra `trajectory`.
    fn: f(rewards, group, valid) -> f32[N].
  """
  key = grouping.joint(rollouts.group, rollouts.extras['trajectory'])
  one = grouping.representatives(key, rollouts.valid)
  score = numerics.group_mean(rewards, key, rollouts.valid)
  return numerics.group_sum(fn(score, rollouts.group, one), key, one)


def returns(rewards, trajectory, step, valid, *, discount):
  """G_i = sum over later steps j of the trajectory of discount^(j - i) r_j.

  Args:
    rewards: f32[N], of single steps. trajectory: i32[N], ids.
    step: i32[N], times. valid: bool[N]. discount: gamma in [0, 1].
  """
  gap = step[None, :] - step[:, None]
  later = (trajectory[None, :] == trajectory[:, None]) & (gap >= 0)
  factor = jnp.where(later, discount ** jnp.maximum(gap, 0), 0.0)
  return factor @ jnp.where(valid, rewards, 0)


@reads('trajectory', 'step', 'step_reward', 'anchor')
def group_in_group(
  rewards, rollouts, *, weight=1.0, discount=0.95, fn=group_lib.centre
):
  """Trajectories compared by outcome, and steps by return from one state.

      A_i = fn(R) over the trajectories of the prompt
            + weight fn(G) over the steps at the same anchor state

  G is the discounted return of the extra `step_reward` f32[N].

  Args:
    rewards: f32[N], outcomes R. rollouts: reads the four extras.
    weight: omega. discount: gamma. fn: f(values, group, valid) -> f32[N],
      `group.centre` or `group.norm`.

  Returns:
    f32[N, T]. A state met once adds 0.

  Source: GiGPO, arXiv 2505.10978, equations 3 to 8, and its code.
  """
  extras, valid = rollouts.extras, rollouts.valid
  trajectory = grouping.joint(rollouts.group, extras['trajectory'])
  value = returns(
    extras['step_reward'], trajectory, extras['step'], valid, discount=discount
  )
  anchor = grouping.joint(rollouts.group, extras['anchor'])
  episode = of_trajectories(rewards, rollouts, fn=fn)
  return per_token(episode + weight * fn(value, anchor, valid), rollouts)


@reads('trajectory', 'node')
def merged_steps(rewards, rollouts, *, epsilon=1e-6):
  """GRPO over trajectories, averaged where trajectories share a step.

      A_i = mean over the rows j of node_i of z(R)_j

  A step that both good and bad trajectories took is not to blame.

  Args:
    rewards: f32[N], outcomes. rollouts: reads `trajectory` and `node`.
    epsilon: in reward units.

  Returns:
    f32[N, T]; that of GRPO where every node is one step.

  Source: SALT, arXiv 2510.20022, reconstructed from the abstract: which
    steps count as shared is left to the plan that numbers the nodes.
  """
  fn = functools.partial(group_lib.norm, epsilon=epsilon)
  advantages = of_trajectories(rewards, rollouts, fn=fn)
  node = grouping.joint(rollouts.group, rollouts.extras['node'])
  merged = numerics.group_mean(advantages, node, rollouts.valid)
  return per_token(merged, rollouts)


@reads('decision_reward')
def with_decisions(rewards, rollouts, *, weight=1.0, epsilon=1e-6):
  """GRPO over whole graphs, plus each building decision's own reward.

      A_it = (r_i - mean_g) / (std_g + epsilon) + weight d_it

  Args:
    rewards: f32[N], of finished graphs. rollouts: reads the extra
      `decision_reward` f32[N, T]. weight: 0 is GRPO. epsilon: reward units.

  Source: HRPO of MasHost, arXiv 2506.08507, reconstructed from the
    abstract, which gives neither the weight nor the decision rewards.
  """
  norm = group_lib.norm(
    rewards, rollouts.group, rollouts.valid, epsilon=epsilon
  )
  return per_token(norm, rollouts) + weight * rollouts.extras['decision_reward']


@reads('node_path', 'level')
def tree(rewards, rollouts):
  """The value a tree's edge adds: that of its end minus that of its start.

      A = V(child) - V(parent)      V(node) = mean reward of the leaves below

  A row is the path from the root, its prompt, to one leaf. With one branching
  factor per level V is also the mean of the children's values.

  Args:
    rewards: f32[N], of leaves. rollouts: reads the extras `node_path`
      i32[N, D], which child the path takes at each level, and `level`
      i32[N, T] in [0, D), the edge that a token lies on.

  Returns:
    f32[N, T], reward units; Dr. GRPO's advantages for D = 1.

  Source: SPO-tree, arXiv 2505.23564, section 4.2, without the division by
    the spread of siblings.
  """
  path, valid = rollouts.extras['node_path'], rollouts.valid
  key = rollouts.group
  values = [numerics.group_mean(rewards, key, valid)]
  for depth in range(path.shape[1]):
    key = grouping.joint(key, path[:, depth])
    values.append(numerics.group_mean(rewards, key, valid))
  added = jnp.diff(jnp.stack(values, axis=1), axis=1)
  return jnp.take_along_axis(added, rollouts.extras['level'], axis=1)


@reads('agent', 'copies')
def norm_of_copies(rewards, rollouts, *, epsilon=1e-6, aligned=1.0):
  """What an agent's turn earned beside its others, each as often as it counts.

      w_i = 1 + aligned (c_i - 1)      A_i = (r_i - m) / (s + epsilon)

  with m and s mean and standard deviation, by n - 1, over the turns of one
  agent on one prompt, w_i times each.

  Args:
    rewards: f32[N]. rollouts: reads the extras `agent` and `copies` c i32[N].
    epsilon: in reward units. aligned: 0 counts every turn once.

  Returns:
    f32[N, T], without unit, the same for every token; 0 of what counts never,
    and where all earned the same.

  Source: M-GRPO, arXiv 2511.13288, equations 5 and 6.
  """
  valid = rollouts.valid
  key = grouping.joint(rollouts.group, rollouts.extras['agent'])
  weight = 1 + aligned * (rollouts.extras['copies'] - 1.0)
  weight = jnp.where(valid, weight, 0.0)
  counts = weight > 0
  count = numerics.group_sum(weight, key, counts)

  def total(x):
    return numerics.group_sum(jnp.where(counts, weight * x, 0), key, counts)

  # As in `group_mean`: what is left of equal rewards is 0, not rounding.
  above = rewards - numerics.group_min(rewards, key, counts)
  centred = above - numerics.safe_divide(total(above), count)
  square = total(centred**2) / jnp.maximum(count - 1, 1.0)
  spread = jnp.sqrt(square)
  advantages = jnp.where(counts, centred / (spread + epsilon), 0.0)
  return jnp.where(rollouts.loss_mask, advantages[:, None], 0.0)


@reads('turn')
def equal_turns(advantages, rollouts):
  """Scaled so that under `sequence_mean` every turn of a row counts alike.

      A_it len_i / (turns_i len_turn(t))

  Args:
    advantages: f32[N, T]. rollouts: reads the extra `turn` i32[N, T] in
      [0, T), the turn each chosen token belongs to.

  Returns:
    f32[N, T]; unchanged for a row of one turn.

  Source: Flow-GRPO of AgentFlow, arXiv 2510.05592, equation 5.
  """
  share, turns, length = _turns(rollouts)
  return advantages * share * numerics.safe_divide(length, turns)[:, None]


@reads('turn', 'episode')
def equal_turns_by_episode(advantages, rollouts):
  """`equal_turns` where an episode has several rows, which it counts as one.

      A_it len_e / (turns_e len_turn(t))      e the episode of row i

  Rows weigh what they have of their episode's tokens, `WeighByEpisode`.

  Args:
    advantages: f32[N, T]. rollouts: reads the extras `turn` i32[N, T] in
      [0, T) and `episode` i32[N] in [0, N).

  Returns:
    f32[N, T]; that of `equal_turns` for episodes of one row.

  Source: Flow-GRPO of AgentFlow, arXiv 2510.05592, equation 5.
  """
  share, turns, length = _turns(rollouts)
  own, valid = rollouts.extras['episode'], rollouts.valid
  turns, length = (numerics.group_sum(x, own, valid) for x in (turns, length))
  return advantages * share * numerics.safe_divide(length, turns)[:, None]


def _turns(rollouts):
  """f32[N, T]: 1 / len of each token's turn; f32[N]: turns, and tokens."""
  mask = rollouts.loss_mask
  tokens = jax.vmap(numerics.group_count)(rollouts.extras['turn'], mask)
  share = numerics.safe_divide(jnp.ones_like(tokens), tokens)
  turns = numerics.masked_sum(share, mask, axis=-1)
  return share, turns, jnp.sum(mask * 1.0, axis=-1)


@reads('turn', 'decision_reward')
def key_turns(rewards, rollouts, *, discount=0.99):
  """What a turn led to, where key turns earn 1 and the last the outcome.

      s_k = 1 of a key turn, else r of the last turn, else 0
      G_k = s_k + discount G_{k+1}            A_k = G_k / max_j |G_j|

  A turn is key where one of its tokens earned more than 0 by itself.

  Args:
    rewards: f32[N], outcomes r. rollouts: reads the extras `turn` i32[N, T] in
      [0, T) and `decision_reward` f32[N, T]. discount: gamma in [0, 1].

  Returns:
    f32[N, T] in [-1, 1]; 0 for a row without key turns and without a reward.

  Source: EPO, arXiv 2502.12486, and its code, `preprocessing.py`, where a
    language model says which turns were key.
  """
  mask, columns = rollouts.loss_mask, jnp.arange(rollouts.loss_mask.shape[1])
  turn = jnp.where(mask, rollouts.extras['turn'], -1)
  paid = mask & (rollouts.extras['decision_reward'] > 0)
  last = jnp.max(turn, axis=1, initial=-1)[:, None]
  key = jax.vmap(lambda row, at: jnp.zeros_like(at).at[row].max(at))(
    jnp.maximum(turn, 0), paid
  )
  final = jnp.where(columns == last, rewards[:, None], 0.0)
  score = jnp.where(key, 1.0, final)
  value = numerics.discounted_sum(score, columns <= last, decay=discount)
  most = jnp.max(jnp.abs(value), axis=1, keepdims=True)
  value = numerics.safe_divide(value, most)
  here = jnp.take_along_axis(value, jnp.maximum(turn, 0), axis=1)
  return jnp.where(mask, here, 0.0)


@reads('item', 'gain')
def ranked_items(rewards, rollouts, *, length_weight=0.1, epsilon=1e-4):
  """Each place of a ranked list is compared with that place in its group.

      A_ik = (gain_ik - mean_g gain_k) / (std_g gain_k + epsilon)

  for the tokens of item k, but for the token that ends a response. That has
  length_weight after K items, -length_weight after fewer, and so has every
  token past them.

  Args:
    rewards: unused: the reward of a list is in its items' gains.
    rollouts: reads the extras `gain` f32[N, K] and `item` i32[N, T], the
      place of the item that a token belongs to; K or more is past the list.
    length_weight: without unit. epsilon: in units of gain.

  Returns:
    f32[N, T].

  Source: Rank-GRPO, arXiv 2510.20150, section 4, and its code, which has the
    weight of lengths.
  """
  del rewards
  item, gain = rollouts.extras['item'], rollouts.extras['gain']
  places = gain.shape[1]
  fn = functools.partial(group_lib.norm, epsilon=epsilon)
  each = jax.vmap(fn, in_axes=(1, None, None), out_axes=1)
  advantages = each(gain, rollouts.group, rollouts.valid)
  here = jnp.take_along_axis(advantages, jnp.minimum(item, places - 1), axis=1)
  mask = rollouts.loss_mask
  most = jnp.max(jnp.where(mask, item, -1), axis=1)
  whole = length_weight * jnp.sign(most - (places - 1.5))
  ended = numerics.at_last(~rollouts.truncated, mask) > 0
  here = jnp.where(ended, jnp.where(most < places, whole, 0.0)[:, None], here)
  return jnp.where(item < places, here, -length_weight)


def own_gain(hits):
  """gain_k = hits_k: a place earns its own item alone, f32[N, K].

  Source: Rank-GRPO, arXiv 2510.20150, its `exp_inf` rewards.
  """
  return hits


def discounted_gain(hits):
  """The share of a list's discounted gain from each place on.

      gain_k = sum_{j >= k} hits_j d_j      d_0 = 1, d_j = 1 / log2(j + 2)

  Args:
    hits: f32[N, K], whether the item at each place is right.

  Source: Rank-GRPO, arXiv 2510.20150, its `log_decay` rewards.
  """
  discount = 1 / jnp.log2(jnp.arange(hits.shape[1]) + 2.0)
  return jnp.cumsum((hits * discount)[:, ::-1], axis=1)[:, ::-1]
