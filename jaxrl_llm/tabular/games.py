"""Preference games on tables: equilibria, gaps, and the steps of methods.

A game is a matrix P f32[A, A], P[i, j] = P(i beats j) and P + P' = 1; policies
are log-probabilities f32[A]. The regularised game adds -weight KL(. || ref) to
both sides' payoffs and has one equilibrium, which is symmetric. All steps are
pure and may be jitted and scanned; the two solvers run on the host in float64.
"""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import numpy as np
from scipy import optimize

from jaxrl_llm.tabular import mirror


def kl(log_p, log_q):
  """KL(p || q), nats; an action that p never takes counts 0."""
  p = jnp.exp(log_p)
  return jnp.sum(jnp.where(p > 0, p * (log_p - log_q), 0.0), axis=-1)


def win_rate(game, log_policy):
  """f32[A]: each action's chance to beat the policy.

  Example:
    >>> game = jnp.array([[0.5, 1.0], [0.0, 0.5]])
    >>> print(win_rate(game, jnp.log(jnp.array([0.5, 0.5]))))
    [0.75 0.25]
  """
  return game @ jnp.exp(log_policy)


def exploitability(game, log_policy):
  """max_y P(y beats policy) - 1/2: 0 at an equilibrium; the gap is twice it.

  Source: INPO, arXiv 2407.00617.

  Example:
    >>> rock_paper_scissors = jnp.array([[0.5, 0, 1], [1, 0.5, 0], [0, 1, 0.5]])
    >>> policy = jnp.array([0.5, 0.25, 0.25])
    >>> print(exploitability(rock_paper_scissors, jnp.log(policy)))
    0.125
  """
  return jnp.max(win_rate(game, log_policy)) - 0.5


def best_response(game, log_policy, log_reference, *, weight):
  """The regularised best response, reference e^(P(. beats policy) / weight)."""
  gain = win_rate(game, log_policy)
  return jax.nn.log_softmax(log_reference + gain / weight)


def regularised_gap(game, log_policy, log_reference, *, weight):
  """2 (max_p J(p, policy) - 1/2), the duality gap of the regularised game.

      J(p, q) = P(p beats q) - weight KL(p || ref) + weight KL(q || ref)

  Source: EGPO, arXiv 2503.08942.
  """
  value = mirror.soft_value(
    win_rate(game, log_policy), log_reference, weight=weight
  )
  return 2 * (value + weight * kl(log_policy, log_reference) - 0.5)


def equilibrium(game) -> np.ndarray:
  """f64[A]: a mixed strategy that no action beats, by linear programming.

      max v   such that   sum_i p_i P[i, j] >= v for all j

  Raises:
    ValueError: P + P' is not 1.
  """
  game = np.asarray(game, np.float64)
  if not np.allclose(game + game.T, 1, atol=1e-6):
    off = np.max(np.abs(game + game.T - 1))
    raise ValueError(
      f'P + P^T must be 1 everywhere, and is off by {off:.3g}: one of two '
      'actions wins'
    )
  size = len(game)
  found = optimize.linprog(
    np.r_[np.zeros(size), -1.0],
    A_ub=np.c_[-game.T, np.ones(size)],
    b_ub=np.zeros(size),
    A_eq=np.r_[np.ones(size), 0.0][None],
    b_eq=[1.0],
    bounds=[(0, 1)] * size + [(None, None)],
  )
  return found.x[:size]


def regularised_equilibrium(game, log_reference, *, weight) -> np.ndarray:
  """f64[A]: log-probabilities of the regularised game's equilibrium.

  Newton's method on theta = log ref + P softmax(theta) / weight, followed
  from a heavy weight, where the reference is the answer, to the wanted one.
  """
  game = np.asarray(game, np.float64)
  reference = np.asarray(log_reference, np.float64)
  theta = reference
  for strength in np.linspace(0.0, 1 / weight, max(2, int(20 / weight))):
    for _ in range(20):
      p = np.exp(theta - theta.max())
      p /= p.sum()
      error = theta - reference - strength * game @ p
      slope = np.diag(p) - np.outer(p, p)
      step = np.linalg.solve(np.eye(len(p)) - strength * game @ slope, error)
      theta = theta - step
      if np.max(np.abs(step)) < 1e-13:
        break
  shifted = theta - theta.max()
  return shifted - np.log(np.sum(np.exp(shifted)))


# Steps.


def anchored_step(log_policy, log_reference, gain, *, step_size, weight):
  """policy^(1 - eta beta) reference^(eta beta) e^(eta gain), normalised.

  Online mirror descent on the gain with the regulariser linearised at the
  policy. With the gain P(. beats policy) it is the step of INPO, whose eta is
  1 / step_size and tau the weight; without weight it is `mirror_step`, which
  is also the step of SPPO and, with step_size 1 / eta, of DNO.

  Args:
    step_size: eta > 0. weight: beta >= 0, with eta beta <= 1.

  Source: INPO, arXiv 2407.00617.
  """
  chex.assert_equal_shape([log_policy, log_reference, gain])
  pull = step_size * weight
  return jax.nn.log_softmax(
    (1 - pull) * log_policy + pull * log_reference + step_size * gain
  )


def nash_md_step(game, log_policy, log_reference, *, step_size, weight):
  """Mirror descent from, and against, the mixture with the reference.

      mix ~ policy^(1 - eta tau) reference^(eta tau)
      new ~ mix e^(eta P(. beats mix))

  KL to the equilibrium <= (1 - eta tau) KL + 2 eta^2.

  Source: Nash-MD, arXiv 2312.00886.
  """
  pull = step_size * weight
  mix = jax.nn.log_softmax((1 - pull) * log_policy + pull * log_reference)
  return mirror.mirror_step(mix, win_rate(game, mix), step_size=step_size)


def nash_mp_step(game, log_policy, log_reference, *, weight, step_size=0.0):
  """Mirror prox: a look ahead, then the step against what was seen there.

      Prox(opponent) = argmax_p P(p beats opponent) - beta KL(p || ref)
                                - (beta / eta) KL(p || policy)
      new = Prox(Prox(policy))

  Args:
    weight: beta > 0. step_size: eta; 0 means 2 beta, with which the KL to
      the equilibrium falls by 1 + 2 beta in every step.

  Source: Nash-MP, arXiv 2505.19731. Recalled.
  """
  size = jnp.where(step_size == 0, 2 * weight, step_size) / weight

  def prox(opponent):
    gain = win_rate(game, opponent)
    return mirror.magnetic_step(
      log_policy, log_reference, gain, step_size=size, weight=weight
    )

  return prox(prox(log_policy))


def egpo_step(game, log_policy, log_reference, *, step_size, weight):
  """Extragradient: `anchored_step` against the policy half a step ahead.

      half ~ policy^(1 - eta beta) ref^(eta beta) e^(eta P(. beats policy))
      new  ~ policy^(1 - eta beta) ref^(eta beta) e^(eta P(. beats half))

  The KL to the equilibrium falls by 1 - eta beta in every step, for
  eta <= 1 / (beta + 3).

  Source: EGPO, arXiv 2503.08942.
  """

  def step(opponent):
    return anchored_step(
      log_policy,
      log_reference,
      win_rate(game, opponent),
      step_size=step_size,
      weight=weight,
    )

  return step(step(log_policy))


def accelerated_step(log_policy, log_before, gain, *, weight, momentum):
  """Nesterov's momentum in the space of policies.

      hat = policy e^(gain / weight)      the solved problem, anchored here
      new ~ hat (hat / before)^momentum   before: the last solution

  Args:
    log_before: the hat of the last step; the start's policy at first.

  Returns:
    new, hat.

  Source: APO, arXiv 2410.06293.
  """
  hat = mirror.mirror_step(log_policy, gain, step_size=1 / weight)
  carried = (1 + momentum) * hat - momentum * log_before
  return jax.nn.log_softmax(carried), hat


def regret_matching_step(regrets, gains, log_average, round_number):
  """One round of regret matching: play in proportion to positive regret.

      sigma ~ max(R, 0), uniform where no regret is positive
      R'    = R + gains - <gains, sigma>
      average' = average + (sigma - average) / round

  Args:
    regrets: f32[A]. gains: f32[A] -> f32[A], the payoffs against a mixed
      strategy. log_average: log of the average strategy. round_number: from
      1.

  Returns:
    New regrets and the log of the new average strategy, which in a zero-sum
    game played against itself tends to an equilibrium.

  Source: Hart and Mas-Colell 2000, as in LSPO, arXiv 2502.04686.
  """
  sigma = matched(regrets)
  value = gains(sigma)
  regrets = regrets + value - jnp.sum(value * sigma)
  average = jnp.exp(log_average)
  return regrets, jnp.log(average + (sigma - average) / round_number)


def matched(regrets):
  """The strategy in proportion to positive regret, or uniform."""
  positive = jnp.maximum(regrets, 0.0)
  total = jnp.sum(positive, axis=-1, keepdims=True)
  uniform = jnp.full_like(regrets, 1 / regrets.shape[-1])
  return jnp.where(
    total > 0, positive / jnp.where(total > 0, total, 1), uniform
  )
