"""Shapers that price how a response came about.

f(rewards f32[N], rollouts) -> f32[N]

and stages that remember something of each task for it.
"""

from __future__ import annotations

import dataclasses
import math

import jax.numpy as jnp

from jaxrl_llm import grouping, numerics
from jaxrl_llm.reads import reads

# More calls or tokens than any response has; finite, so that a state is.
NEVER = 1e9


@reads('sampler_logp')
def unlikely_first(rewards, rollouts, *, penalty=0.25):
  """Correct responses earn less the likelier they were in their group.

      r_i (1 - penalty rank_i / n)

  rank_i counts the responses of the group whose mean log-prob per token is
  lower, so the least likely one keeps its reward. Wrong responses, of reward
  0, are untouched.

  Args:
    rewards: f32[N], 0 or 1. rollouts: for `logp` and `group`.
    penalty: beta, in [0, 1].

  Returns:
    f32[N]. Tied rows share their mean rank, where the published code takes
    them in their order; and it differs by one rank from the paper's text.

  Source: Rewarding the Unlikely, arXiv 2506.02355, section 4, and its code.
  """
  mask = rollouts.loss_mask
  likelihood = numerics.masked_mean(rollouts.logp, mask, axis=-1)
  rank = grouping.rank(likelihood, rollouts.group, rollouts.valid)
  count = numerics.group_count(rollouts.group, rollouts.valid)
  return rewards * (1 - penalty * numerics.safe_divide(rank, count))


@reads('agreement')
def agreement(rewards, rollouts, *, weight=1.0, accuracy_weight=1.0):
  """Agreement with the responses to other wordings of the same question.

      weight agreement_i + accuracy_weight r_i

  Args:
    rewards: f32[N], accuracies. rollouts: reads the extra `agreement`
      f32[N], see `mean_similarity`.
    weight, accuracy_weight: alpha and gamma.

  Source: PS-GRPO, arXiv 2510.04392, section 3, read at second hand.
  """
  return weight * rollouts.extras['agreement'] + accuracy_weight * rewards


def mean_similarity(similarity, question, wording):
  """How similar each response is to those for other wordings, on average.

      s_i = mean of similarity[i, j] over question_j = question_i,
            wording_j != wording_i

  Args:
    similarity: f32[N, N], of responses i and j, such as a low-order BLEU.
    question: i32[N], the set of wordings a row belongs to.
    wording: i32[N], which of them it answers.

  Returns:
    f32[N]; 0 where the question has one wording only.

  Source: PS-GRPO, arXiv 2510.04392, equation 2, with all pairs.
  """
  peers = (question[:, None] == question) & (wording[:, None] != wording)
  return numerics.masked_mean(similarity, peers, axis=1)


@reads('information')
def stable_information(
  rewards, rollouts, *, information_weight=0.0, stability_weight=1.0
):
  """Information in the response, and its stability over a question's variants.

      r_i + w_h H_i - w_s |H_i - mean_g H|

  Rows of a group answer equivalent variants of one question.

  Args:
    rewards: f32[N]. rollouts: reads the extra `information` f32[N], the
      entropy H_i of the response's content, in nats.
    information_weight: w_h. stability_weight: w_s.

  Source: Information-Consistent Language Model Recommendations, arXiv
    2512.12858. The form is reconstructed from its abstract, and the weights
    are ours.
  """
  information = rollouts.extras['information']
  mean = numerics.group_mean(information, rollouts.group, rollouts.valid)
  swing = jnp.abs(information - mean)
  return rewards + information_weight * information - stability_weight * swing


@reads('form', 'proposed')
def solvable_but_hard(rewards, rollouts, *, solvers=5, form_weight=0.5):
  """A proposed question earns by how few, but not none, can solve it.

  Other rows keep their reward.

      form_weight form_i + (n - k) / (n - 1)      0 < k < n
      form_weight form_i                          k = 0 or k = n

  Args:
    rewards: f32[N], k / n, the share of n solvers that were right.
    rollouts: reads the extras `proposed` bool[N], which rows are questions, and
      `form` f32[N] in [0, 1], how well a question is formed.
    solvers: n >= 2. form_weight: in reward units.

  Source: Dr. Zero, arXiv 2601.07055, equation 3 and its code.
  """
  right = jnp.round(rewards * solvers)
  mixed = (right > 0) & (right < solvers)
  difficulty = jnp.where(mixed, (solvers - right) / (solvers - 1), 0.0)
  earned = form_weight * rollouts.extras['form'] + difficulty
  return jnp.where(rollouts.extras['proposed'], earned, rewards)


@reads('tool_calls')
@dataclasses.dataclass(frozen=True)
class ToolEconomy:
  """Stage: correct responses earn by how few tool calls they needed.

      r_i <- scale r_i tool_i
      tool = 1                        m = n = 0
             cos(m pi / (2 m + c))    n = 0 < m
             sin(f pi / (2 n))        else;  f = 2 m n / (m + n)

  for m calls, when n is the fewest calls of a correct response (r > 1/2) to
  this task so far, this iteration included; c is the budget of calls. m = n
  earns 1. While no correct response is known, n = m.

  The extra `tool_calls` i32[N] gives m.

  Attributes:
    budget: c > 0, calls. scale: alpha.

  Source: OTC, arXiv 2504.14870, equations 5 to 7, read at second hand.
  """

  budget: float = 4.0
  scale: float = 1.0

  def init(self, spec):
    return jnp.full(spec.tasks, NEVER, jnp.float32)

  def update(self, credit, rollouts, state):
    calls = rollouts.extras['tool_calls'].astype(jnp.float32)
    state = least_of_right(state, rollouts, credit.rewards, calls)
    fewest = state[rollouts.task]
    fewest = jnp.where(fewest < NEVER, fewest, calls)
    factor = tool_economy(calls, fewest, budget=self.budget)
    rewards = jnp.where(rollouts.valid, self.scale * credit.rewards * factor, 0)
    return credit.replace(rewards=rewards), state


@reads('tool_calls')
def fewer_calls(rewards, rollouts, *, budget=4.0, scale=1.0):
  """The reward, the less of it the more tools were called.

      scale r_i cos(m pi / (2 m + c))

  Args:
    rewards: f32[N]. rollouts: reads the extra `tool_calls` i32[N], m.
    budget: c > 0, calls; with inf no call costs. scale: alpha.

  Source: OTC-PPO, arXiv 2504.14870, equation 4, read at second hand.
  """
  calls = rollouts.extras['tool_calls'].astype(jnp.float32)
  return scale * rewards * tool_economy(calls, 0.0 * calls, budget=budget)


def least_of_right(state, rollouts, rewards, amount):
  """The least amount f32[N] of a right response, r > 1/2, to each task so far.

  Args:
    state: f32[A], before these rows; `NEVER` where none was right.
  """
  right = rollouts.valid & (rewards > 0.5)
  return state.at[rollouts.task].min(jnp.where(right, amount, NEVER))


def tool_economy(calls, fewest, *, budget):
  """The factor `tool` of `ToolEconomy`, in [0, 1].

  Args:
    calls: f32[N], m. fewest: f32[N], n. budget: c.
  """
  unneeded = jnp.cos(calls * math.pi / (2 * calls + budget))
  harmonic = numerics.safe_divide(2 * calls * fewest, calls + fewest)
  needed = jnp.sin(
    numerics.safe_divide(harmonic * math.pi, 2 * fewest, default=0.0)
  )
  return jnp.where(fewest == 0, unneeded, needed)


@reads('auxiliary')
def contrasted(
  rewards,
  rollouts,
  *,
  weight=0.5,
  threshold=0.1,
  length_weight=0.1,
  longest=1024,
):
  """A bonus for a device that helps in its group, a penalty where it hurts.

      r_i + weight s_g used_i + length_weight min(len_i / longest, 1)
      s_g = 1 if d_g > threshold,  -1 if d_g < -threshold,  else 0
      d_g = mean of r over rows that use it - mean over those that do not

  Args:
    rewards: f32[N]. rollouts: reads the extra `auxiliary` f32[N], above 1/2
      where a response uses the device, such as an auxiliary line.
    weight, length_weight: in reward units. threshold: epsilon >= 0.
    longest: tokens, > 0.

  Returns:
    f32[N]; s_g is 0 where all rows of a group use it, or none.

  Source: GeometryZero, arXiv 2506.07160; the sign is of its abstract and
    reviews, the numbers are ours.
  """
  used = rollouts.extras['auxiliary'] > 0.5
  group, valid = rollouts.group, rollouts.valid

  def among(rows):
    mean = numerics.group_mean(rewards, group, rows)
    return mean, numerics.group_count(group, rows) > 0

  (with_it, some), (without, others) = among(valid & used), among(valid & ~used)
  apart = jnp.where(some & others, with_it - without, 0.0)
  sign = (apart > threshold) * 1.0 - (apart < -threshold)
  length = jnp.minimum(rollouts.length / longest, 1.0)
  return rewards + weight * sign * used + length_weight * length


@reads('flawed')
def unflawed(rewards, rollouts, *, penalty=1.0):
  """1 for a right answer, -1 for a wrong one, less if right by flawed steps.

      2 r_i - 1 - penalty [r_i > 1/2] flawed_i

  With a penalty of 1 the mean of a group is its share of clean answers less
  that of wrong ones. So a flawed right answer is above the mean while wrong
  ones are the more frequent, and below it once clean ones are.

  Args:
    rewards: f32[N], 0 or 1. rollouts: reads the extra `flawed` f32[N] in
      [0, 1], what a judge says of the steps. penalty: lambda.

  Source: FAPO, arXiv 2510.22543, and its code in verl.
  """
  flawed = jnp.where(rewards > 0.5, rollouts.extras['flawed'], 0.0)
  return 2 * rewards - 1 - penalty * flawed


@reads('diversity')
def diverse(rewards, rollouts, *, share=0.9):
  """share r_i + (1 - share) diversity_i.

  Args:
    rollouts: reads the extra `diversity` f32[N]. share: delta in [0, 1].

  Source: MultiRole-R1, arXiv 2507.20187, equation 1; the share is ours.
  """
  return share * rewards + (1 - share) * rollouts.extras['diversity']


@reads('refined')
def helpful(rewards, rollouts, *, weight=1.0):
  """A right verdict on a solution, and what its critique lets a solver mend.

      (r_i + weight [r_i > 1/2] refined_i) / (1 + weight)

  Args:
    rewards: f32[N], 1 where the verdict is right. rollouts: reads the extra
      `refined` f32[N] in [0, 1], the share of a solver's refinements after
      the critique that are right; 0 where there was nothing to mend.
    weight: lambda; 0 in the paper's first stage.

  Source: RefCritic, arXiv 2507.15024, its abstract and reviews, which name the
    sum and the division; that a wrong verdict earns nothing is ours.
  """
  mended = jnp.where(rewards > 0.5, rollouts.extras['refined'], 0.0)
  return (rewards + weight * mended) / (1 + weight)


@reads('bundle', 'paper')
def in_every_order(rewards, rollouts, *, share=1.0):
  """Right only where the same pair is judged right in its other order too.

      (1 - share) r_i + share min r_j   over the rows j of i's bundle and paper

  Args:
    rewards: f32[N]. rollouts: reads the extras `bundle` and `paper` i32[N],
      see `plans.wordings.Orders`. share: in [0, 1]; 0 judges orders apart.

  Source: J1: Incentivizing Thinking in LLM-as-a-Judge via Reinforcement
    Learning, arXiv 2505.10320, its reward of consistent verdicts, read at
    second hand.
  """
  extras, valid = rollouts.extras, rollouts.valid
  pair = grouping.joint(extras['bundle'], extras['paper'])
  least = numerics.group_min(rewards, pair, valid)
  least = jnp.where(valid, least, 0.0)
  return (1 - share) * rewards + share * least


@reads('justified')
def justifiable(rewards, rollouts, *, share=0.5, scale=1.0):
  """What the environment pays, and whether a judge prefers it justified.

      (1 - share) r_i + share scale [justified_i > 0]

  Args:
    rollouts: reads the extra `justified` f32[N], by how much a judge prefers
      the decision to a baseline's, each with the evidence for it.
    share: lambda in [0, 1]. scale: in reward units.

  Source: Reward Design for Justifiable Sequential Decision-Making, arXiv
    2402.15826, and its code.
  """
  won = (rollouts.extras['justified'] > 0) * 1.0
  return (1 - share) * rewards + share * scale * won


@reads('form', 'tool_calls')
@dataclasses.dataclass(frozen=True)
class RetrievalPhases:
  """Stage: first the form, then that it retrieves, then that it does sparingly.

      form                                      iterations before `formal`
      form + r + most (1 - decay^n) / (1 - decay)    before `retrieving`
      form + r scale exp(-cost n)               from then on

  for n calls; r_i are the rewards so far, such as the F1 of an answer. The
  second term is what n calls earn when each earns `decay` of the one before.

  Attributes:
    formal, retrieving: iterations. most: R_0, of the first call.
    decay: k in (0, 1). scale: a. cost: b, per call.

  Source: GraphRAG-R1, arXiv 2507.23581, recalled.
  """

  formal: int = 20
  retrieving: int = 60
  most: float = 0.5
  decay: float = 0.5
  scale: float = 1.0
  cost: float = 0.1

  def __post_init__(self):
    if not 0 < self.decay < 1:
      raise ValueError(f'decay {self.decay} must be in (0, 1)')
    if self.retrieving < self.formal:
      raise ValueError(
        f'the phase of retrieving ends at iteration {self.retrieving}, before '
        f'it begins at {self.formal}; set retrieving to {self.formal} or more'
      )

  def init(self, spec):
    del spec
    return jnp.int32(0)

  def update(self, credit, rollouts, state):
    calls = rollouts.extras['tool_calls'].astype(jnp.float32)
    form, rewards = rollouts.extras['form'], credit.rewards
    called = self.most * (1 - self.decay**calls) / (1 - self.decay)
    spared = rewards * self.scale * jnp.exp(-self.cost * calls)
    rest = jnp.where(state < self.retrieving, rewards + called, spared)
    rewards = form + jnp.where(state < self.formal, 0.0, rest)
    rewards = jnp.where(rollouts.valid, rewards, 0.0)
    return credit.replace(rewards=rewards), state + 1
