"""The compiled parts of an iteration, made from a recipe and a scorer.

    score   rollouts -> rollouts with the passes the recipe needs in extras
    assign  rollouts, scores -> credit, metrics
    learn   state, rollouts, credit -> state, metrics
    rate    state, rollouts -> how high each row is rated

None of them knows a model: `scorer(params, rollouts, needs) -> Stats` is all
they see of the policy. Token weights are computed once per optimizer step over
all its rows, so a microbatch's loss is a plain weighted sum, and gradients add
over microbatches and devices exactly.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxrl_llm import digests, in_place, numerics, reads
from jaxrl_llm.objectives import aggregate
from jaxrl_llm.plans.base import Contract
from jaxrl_llm.policies.language import lora
from jaxrl_llm.recipe import Recipe
from jaxrl_llm.training import diagnostics, pieces
from jaxrl_llm.training import widths as widths_lib
from jaxrl_llm.training.division import Division
from jaxrl_llm.training.shard import ALONE, Layout
from jaxrl_llm.types import (
  Batch,
  Credit,
  PyTree,
  Rollouts,
  Scores,
  Spec,
  Stats,
  TrainState,
  initial_credit,
)


class Compiled(NamedTuple):
  """The programs of a run, see `Program`.

  `draw` and `hear` are the curriculum's `sample` and `update`.
  """

  score: Callable
  assign: Callable
  learn: jax.stages.Wrapped
  rate: Callable
  draw: Callable
  hear: Callable


Scorer = Callable[[PyTree, Rollouts, frozenset[str]], Stats]


@dataclasses.dataclass(frozen=True)
class Program:
  """A recipe bound to a scorer and an optimiser.

  Attributes:
    recipe: the method.
    scorer: the policy seen through its tokens.
    tx: the optimiser.
    microbatches: pieces of one optimizer step, accumulated.
    layout: where the arrays live; by default on one device.
    shared: adjacent rows that the scorer reads together, see `shared_rows`.
    widths: columns that a microbatch may be computed in, see
      `jaxrl_llm.training.widths`; () computes all of them.
    packed: a microbatch has several rows in each of its own, see
      `jaxrl_llm.training.packing`; the scorer is told their `places`.
    shown: rows that may be marked `shown`, of which `learn` says more, see
      `diagnostics.of_shown`.
  """

  recipe: Recipe
  scorer: Scorer
  tx: optax.GradientTransformation
  microbatches: int = 1
  layout: Layout = ALONE
  shared: int = 1
  widths: tuple[int, ...] = ()
  packed: bool = False
  shown: int = 0

  @property
  def passes(self) -> frozenset[str]:
    """Extra passes before credit is assigned.

    With one optimizer step the learner's own log-probs are the old ones, and
    no pass is spent on them unless a credit stage reads them.
    """
    wanted = reads.provided(self.recipe.needs, 'pass')
    return wanted | ({'old_logp'} if self.recipe.steps > 1 else frozenset())

  def compile(self) -> Compiled:
    """The programs, jitted; `learn` takes over its state's buffers."""
    curriculum = self.recipe.curriculum
    return Compiled(
      score=jax.jit(self.score) if self.passes else _no_passes,
      assign=jax.jit(self.assign),
      learn=jax.jit(self.learn, donate_argnums=0),
      rate=jax.jit(self.rate),
      draw=jax.jit(curriculum.sample, static_argnums=2),
      hear=jax.jit(curriculum.update),
    )

  def init(self, params: PyTree, spec: Spec) -> TrainState:
    """The state of a run that has not begun."""
    recipe = self.recipe
    return TrainState(
      params=params,
      opt=self.tx.init(params),
      reference=recipe.reference.init(params, spec) if recipe.refers else (),
      method={
        'credit': recipe.credit.init(spec),
        'controllers': {
          name: c.init() for name, c in recipe.objective.controllers.items()
        },
        'curriculum': recipe.curriculum.init(spec),
        'plan': recipe.plan.init(spec),
      },
      step=jnp.int32(0),
    )

  def score(self, state: TrainState, frozen: PyTree, rollouts: Rollouts):
    """Adds the passes of the old and the reference policy to the extras."""
    extras = dict(rollouts.extras)
    old = self.passes - {'ref_logp'}
    if old:
      wanted = reads.statistics(old)
      stats = self._in_pieces(state.params, frozen, rollouts, wanted)
      stats = self._valued(stats)
      extras |= {n: stats.said(reads.field(n)) for n in old}
      if 'old_values' in old and stats.last_value is not None:
        last = self.recipe.critic.values(stats.last_value)
        # What a critic of bins says of nothing need not be 0.
        extras['old_last_value'] = jnp.where(rollouts.truncated, last, 0.0)
    if 'ref_logp' in self.passes:
      params = self.recipe.reference.params(state.reference)
      stats = self._in_pieces(params, frozen, rollouts, frozenset())
      extras['ref_logp'] = stats.logp
    return rollouts.replace(extras=extras)

  def rate(self, state: TrainState, frozen: PyTree, rollouts: Rollouts):
    """Two f32[N]: how rows are rated, and their log-probs."""
    wanted = self.recipe.statistics & {'after_values'}
    stats = self._in_pieces(state.params, frozen, rollouts, wanted)
    ref_logp = None
    if 'ref_logp' in self.passes:
      params = self.recipe.reference.params(state.reference)
      ref = self._in_pieces(params, frozen, rollouts, frozenset())
      ref_logp = ref.logp
    stats = self._valued(stats)
    found = diagnostics.rating(stats, ref_logp, rollouts.loss_mask)
    return self.layout.everywhere(found)

  def know(self, state: TrainState, frozen: PyTree, rollouts: Rollouts):
    """Log-probs of the tokens of rows, and of the most probable ones."""
    wanted = frozenset({'top_logp'})
    stats = self._in_pieces(state.params, frozen, rollouts, wanted)
    return self.layout.everywhere((stats.logp, stats.top_logp))

  def assign(self, credit_state, rollouts: Rollouts, scores: Scores):
    """Rewards, advantages and weights: the constants of the iteration."""
    credit = initial_credit(rollouts, scores)
    rewards = self.recipe.combine(credit.components, scores.weights, rollouts)
    rewards = jnp.where(rollouts.valid, rewards, 0)
    credit = credit.replace(rewards=rewards)
    credit, credit_state = self.recipe.credit.update(
      credit, rollouts, credit_state
    )
    credit = jax.lax.stop_gradient(credit)
    metrics = diagnostics.of_iteration(rollouts, credit, scores.weights)
    return self.layout.everywhere((credit, credit_state, metrics))

  def learn(
    self,
    state: TrainState,
    frozen: PyTree,
    rollouts: Rollouts,
    credit: Credit,
    key: jax.Array,
  ) -> tuple[TrainState, dict[str, jax.Array]]:
    """All optimizer steps of one iteration, then controllers and reference.

    A step whose loss, gradient or new parameters are not finite changes nothing
    and is counted in `bad_steps`. Beside metrics stands `seen`, of rows that
    are `shown`, in the last epoch.
    """
    controllers = self.recipe.objective.controllers
    held = state.method['controllers']
    coefs = {n: c.value(held[n], state.step) for n, c in controllers.items()}
    (params, opt), metrics = self._stepped(
      (state.params, state.opt), frozen, rollouts, credit, coefs, key
    )
    metrics['bad_steps'] *= self.recipe.steps
    metrics['tokens/learned'] *= self.recipe.steps
    slopes = metrics.pop('slopes_max')
    metrics['groups/live'] = diagnostics.live_groups(slopes, rollouts.group)
    metrics |= {f'coef/{name}': value for name, value in coefs.items()}

    step = state.step + 1
    healthy = metrics['bad_steps'] == 0
    moved = {n: c.update(held[n], metrics) for n, c in controllers.items()}
    reference = state.reference
    if self.recipe.refers:
      reference = self.recipe.reference.update(reference, params, step)
    method = state.method | {'controllers': _select(healthy, moved, held)}
    state = TrainState(params, opt, reference, method, step)
    return self.layout.kept(state), self.layout.everywhere(metrics)

  def _stepped(self, carry, frozen, rollouts, credit, coefs, key):
    """Parameters and the optimiser's state after all steps, and metrics."""
    steps, ids = self.recipe.steps, rollouts.group.shape[0]

    def optimizer_step(carry, plan):
      number, index = plan
      rows = (rollouts, credit)
      if steps > 1:
        rows = jax.tree.map(lambda x: x[index], rows)
      batch = self.batch(*self.layout.rows(rows), fresh=number == 0)
      params, opt, metrics = self.recipe.update(
        lambda params, batch: self._gradient(params, frozen, batch, coefs, ids),
        self._optimizer(),
        *carry,
        batch,
      )
      if 'bad_steps' in metrics:
        return (params, opt), metrics
      finite = (
        jnp.isfinite(metrics['loss'])
        & jnp.isfinite(metrics['grad/norm'])
        & (_not_finite(params) == 0)
      )
      carry = _select(finite, (params, opt), carry)
      return carry, metrics | {'bad_steps': 1.0 - finite}

    plans = (jnp.arange(steps), self._indices(rollouts, key))
    if steps == 1:
      return optimizer_step(carry, jax.tree.map(lambda x: x[0], plans))
    carry, stacked = jax.lax.scan(optimizer_step, carry, plans)
    # A row is in one step of every epoch.
    last = {
      name: jnp.sum(stacked.pop(name)[-self.recipe.minibatches :], axis=0)
      for name in stacked.keys() & {'seen'}
    }
    return carry, pieces.merged(stacked, jnp.mean) | last

  def iterate(
    self,
    state: TrainState,
    frozen: PyTree,
    rollouts: Rollouts,
    scores: Scores,
    key: jax.Array,
  ):
    """Score, assign and learn: all that rows with their scores teach.

    Returns:
      The state after it, the rows with their passes, their credit, metrics.
    """
    rollouts = self.score(state, frozen, rollouts)
    held = state.method['credit']
    credit, memory, sampled = self.assign(held, rollouts, scores)
    state = state.replace(method=state.method | {'credit': memory})
    state, learned = self.learn(state, frozen, rollouts, credit, key)
    return state, rollouts, credit, sampled | learned

  def _indices(self, rollouts, key):
    """i32[steps, rows of a step]: whole groups, shuffled in every epoch."""
    recipe = self.recipe
    samples = recipe.plan.contract.samples
    groups = rollouts.group.shape[0] // samples
    keys = jax.random.split(key, recipe.epochs)
    order = jax.vmap(lambda k: jax.random.permutation(k, groups))(keys)
    rows = order[..., None] * samples + jnp.arange(samples)
    return rows.reshape(recipe.steps, -1)

  def batch(self, rollouts, credit, *, fresh):
    """The constants of one optimizer step, with the weights of its tokens."""
    mask = rollouts.loss_mask * credit.token_keep
    counted = (mask > 0) & (credit.keep > 0)[:, None]
    return Batch(
      rollouts=rollouts,
      credit=credit,
      old_logp=rollouts.extras.get('old_logp', rollouts.logp),
      fresh=jnp.broadcast_to(fresh, rollouts.valid.shape),
      weights=self.recipe.weights(mask, credit.keep, rollouts),
      row_weights=aggregate.row_weights(mask, credit.keep, rollouts.group),
      share=counted / jnp.maximum(jnp.sum(counted), 1),
      signal=numerics.beyond_rounding(credit.advantages),
    )

  def _gradient(self, params, frozen, batch, coefs, ids):
    """Loss, gradient and metrics of a step, summed over its microbatches.

    Args:
      ids: that groups may have.
    """
    columns = batch.rollouts.response_mask.shape[1]
    wanted = reads.statistics(self.recipe.needs, 'now')
    rows, unit = batch.rollouts.valid.shape[0], self._block(batch.rollouts)
    if self.recipe.objective.block == 'batch':
      unit = rows
    division = self._division(self.microbatches, unit)
    devices = division.devices(rows)
    # As many parts have metrics of their own.
    parts = self.microbatches * devices
    params, frozen = self.layout.gathered((params, frozen))

    def loss_fn(params, batch, width, places):
      stats = self._seen(
        lora.join(params, frozen), batch.rollouts, wanted, width, places
      )
      own = jax.lax.stop_gradient(stats.logp)
      old = jnp.where(batch.fresh[:, None], own, batch.old_logp)
      batch = batch.replace(old_logp=old)
      loss, metrics = self.recipe.objective.loss(stats, batch, coefs)
      slopes = metrics.pop('slopes'), batch.rollouts.group
      metrics['slopes_max'] = diagnostics.by_group(*slopes, ids)
      metrics |= diagnostics.of_microbatch(self._valued(stats), batch)
      metrics |= {'loss': loss}
      if self.shown and 'shown' in batch.rollouts.extras:
        metrics['seen'] = diagnostics.of_shown(stats, batch, self.shown)
      if self.widths or self.packed:
        metrics['learn/columns'] = width / columns / parts
      kinds = batch.rollouts.extras.keys() & {'recorded', 'demonstrated'}
      if kinds == {'recorded'}:
        metrics |= diagnostics.of_pairs(
          self._valued(stats),
          batch,
          samples=self.recipe.plan.contract.samples,
          microbatches=devices if self.packed else parts,
          counted=places.placed if self.packed else True,
        )
      return loss, jax.lax.stop_gradient(metrics)

    def gradient(batch, width, places):
      if self.packed:
        batch = batch.among(places.placed)
      return jax.grad(loss_fn, has_aux=True)(params, batch, width, places)

    grads, metrics = division.total(gradient, batch, self._read)
    return self.layout.kept(grads), metrics

  def _optimizer(self):
    """That of the program; blocks of arrays that a mesh splits would move."""
    if self.layout.mesh is None or not isinstance(self.tx, in_place.Separable):
      return self.tx
    return optax.GradientTransformation(self.tx.init, self.tx.update)

  def _division(self, pieces, unit):
    return Division(
      pieces=pieces,
      samples=self.recipe.plan.contract.samples,
      unit=unit,
      shared=self.shared,
      layout=self.layout,
      widths=self.widths,
      packed=self.packed,
    )

  def _valued(self, stats):
    """The statistics with the critic's answers read as values."""
    answers = stats.values, stats.after_values
    values, after_values = jax.tree.map(self.recipe.critic.values, answers)
    return stats.replace(values=values, after_values=after_values)

  def _in_pieces(self, params, frozen, rollouts, needs):
    """The scorer over rows in as many pieces as an iteration has."""
    params = self.layout.gathered(lora.join(params, frozen))
    count, unit = self.microbatches * self.recipe.minibatches, 1
    if any(digest.compares for digest in digests.among(needs)):
      unit = self.recipe.plan.contract.samples
      count = math.gcd(count, rollouts.valid.shape[0] // unit)

    def stats(rollouts, width, places):
      return self._seen(params, rollouts, needs, width, places)

    return self._division(count, unit).each(stats, rollouts)

  def _seen(self, params, rollouts, needs, width, places):
    """The scorer's statistics, computed in the first columns alone.

    Nothing that learns reads more of the scorer: here, and nowhere later,
    what it says of tokens that do not count is cut off.
    """
    if self.widths:
      narrow = widths_lib.narrowed(rollouts, width)
      stats = self.scorer(params, narrow, needs)
      stats = widths_lib.widened(stats, rollouts.response_mask.shape[1])
    else:
      told = {'places': places} if self.packed else {}
      stats = self.scorer(params, rollouts, needs, **told)
    return stats.on(rollouts.loss_mask)

  def _block(self, rollouts):
    """Adjacent rows that a loss or a metric reads together."""
    # Pairs of recorded responses are found by their places in a group.
    recorded = 'recorded' in rollouts.extras
    block = self.recipe.objective.block
    return self.recipe.plan.contract.samples if recorded else block

  def _read(self, batch):
    """bool[rows, T]: the tokens whose statistics the gradient depends on."""
    mask = batch.rollouts.response_mask
    if self._block(batch.rollouts) != 1:
      return mask
    # Where no row reads another, one without weight changes nothing.
    weighed = (batch.row_weights != 0) | jnp.any(batch.weights != 0, axis=1)
    return mask & weighed[:, None]


def shared_rows(contract: Contract, rows: int, devices: int = 1) -> int:
  """Consecutive rows of a microbatch that have one prompt, see `score.score`.

  They divide a group and a device's rows, so that none straddles two.

  Args:
    rows: of a microbatch. devices: that its rows are split over.
  """
  if not contract.one_prompt:
    return 1
  return math.gcd(contract.samples, rows // devices)


def _not_finite(params):
  """f32[], how many parameters are infinite or NaN."""
  # A sum of sums, which devices add up once.
  counts = [jnp.sum(~jnp.isfinite(x) * 1.0) for x in jax.tree.leaves(params)]
  return sum(counts)


def _no_passes(state, frozen, rollouts):
  del state, frozen
  return rollouts


def _select(condition, new, old):
  return jax.tree.map(lambda a, b: jnp.where(condition, a, b), new, old)
