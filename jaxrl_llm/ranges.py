"""What the hyper-parameters of recipes may be, where their meaning says it.

By name, as most names mean the same wherever they stand, or by RECIPE.NAME
where one recipe means something else by it. What only a part can know, as
whether rows are shared evenly, it checks itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

_COUNTS = (
  'answers calls candidates capacity checkpoints children clusters count each '
  'continuations epochs interval iterations labels levels longest minibatches '
  'orders phases places questions rounds sampler_minibatches samples solvers '
  'solves solving turns window windows wordings'
)
_NOT_NEGATIVE = (
  'accuracy_weight after buffer cost damping epsilon explore fall fall_weight '
  'first_weight form_weight formal gap grade_weight growth imitation '
  'information_weight keyword_weight kl_gain kl_least kl_most kl_weight '
  'last_weight length_weight magnet_weight margin mixed_weight move_weight '
  'penalty preference_weight pretraining_weight quality_weight rate '
  'reward_weight rise spread stability_weight tail_weight target threshold '
  'value_weight weight'
)
_FINITE = 'correct earned entropy_weight hit miss right_short right_thought'
_POSITIVE = 'cold half_life hot kl_target learning_rate scale sharpness'
_SHARES = (
  'beta certain discount fraction gate mixture quantile restart share '
  'thought_weight trace'
)
# Where infinity turns them off.
_HALF_WIDTHS = 'clip clip_high clip_low sequence_high sequence_low value_clip'
_BOUNDS = 'advantage_bound bound cap temperature'
# Ranges, whose ends count where their bracket is square.
RANGES = {
  **dict.fromkeys(_COUNTS.split(), '[1, inf)'),
  **dict.fromkeys(_NOT_NEGATIVE.split(), '[0, inf)'),
  **dict.fromkeys(_FINITE.split(), '(-inf, inf)'),
  **dict.fromkeys(_POSITIVE.split(), '(0, inf)'),
  **dict.fromkeys(_SHARES.split(), '[0, 1]'),
  **dict.fromkeys(_HALF_WIDTHS.split(), '[0, inf]'),
  **dict.fromkeys(_BOUNDS.split(), '(0, inf]'),
  'bins': '[2, inf)',
  'flip': '[0, 0.5)',
  'k': '[2, inf)',
  'smoothing': '[0, 0.5)',
  'shares': '(0, 1]',
  'budgets': '[1, inf)',
  'a_lol.clip': '[0, 1]',
  'adaptive_modes.power': '[0, inf)',
  'adaptive_modes.threshold': '[0, 1]',
  'critique_grpo.gamma': '(0, inf)',
  'directional_stimulus.every': '[1, inf)',
  'directional_stimulus.least': '[1, inf)',
  'dr_irl.outlier': '[0, inf]',
  'faker_air.first': '[1, inf)',
  'funrl.share': '(0, inf)',
  'graphrag_r1.most': '[0, inf)',
  'history_aware.bound': '[0, 1)',
  'irl_reward_model.bound': '[0, inf)',
  'nash_ema.decay': '[0, 1]',
  'otc.budget': '(0, inf]',
  'otc_ppo.budget': '(0, inf]',
  'reinforce_plus_plus.decay': '[0, 1]',
  's_grpo.base': '[1, inf)',
  'sage_light.high': '[0, 1]',
  'sage_light.low': '[0, 1]',
  'sapo.down': '(0, inf)',
  'sapo.up': '(0, inf)',
  'sdft.decay': '[0, 1]',
  'sdpo.decay': '[0, 1]',
  'single_stream.count': '[0, inf)',
  'thinkless.wrong': '(-inf, inf)',
  'train_long_think_short.start': '[1, inf)',
}
# Texts without which nothing is found or said.
_TEXTS = frozenset({'end', 'said'})
_RANGE = re.compile(r'([\[(])(\S+), (\S+)([\])])')
_WORD = re.compile(r'{\w+}')


def check(recipe: str, values: Mapping[str, Any], usual: Mapping[str, Any]):
  """Refuses values that mean nothing.

  Args:
    values: hyper-parameters of the recipe. usual: its defaults, whose phrases
      say which words have to be in others.

  Raises:
    ValueError: naming the recipe, the value and what it may be.

  Example:
    >>> check('s_grpo', {'base': 0.5}, {'base': 2.0})
    Traceback (most recent call last):
    ...
    ValueError: s_grpo: base is 0.5; use a number in [1, inf)
  """
  for name, value in values.items():
    wanted = RANGES.get(f'{recipe}.{name}', RANGES.get(name, ''))
    if isinstance(usual[name], str):
      wrong = _wrong_text(name, value, usual[name])
    elif isinstance(usual[name], tuple):
      wrong = _wrong_list(value, wanted, usual[name])
    else:
      wrong = '' if _within(value, wanted) else f'use a number in {wanted}'
    if wrong:
      raise ValueError(f'{recipe}: {name} is {value!r}; {wrong}')


def _within(value, wanted: str) -> bool:
  """Whether a number, which NaN is not, is in a range; all is in ''."""
  if not (match := _RANGE.fullmatch(wanted)):
    return True
  if isinstance(value, jax.core.Tracer):  # No number before it runs.
    return True
  if np.ndim(value) or not np.issubdtype(np.asarray(value).dtype, np.number):
    return False
  number, low, high = float(value), float(match[2]), float(match[3])
  above = number >= low if match[1] == '[' else number > low
  below = number <= high if match[4] == ']' else number < high
  return above and below


def _wrong_list(values, wanted: str, usual) -> str:
  """What is wrong with texts, or with numbers that rise; '' if nothing is."""
  if usual and all(isinstance(x, str) for x in usual):
    fits = all(isinstance(x, str) and x for x in values)
    return '' if fits else 'use texts that are not empty'
  fits = values and all(_within(value, wanted) for value in values)
  if not wanted or (fits and all(a < b for a, b in zip(values, values[1:]))):
    return ''
  return f'use numbers in {wanted}, each above the one before'


def _wrong_text(name: str, text, usual: str) -> str:
  """What is wrong with a text; '' if nothing is."""
  if name in _TEXTS and not text:
    return 'use a text that is not empty'
  lacking = [word for word in _WORD.findall(usual) if word not in text]
  if name == 'phrase' and lacking:
    return f'say in it where {" and ".join(lacking)} go'
  return ''
