"""Notes on parts of responses: thoughts, and beginnings judged alone."""

from __future__ import annotations

import dataclasses
import itertools

import jax.numpy as jnp
import numpy as np

from jaxrl_llm.notes.base import Stateless


@dataclasses.dataclass(frozen=True)
class Thoughts(Stateless):
  """`thought` bool[N, T]: tokens up to the end of a response's thought.

  Nothing is a thought where the mark is missing.

  Attributes:
    end: the text that ends a thought.
  """

  end: str = '</think>'
  provides = frozenset({'thought'})

  def write(self, tools, rollouts, scores, state):
    del scores
    thought = np.zeros(rollouts.content.response.shape, bool)
    for row, pieces in enumerate(tools.pieces(rollouts)):
      said = ''
      for column, piece in enumerate(pieces):
        said += piece
        if self.end in said:
          thought[row, : column + 1] = True
          break
    return {'thought': jnp.asarray(thought)}, state


@dataclasses.dataclass(frozen=True)
class PrefixRewards(Stateless):
  """`prefix_reward` f32[N, T]: log R of what was said before each token.

      log R = r / weight,   r the run's reward of the prefix, ended there

  Every prefix goes to the verifiers: T calls for each batch of responses.

  Attributes:
    weight: beta > 0, reward units per nat.
  """

  weight: float = 1.0
  provides = frozenset({'prefix_reward'})

  def write(self, tools, rollouts, scores, state):
    prefixes = [
      list(itertools.accumulate(pieces, initial=''))
      for pieces in tools.pieces(rollouts)
    ]
    columns = []
    for t in range(rollouts.content.response.shape[1]):
      # Past the end nothing is read; the whole text keeps the rows even.
      texts = [said[min(t, len(said) - 1)] for said in prefixes]
      _, found = tools.verify(rollouts, texts)
      columns.append(found.components @ found.weights)
    reward = jnp.stack(columns, axis=1) / self.weight
    # A failed judgement may have left NaN.
    return {
      'prefix_reward': jnp.where(jnp.isfinite(reward), reward, 0.0)
    }, state
