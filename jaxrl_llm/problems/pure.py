"""Runs whose rows one compiled function makes, with what they are paid.

Nothing returns to the host within an iteration: no text is read and nobody
judges. So several iterations may be one program, see
`jaxrl_llm.training.compact`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from jaxrl_llm import compose, optimizers
from jaxrl_llm import recipe as recipe_lib
from jaxrl_llm.digests import among
from jaxrl_llm.plans.base import Plan
from jaxrl_llm.policies.protocol import Policy, initial
from jaxrl_llm.reads import united
from jaxrl_llm.recipe import Recipe
from jaxrl_llm.training import shard, step
from jaxrl_llm.training.keys import Purpose, key_for
from jaxrl_llm.training.session import Session, spread
from jaxrl_llm.types import (
  Array,
  Prompts,
  PyTree,
  Rollouts,
  Scores,
  Spec,
  TrainState,
)

Optimizer: TypeAlias = optax.GradientTransformation
# f(params) -> name -> what is known of a policy without sampling.
Exact = Callable[[PyTree], dict[str, float]]
# f(params, tasks i32[N], uids i32[N], key) -> Rollouts, jittable.
Write = Callable[[PyTree, Array, Array, Array], Rollouts]


def judged(content: PyTree, logp: Array, tasks: Array, reward: Array):
  """Rows of full length, paid for their end alone.

  Args:
    logp: f32[N, T]. tasks: i32[N]. reward: f32[N].
  """
  everywhere = jnp.ones(logp.shape, bool)
  return Rollouts(
    content=content,
    response_mask=everywhere,
    action_mask=everywhere,
    logp=logp,
    paid=jnp.zeros_like(logp).at[:, -1].set(reward),
    group=jnp.arange(tasks.shape[0], dtype=jnp.int32),
    task=tasks,
    domain=jnp.zeros_like(tasks),
    valid=everywhere[:, 0],
    truncated=~everywhere[:, 0],
  )


class Tools:
  """What a plan is lent: draws, rows, and their verdicts."""

  environment = None
  components = ('return',)

  def __init__(self, session: PureSession, state: TrainState, key: Array):
    self._session, self._params = session, session.sampling_params(state)
    self._key, self._draws = key, 0
    self.curriculum, self.rater = state.method['curriculum'], None
    self.columns = session.spec.response_length
    self.metrics: dict[str, Any] = {}

  def draw(self) -> Prompts:
    """The next tasks of the curriculum."""
    key = jax.random.fold_in(self._key, self._draws)
    self._draws += 1
    tasks, self.curriculum = self._session.draw(self.curriculum, key)
    tasks = jnp.asarray(tasks, jnp.int32)
    nothing = jnp.zeros((tasks.shape[0], 0), jnp.int32)
    return Prompts(nothing, nothing > 0, tasks, jnp.zeros_like(tasks))

  def generate(
    self, prompts: Prompts, key: Array, samples: int, *, most: int = 0
  ) -> Rollouts:
    """`samples` rows of each task; those of a task are adjacent."""
    del most
    tasks = jnp.repeat(prompts.task, samples)
    uids = jnp.arange(tasks.shape[0], dtype=jnp.int32)
    layout = self._session.layout
    tasks, uids = layout.rows((tasks, uids))
    places = tasks % self._session.tasks
    rollouts = self._session.write(self._params, places, uids, key)
    rollouts = rollouts.replace(task=tasks, group=uids // samples)
    return layout.everywhere(rollouts)

  def verify(self, rollouts: Rollouts) -> tuple[Rollouts, Scores]:
    """The sum of what each row was paid."""
    paid = jnp.sum(rollouts.paid, axis=1, where=rollouts.response_mask)
    return rollouts, Scores(paid[:, None], jnp.ones(1))

  def compare(self, rollouts: Rollouts, scores: Scores) -> Scores:
    """The scores; nobody prefers one row to another."""
    del rollouts
    return scores

  def note(self, name: str, value) -> None:
    """Adds a metric of this iteration."""
    self.metrics[name] = value


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class PureSession(Session):
  """A run of a policy that writes its rows in one program.

  Attributes:
    policy: what is trained. write: what makes its rows.
    tasks: how many differ. The table holds each as often as an iteration
      may need it.
    optimum: the most that a row can be paid on average, NaN if unknown.
    exact: f(params) -> what else is known of a policy, by name.
  """

  policy: Policy
  write: Write
  tasks: int
  optimum: float = float('nan')
  exact: Exact = lambda params: {}

  def sampling_params(self, state: TrainState) -> PyTree:
    """The policy's parameters as a program uses them."""
    return self.layout.gathered(state.params)

  @property
  def asked(self):
    return self.tasks

  @property
  def trained(self):
    return f'policy {self.policy}'

  def sample(self, params, key):
    uids = jnp.arange(self.spec.rows, dtype=jnp.int32)
    return self.write(params, jnp.zeros_like(uids), uids, key)

  def lend(self, state, key, meanwhile=lambda: None):
    del meanwhile
    return Tools(self, state, key)

  def measure(self, params, key, *, samples, record=lambda rows: None):
    """The mean `return` of `samples` rows of every task, and its optimum."""
    samples = max(samples, 1)
    tasks = jnp.repeat(jnp.arange(self.tasks, dtype=jnp.int32), samples)
    uids = jnp.arange(tasks.shape[0], dtype=jnp.int32)
    rollouts = self.write(self.layout.gathered(params), tasks, uids, key)
    paid = jnp.sum(rollouts.paid, axis=1, where=rollouts.response_mask)
    returns = np.asarray(self.layout.everywhere(paid), np.float64)
    means = returns.reshape(-1, samples).mean(axis=1)
    # Tasks are fixed: the error is that of the rows within each.
    spread = returns.reshape(-1, samples).std(axis=1, ddof=samples > 1)
    error = 1.96 * np.sqrt(np.mean(spread**2) / returns.size)
    metrics = {
      'return': float(means.mean()),
      'return/low': float(means.mean() - error),
      'return/high': float(means.mean() + error),
    }
    if not np.isnan(self.optimum):
      metrics['optimum'] = self.optimum
    return metrics | self.exact(jax.device_get(params))

  def evaluate(self, state, step, record=lambda rows: None):
    key = key_for(self.config.seed, step, Purpose.EVAL)
    return self.measure(state.params, key, samples=self.config.eval.samples)

  def examples(self, rollouts, credit, seen=None):
    del seen
    chosen = spread(np.asarray(rollouts.group), self.config.log.samples)
    rows = jax.tree.map(lambda x: np.asarray(x[chosen]), rollouts)
    rewards = np.asarray(credit.rewards)[chosen]
    return [
      {
        'task': int(rows.task[i]),
        'content': {
          field.name: value[i].tolist()
          for field in dataclasses.fields(rows.content)
          if (value := getattr(rows.content, field.name)) is not None
        },
        'paid': rows.paid[i].tolist(),
        'reward': float(rewards[i]),
        'length': int(rows.response_mask[i].sum()),
        'truncated': bool(rows.truncated[i]),
      }
      for i in range(len(chosen))
    ]

  def export(self, state, folder, **options):
    raise ValueError(
      f'no other program reads a {type(self.policy).__name__} policy, so there '
      'is nothing to export; its checkpoints hold the parameters'
    )


def fingerprints(config: ConfigDict) -> dict[str, str]:
  """None: nothing is read."""
  del config
  return {}


def check(config: ConfigDict) -> None:
  """Refuses what gains nothing where all is one program.

  Raises:
    ValueError: rows that are made ahead.
  """
  if config.pipeline:
    raise ValueError(
      f'pipeline={config.pipeline} would gain nothing: no verifier works on '
      'the host while the device learns; leave it 0'
    )


def recipe_of(
  config: ConfigDict, plan_of: Callable[[Plan], Plan | None] = lambda plan: None
) -> Recipe:
  """The recipe that the config names, with its values and its slots.

  Args:
    plan_of: what a plan for texts is here; None where it is nothing.

  Raises:
    ValueError: one that learns from text.
  """
  recipe = compose.from_config(config)
  found = plan_of(recipe.plan)
  if found is not None:
    return dataclasses.replace(recipe, plan=found)
  terms = recipe.plan.contract
  if terms.asks or terms.columns or terms.scores or terms.provides:
    raise ValueError(
      f'recipe {config.recipe.name!r} has the plan '
      f'{type(recipe.plan).__name__}, which works on text; choose one that '
      'samples independently, such as ppo, grpo, dr_grpo, gspo, cispo or '
      'reinforce_plus_plus'
    )
  return recipe


def assembled(
  config: ConfigDict,
  policy_of: Callable[[Recipe], Policy],
  writer: Callable[[Policy], Write],
  *,
  tasks: int,
  columns: int,
  optimum: float,
  abstract: bool,
  recipe: Recipe | None = None,
  optimizer_of: Callable[[Policy, Optimizer], Optimizer] = lambda _, tx: tx,
  exact_of: Callable[[Policy], Exact] = lambda policy: lambda params: {},
  begun: Callable[[Policy, PyTree], PyTree] = lambda _, params: params,
):
  """The session of a policy and what makes its rows, and its parameters.

  Args:
    policy_of: the policy for a recipe, which may ask for a critic.
    writer: what makes its rows. tasks: A. columns: T.
    abstract: parameters are shapes only.
    recipe: None is that of the config. optimizer_of: what the settings'
      optimizer is for the policy. exact_of: see `PureSession.exact`.
    begun: what its parameters are before the first iteration, given new ones.

  Raises:
    ValueError: what the recipe needs is not the policy's to give, or sizes
      that do not go together.
  """
  check(config)
  recipe = recipe or recipe_of(config)
  policy = policy_of(recipe)
  _check_given(config, recipe, policy)
  samples = recipe.plan.contract.samples
  rows = config.sample.prompts * recipe.plan.contract.groups * samples
  recipe_lib.check(recipe, rows=rows, microbatches=config.learn.microbatches)
  mesh = shard.make_mesh(config.mesh.data, config.mesh.model)
  table = policy.table()
  key = jax.random.key(config.seed)
  shapes = jax.eval_shape(lambda: initial(table, key))
  layout = shard.layout(mesh, {p: x.axes for p, x in table.items()}, shapes)
  if abstract:
    params = layout.abstract(shapes)
  else:
    params = layout.kept(begun(policy, initial(table, key)))
  total = config.steps * recipe.steps
  tx = optimizers.chain(total=total, seed=config.seed, **config.optimizer)
  program = step.Program(
    recipe=recipe,
    scorer=policy.score,
    tx=optimizer_of(policy, tx),
    microbatches=config.learn.microbatches,
    layout=layout,
  )
  session = PureSession(
    config=config,
    recipe=recipe,
    spec=Spec(
      rows=rows,
      samples=samples,
      prompt_length=0,
      response_length=columns,
      tasks=tasks * -(-config.sample.prompts // tasks),
      component_names=Tools.components,
      seed=config.seed,
    ),
    program=program,
    compiled=program.compile(),
    policy=policy,
    tasks=tasks,
    write=writer(policy),
    optimum=optimum,
    exact=exact_of(policy),
  )
  return session, params


def _check_given(config: ConfigDict, recipe: Recipe, policy: Policy) -> None:
  """Refuses a recipe that reads what its policy does not say."""
  read = united((recipe.credit, *recipe.objective.parts))
  needed = recipe.statistics | (read & {'tokens'})
  if among(needed):
    needed = needed - {*among(needed)} | {'log_probs'}
  if not needed <= policy.gives:
    raise ValueError(
      f'recipe {config.recipe.name!r} needs {sorted(needed - policy.gives)}, '
      f'which a {type(policy).__name__} policy does not give; it gives '
      f'{sorted(policy.gives)}'
    )
