"""A plan that knows before it asks where the policy will fail."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_llm.plans.budgeted import Budgeted
from jaxrl_llm.selection import budgets, foresight


@dataclasses.dataclass(frozen=True)
class Foretold(Budgeted):
  """`Budgeted`, by success rates that earlier prompts and results foretell.

  The context is of the last prompts answered, whatever their questions; it
  knows a policy that changes by what it has done lately. The extra
  `predicted_reward` f32[N] is what was foretold of a row's prompt.

  Attributes:
    capacity: prompts of the context, the oldest leaving first. size: numbers
      that a prompt is known by. prior: responses that the mean counts for.

  Source: V_0, arXiv 2602.03584, section 4; see `selection.foresight`.
  """

  value: Callable = budgets.contrast
  allocate: Callable = budgets.greedy
  capacity: int = 512
  size: int = 64
  prior: float = 1.0

  @property
  def contract(self):
    return super().contract.adding(provides={'predicted_reward'})

  def init(self, spec):
    del spec
    return {
      'features': jnp.zeros((self.capacity, self.size)),
      'result': jnp.zeros(self.capacity),
      'count': jnp.zeros(self.capacity),
      'place': jnp.int32(0),
    }

  def collect(self, tools, prompts, state, key):
    asked = foresight.features(prompts.tokens, prompts.mask, size=self.size)
    held = jax.tree.map(np.array, state)
    context = held['features'], held['result'], held['count']
    chances = foresight.foretold(*context, asked, prior=self.prior)
    index = np.repeat(np.arange(len(asked)), self._allotted(chances))
    spread = jax.tree.map(lambda x: x[index], prompts)
    rollouts, scores = tools.verify(tools.generate(spread, key, 1))
    rollouts = rollouts.replace(group=jnp.asarray(index, jnp.int32))
    rollouts = rollouts.with_extras(
      predicted_reward=jnp.asarray(chances[index], jnp.float32)
    )
    valid, rewards = np.asarray(rollouts.valid), np.asarray(scores.total)
    count = np.bincount(index, valid, len(asked))
    won = np.bincount(index, np.where(valid, rewards, 0.0), len(asked))
    tools.note('plan/largest_group', int(np.bincount(index).max()))
    rate = np.clip(won / np.maximum(count, 1), 0, 1)
    told = foresight.loss(chances[count > 0], rate[count > 0])
    tools.note('plan/foretold', float(told))
    return rollouts, scores, self._kept(held, asked, rate, count)

  def _kept(self, held, asked, rate, count):
    """The context with the prompts that were answered."""
    answered = np.flatnonzero(count > 0)[-self.capacity :]
    place = (held['place'] + np.arange(len(answered))) % self.capacity
    held['features'][place] = asked[answered]
    held['result'][place] = rate[answered]
    held['count'][place] = count[answered]
    held['place'] = (held['place'] + len(answered)) % self.capacity
    return jax.tree.map(jnp.asarray, held)
