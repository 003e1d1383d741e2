"""Groups of the iterations before, beside new ones."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_llm.plans import kept
from jaxrl_llm.plans.base import Plan


@dataclasses.dataclass(frozen=True)
class Earlier(Plan):
  """The groups of another plan, some of which give way to earlier ones.

  Of B groups int(share B) are drawn, without replacement, from what the plan
  made in the last iteration, int(share B / 2) from the one before, and so on,
  and take the places of as many new ones, at random. Who gives way is kept for
  later like the others.

  Attributes:
    plan: whose groups these are; its extras are marks of rows, bool[N].
    share: of the last iteration, in [0, 1/2]. most: iterations that are kept.

  Raises:
    ValueError: a share or a number that leaves no new group or nothing kept;
      extras whose shape is not known beforehand.

  Source: DNO, arXiv 2404.03715, section 4, which adds at most 30 % of the pairs
    of the iteration before, 15 % of the one before it, and so on.
  """

  plan: Plan
  share: float = 0.3
  most: int = 2

  def __post_init__(self):
    if not 0 <= self.share <= 0.5 or self.most < 1:
      raise ValueError(
        f'a share of {self.share:g} of {self.most} iterations cannot be shown '
        'again beside new groups; use one in [0, 0.5], and at least 1 iteration'
      )

  @property
  def contract(self):
    return dataclasses.replace(self.plan.contract, may_lag=False)

  def init(self, spec):
    groups = spec.rows // spec.samples
    rows = kept.blank(
      spec,
      *(self.most * groups, spec.samples),
      provides=self.plan.contract.provides,
    )
    inner = self.plan.init(spec)
    return {'inner': inner, 'rows': rows, 'step': jnp.int32(0)}

  def collect(self, tools, prompts, state, key):
    draw, shuffle, again = jax.random.split(key, 3)
    rollouts, scores, inner = self.plan.collect(
      tools, prompts, state['inner'], draw
    )
    samples = self.contract.samples
    groups = len(rollouts.valid) // samples
    step, index = int(state['step']), np.arange(groups)
    places = np.asarray(jax.random.permutation(shuffle, groups))
    shown = 0
    for age in range(1, min(self.most, step) + 1):
      count = int(self.share / 2 ** (age - 1) * groups)
      key = jax.random.fold_in(again, age)
      drawn = np.asarray(jax.random.permutation(key, groups))[:count]
      held = (step - age) % self.most * groups + drawn
      index[places[shown : shown + count]] = groups + held
      shown += count
    tools.note('plan/replayed', shown)
    slot = step % self.most * groups + np.arange(groups)
    rollouts, scores, rows = kept.mixed(
      rollouts, scores, state['rows'], index, slot, samples=samples
    )
    state = {'inner': inner, 'rows': rows, 'step': state['step'] + 1}
    return rollouts, scores, state
