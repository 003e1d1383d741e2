"""Every pytree that crosses a module.

Letters used in every docstring of the package:

    B prompts          N rows (responses)       G rows of a group, when regular
    P prompt tokens    T response tokens        V vocabulary
    K score components M microbatches           A tasks in the table
    D domains

Leading axis N unless said; float32 for whatever enters a loss. There are two
masks on purpose: `response_mask` says that a token exists and is attended to,
`action_mask` that the policy chose it and is trained on it. They differ where
a tool or a guide wrote part of the response.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import chex
import jax
import jax.numpy as jnp
from flax import struct

Array = jax.Array
PyTree = Any


class Prompts(struct.PyTreeNode):
  """Questions to sample answers to.

  Attributes:
    tokens: i32[B, P], left padded.
    mask: bool[B, P], True on tokens.
    task: i32[B], row of the task table; per-task memory is indexed by it.
    domain: i32[B], which source the task belongs to.
    extras: arrays with leading axis B.
  """

  tokens: Array
  mask: Array
  task: Array
  domain: Array
  extras: Mapping[str, Array] = struct.field(default_factory=dict)


class Tokens(struct.PyTreeNode):
  """Content of a language model's rows.

  Attributes:
    prompt: i32[N, P], left padded. prompt_mask: bool[N, P].
    response: i32[N, T], right padded.
  """

  prompt: Array
  prompt_mask: Array
  response: Array

  def narrowed(self, width: int) -> Tokens:
    """The same with the first columns of the responses alone."""
    return self.replace(response=self.response[:, :width])

  def read(self, response_mask: Array) -> Array:
    """bool[N, P + T]: all that a row has to be read of, prompt and response."""
    return jnp.concatenate([self.prompt_mask, response_mask], axis=1)


class Transitions(struct.PyTreeNode):
  """Content of rows that act in an environment, one column a step.

  Attributes:
    observation: [N, T, *o], what was seen before each action.
    action: [N, T, *a].
    final: [N, *o], what was seen after the last action.
    legal: bool[N, T, A], what could be done; None where everything could.
  """

  observation: Array
  action: Array
  final: Array
  legal: Array | None = None

  def narrowed(self, width: int) -> Transitions:
    """The same with the first columns alone."""
    legal = None if self.legal is None else self.legal[:, :width]
    return self.replace(
      observation=self.observation[:, :width],
      action=self.action[:, :width],
      legal=legal,
    )


class Path(struct.PyTreeNode):
  """Content of rows that walk from noise to what they make.

  Attributes:
    condition: f32[N, *c], what is asked for.
    state: f32[N, T + 1, *e], from noise to the sample.
    time: f32[N, T + 1], of each state, from 0 to 1.
  """

  condition: Array
  state: Array
  time: Array

  def narrowed(self, width: int) -> Path:
    """The same with the first steps alone."""
    return self.replace(
      state=self.state[:, : width + 1], time=self.time[:, : width + 1]
    )


class Unmasking(struct.PyTreeNode):
  """Content of rows whose tokens were opened in any order, T of them.

  Column t is the t-th token that was opened, not the t-th of the response.

  Attributes:
    prompt: i32[N, P]. prompt_mask: bool[N, P].
    token: i32[N, T]. position: i32[N, T], where each stands in the response.
    hidden: bool[N, M, L], positions that are hidden in each of M readings of
      the finished response; None where the rows are read as they were made.
  """

  prompt: Array
  prompt_mask: Array
  token: Array
  position: Array
  hidden: Array | None = None

  def narrowed(self, width: int) -> Unmasking:
    """The same with the tokens opened first alone."""
    return self.replace(
      token=self.token[:, :width], position=self.position[:, :width]
    )


class Rollouts(struct.PyTreeNode):
  """Rows of decisions with all that must be known to learn from them.

  T counts what the policy decides one by one: tokens, steps of control, steps
  of denoising; 1 for a bandit.

  Attributes:
    content: what was seen and done, a struct that the policy understands:
      `Tokens`, `Transitions`, `Path` or `Unmasking`, with a method
      `narrowed(width)`. Policies, plans and notes alone look inside.
    response_mask: bool[N, T], the decision exists (attention).
    action_mask: bool[N, T], the policy made it (loss).
    logp: f32[N, T], nats, under the distribution that really sampled, with
      temperature and truncation included; 0 where `action_mask` is False. The
      log of a density where actions are continuous.
    paid: f32[N, T], what the environment paid for each decision; 0 where whole
      rows are judged.
    group: i32[N], in [0, N); rows with equal ids are compared and adjacent.
    task: i32[N]. domain: i32[N].
    valid: bool[N], False on padding rows and on rows whose verifier failed.
    truncated: bool[N], the token budget ended the response.
    extras: arrays with leading axis N. The sampler adds `log_mass` f32[N, T],
      the log of the kept probability mass, and, where asked, `support`
      i32[N, T, S]. The scoring pass adds `old_logp`, `old_values`, `ref_logp`
      and others as the recipe needs them; what else a method needs, such as
      `teacher_logp`, its plan provides. All are listed in `reads`. The loop
      alone adds `shown` i32[N], see `training.diagnostics.of_shown`.
  """

  content: PyTree
  response_mask: Array
  action_mask: Array
  logp: Array
  paid: Array
  group: Array
  task: Array
  domain: Array
  valid: Array
  truncated: Array
  extras: Mapping[str, Array] = struct.field(default_factory=dict)

  @property
  def loss_mask(self) -> Array:
    """bool[N, T]: chosen by the policy, in a row that counts."""
    return self.action_mask & self.valid[:, None]

  @property
  def length(self) -> Array:
    """i32[N]: decisions of each row."""
    return jnp.sum(self.response_mask, axis=-1, dtype=jnp.int32)

  def with_extras(self, **extras: Array) -> Rollouts:
    """The same rows with more extras, or others of the same names."""
    return self.replace(extras={**self.extras, **extras})


class Places(struct.PyTreeNode):
  """Where rows stand that are read one behind the other, in packed rows.

  Attributes:
    row: i32[N], which packed row; `rows` for one that has no place.
    column: i32[N], where in it a row begins.
    rows: how many packed rows there are, each as long as any row may be.
  """

  row: Array
  column: Array
  rows: int = struct.field(pytree_node=False)

  @property
  def placed(self) -> Array:
    """bool[N]: rows that have a place."""
    return self.row < self.rows


class Scores(struct.PyTreeNode):
  """What the verifiers said.

  Attributes:
    components: f32[N, K], raw verifier scores; 0 where the row is not valid.
    weights: f32[K], the weight of each component in the run's reward.
    preference: f32[N, G], P(row beats j-th row of its group), or None.
  """

  components: Array
  weights: Array
  preference: Array | None = None

  @property
  def total(self) -> Array:
    """f32[N]: what the components add up to, each with its weight."""
    return self.components @ self.weights


class Credit(struct.PyTreeNode):
  """How much each token of each row is worth.

  Attributes:
    rewards: f32[N], reward units.
    components: f32[N, K], raw scores.
    advantages: f32[N, T], what multiplies the score function.
    keep: f32[N] >= 0, weight of a row in every mean over rows or tokens; 0
      drops it.
    token_keep: f32[N, T] >= 0, weight of a token.
    targets: f32[N, T], what a critic regresses on; 0 without a critic.
    preference: f32[N, G] or None.
  """

  rewards: Array
  components: Array
  advantages: Array
  keep: Array
  token_keep: Array
  targets: Array
  preference: Array | None = None


class Stats(struct.PyTreeNode):
  """What objectives may differentiate: the policy seen through its tokens.

  Attributes:
    logp: f32[N, T], nats; 0 off `response_mask`.
    entropy: f32[N, T], nats, of the distribution at each position.
    values: f32[N, T], a critic's estimate before each token is chosen, or
      what it answers in place of a number, f32[N, T, ...]; or None.
    after_values: the same, once the token is chosen and before anything
      answers it, or None.
    log_probs: f32[N, T, V], whole rows, or None.
    top_logp: f32[N, T], nats, of the most probable token, or None.
    last_value: f32[N], a critic's estimate after the last decision, 0 where
      the row has ended, or what it answers in place of a number, f32[N, ...];
      None is 0 everywhere.
    digests: f32[N, T, D] each, by their names, see `digests`.
  """

  logp: Array
  entropy: Array
  values: Array | None = None
  after_values: Array | None = None
  log_probs: Array | None = None
  top_logp: Array | None = None
  last_value: Array | None = None
  digests: Mapping[str, Array] = struct.field(default_factory=dict)

  def said(self, name: str) -> Array:
    """A field or a digest, by name."""
    return self.digests[name] if name in self.digests else getattr(self, name)

  def on(self, mask: Array) -> Stats:
    """The same on a mask bool[N, T]; 0 with zero gradient off it.

    What a scorer leaves there may be NaN or infinite, as in a padded row of a
    recurrent layer or one that attends to nothing. A weight of 0 would not
    remove that, in a sum or in its slope.
    """

    def cut(x, where=mask):
      wide = where.reshape(where.shape + (1,) * (x.ndim - where.ndim))
      return jnp.where(wide, x, 0)

    found = jax.tree.map(cut, self.replace(last_value=None))
    if self.last_value is None:
      return found
    return found.replace(last_value=cut(self.last_value, jnp.any(mask, axis=1)))


class Batch(struct.PyTreeNode):
  """The constants of one optimizer step (or of a microbatch of it).

  Attributes:
    rollouts: the rows.
    credit: their credit.
    old_logp: f32[N, T], log-probs under the proximal policy, the parameters
      at the start of the iteration.
    fresh: bool[N], the parameters being differentiated are still those of
      `old_logp`. The learner then takes its own log-probs for them, so that
      an on-policy ratio is 1 exactly, not to rounding.
    weights: f32[N, T], how much each token's loss counts, fixed for the
      whole optimizer step, so that the loss is a plain weighted sum.
    row_weights: f32[N], the weight of a row in losses made of whole
      sequences.
    share: f32[N, T], each token's share of the step's tokens, for metrics.
    signal: bool[N, T], tokens whose advantage is not 0, nor what rounding
      leaves of it, for metrics.
  """

  rollouts: Rollouts
  credit: Credit
  old_logp: Array
  fresh: Array
  weights: Array
  row_weights: Array
  share: Array
  signal: Array

  def among(self, rows: Array) -> Batch:
    """The same, in which rows off a mask bool[N] are not valid, nor weigh."""

    def cut(x):
      return jnp.where(rows.reshape(rows.shape + (1,) * (x.ndim - 1)), x, 0)

    valid = self.rollouts.valid & rows
    return self.replace(
      rollouts=self.rollouts.replace(valid=valid),
      weights=cut(self.weights),
      row_weights=cut(self.row_weights),
      share=cut(self.share),
    )


class TrainState(struct.PyTreeNode):
  """Everything a run must not lose.

  Attributes:
    params: trainable parameters.
    opt: optimiser state.
    reference: state of the reference policy, () when none is needed.
    method: states of the credit stages, controllers, curriculum and plan.
    step: i32[], finished iterations.
  """

  params: PyTree
  opt: PyTree
  reference: PyTree
  method: PyTree
  step: Array


@dataclasses.dataclass(frozen=True)
class Spec:
  """Static sizes and the seed, for `init` functions.

  Attributes:
    rows: N, rows of one iteration.
    samples: G, rows of a group.
    prompt_length: P. response_length: T.
    tasks: A. domains: D. components: K.
    component_names: length K.
    task_domains: the domain of each task; () where all are of domain 0.
    task_lengths: tokens of each task's prompt; () where prompts have none.
    seed: of the run, for parts that draw by themselves.
  """

  rows: int
  samples: int
  prompt_length: int
  response_length: int
  tasks: int = 1
  domains: int = 1
  component_names: tuple[str, ...] = ('score',)
  task_domains: tuple[int, ...] = ()
  task_lengths: tuple[int, ...] = ()
  seed: int = 0

  @property
  def components(self) -> int:
    return len(self.component_names)


def initial_credit(rollouts: Rollouts, scores: Scores) -> Credit:
  """Credit before any stage: no reward yet, every valid row kept whole."""
  n, t = rollouts.response_mask.shape
  chex.assert_shape(scores.components, (n, None))
  valid = rollouts.valid[:, None]
  # The double where: a failed verifier may have left NaN in its row.
  components = jnp.where(valid, scores.components, 0.0)
  return Credit(
    rewards=jnp.zeros(n, jnp.float32),
    components=components.astype(jnp.float32),
    advantages=jnp.zeros((n, t), jnp.float32),
    keep=rollouts.valid.astype(jnp.float32),
    token_keep=rollouts.loss_mask.astype(jnp.float32),
    targets=jnp.zeros((n, t), jnp.float32),
    preference=scores.preference,
  )
