"""Oracles of the entries that stay near the last policy without a clip."""

from __future__ import annotations

from tests.oracles.parts import (
  Answer,
  centred,
  entry,
  k2,
  normalised,
  over_tokens,
  penalty,
  ratio,
  score_function,
  sequence_mean,
  token_mean,
)


def _importance(case, advantages):
  """A term: -r A."""
  return lambda now, it: -ratio(case, now, it) * advantages[it[0]]


def _towards(case, weight, divergence):
  """A term: weight times a divergence, a function of r and d = log r."""

  def term(now, it):
    d = now.logp[it] - case.old.logp[it]
    return weight * divergence(ratio(case, now, it), d)

  return term


@entry()
def trpo(case):
  """Arxiv 1502.05477, equation 14: -r A, and KL(old || policy) to bound."""
  a, w = centred(case, case.rewards), token_mean(case)
  bound = _towards(case, 1.0, lambda r, d: r - 1 - d)
  loss = over_tokens(case, w, _importance(case, a), bound)
  return Answer(loss, advantages=a, weights=w)


@entry()
def r2vpo(case, *, initial, limit, rate, epsilon):
  """Arxiv 2601.03320: -r A + lam (r - 1)^2 after one step of the dual."""
  lam = max(0.0, initial + rate * (case.measured['loss/variance'] - limit))
  a, w = normalised(case, case.rewards, epsilon), sequence_mean(case)
  variance = _towards(case, lam, lambda r, d: (r - 1) ** 2)
  loss = over_tokens(case, w, _importance(case, a), variance)
  return Answer(loss, advantages=a, weights=w)


@entry()
def mdpo(case, *, weight, iterations, epsilon):
  """Arxiv 2005.09814, equation 9: KL(policy || old) / t_k, t_k = 1 - k / K."""
  coefficient = weight / (1 - case.step / iterations)
  a, w = normalised(case, case.rewards, epsilon), sequence_mean(case)
  near = _towards(case, coefficient, lambda r, d: r * d - r + 1)
  loss = over_tokens(case, w, _importance(case, a), near)
  return Answer(loss, advantages=a, weights=w)


def _last_copy(past, *, every):
  """The policy after the last multiple of `every` iterations."""
  return past[(len(past) - 1) // every * every]


@entry(values={'every': 4}, moved=({'every': 3},), reference=_last_copy)
def mmd(case, *, magnet_weight, step_size):
  """Arxiv 2304.13138: -r A + alpha KL to a magnet + KL to the last / eta."""
  a, w = centred(case, case.rewards), sequence_mean(case)
  near = _towards(case, 1 / step_size, lambda r, d: r * d - r + 1)
  magnet = penalty(case, magnet_weight, k2)
  loss = over_tokens(case, w, _importance(case, a), near, magnet)
  return Answer(loss, advantages=a, weights=w)


@entry()
def target_surrogate(case, *, step_size, epsilon):
  """Arxiv 2302.02607, equation 3: <g, z> + |z - z_t|^2 / (2 eta)."""
  a, w = normalised(case, case.rewards, epsilon), sequence_mean(case)
  square = _towards(case, 1 / (2 * step_size), lambda r, d: d**2)
  loss = over_tokens(case, w, score_function(case, a), square)
  return Answer(loss, advantages=a, weights=w)
