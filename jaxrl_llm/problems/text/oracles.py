"""Who says which of two responses is better, in a run that plays a game.

    oracle(first, second, rows) -> f[N], P(first beats second)

Texts in, chances out; an oracle need not be transitive. It is named by
`verify.preference`:

    cycle                     the game of `tasks.toys.cycle`
    reward_model:FOLDER       sigmoid(r(first) - r(second))
    preference_model:FOLDER   sigmoid(r(first; second) - r(second; first))
    package.module:function   your own

Of several folders, with commas between them, it is the mean of the chances.
With @1 behind them, `reward_model` says label 1 of each, from 0, as a verifier
does. A preference model is a reward model that was trained with data.responses
set to compared: it reads a response followed by its rival.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxrl_llm import spelling
from jaxrl_llm.problems.text import reward_models
from jaxrl_llm.tasks import imports, verifiers

Rows = Sequence[Mapping[str, Any]]
Oracle = Callable[[Sequence[str], Sequence[str], Rows], Sequence[float]]

BUILTINS = {'cycle': 'jaxrl_llm.tasks.toys:cycle_duel'}
_MODELS = 'reward_model', 'preference_model'


def load(spec: str) -> Oracle | None:
  """The oracle of that name, None for ''.

  Raises:
    ValueError: an unknown name, module or function, or a model without a
      folder.
  """
  if not spec:
    return None
  name, _, rest = spec.partition(':')
  if name in _MODELS:
    if not rest:
      raise ValueError(
        f'verify.preference={spec!r} needs a folder, as in {name}:FOLDER'
      )
    folders, label = verifiers.folders_of(spec)
    models = reward_models.load(folders, compared=name == 'preference_model')
    rated = reward_models.rater(models, name, folders, label)
    return _compared(models) if name == 'preference_model' else _rated(rated)
  whose = f'verify.preference={spec!r}'
  if name in BUILTINS and not rest:
    return imports.imported(whose, BUILTINS[name])
  if rest:
    return imports.imported(whose, spec)
  known = [*BUILTINS, *_MODELS]
  near = spelling.nearest(name, known)
  raise ValueError(
    f'{whose} is unknown; '
    + (f'did you mean {near!r}? ' if near else '')
    + f'known: {", ".join(known)} with :FOLDER, or package.module:function'
  )


def _rated(rated: Callable[..., np.ndarray]) -> Oracle:
  def oracle(first, second, rows):
    # A response meets many others and is rated once.
    prompts = [str(row['prompt']) for row in rows]
    asked = {}
    for texts in (first, second):
      for prompt, text, row in zip(prompts, texts, rows):
        asked[prompt, text] = row['prompt']
    place = {key: i for i, key in enumerate(asked)}
    ratings = rated([*asked.values()], [text for _, text in asked])
    a, b = (
      ratings[:, [place[key] for key in zip(prompts, texts)]]
      for texts in (first, second)
    )
    return _chances(a - b)

  return oracle


def _compared(models: reward_models.RewardModels) -> Oracle:
  def oracle(first, second, rows):
    prompts = [row['prompt'] for row in rows]
    return _chances(reward_models.margins(models, prompts, first, second))

  return oracle


def _chances(margins: np.ndarray) -> np.ndarray:
  """f[N]: sigmoid of margins f[U, N], averaged over the models."""
  return np.mean(np.exp(-np.logaddexp(0, -margins)), axis=0)


def chances(
  oracle: Oracle, first: Sequence[str], second: Sequence[str], rows: Rows
) -> tuple[np.ndarray, int]:
  """f32[N], P(first beats second), and how many could not be judged.

  What is no number in [0, 1] is a draw and counted.

  Raises:
    ValueError: another number of chances than of rows.
  """
  found = np.asarray(oracle(first, second, rows), np.float64)
  if found.shape != (len(rows),):
    raise ValueError(
      f'the preference oracle gave {found.shape} chances for {len(rows)} '
      'pairs; it must give one for each'
    )
  good = (found >= 0) & (found <= 1)
  return np.where(good, found, 0.5).astype(np.float32), int(np.sum(~good))


def of_groups(
  oracle: Oracle, texts: Sequence[str], rows: Rows, samples: int
) -> tuple[np.ndarray, int]:
  """f32[N, G], P(row beats the j-th row of its group), and failures.

  Every two rows are judged once, in the order of the group, and P + P' = 1;
  a row draws with itself.

  Args:
    texts: N responses, groups adjacent. rows: N records. samples: G.
  """
  count = len(texts) // samples
  low, high = np.triu_indices(samples, 1)
  starts = np.arange(count)[:, None] * samples
  pairs = [(starts + side).ravel().tolist() for side in (low, high)]
  first, second = ([texts[i] for i in side] for side in pairs)
  won, failed = chances(oracle, first, second, [rows[i] for i in pairs[0]])
  game = np.full((count, samples, samples), 0.5, np.float32)
  game[:, low, high] = won.reshape(count, -1)
  game[:, high, low] = 1 - won.reshape(count, -1)
  return game.reshape(-1, samples), failed
