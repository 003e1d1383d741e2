"""Episodes that were acted in arrays, a row a step."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp

from jaxrl_llm import grouping
from jaxrl_llm.plans import by_turn
from jaxrl_llm.plans.base import Contract, Plan
from jaxrl_llm.types import Rollouts, Scores


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
    provides = by_turn.Steps().contract.provides - {'stop'}
    return Contract(self.episodes * self.turns, provides=provides)

  def collect(self, tools, prompts, state, key):
    played = tools.generate(prompts, key, self.episodes)
    live, own = played.response_mask, played.extras['own']
    outcome = jnp.sum(played.paid, axis=1, where=live)
    if self.judged:
      outcome += jnp.sum(own, axis=1, where=live)
    rows = _as_rows(played, self.episodes)
    reward = jnp.where(rows.valid, jnp.repeat(outcome, live.shape[1]), 0.0)
    return rows, Scores(reward[:, None], jnp.ones(1)), state


def _as_rows(played: Rollouts, episodes: int) -> Rollouts:
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
