"""Duels against what the policy is about to become."""

from __future__ import annotations

import jax

from jaxrl_llm.plans import actions, opponents


class HalfStep(opponents.Duel):
  """Against the policy that an ordinary step from here would make.

  The step is taken on a group whose halves are both the policy's own, and is
  forgotten: parameters and optimiser stay as they are.

  Source: EGPO, arXiv 2503.08942, algorithm 1.
  """

  def collect(self, tools, prompts, state, key):
    first, second, step, mine, theirs = jax.random.split(key, 5)

    def between(speaker, own, other):
      half = self.samples // 2
      own = tools.generate(prompts, own, half)
      other = actions.within(speaker.generate(prompts, other, half), False)
      return tools.verify(opponents.halves(own, other, len(prompts.task)))

    ahead = tools.ahead(*between(tools, first, second), step)
    return *between(ahead, mine, theirs), state
