"""Notes that run a model over finished responses, see `notes`."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_llm import digests, numerics
from jaxrl_llm.digests import Digest
from jaxrl_llm.notes.base import Stateless
from jaxrl_llm.plans import demonstrations, prefixes
from jaxrl_llm.types import Array, Rollouts, Tokens


@dataclasses.dataclass(frozen=True)
class Teacher(Stateless):
  """`teacher_logp` f32[N, T], under the first policy of `teacher.paths`."""

  provides = frozenset({'teacher_logp'})
  asks = frozenset({'teacher'})

  def write(self, tools, rollouts, scores, state):
    del scores
    return {'teacher_logp': tools.teachers(rollouts)[..., 0]}, state


@dataclasses.dataclass(frozen=True)
class _Candidates(Stateless):
  """The `size` tokens that a policy finds most likely after each prefix.

  Raises:
    ValueError: less than one.
  """

  size: int

  def __post_init__(self):
    if self.size < 1:
      raise ValueError(f'{self.size} candidates say nothing; use at least 1')

  def _named(self, run, rollouts):
    """Log-probs f32[N, T, S] and tokens i32[N, T, S], the likeliest first."""
    digest = Digest(digests.highest, size=self.size)
    logp, named = jnp.split(run(rollouts, digest).said(digest), 2, axis=-1)
    return logp, named.astype(jnp.int32)


@dataclasses.dataclass(frozen=True)
class OwnCandidates(_Candidates):
  """`candidates` i32[N, T, S]: what the policy finds most likely, in order.

  Attributes:
    size: S.
  """

  size: int = 3
  provides = frozenset({'candidates'})

  def write(self, tools, rollouts, scores, state):
    del scores
    _, named = self._named(tools.score, rollouts)
    return {'candidates': named}, state


@dataclasses.dataclass(frozen=True)
class TeacherCandidates(_Candidates):
  """`candidates` i32[N, T, S] and `teacher_candidates` f32[N, T, S].

  The tokens that the first policy of `teacher.paths` finds most likely after
  each prefix, and its log-probs of them.

  Attributes:
    size: S; where it reaches the vocabulary nothing is left out.
  """

  size: int = 64
  provides = frozenset({'candidates', 'teacher_candidates'})
  asks = frozenset({'teacher'})

  def write(self, tools, rollouts, scores, state):
    del scores
    logp, named = self._named(tools.taught, rollouts)
    return {'candidates': named, 'teacher_candidates': logp}, state


@dataclasses.dataclass(frozen=True)
class Constraints(Stateless):
  """`constraint_logp` f32[N, T, C], under the policies of `teacher.paths`.

  Attributes:
    count: C.
  """

  count: int = 2
  provides = frozenset({'constraint_logp'})
  asks = frozenset({'teacher'})

  def write(self, tools, rollouts, scores, state):
    del scores
    logp = tools.teachers(rollouts)
    if logp.shape[-1] != self.count:
      raise ValueError(
        f'teacher.paths names {logp.shape[-1]} policies, and the recipe '
        f'weighs {self.count}'
      )
    return {'constraint_logp': logp}, state


@dataclasses.dataclass(frozen=True)
class HiddenSquare(Stateless):
  """`hidden_square` f32[N, T], |h|^2 of the states that tokens are drawn from.

  h is the normalised last hidden state, what the output layer multiplies.
  """

  provides = frozenset({'hidden_square'})

  def write(self, tools, rollouts, scores, state):
    del scores
    return {'hidden_square': tools.hidden_square(rollouts)}, state


@dataclasses.dataclass(frozen=True)
class PromptLogp(Stateless):
  """`prompt_logp` f32[N, P], log-probs of the prompt's own tokens.

  The first token of a prompt follows nothing and has 0.
  """

  provides = frozenset({'prompt_logp'})

  def write(self, tools, rollouts, scores, state):
    del scores
    rows, shift = as_responses(rollouts)
    logp = tools.score(rows).logp
    place = jnp.arange(rollouts.content.prompt.shape[1]) - shift[:, None] - 1
    logp = jnp.take_along_axis(logp, jnp.maximum(place, 0), axis=1)
    return {'prompt_logp': jnp.where(place >= 0, logp, 0.0)}, state


@jax.jit
def as_responses(rollouts: Rollouts) -> tuple[Rollouts, Array]:
  """Prompts read as responses to their own first token.

  Returns:
    N rows with one prompt token and P - 1 response columns (at least one),
    right padded, and i32[N], the padding before each prompt.
  """
  width = rollouts.content.prompt.shape[1]
  shift = width - jnp.sum(rollouts.content.prompt_mask, axis=1, dtype=jnp.int32)
  place = jnp.arange(max(width, 2)) + shift[:, None]
  mask = place < width
  tokens = jnp.take_along_axis(
    rollouts.content.prompt, jnp.minimum(place, width - 1), axis=1
  )
  rows = rollouts.replace(
    content=rollouts.content.replace(
      prompt=tokens[:, :1],
      prompt_mask=jnp.ones_like(mask[:, :1]),
      response=jnp.where(mask, tokens, 0)[:, 1:],
    ),
    response_mask=mask[:, 1:],
    action_mask=mask[:, 1:],
    logp=jnp.zeros(mask[:, 1:].shape, jnp.float32),
    paid=jnp.zeros(mask[:, 1:].shape, jnp.float32),
    extras={},
  )
  return rows, shift


@dataclasses.dataclass(frozen=True)
class Drift(Stateless):
  """`drift` f32[N]: how far the policy moved since a task was last visited.

      D_i = mean over the tokens of the task's last response of
            |log pi_now - log pi_then|, in nats; 0 on the first visit

  The last response to every task of the table is remembered with its
  log-probs: 2 T + P numbers a task. Where an iteration visits a task more
  than once, all its rows have one drift, and the last valid row is kept.

  Source: Single-stream Policy Optimization, arXiv 2509.13232, section 3.1,
    whose D is a KL; this is its per-token absolute form.
  """

  provides = frozenset({'drift'})

  def init(self, spec):
    prompt = (spec.tasks, spec.prompt_length)
    response = (spec.tasks, spec.response_length)
    return {
      'content': Tokens(
        prompt=jnp.zeros(prompt, jnp.int32),
        prompt_mask=jnp.zeros(prompt, bool),
        response=jnp.zeros(response, jnp.int32),
      ),
      'response_mask': jnp.zeros(response, bool),
      'action_mask': jnp.zeros(response, bool),
      'logp': jnp.zeros(response, jnp.float32),
    }

  def write(self, tools, rollouts, scores, state):
    del scores
    then = jax.tree.map(lambda x: x[rollouts.task], state)
    rows = rollouts.replace(**then, extras={})
    # A task without a past has nothing to attend to; its mask is empty.
    seen = jnp.any(rows.content.prompt_mask, axis=1)
    start = rows.content.prompt_mask.at[:, -1].set(True)
    now = tools.score(
      rows.replace(content=rows.content.replace(prompt_mask=start))
    ).logp
    gap = jnp.abs(now - then['logp'])
    drift = numerics.masked_mean(gap, then['action_mask'], axis=1)
    logp = tools.score(rollouts.replace(extras={})).logp
    kept = {name: getattr(rollouts, name) for name in state} | {'logp': logp}
    return {'drift': jnp.where(seen, drift, 0.0)}, remembered(
      state, kept, rollouts.task, rollouts.valid
    )


@jax.jit
def remembered(memory, rows, task, valid):
  """A memory [A, ...] in which every task has its last valid row [N, ...]."""
  number = jnp.arange(task.shape[0])
  later = (task[:, None] == task) & valid & (number > number[:, None])
  last = valid & ~jnp.any(later, axis=1)
  tasks = jax.tree.leaves(memory)[0].shape[0]
  place = jnp.where(last, task, tasks)
  return jax.tree.map(
    lambda old, new: old.at[place].set(new, mode='drop'), memory, rows
  )


@dataclasses.dataclass(frozen=True)
class Coverage(Stateless):
  """Note: how near a prompt's responses come to its demonstration.

  `coverage` f32[N] is the share of the demonstration's different words that a
  response contains, averaged over its group; `demonstration_reward` f32[N] is
  what the demonstration itself earns, 0 if it could not be verified.
  """

  provides = frozenset({'coverage', 'demonstration_reward'})
  checks = (demonstrations.required,)

  def write(self, tools, rollouts, scores, state):
    del scores
    texts = tools.decode(rollouts)
    records = tools.rows(rollouts.task)
    group = np.asarray(rollouts.group)
    _, first, place = np.unique(group, return_index=True, return_inverse=True)
    share = np.array(
      [
        words_covered(text, demonstrations.shown_in(record))
        for text, record in zip(texts, records, strict=True)
      ]
    )
    mean = np.bincount(place, share) / np.bincount(place)
    shown = prefixes.as_prompts(
      jax.tree.map(lambda x: x[first], rollouts),
      jnp.zeros(len(first), jnp.int32),
    )
    shown, judged = tools.verify(demonstrations.demonstrated(tools, shown))
    earned = judged.total
    return {
      'coverage': jnp.asarray(mean[place], jnp.float32),
      'demonstration_reward': earned[place],
    }, state


def words_covered(text: str, demonstration: str) -> float:
  """The share of the demonstration's different words found in a text.

  1 for a demonstration without words.
  """
  words = set(demonstration.split())
  return len(words & set(text.split())) / len(words) if words else 1.0
