"""Trained reward models as judges: folders in, scores of texts out.

Models of one architecture are stacked and run as one program, one `vmap` over
their parameters.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_llm.models import config as config_lib
from jaxrl_llm.models import heads, hf, score
from jaxrl_llm.models.config import Config
from jaxrl_llm.objectives import rating
from jaxrl_llm.rewards import combine
from jaxrl_llm.rollouts import recorded, text
from jaxrl_llm.tasks import verifiers, verify
from jaxrl_llm.types import Prompts, PyTree, Rollouts

# How the scores of several models become one, by the verifier's name.
ENSEMBLES = {
  'reward_model': combine.weighted_sum,
  'reward_model_worst': combine.worst_model,
  'reward_model_uncertain': combine.certain_models,
}
# Rows of one compiled call, and the shortest texts it is compiled for.
_ROWS = 64
_SHORTEST = 32


@dataclasses.dataclass(frozen=True)
class RewardModels:
  """U reward models that share an architecture and a tokenizer.

  Attributes:
    model: their configuration. params: their parameters, leading axis U.
    tokenizer: of the first.
  """

  model: Config
  params: PyTree
  tokenizer: Any

  def __call__(
    self, prompts: Sequence[Any], responses: Sequence[str]
  ) -> np.ndarray:
    """f32[U, N]: the rating of every response, ended by the EOS token.

    Sizes are rounded up to powers of 2, so that few programs are compiled.

    Args:
      prompts: N texts or chat messages. responses: N texts.
    """
    found = []
    for start in range(0, len(responses), _ROWS):
      piece = slice(start, start + _ROWS)
      rollouts = self._encoded(prompts[piece], responses[piece])
      count = len(responses[piece])
      ratings = _ratings(self.model, self.params, rollouts)
      found.append(np.asarray(ratings[:, :count]))
    return np.concatenate(found, axis=1)

  def _encoded(self, prompts, responses) -> Rollouts:
    width, too_long = _SHORTEST, [0]
    while len(too_long):
      tokens, mask, too_long = text.encode_prompts(
        self.tokenizer, prompts, width
      )
      width *= 2
    length, cut = _SHORTEST, 1
    while cut:
      columns, counts = recorded.encode(
        [{'responses': [r], 'scores': [0.0]} for r in responses],
        self.tokenizer,
        samples=1,
        length=length,
      )
      cut = counts['data/truncated']
      length *= 2

    def padded(x):
      return jnp.asarray(np.resize(x, (_ROWS, *x.shape[1:])))

    nothing = jnp.zeros(_ROWS, jnp.int32)
    asked = Prompts(
      tokens=padded(tokens),
      mask=padded(mask),
      task=nothing,
      domain=nothing,
      extras={name: padded(x) for name, x in columns.items()},
    )
    return recorded.rows(asked)[0]


def load(paths: Sequence[str]) -> RewardModels:
  """The reward models of some folders.

  Raises:
    ValueError: a folder without a head, or models of different shapes.
  """
  from transformers import AutoTokenizer

  folders = [hf.resolve(path) for path in paths]
  models = [config_lib.from_hf(folder) for folder in folders]
  for path, model in zip(paths, models):
    if model != models[0]:
      raise ValueError(
        f'the reward models {paths[0]} and {path} differ in architecture; an '
        'ensemble runs as one program'
      )
  params = [hf.load(f)[1] | heads.load(f) for f in folders]
  return RewardModels(
    model=models[0],
    params=jax.tree.map(lambda *leaves: jnp.stack(leaves), *params),
    tokenizer=AutoTokenizer.from_pretrained(
      folders[0], trust_remote_code=False
    ),
  )


@functools.partial(jax.jit, static_argnums=0)
def _ratings(model: Config, params: PyTree, rollouts: Rollouts):
  """f32[U, N]: what each model's head says of the last token of each row."""

  def one(params):
    stats = score.score(
      params,
      model,
      rollouts,
      needs=frozenset({'after_values'}),
      chunk=0,
    )
    return rating.last_value(
      stats.logp,
      None,
      rollouts.loss_mask,
      own_after_values=stats.after_values,
    )

  return jax.vmap(one)(params)


def combined(name: str, ratings: np.ndarray) -> np.ndarray:
  """f32[N]: an ensemble's ratings f32[U, N] as one, all models alike."""
  count = len(ratings)
  shares = jnp.full(count, 1 / count)
  return np.asarray(ENSEMBLES[name](jnp.asarray(ratings).T, shares, None))


def margins(
  models: RewardModels,
  prompts: Sequence[Any],
  first: Sequence[str],
  second: Sequence[str],
) -> np.ndarray:
  """f32[U, N]: what preference models say of first against second, in nats.

      m(a, b) = r(a; b) - r(b; a),   P(a beats b) = sigmoid(m)

  so that P(a beats b) + P(b beats a) = 1, and a draw with itself is exact.
  """
  mark = models.tokenizer.eos_token
  ahead = [f'{a}{mark}{b}' for a, b in zip(first, second, strict=True)]
  behind = [f'{b}{mark}{a}' for a, b in zip(first, second, strict=True)]
  ratings = models([*prompts, *prompts], [*ahead, *behind])
  return ratings[:, : len(first)] - ratings[:, len(first) :]


def judges(names: Sequence[str]) -> dict[str, verify.Judge]:
  """The reward models among some verifiers, loaded, by their full name.

  Raises:
    ValueError: one without a folder, and as `load` does.
  """
  return {
    name: _judge(*verifiers.without_label(name).split(':', 1))
    for name in names
    if verifiers.is_model(name)
  }


def _judge(name: str, folders: str = '') -> verify.Judge:
  if not folders:
    raise ValueError(
      f'verifier {name!r} needs a folder, or several, as in '
      f'{name}:FOLDER,FOLDER'
    )
  models = load(folders.split(','))

  def judge(responses: Sequence[str], rows: Sequence[Mapping[str, Any]]):
    prompts = [row['prompt'] for row in rows]
    return combined(name, models(prompts, responses))

  def against_answer(responses, rows):
    without = [row['prompt'] for row in rows if not row.get('answer')]
    if without:
      raise ValueError(
        f'preference_model compares responses with the answer of the record, '
        f'and that of {without[0]!r} has none'
      )
    prompts, answers = zip(*((row['prompt'], row['answer']) for row in rows))
    found = margins(models, prompts, responses, answers)
    return np.mean(found, axis=0)

  return against_answer if name == 'preference_model' else judge
