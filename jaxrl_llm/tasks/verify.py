"""Scores of responses by several verifiers, with failures masked and counted.

A verifier that raises, hangs, dies or returns NaN costs its row and nothing
else: the run goes on, the row is marked, the kind of failure is counted, and
the first example of each kind is logged.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from absl import logging

from jaxrl_llm.tasks import verifiers as verifiers_lib
from jaxrl_llm.tasks.pool import LARGEST, Outcome, Pool

KINDS = ('errors', 'timeouts', 'crashes', 'nan')
# Characters of a response or row in the log.
SHOWN = 400
# f(responses, rows) -> scores.
Judge = Callable[[Sequence[str], Sequence[Mapping[str, Any]]], Sequence[float]]


@dataclasses.dataclass(frozen=True)
class Verdict:
  """What the verifiers said of N responses.

  Attributes:
    components: f32[N, K], one column per verifier; 0 where it failed.
    ok: bool[N], every verifier of the row answered.
    counts: failed (row, verifier) pairs by kind: `verify/errors` (raised, or
      not one score per response), `verify/timeouts`, `verify/crashes` (its
      process died), `verify/nan` (NaN or infinite).
  """

  components: np.ndarray
  ok: np.ndarray
  counts: dict[str, int]


class Verifiers:
  """Verifiers with names, weights and the processes that run them.

  Use it as a context, or call `close`; at interpreter exit it closes itself.
  Verifiers see one response at a time, but for those marked as `batched`, which
  see all of a call of `score` at once. Cheap built-ins run in this process.

  Attributes:
    names: length K, unique, without parameters: what metrics are called.
    weights: length K, of each component in the run's reward.

  Args:
    names: verifiers as in `verifiers.resolve`.
    weights: one per verifier; empty gives each 1.
    seconds, workers, memory: limits of the `Pool`.
    judges: verifiers that score a whole batch at once, by their spec.

  Raises:
    ValueError: an unknown verifier, one named twice, a weight that
      is not finite, not one weight per verifier, or a verifier that takes
      longer than the limit to score a response that is wrong.
  """

  def __init__(
    self,
    names: Sequence[str],
    weights: Sequence[float] = (),
    *,
    seconds: float = 5.0,
    workers: int = 2,
    memory: int = 4 << 30,
    judges: Mapping[str, Judge] = MappingProxyType({}),
  ):
    self._specs = tuple(names)
    self.names = tuple(verifiers_lib.name_of(spec) for spec in names)
    self.weights = tuple(weights) or (1.0,) * len(names)
    if len(self.weights) != len(names):
      raise ValueError(
        f'{len(self.weights)} weights for {len(names)} verifiers; give one '
        'for each'
      )
    if len(set(self.names)) < len(self.names):
      raise ValueError(
        f'verifiers {self.names} are not all different; give one a name of its '
        'own, as in second=exact'
      )
    if not all(
      isinstance(weight, int | float) and math.isfinite(weight)
      for weight in self.weights
    ):
      raise ValueError(
        f'verifier weights {self.weights} are not all finite numbers'
      )
    for spec in names:
      if spec not in judges:
        _check_seconds(spec, seconds)
    self._judges = judges
    self._batched = [
      spec
      for spec in names
      if spec not in judges and verifiers_lib.is_batched(spec)
    ]
    self._pool = Pool(workers, seconds, memory)
    self._logged: set[tuple[str, str]] = set()

  def score(
    self, responses: Sequence[str], rows: Sequence[Mapping[str, Any]]
  ) -> Verdict:
    """Scores N responses to the questions of N rows.

    Raises:
      ValueError: not one row per response.
    """
    if len(responses) != len(rows):
      raise ValueError(f'{len(responses)} responses for {len(rows)} rows')
    components = np.zeros((len(rows), len(self.names)), np.float32)
    ok = np.ones(len(rows), bool)
    counts = {f'verify/{kind}': 0 for kind in KINDS}
    jobs = [
      (spec, response, row)
      for response, row in zip(responses, rows)
      for spec in self._specs
    ]
    for index, (kind, value, detail) in enumerate(self._outcomes(jobs)):
      row, column = divmod(index, len(self.names))
      # Finite in float64 is not enough: components are float32.
      if kind == 'ok' and abs(value) > LARGEST:
        kind, detail = 'nan', f'score {value} exceeds float32'
      if kind == 'ok':
        components[row, column] = value
        continue
      ok[row] = False
      counts[f'verify/{kind}'] += 1
      self._log_once(kind, detail, jobs[index])
    return Verdict(components, ok, counts)

  def try_out(
    self, responses: Sequence[str], rows: Sequence[Mapping[str, Any]]
  ) -> None:
    """Refuses a verifier that fails on every one of a few rows.

    Models that judge are not asked: they are ours, and slow to compile.

    Raises:
      ValueError: naming the verifier and what went wrong.
    """
    for spec in self._specs:
      if spec in self._judges:
        continue
      jobs = [(spec, *pair) for pair in zip(responses, rows, strict=True)]
      # One by one: where the first is fine, the others are not waited for.
      for job in jobs:
        [(kind, _, detail)] = self._outcomes([job])
        if kind == 'ok':
          break
      else:
        said = f'{kind}: {detail}' if detail else kind
        raise ValueError(
          f'verifier {spec!r} fails on each of {len(jobs)} questions that it '
          f'was tried on ({" ".join(said.split())}); mend it, or the answers '
          'of the data'
        )

  def _outcomes(self, jobs) -> list[Outcome]:
    inline = [verifiers_lib.is_inline(spec) for spec, _, _ in jobs]
    batches = [(spec, *_own(spec, jobs)) for spec in self._batched]
    single = [
      job
      for job, here in zip(jobs, inline)
      if not here and job[0] not in self._batched
    ]
    # Batches first: they last longest.
    found = self._pool.map([*batches, *single])
    pooled = iter(found[len(batches) :])
    whole = {spec: iter(self._judged(spec, jobs)) for spec in self._judges}
    for (spec, said, _), outcome in zip(batches, found):
      whole[spec] = iter(_each(outcome, len(said)))
    outcomes = []
    for job, here in zip(jobs, inline):
      if job[0] in whole:
        outcomes.append(next(whole[job[0]]))
      else:
        outcomes.append(verifiers_lib.score(*job) if here else next(pooled))
    return outcomes

  def _judged(self, spec: str, jobs) -> list[Outcome]:
    responses, rows = _own(spec, jobs)
    scores = self._judges[spec](responses, rows) if rows else ()
    return [verifiers_lib.judged(float(x)) for x in scores]

  def _log_once(self, kind: str, detail: str, job) -> None:
    spec, response, row = job
    if (spec, kind) in self._logged:
      return
    self._logged.add((spec, kind))
    logging.warning(
      'verifier %s failed (%s: %s); the row is masked, further %s of it are '
      'only counted. response: %.*r row: %.*r',
      spec,
      kind,
      detail,
      kind,
      SHOWN,
      response,
      SHOWN,
      row,
    )

  def close(self) -> None:
    """Ends the processes; scoring is over."""
    self._pool.close()

  def __enter__(self) -> Verifiers:
    return self

  def __exit__(self, *_) -> None:
    self.close()


def _own(spec: str, jobs) -> tuple[list[str], list[Mapping[str, Any]]]:
  """The responses and the rows of a verifier's jobs."""
  own = [(response, row) for name, response, row in jobs if name == spec]
  return [response for response, _ in own], [row for _, row in own]


def _each(outcome, count: int) -> list[Outcome]:
  """What a batch came to, for each of its rows; one failure is that of all."""
  kind, scores, detail = outcome
  if kind == 'ok':
    return [verifiers_lib.judged(score) for score in scores]
  return [(kind, 0.0, detail)] * count


def _check_seconds(spec: str, seconds: float) -> None:
  """Refuses a limit that would mask what the verifier itself scores 0."""
  own = verifiers_lib.own_seconds(spec)
  if own and own >= seconds:
    raise ValueError(
      f'verifier {spec!r} gives a response {own:g} s, and the limit of its '
      f'process is {seconds:g} s; raise verify.seconds above {own:g}'
    )
