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

# More calls than any response makes; finite, so that a state is.
_NEVER = 1e9


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


@reads('form')
def solvable_but_hard(rewards, rollouts, *, solvers=5, form_weight=0.5):
  """A proposed question earns by how few, but not none, can solve it.

      form_weight form_i + (n - k) / (n - 1)      0 < k < n
      form_weight form_i                          k = 0 or k = n

  Args:
    rewards: f32[N], k / n, the share of n solvers that were right.
    rollouts: reads the extra `form` f32[N] in [0, 1], how well the question
      is formed. solvers: n >= 2. form_weight: in reward units.

  Source: Dr. Zero, arXiv 2601.07055, equation 3 and its code.
  """
  right = jnp.round(rewards * solvers)
  mixed = (right > 0) & (right < solvers)
  difficulty = jnp.where(mixed, (solvers - right) / (solvers - 1), 0.0)
  return form_weight * rollouts.extras['form'] + difficulty


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
    return jnp.full(spec.tasks, _NEVER, jnp.float32)

  def update(self, credit, rollouts, state):
    calls = rollouts.extras['tool_calls'].astype(jnp.float32)
    correct = rollouts.valid & (credit.rewards > 0.5)
    state = state.at[rollouts.task].min(jnp.where(correct, calls, _NEVER))
    fewest = state[rollouts.task]
    fewest = jnp.where(fewest < _NEVER, fewest, calls)
    factor = tool_economy(calls, fewest, budget=self.budget)
    rewards = jnp.where(rollouts.valid, self.scale * credit.rewards * factor, 0)
    return credit.replace(rewards=rewards), state


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
