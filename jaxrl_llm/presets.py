"""What other trainers do as they come: a recipe, its numbers and its slots.

    --config=experiments/configs/default.py:trl_grpo
    python -m jaxrl_llm.recipes trl_grpo

A preset is no entry: it is a row of this table, which stands for settings that
a command line could also write out. Each of them can be overridden there.
`minibatches` is the quotient of the trainer's own batch sizes; the sizes
themselves, the optimizer and the sampler are the run's. tests/presets_test.py
holds every row against loops written from the trainers' published defaults.

Source: the code of verl (1dda039), TRL (f2cd577), OpenRLHF (3c3be62), NeMo-RL
(7ea279a), SkyRL (a956457), slime (624b824) and Trinity-RFT.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping

from jaxrl_llm import compose, recipes, spelling
from jaxrl_llm import recipe as recipe_lib


@dataclasses.dataclass(frozen=True)
class Preset:
  """A recipe with other numbers and parts.

  Attributes:
    of: the system whose default it is.
    recipe: the entry that it begins with. values: its hyper-parameters.
    slots: texts of `compose`.
    apart: what is known to be another there.
  """

  of: str
  recipe: str
  values: Mapping[str, float | int] = dataclasses.field(default_factory=dict)
  slots: Mapping[str, str] = dataclasses.field(default_factory=dict)
  apart: str = ''

  @property
  def changes(self) -> dict[str, str]:
    """Values and slots as texts, as they stand on a command line."""
    return {key: repr(x) for key, x in self.values.items()} | {**self.slots}


_ALONE = 'A row alone in its group keeps its reward there and gets 0 here.'
_CRITIC = 'The critic is there a model with an optimizer of its own.'
_SIZE = 'Groups have no default size there and 8 rows here.'
_STEPS = 'How many optimizer steps an iteration has is not known; here it is 1.'
_POINT = (
  'The reference point is there the mean log-ratio of mismatched pairs of '
  "prompt and response, here the step's own mean."
)
PRESETS: Mapping[str, Preset] = types.MappingProxyType(
  {
    'verl_grpo': Preset(
      'verl',
      'grpo',
      {'kl_weight': 0.0, 'minibatches': 4},
      {'surrogate': 'dual_clip(bound=3.0)', 'aggregate': 'token_mean'},
      f'{_SIZE} {_ALONE}',
    ),
    'verl_rloo': Preset(
      'verl',
      'grpo',
      {'kl_weight': 0.0, 'minibatches': 4},
      {
        'advantage': 'leave_one_out',
        'surrogate': 'dual_clip(bound=3.0)',
        'aggregate': 'token_mean',
      },
      f'{_SIZE} {_ALONE}',
    ),
    'verl_ppo': Preset(
      'verl',
      'ppo',
      {'trace': 1.0, 'value_weight': 1.0, 'value_clip': 0.5, 'epochs': 1},
      {'surrogate': 'dual_clip(bound=3.0)'},
      _CRITIC,
    ),
    'trl_grpo': Preset(
      'TRL',
      'grpo',
      {'kl_weight': 0.0, 'epsilon': 1e-4},
      {
        'gate': 'product_masked_importance(cap=3.0)',
        'aggregate': 'token_mean',
      },
      'The gate is there only where vLLM samples.',
    ),
    'trl_rloo': Preset(
      'TRL',
      'rloo',
      {'samples': 2},
      {
        'advantage': 'penalised_leave_one_out(kl_weight=0.05)',
        'surrogate': 'product_clip',
      },
    ),
    'trl_ppo': Preset(
      'TRL',
      'ppo',
      {'value_weight': 0.1, 'minibatches': 1},
      {'advantage': 'penalised_gae(1.0, 0.95, 0.05)'},
      'The critic is there a model of its own, under the same optimizer.',
    ),
    'trl_dpo': Preset('TRL', 'dpo'),
    'trl_kto': Preset('TRL', 'kto', apart=_POINT),
    'openrlhf_grpo': Preset(
      'OpenRLHF',
      'grpo',
      {'epsilon': 1e-9, 'minibatches': 8},
      {'aggregate': 'token_mean', 'costs': 'capped_k3:0.01'},
      f'With --use_kl_loss. {_SIZE} Advantages are clipped to +-10 there, a '
      'bound that groups of up to 100 rows never reach.',
    ),
    'openrlhf_rloo': Preset(
      'OpenRLHF',
      'grpo',
      {'kl_weight': 0.0, 'minibatches': 8},
      {
        'advantage': 'leave_one_out_to_go(kl_weight=0.01)',
        'aggregate': 'token_mean',
      },
      f'{_SIZE} Rewards less their baseline are clipped to +-10 there.',
    ),
    'openrlhf_ppo': Preset(
      'OpenRLHF',
      'ppo',
      {
        'value_weight': 1.0,
        'value_clip': 0.5,
        'epochs': 1,
        'minibatches': 8,
      },
      {'advantage': 'penalised_gae(1.0, 1.0, 0.01)'},
      f'{_CRITIC} It whitens by n, not n - 1, and clips rewards to +-10.',
    ),
    'openrlhf_dpo': Preset('OpenRLHF', 'dpo'),
    'openrlhf_kto': Preset('OpenRLHF', 'kto', {'weight': 0.01}, apart=_POINT),
    'nemo_grpo': Preset(
      'NeMo-RL',
      'grpo',
      {'samples': 16},
      {
        'advantage': 'leave_one_out_norm',
        'aggregate': 'token_mean',
        'costs': 'score_k3:0.01',
      },
      'Whether log-ratios and costs of the KL are clamped there is not known.',
    ),
    'nemo_rloo': Preset(
      'NeMo-RL',
      'grpo',
      {'samples': 16},
      {
        'advantage': 'leave_one_out',
        'aggregate': 'token_mean',
        'costs': 'score_k3:0.01',
      },
      'Its GRPO with normalize_rewards off. Whether log-ratios and costs of '
      'the KL are clamped there is not known.',
    ),
    'nemo_dpo': Preset('NeMo-RL', 'dpo', {'weight': 0.05}),
    'skyrl_grpo': Preset(
      'SkyRL',
      'grpo',
      slots={'aggregate': 'token_mean', 'costs': 'capped_k3:0.001'},
      apart=_STEPS,
    ),
    'slime_grpo': Preset('slime', 'grpo', {'kl_weight': 0.0}, apart=_STEPS),
    'trinity_grpo': Preset(
      'Trinity-RFT',
      'grpo',
      slots={
        'surrogate': 'dual_clip(bound=3.0)',
        'aggregate': 'token_mean',
        'costs': 'k2:0.001',
      },
      apart=f'{_STEPS} {_ALONE}',
    ),
  }
)


def names() -> list[str]:
  """Whatever a run can be made of: every recipe and every preset, sorted."""
  return sorted([*recipes.names(), *PRESETS])


def find(name: str) -> Preset:
  """The preset of that name, or the recipe as it stands.

  Raises:
    KeyError: there is neither; it suggests another name.

  Example:
    >>> find('trl_grpo').recipe, find('dapo').recipe
    ('grpo', 'dapo')
  """
  if name in PRESETS:
    return PRESETS[name]
  if name not in recipes.names():
    hint = spelling.suggestion(name, names())
    raise KeyError(f'unknown recipe {name!r}. {hint}')
  return Preset('', name)


def build(name: str, **values) -> recipe_lib.Recipe:
  """The recipe of a preset, or of that name, with some values replaced.

  Example:
    >>> build('trl_grpo', samples=4).plan.contract.samples
    4
  """
  preset = find(name)
  built = recipes.build(preset.recipe, **{**preset.values, **values})
  return compose.compose(built, **preset.slots)
