"""Trained reward models as judges: folders in, scores of texts out.

A folder is one of ours, with a head beside the decoder, or a Hugging Face
`...ForSequenceClassification` with one label. Of one of ours that has several,
`reward_model:FOLDER` is the mean and `reward_model:FOLDER@1` label 1, from 0.
Models of one architecture are stacked and run as one program, one `vmap` over
their parameters.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_llm.objectives import rating
from jaxrl_llm.plans import recorded
from jaxrl_llm.policies.language import heads, hf, score
from jaxrl_llm.policies.language.config import Config
from jaxrl_llm.problems.text import chat, sources, turns
from jaxrl_llm.problems.text import encoding as text
from jaxrl_llm.rewards import combine
from jaxrl_llm.tasks import answers, verifiers, verify
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
    classifier: they are Hugging Face's, which read a whole conversation, and
      not ours, which read a prompt and a response to its end.
    padding: a token; a classifier answers at the last other one. Or None.
  """

  model: Config
  params: PyTree
  tokenizer: Any
  classifier: bool = False
  padding: int | None = None

  @property
  def labels(self) -> int:
    """K, the numbers that each says of a response."""
    shape = _head(self.params).shape
    return shape[2] if len(shape) > 2 else 1

  def __call__(
    self, prompts: Sequence[Any], responses: Sequence[str]
  ) -> np.ndarray:
    """f32[U, N]: the rating of every response, the mean of its labels."""
    return np.mean(self.by_label(prompts, responses), axis=-1)

  def by_label(
    self, prompts: Sequence[Any], responses: Sequence[str]
  ) -> np.ndarray:
    """f32[U, N, K]: what is said of every response, ended once.

    Sizes are rounded up to powers of 2, so that few programs are compiled.

    Args:
      prompts: N texts or chat messages. responses: N texts.

    Returns:
      NaN for a text with tokens that the models have not.
    """
    encode = self._conversation if self.classifier else self._parts
    rows = [encode(*pair) for pair in zip(prompts, responses, strict=True)]
    found = []
    for start in range(0, len(rows), _ROWS):
      piece = rows[start : start + _ROWS]
      ratings = _ratings(self.model, self.params, _padded(piece))
      ratings = ratings.reshape(*ratings.shape[:2], -1)[:, : len(piece)]
      known = [max(asked + said) < self.model.vocab for asked, said in piece]
      found.append(np.where(np.array(known)[:, None], ratings, np.nan))
    return np.concatenate(found, axis=1)

  def _parts(self, prompt, response: str) -> tuple[list[int], list[int]]:
    """Tokens of a prompt, and of the response that is rated at its last."""
    if isinstance(prompt, str) and self._is_message(prompt):
      prompt = [{'role': 'user', 'content': prompt}]
    asked = (
      text.encode_prompt(self.tokenizer, prompt)
      if isinstance(prompt, str)
      else self._template.encode(prompt)
    )
    closing = [self._ends[not isinstance(prompt, str)]]
    [said] = text.encode_responses(self.tokenizer, [response], (), closing)
    return asked, said

  def _conversation(self, prompt, response) -> tuple[list[int], list[int]]:
    """The first token of a conversation, and the others up to the rated one.

    Text is the only message of a user where there is a template; elsewhere the
    response is put behind it and ended by EOS, as TRL trains such models.
    """
    if isinstance(prompt, str) and self.tokenizer.chat_template is None:
      whole = prompt + response.removesuffix(self.tokenizer.eos_token)
      whole += self.tokenizer.eos_token
      ids = text.encode_prompt(self.tokenizer, whole)
    else:
      ids = self._template.encode(_answered(prompt, response), whole=True)
    while len(ids) > 2 and ids[-1] == self.padding:
      ids = ids[:-1]
    return ids[:1], ids[1:]

  @functools.cached_property
  def _ends(self) -> list[int]:
    """What ends a response to a text, and to messages."""
    return turns.closing(self.tokenizer, (), ['', []])

  @functools.cached_property
  def _is_message(self) -> Callable[[str], bool]:
    return chat.is_message(self.tokenizer, 'auto')

  @functools.cached_property
  def _template(self) -> chat.Template:
    return chat.Template(self.tokenizer)


def _answered(prompt: Any, response: str) -> list[Mapping[str, Any]]:
  """A conversation with the answer; one that was begun is gone on with."""
  if isinstance(prompt, str):
    prompt = [{'role': 'user', 'content': prompt}]
  answer = {'role': 'assistant', 'content': response}
  last = prompt[-1]
  if last['role'] == 'assistant' and not last.get('tool_calls'):
    answer['content'] = last['content'] + response
    prompt = prompt[:-1]
  return [*prompt, answer]


def _padded(rows: Sequence[tuple[list[int], list[int]]]) -> Rollouts:
  """Rows of prompts and responses in one of a few shapes; rows repeat."""

  def rounded(lengths):
    return max(_SHORTEST, 1 << (max(lengths) - 1).bit_length())

  asked, said = zip(*(rows[i % len(rows)] for i in range(_ROWS)))
  tokens, mask, _ = text.padded(asked, rounded(map(len, asked)))
  response = np.zeros((_ROWS, rounded(map(len, said))), np.int32)
  response_mask = np.zeros(response.shape, bool)
  for row, ids in enumerate(said):
    response[row, : len(ids)] = ids
    response_mask[row, : len(ids)] = True
  nothing = jnp.zeros(_ROWS, jnp.int32)
  columns = {
    'recorded': response[:, None],
    'recorded_mask': response_mask[:, None],
    'recorded_score': np.zeros((_ROWS, 1), np.float32),
    'recorded_cut': np.zeros((_ROWS, 1), bool),
  }
  extras = {name: jnp.asarray(x) for name, x in columns.items()}
  prompts = Prompts(
    jnp.asarray(tokens), jnp.asarray(mask), nothing, nothing, extras
  )
  return recorded.rows(prompts)[0]


def load(paths: Sequence[str], *, compared: bool = False) -> RewardModels:
  """The reward models of some folders.

  Args:
    compared: they will read a response followed by its rival.

  Raises:
    ValueError: a folder without a head, models of different shapes or kinds,
      or classifiers, which read one response, to be `compared`.
  """
  import transformers

  folders = [hf.resolve(path) for path in paths]
  kinds = [
    (hf.config_of(folder), hf.is_classifier(folder)) for folder in folders
  ]
  for path, kind in zip(paths, kinds):
    if kind != kinds[0]:
      raise ValueError(
        f'the reward models {paths[0]} and {path} differ in architecture; an '
        'ensemble runs as one program'
      )
  model, classifier = kinds[0]
  if classifier and compared:
    raise ValueError(
      f'{paths[0]} classifies one conversation, and a preference model reads '
      'two responses; ask for reward_model:FOLDER'
    )
  parts = [_classifier(f) if classifier else _own(f) for f in folders]
  model, params = parts[0][0], [params for _, params in parts]
  shapes = [_head(x).shape for x in params]
  for path, shape in zip(paths, shapes):
    if shape != shapes[0]:
      raise ValueError(
        f'the heads of {paths[0]} and {path}, {shapes[0]} and {shape}, give '
        'other numbers of labels; name the label of each as a verifier of its '
        'own, FOLDER@0'
      )
  settings = transformers.AutoConfig.from_pretrained(
    folders[0], trust_remote_code=False
  )
  return RewardModels(
    model=model,
    params=jax.tree.map(lambda *leaves: jnp.stack(leaves), *params),
    tokenizer=sources.read_tokenizer(folders[0]),
    classifier=classifier,
    padding=settings.pad_token_id,
  )


def _head(params) -> jax.Array:
  return params[heads.NAMES['after_values']]['kernel']


def _own(folder) -> tuple[Config, PyTree]:
  model, params = hf.load(folder)
  return model, params | heads.load(folder)


def _classifier(folder) -> tuple[Config, PyTree]:
  model, params, weights = hf.load_classifier(folder)
  head = {'kernel': weights, 'bias': jnp.zeros((), weights.dtype)}
  return model, params | {heads.NAMES['after_values']: head}


@functools.partial(jax.jit, static_argnums=0)
def _ratings(model: Config, params: PyTree, rollouts: Rollouts):
  """f32[U, N] or [U, N, K]: what heads say of the last token of each row."""

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
      after_values=stats.after_values,
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
    name: _judge(
      verifiers.without_label(name).partition(':')[0],
      *verifiers.folders_of(name),
    )
    for name in names
    if verifiers.is_model(name)
  }


def rater(models: RewardModels, name: str, folders: Sequence[str], label: str):
  """f(prompts, responses) -> f32[U, N], what is said by a label, '' for all.

  Args:
    name: of the kind of model. folders: of the models, as they were asked for.

  Raises:
    ValueError: a label that there is not.
  """
  if not label:
    return models
  known = range(models.labels) if name in ENSEMBLES else ()
  if int(label) not in known:
    raise ValueError(
      f'{name}:{",".join(folders)}@{label} names no label: there are '
      f'{len(known)}, from 0'
    )

  def rated(prompts: Sequence[Any], responses: Sequence[str]) -> np.ndarray:
    return models.by_label(prompts, responses)[..., int(label)]

  return rated


def _judge(name: str, folders: list[str], label: str) -> verify.Judge:
  if not folders:
    raise ValueError(
      f'verifier {name!r} needs a folder, or several, as in '
      f'{name}:FOLDER,FOLDER'
    )
  joined = name in ('preference_model', 'policy_discriminator')
  models = load(folders, compared=joined)
  rated = rater(models, name, folders, label)

  def judge(responses: Sequence[str], rows: Sequence[Mapping[str, Any]]):
    return combined(name, rated([row['prompt'] for row in rows], responses))

  def liked(responses, rows):
    logits = models([row['prompt'] for row in rows], responses)
    return np.mean(jax.nn.sigmoid(logits), axis=0)

  def right_of(rows):
    without = [row['prompt'] for row in rows if not row.get('answer')]
    if without:
      raise ValueError(
        f'{name} compares responses with the answer of the record, and that of '
        f'{without[0]!r} has none'
      )
    return [answers.accepted(row)[0] for row in rows]

  def against_answer(responses, rows):
    prompts = [row['prompt'] for row in rows]
    found = margins(models, prompts, responses, right_of(rows))
    return np.mean(found, axis=0)

  def like_answer(responses, rows):
    mark = models.tokenizer.eos_token
    texts = [
      f'{right}{mark}{said}'
      for right, said in zip(right_of(rows), responses, strict=True)
    ]
    prompts = [row['prompt'] for row in rows]
    return np.mean(models(prompts, texts), axis=0)

  special = {
    'preference_model': against_answer,
    'policy_discriminator': like_answer,
    'reaction_model': liked,
  }
  return special.get(name, judge)
