"""Games of texts, solved over clusters of what is said.

A game, `package.module:Class`, says what its texts mean:

    place(record) -> the information set that a record asks in
    role(record) -> whose texts are clustered together
    marks(texts) -> f64[M, E], where texts stand beside each other
    solve(rounds, places, texts, latent i[M]) -> f64[M], how often the solution
        of the game of latent strategies says what each text belongs to
    exploitability(places, texts) -> of who speaks like that
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from scipy.cluster import vq

from jaxrl_llm.plans.base import Contract, Plan
from jaxrl_llm.tasks import imports

_STARTS = 5


def clustered(marks, count: int, rng: np.random.Generator) -> np.ndarray:
  """i64[M]: the cluster of each mark, by k-means over those that differ.

  The least distorted of five starts, each by k-means++.

  Args:
    marks: f64[M, E]. count: clusters; fewer where fewer marks differ.
  """
  different, which = np.unique(marks, axis=0, return_inverse=True)
  which = which.reshape(-1)
  if len(different) <= count:
    return which
  best, least = which, np.inf
  for _ in range(_STARTS):
    centres, near = vq.kmeans2(different, count, minit='++', rng=rng)
    bent = float(np.sum((different - centres[near]) ** 2))
    if bent < least:
      best, least = near[which], bent
  return best


@dataclasses.dataclass(frozen=True)
class Latent(Plan):
  """Responses scored by how often the solved game would speak like them.

      latent = k-means of the texts of a role
      sigma  = regret minimisation in the game whose moves are these
      score  = sigma(latent of the text | information set)

  An iteration is a round. Each has more latent strategies than the one before.
  The score stands in place of the first verifier's, and others are 0.

  Attributes:
    samples: texts of each question. clusters: k of the first round, of each
      role. more: in every round that follows. most: of any. solving: iterations
      of regret minimisation. game: see the module.

  Source: LSPO, arXiv 2502.04686, section 4. Texts are drawn independently,
    where the paper asks for several different ones at once.
  """

  samples: int = 8
  clusters: int = 2
  more: int = 1
  most: int = 10
  solving: int = 300
  game: str = 'jaxrl_llm.tabular.speeches:Speeches'

  def __post_init__(self):
    imports.imported(f'game {self.game!r}', self.game)

  @property
  def contract(self):
    return Contract(self.samples)

  def init(self, spec):
    del spec
    return jnp.int32(0)

  def collect(self, tools, prompts, state, key):
    draw, seed = jax.random.split(key)
    game = imports.imported(f'game {self.game!r}', self.game)()
    rollouts, scores = tools.verify(tools.generate(prompts, draw, self.samples))
    texts, records = tools.decode(rollouts), tools.rows(rollouts.task)
    places = [game.place(record) for record in records]
    count = min(self.clusters + self.more * int(state), self.most)
    rng = np.random.default_rng(np.asarray(jax.random.key_data(seed)))
    latent = self._strategies(game, records, texts, count, rng)
    chance = game.solve(self.solving, places, texts, latent)
    tools.note('plan/clusters', len(np.unique(latent)))
    tools.note('plan/exploitability', game.exploitability(places, texts))
    components = jnp.zeros_like(scores.components)
    components = components.at[:, 0].set(jnp.asarray(chance, jnp.float32))
    return rollouts, scores.replace(components=components), state + 1

  def _strategies(self, game, records, texts, count, rng):
    """i64[M]: latent strategies; roles have none in common."""
    roles = np.array([game.role(record) for record in records])
    marks = game.marks(texts)
    found = np.zeros(len(texts), np.int64)
    for role in np.unique(roles):
      own = roles == role
      found[own] = clustered(marks[own], count, rng) + found.max() + 1
    return found
