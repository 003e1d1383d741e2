"""The learning curve as a picture."""

from __future__ import annotations

import dataclasses
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxrl_llm.training import metrics


@dataclasses.dataclass(frozen=True)
class Line:
  """One metric of a panel."""

  metric: str
  label: str
  color: str
  held_out: bool = False  # Measured now and then: drawn with its points.
  # One of 0 throughout says nothing, as `policy/kl` of one step an iteration.
  silent_at_zero: bool = False


@dataclasses.dataclass(frozen=True)
class Panel:
  """Lines that share a unit, which is that of the first one."""

  title: str
  lines: tuple[Line, ...]
  share: bool = False  # Between 0 and 1.


# In the order in which they are drawn; one is where any of its metrics is. Runs
# on pairs have no reward, games none but what the method makes of who wins.
PANELS = (
  Panel('Reward', (Line('reward/mean', 'batch mean', 'tab:blue'),)),
  Panel('Reward', (Line('reward/shaped', 'batch mean', 'tab:blue'),)),
  Panel('Return', (Line('eval/return', 'held out', 'tab:red', held_out=True),)),
  Panel(
    'Accuracy',
    (
      Line('accuracy', 'sampled', 'tab:green'),
      Line('eval/accuracy', 'held out', 'tab:red', held_out=True),
    ),
    share=True,
  ),
  Panel(
    'Wins against the first policy',
    (Line('eval/win_rate', 'held out', 'tab:red', held_out=True),),
    share=True,
  ),
  Panel(
    'What the best challenger wins',
    (Line('eval/exploitability', 'held out', 'tab:red', held_out=True),),
  ),
  Panel(
    'Better response rated higher',
    (
      Line('preference/accuracy', 'training', 'tab:green'),
      Line('eval/preference/accuracy', 'held out', 'tab:red', held_out=True),
      Line('eval/rating/accuracy', 'held out', 'tab:red', held_out=True),
    ),
    share=True,
  ),
  Panel(
    'Margin between the two',
    (
      Line('preference/margin', 'training', 'tab:green'),
      Line('eval/preference/margin', 'held out', 'tab:red', held_out=True),
    ),
  ),
  Panel(
    'Surprise at demonstrations',
    (Line('eval/nll', 'held out', 'tab:red', held_out=True),),
  ),
  Panel('Entropy', (Line('policy/entropy', 'policy', 'tab:purple'),)),
  Panel(
    'KL divergence',
    (
      Line('reference/kl', 'to the reference', 'tab:brown'),
      Line(
        'policy/kl',
        'to the sampling policy',
        'tab:orange',
        silent_at_zero=True,
      ),
    ),
  ),
  Panel('Response length', (Line('response/length', 'mean', 'tab:gray'),)),
  Panel('Gradient norm', (Line('grad/norm', 'before clipping', 'tab:gray'),)),
)
# What says the same in better words, where it is there.
_BETTER = {'reward/shaped': 'reward/mean', 'accuracy': 'eval/return'}
_LEAST, _MOST = 4, 6


def png(history: Sequence[Mapping[str, Any]], title: str = '') -> bytes:
  """Draws what a run of its kind is looked at for, over its steps.

  Args:
    history: lines of `metrics.jsonl`, in their order; null leaves a gap.
    title: above all panels.

  Returns:
    The bytes of a PNG file.
  """
  # Takes half a second to import, which most programs can do without; and
  # never pyplot, which would look for a screen.
  from matplotlib import figure

  chosen = panels(history)
  columns = math.ceil(len(chosen) / 2)
  canvas = figure.Figure(
    figsize=(5 * columns, 6.4), dpi=120, layout='constrained'
  )
  if title:
    canvas.suptitle(title, x=0.01, ha='left')
  grid = canvas.subplots(2, columns, sharex=True, squeeze=False)
  for axes, panel in zip(grid.flat, chosen):
    _draw(axes, panel, history)
  for axes in grid.flat[len(chosen) :]:
    axes.set_visible(False)
  for axes in grid[-1]:
    axes.set_xlabel('step')
  grid[0, 0].xaxis.get_major_locator().set_params(integer=True)
  picture = io.BytesIO()
  canvas.savefig(picture, format='png')
  return picture.getvalue()


def panels(history: Sequence[Mapping[str, Any]]) -> list[Panel]:
  """Those that have something to show, at most six; four or more if it can be.

  The last of `PANELS` only fill up what would be empty.
  """
  found = [panel for panel in PANELS if _shown(panel, history)]
  names = {panel.lines[0].metric for panel in found}
  found = [p for p in found if _BETTER.get(p.lines[0].metric) not in names]
  fillers = [panel for panel in found if panel in PANELS[-2:]]
  core = [panel for panel in found if panel not in fillers][:_MOST]
  return core + fillers[: max(_LEAST - len(core), len(core) % 2)] or [PANELS[0]]


def _shown(panel: Panel, history) -> list[Line]:
  """The lines of a panel that have a value."""
  lines = []
  for line in panel.lines:
    _, values = _series(history, line.metric)
    known = values[~np.isnan(values)]
    if len(known) and (np.any(known) or not line.silent_at_zero):
      lines.append(line)
  return lines


def _draw(axes, panel: Panel, history) -> None:
  axes.set_title(panel.title, loc='left', fontweight='bold', pad=20)
  unit = metrics.find(panel.lines[0].metric).unit
  axes.set_ylabel('share' if unit == '1' else unit)
  axes.grid(True, color='0.9', linewidth=0.8)
  axes.set_axisbelow(True)
  axes.spines[['top', 'right']].set_visible(False)
  lines = _shown(panel, history)
  for line in lines:
    steps, values = _series(history, line.metric)
    if line.metric == 'reward/mean':
      _spread(axes, history)
    if line.held_out:
      axes.plot(
        steps, values, 'o-', color=line.color, markersize=5, label=line.label
      )
    else:
      _line(axes, steps, values, line.color, line.label)
    if line.metric == 'eval/return':
      _, best = _series(history, 'eval/optimum')
      if len(best):
        axes.axhline(best[-1], color='0.4', linestyle='--', label='optimum')
  if panel.share:
    axes.set_ylim(-0.03, 1.03)
  else:
    axes.margins(y=0.15)
  if lines:
    axes.legend(  # Above, where it crosses no line.
      frameon=False,
      loc='lower left',
      bbox_to_anchor=(0, 1),
      ncols=len(axes.get_legend_handles_labels()[0]),
      fontsize='small',
      handlelength=1.2,
      columnspacing=1,
      borderaxespad=0,
    )
  else:
    where = axes.transAxes
    axes.text(
      0.5,
      0.5,
      'nothing measured yet',
      ha='center',
      color='0.5',
      transform=where,
    )


def _series(history, name) -> tuple[np.ndarray, np.ndarray]:
  """Steps that have a metric and its values, NaN where it is null."""
  found = {line['step']: line[name] for line in history if name in line}
  values = [math.nan if value is None else value for value in found.values()]
  return np.asarray(list(found)), np.asarray(values, float)


def _spread(axes, history):
  """A deviation each way of the mean reward, as far as rewards go."""
  names = ('reward/mean', 'reward/std', 'reward/low', 'reward/high')
  whole = [line for line in history if {*names} <= line.keys()]
  if not whole:
    return
  steps, _ = _series(whole, names[0])
  mean, std, low, high = (_series(whole, name)[1] for name in names)
  axes.fill_between(
    steps,
    np.maximum(mean - std, low),
    np.minimum(mean + std, high),
    color='tab:blue',
    alpha=0.12,
    linewidth=0,
    label='1 std',
  )


def _line(axes, steps, values, color, label):
  """A curve; a long one as its moving mean over the faint original."""
  width = len(steps) // 20
  if width < 2:
    axes.plot(steps, values, color=color, linewidth=1.6, label=label)
    return
  axes.plot(steps, values, color=color, linewidth=0.8, alpha=0.35)
  known = ~np.isnan(values)
  window = np.ones(width)
  # Divided by what the window covers, so the ends are not pulled to zero.
  total = np.convolve(np.where(known, values, 0.0), window, 'same')
  count = np.convolve(known, window, 'same')
  smooth = np.where(count > 0.5, total / np.maximum(count, 1.0), math.nan)
  axes.plot(
    steps,
    smooth,
    color=color,
    linewidth=1.8,
    label=f'{label} (mean of {width})',
  )
