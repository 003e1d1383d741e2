"""Several agents in one environment, each a policy of its own."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp

from jaxrl_llm.policies import agents as agents_lib
from jaxrl_llm.policies.categorical import Categorical
from jaxrl_llm.policies.protocol import Param


@dataclasses.dataclass(frozen=True)
class Several(Categorical):
  """Tables of log-odds, one for each agent, of the numbers that it sees.

  The agents share no parameter, and `agents.apart` gives each an optimizer of
  its own: what passes between them is what they are paid. As M-GRPO, arXiv
  2511.13288, trains its main agent and sub-agents as two models.

  Attributes:
    agents: how many observations each sees, S in all, the first ones the first.
  """

  agents: tuple[int, ...] = ()

  def __post_init__(self):
    if sum(self.agents) != self.states:
      raise ValueError(
        f'agents that see {self.agents} of {self.states} observations; they '
        'share no observation, and each has to be seen by one'
      )

  @property
  def names(self) -> tuple[str, ...]:
    """Under which the parameters of each agent stand."""
    return agents_lib.names(len(self.agents))

  def table(self):
    return {
      (name, *path): Param((count, *entry.shape[1:]), entry.axes, entry.init)
      for name, count in zip(self.names, self.agents, strict=True)
      for path, entry in super(Several, self).table().items()
    }

  def log_probs(self, params, observation, legal=None):
    return super().log_probs(self._joined(params), observation, legal)

  def values(self, params, observation):
    return super().values(self._joined(params), observation)

  def _joined(self, params):
    leaves = [params[name] for name in self.names]
    return {
      path: jnp.concatenate([leaf[path] for leaf in leaves])
      for path in leaves[0]
    }
