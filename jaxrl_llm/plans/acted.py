"""Plans for agents where an environment of arrays answers: a turn is an action.

`episodes` and `by_turn` have these plans for texts. What is one row a turn
there is one row a step here, and what is one row an episode has a turn in each
column. A game of several seats, all of which one policy plays, makes a row of
every seat, in which the decisions of that seat alone are the policy's.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from jaxrl_llm import grouping
from jaxrl_llm.environments.base import Spec
from jaxrl_llm.plans.aligned import Aligned
from jaxrl_llm.plans.base import Contract, Plan
from jaxrl_llm.plans.by_turn import Steps
from jaxrl_llm.plans.episodes import MultiTurn
from jaxrl_llm.types import Rollouts, Scores


@dataclasses.dataclass(frozen=True)
class ActedEpisodes(Plan):
  """`MultiTurn` of episodes that were acted, one row of each seat.

  The rewards of a row are what its seat was paid; what a judge says of single
  actions is no part of them. The extras, each [N, T]:

      turn             i32, which turn of the row's seat
      action_end       bool, decisions of the row's seat
      decision_reward  f32, what its action was worth by itself

  Attributes:
    samples: episodes of a task. seats: S, of the game; the rows of a seat are
      a group.
  """

  samples: int = 8
  seats: int = 1

  @property
  def contract(self):
    return Contract(
      self.samples,
      groups=self.seats,
      provides={'turn', 'action_end', 'decision_reward'},
    )

  def collect(self, tools, prompts, state, key):
    played = tools.generate(prompts, key, self.samples)
    extras = dict(played.extras)
    actor, own = extras.pop('actor'), extras.pop('own')
    paid = extras.pop('seats', played.paid[..., None])
    parts = [
      played.replace(
        action_mask=(mine := played.action_mask & (actor == seat)),
        logp=jnp.where(mine, played.logp, 0.0),
        paid=paid[..., seat],
        extras={
          **extras,
          'turn': jnp.maximum(jnp.cumsum(mine, axis=1) - 1, 0),
          'action_end': mine,
          'decision_reward': jnp.where(mine, own, 0.0),
        },
      )
      for seat in range(self.seats)
    ]
    rows = jax.tree.map(lambda *x: self._beside(x), *parts)
    group = jnp.arange(len(rows.valid), dtype=jnp.int32) // self.samples
    return *tools.verify(rows.replace(group=group)), state

  def _beside(self, parts):
    """The groups of all seats of a task, one after the other."""
    first = parts[0]
    split = [x.reshape(-1, self.samples, *x.shape[1:]) for x in parts]
    return jnp.stack(split, axis=1).reshape(-1, *first.shape[1:])


@dataclasses.dataclass(frozen=True)
class ActedSteps(Plan):
  """`Steps` of episodes that were acted, one row a step.

  The rewards of a row are those of its whole episode, with what a judge says of
  all of its actions. The extras, each [N]: `trajectory`, `step`, `agent` and
  `anchor` i32, where steps that saw the same were taken in one state, `node`
  i32, where they did the same there as well, and `step_reward` f32.

  Attributes:
    episodes: of a task. turns: T, the steps of the longest.
    judged: what a judge says comes beside the reward.
  """

  episodes: int = 8
  turns: int = 4
  judged: bool = False

  @property
  def contract(self):
    return Contract(
      self.episodes * self.turns,
      provides={
        'trajectory',
        'step',
        'step_reward',
        'agent',
        'anchor',
        'node',
      },
    )

  def collect(self, tools, prompts, state, key):
    played = tools.generate(prompts, key, self.episodes)
    live, own = played.response_mask, played.extras['own']
    outcome = jnp.sum(played.paid, axis=1, where=live)
    if self.judged:
      outcome += jnp.sum(own, axis=1, where=live)
    rows = as_rows(played, self.episodes)
    reward = jnp.where(rows.valid, jnp.repeat(outcome, live.shape[1]), 0.0)
    return rows, Scores(reward[:, None], jnp.ones(1)), state


def as_rows(played: Rollouts, episodes: int) -> Rollouts:
  """Every step of N episodes as a row of one column; those of one adjacent."""
  count, turns = played.response_mask.shape
  extras = dict(played.extras)
  extras.pop('seats', None)

  def apart(x):
    return x.reshape(count * turns, 1, *x.shape[2:])

  def repeated(x):
    return jnp.repeat(x, turns, axis=0)

  content = played.content
  legal = None if content.legal is None else apart(content.legal)
  after = jnp.concatenate(
    [content.observation[:, 1:], content.final[:, None]], axis=1
  )
  place = jnp.arange(count * turns, dtype=jnp.int32)
  seen = content.observation.reshape(count * turns, -1)
  done = content.action.reshape(count * turns, -1)
  anchor = grouping.joint(*seen.T)
  live = apart(played.response_mask)
  own, actor = apart(extras.pop('own')), apart(extras.pop('actor'))
  return Rollouts(
    content=content.replace(
      observation=apart(content.observation),
      action=apart(content.action),
      final=after.reshape(count * turns, *content.final.shape[1:]),
      legal=legal,
    ),
    response_mask=live,
    action_mask=live,
    logp=apart(played.logp),
    paid=apart(played.paid),
    group=place // (episodes * turns),
    task=repeated(played.task),
    domain=repeated(played.domain),
    valid=live[:, 0] & repeated(played.valid),
    truncated=repeated(played.truncated),
    extras={
      **{name: repeated(x) for name, x in extras.items()},
      'trajectory': place // turns % episodes,
      'step': place % turns,
      'step_reward': own[:, 0],
      'agent': actor[:, 0],
      'anchor': anchor,
      'node': grouping.joint(anchor, *done.T),
    },
  )


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
