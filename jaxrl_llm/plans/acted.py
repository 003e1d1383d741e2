"""The plans for agents where an environment of arrays answers.

`episodes` and `by_turn` have these plans for texts.
"""

from __future__ import annotations

import dataclasses

from jaxrl_llm.environments.base import Spec
from jaxrl_llm.plans.acted_episodes import ActedEpisodes
from jaxrl_llm.plans.acted_steps import ActedSteps
from jaxrl_llm.plans.aligned import Aligned
from jaxrl_llm.plans.base import Plan
from jaxrl_llm.plans.by_turn import Steps
from jaxrl_llm.plans.episodes import MultiTurn


def acted(plan: Plan, spec: Spec) -> Plan | None:
  """The plan where such an environment answers; None for others than these.

  Raises:
    ValueError: a plan of other turns than the environment has.
  """
  match plan:
    case MultiTurn(samples=samples, turns=turns):
      found: Plan = ActedEpisodes(samples, spec.seats)
    case Steps(episodes=episodes, turns=turns) if type(plan) is Steps:
      found = ActedSteps(episodes, turns, spec.judged)
    case Aligned(plan=inner):
      within = acted(inner, spec)
      return within and dataclasses.replace(plan, plan=within)
    case _:
      return None
  if turns != spec.horizon:
    raise ValueError(
      f'recipe.turns is {turns}, and an episode here has at most '
      f'{spec.horizon} steps; set it to {spec.horizon}'
    )
  return found
