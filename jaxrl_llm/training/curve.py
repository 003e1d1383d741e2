"""The learning curve as a picture."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxrl_llm.training import metrics


def png(history: Sequence[Mapping[str, Any]]) -> bytes:
  """Draws reward, accuracy, entropy and divergence over steps.

  Args:
    history: lines of `metrics.jsonl`, in their order. A metric that no line
      has leaves its panel empty; null leaves a gap.

  Returns:
    The bytes of a PNG file.
  """
  # Takes half a second to import, which most programs can do without; and
  # never pyplot, which would look for a screen.
  from matplotlib import figure

  canvas = figure.Figure(figsize=(10, 6.4), dpi=120, layout='constrained')
  reward, accuracy, entropy, kl = canvas.subplots(2, 2, sharex=True).flat
  _band(reward, history)
  # Games have no reward but what the method makes of who wins.
  given = any('reward/mean' in line for line in history)
  earned = 'reward/mean' if given else 'reward/shaped'
  for panel, name, color, label in (
    (reward, earned, 'tab:blue', 'batch mean'),
    (entropy, 'policy/entropy', 'tab:purple', 'policy'),
    (kl, 'reference/kl', 'tab:brown', 'to the reference'),
  ):
    _line(panel, *_series(history, name), color, label)
  steps, moved = _series(history, 'policy/kl')
  if np.any(moved):  # One optimizer step an iteration leaves it at 0.
    _line(kl, steps, moved, 'tab:orange', 'to the sampling policy')
  quality = _quality(accuracy, history)
  for panel, title, unit in (
    (reward, 'Reward', metrics.find(earned).unit),
    (accuracy, *quality),
    (entropy, 'Entropy', metrics.find('policy/entropy').unit),
    (kl, 'KL divergence', metrics.find('reference/kl').unit),
  ):
    panel.set_title(title, loc='left', fontweight='bold')
    panel.set_ylabel(unit)
    panel.grid(True, color='0.9', linewidth=0.8)
    panel.set_axisbelow(True)
    panel.spines[['top', 'right']].set_visible(False)
    if panel.get_legend_handles_labels()[0]:
      panel.legend(frameon=False, loc='best')
    else:  # As without a reference and with one optimizer step.
      where = panel.transAxes
      panel.text(
        0.5, 0.5, 'not measured', ha='center', color='0.5', transform=where
      )
  entropy.set_xlabel('step')
  kl.set_xlabel('step')
  kl.xaxis.get_major_locator().set_params(integer=True)
  picture = io.BytesIO()
  canvas.savefig(picture, format='png')
  return picture.getvalue()


def _quality(panel, history):
  """What held-out evaluation found; the panel's title and unit."""
  returns = any('eval/return' in line for line in history)
  name = 'eval/return' if returns else 'eval/accuracy'
  steps, held_out = _series(history, name)
  if returns:
    _, best = _series(history, 'eval/optimum')
    if len(best):
      panel.axhline(best[-1], color='0.4', linestyle='--', label='optimum')
  else:
    _line(
      panel, *_series(history, 'accuracy'), 'tab:green', 'training, sampled'
    )
    panel.set_ylim(-0.03, 1.03)
  if len(steps):
    panel.plot(
      steps, held_out, 'o-', color='tab:red', markersize=5, label='held out'
    )
  return ('Return', 'reward') if returns else ('Accuracy', 'fraction correct')


def _series(history, name) -> tuple[np.ndarray, np.ndarray]:
  """Steps that have a metric and its values, NaN where it is null."""
  found = {line['step']: line[name] for line in history if name in line}
  values = [math.nan if value is None else value for value in found.values()]
  return np.asarray(list(found)), np.asarray(values, float)


def _band(panel, history):
  """The spread of the rewards around their mean, one deviation each way."""
  both = [
    line for line in history if {'reward/mean', 'reward/std'} <= line.keys()
  ]
  steps, mean = _series(both, 'reward/mean')
  _, std = _series(both, 'reward/std')
  if len(steps):
    panel.fill_between(
      steps,
      mean - std,
      mean + std,
      color='tab:blue',
      alpha=0.12,
      linewidth=0,
      label='one standard deviation',
    )


def _line(panel, steps, values, color, label):
  """A curve; a long one as its moving mean over the faint original."""
  width = len(steps) // 20
  if width < 2:
    if len(steps):
      panel.plot(steps, values, color=color, linewidth=1.6, label=label)
    return
  panel.plot(steps, values, color=color, linewidth=0.8, alpha=0.35)
  known = ~np.isnan(values)
  window = np.ones(width)
  # Divided by what the window covers, so the ends are not pulled to zero.
  total = np.convolve(np.where(known, values, 0.0), window, 'same')
  count = np.convolve(known, window, 'same')
  smooth = np.where(count > 0.5, total / np.maximum(count, 1.0), math.nan)
  panel.plot(
    steps,
    smooth,
    color=color,
    linewidth=1.8,
    label=f'{label}, mean over {width} steps',
  )
