"""What `--from=RUN` does: a run that begins with the policy of another one."""

from __future__ import annotations

import os
import pathlib
import shlex
import shutil
from collections.abc import Sequence
from typing import NamedTuple

import jax
import optax
from flax import traverse_util

from experiments import command, runs
from jaxrl_llm.training import checkpoint, hosts, loop
from jaxrl_llm.training import workdir as workdir_lib
from jaxrl_llm.types import PyTree, TrainState

# Settings that say which policy it is: as of the other run, or below one that
# is. What else parameters depend on shows in their names and shapes.
_SAME = (
  'problem',
  'policy',
  'warm_start',
  *(
    f'model.{name}'
    for name in ('path', 'adapter', 'fresh')
    + ('lora_rank', 'lora_alpha', 'lora_targets')
  ),
)
# Differences that are told; a recipe of another name brings many.
_TOLD = 6


class Fork(NamedTuple):
  """What a run begins from.

  Attributes:
    run: the folder of the other run. optimizer: its optimiser state, too.
  """

  run: str
  optimizer: bool

  @property
  def flags(self) -> str:
    more = ' --from_optimizer' if self.optimizer else ''
    return f'--from={shlex.quote(self.run)}{more}'


def of(workdir: pathlib.Path, asked: Fork | None) -> Fork | None:
  """What the run of a folder begins from, or began from.

  Args:
    asked: on the command line, None where nothing is.

  Raises:
    Refused: it began from something else.
  """
  if not (workdir / 'config.json').exists():
    return asked
  record = workdir_lib.forked(workdir)
  found = Fork(record['run'], record['optimizer']) if record else None
  if asked and asked != found:
    told = f'with {found.flags}' if found else 'from no other run'
    raise command.Refused(
      f'{asked.flags}: the run in {workdir} began {told}. Leave the flags out '
      f'to go on with it, choose another workdir, or {workdir_lib.ANEW}'
    )
  return found


def check(fork: Fork, config, workdir: pathlib.Path) -> None:
  """Refuses what cannot be the beginning of a run with these settings.

  Raises:
    Refused: no run, the run itself, one without a checkpoint, or one that
      trains another model.
  """
  run = pathlib.Path(fork.run)
  if os.path.realpath(run) == os.path.realpath(workdir):
    raise command.Refused(
      f'{fork.flags} is the folder of this run; choose another --workdir'
    )
  there = runs.config_of(run)
  if not checkpoint.steps(workdir_lib.checkpoints(run)):
    raise command.Refused(
      f'{fork.flags} has no checkpoint yet; let it reach iteration '
      f'{there.checkpoint.every}'
    )
  told = _differences(there, config)
  if fork.optimizer and 'optimizer.name' in told:
    raise command.Refused(
      f'{fork.flags}: {told["optimizer.name"]}. Leave --from_optimizer out'
    )
  differ = [
    text
    for name, text in told.items()
    if any(f'{name}.'.startswith(f'{prefix}.') for prefix in _SAME)
  ]
  # First, as it is why the others differ.
  differ.sort(key=lambda text: not text.startswith('problem '))
  if differ:
    raise command.Refused(
      f'{fork.flags} trains another model: {_listed(differ)}. {_remedy(fork)}'
    )


def take_folders(fork: Fork, workdir: pathlib.Path) -> None:
  """Copies the model that the other run made, with its tokenizer."""
  from jaxrl_llm.problems.text import sources

  for name in sources.FOLDERS:
    made, own = pathlib.Path(fork.run) / name, workdir / name
    if made.is_dir() and not own.exists():
      # Whole or not at all: what is there passes for the model.
      whole = own.with_name(f'{name}.copied')
      shutil.rmtree(whole, ignore_errors=True)
      shutil.copytree(made, whole)
      whole.rename(own)


def begin(fork: Fork, session, params: PyTree) -> tuple[int, TrainState]:
  """The state of a run that has not begun, with the other run's policy.

  That policy is also what a frozen reference is. Curriculum, plan and the
  schedule of the learning rate begin anew.

  Args:
    session: of the new run. params: as it would begin without.

  Returns:
    The iteration of the other run, and the state.

  Raises:
    Refused: the arrays are others than those that this run trains.
  """
  target = {'params': params}
  if fork.optimizer:
    target['opt'] = session.init(params).opt
  target = checkpoint.shapes(target)
  del params  # One policy at a time.
  restored = _read(fork, target)
  for step, why in restored.damaged.items():
    hosts.say(f'checkpoint {step} of {fork.run} is damaged ({why})')
  state = loop.begin(session, restored.state['params'])
  if fork.optimizer:
    state = state.replace(opt=_unscheduled(state.opt, restored.state['opt']))
  told = _differences(runs.config_of(pathlib.Path(fork.run)), session.config)
  hosts.say(
    f'beginning from iteration {restored.step} of {fork.run}; other settings: '
    f'{_listed([*told.values()]) or "none"}'
  )
  return restored.step, state


def _read(fork: Fork, target: PyTree) -> checkpoint.Restored:
  """The newest checkpoint of the other run, or what of it does not fit."""
  try:
    restored = checkpoint.load(
      workdir_lib.checkpoints(fork.run), target, partial=True
    )
  except checkpoint.OtherState as error:
    alone = all(name.startswith('opt/') for name in error.names)
    remedy = 'Leave --from_optimizer out' if alone else _remedy(fork)
    raise command.Refused(
      f'{fork.flags} has another state: {error.told}. {remedy}'
    ) from None
  assert restored is not None  # It had one when it was checked.
  return restored


def _unscheduled(own: PyTree, found: PyTree) -> PyTree:
  """The other run's moments with our schedules, which begin anew."""

  def scheduled(x):
    return isinstance(x, optax.ScaleByScheduleState)

  return jax.tree.map(
    lambda a, b: a if scheduled(a) else b, own, found, is_leaf=scheduled
  )


def _differences(there, here) -> dict[str, str]:
  """What is said of each setting that two configs do not share, by its name."""
  one, other = (
    traverse_util.flatten_dict(c.to_dict(), sep='.') for c in (there, here)
  )
  return {
    name: f'{name} is {one.get(name, "absent")} there and '
    f'{other.get(name, "absent")} here'
    for name in sorted({*one, *other})
    if one.get(name, ...) != other.get(name, ...)
  }


def _listed(told: Sequence[str]) -> str:
  """The first few, and how many more there are."""
  more = f'; and {len(told) - _TOLD} more' if len(told) > _TOLD else ''
  return f'{"; ".join(told[:_TOLD])}{more}'


def _remedy(fork: Fork) -> str:
  run = shlex.quote(fork.run)
  return (
    'Give the settings of that run, or begin from its export: python -m '
    f'experiments.export --workdir={run}, and then --config.model.path='
    f'{run}/export --config.warm_start.steps=0 without --from'
  )
