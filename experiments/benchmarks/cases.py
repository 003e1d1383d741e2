"""Models and shapes that are measured, and the arithmetic they take.

Nothing beyond the standard library, so that the processes of peers, which run
in environments of their own, can import it.

The count of operations, the same for everybody. A multiply-add is two; a
backward pass is twice its forward pass; norms, rotations and softmax, which
are memory traffic, are left out. With letters as in
`jaxrl_llm.policies.language.transformer`:

    linear  = 2 L (2 D H h + 2 D K h + 3 D F)         a token, all layers
    pair    = 4 L H h                                 a query and one key
    unembed = 2 D V                                   a position with logits
    row     = S linear + S (S + 1) / 2 pair + T unembed,     S = P + T

Sampling is N rows and learning 3 N rows, with every row reading its own
prompt: the plain algorithm, whatever an implementation really does. What
shares the prompt of a group, in sampling or learning, needs less: `shared`
counts each prompt once a group, and that is what its processors did.
"""

from __future__ import annotations

import dataclasses
import json
import math
import pathlib
import random
import statistics
import time


@dataclasses.dataclass(frozen=True)
class Model:
  """Sizes of a decoder of the Qwen3 shape, embeddings tied."""

  layers: int
  width: int
  heads: int
  kv_heads: int
  head_dim: int
  mlp_width: int
  vocab: int

  @property
  def linear(self) -> int:
    heads = 2 * (self.heads + self.kv_heads) * self.head_dim
    return 2 * self.layers * self.width * (heads + 3 * self.mlp_width)

  @property
  def pair(self) -> int:
    return 4 * self.layers * self.heads * self.head_dim

  @property
  def unembed(self) -> int:
    return 2 * self.width * self.vocab

  @property
  def cached(self) -> int:
    """Numbers that a token leaves in the caches of keys and values."""
    return 2 * self.layers * self.kv_heads * self.head_dim

  @property
  def parameters(self) -> int:
    """Those of the linear maps and the embedding, which is all but norms."""
    return (self.linear + self.unembed) // 2


MODELS = {
  'tiny': Model(4, 256, 4, 2, 64, 768, 2048),
  'small': Model(8, 512, 8, 4, 64, 1536, 8192),
}


def model_of(folder: str | pathlib.Path) -> Model:
  """The sizes that the config.json of a folder states."""
  said = json.loads((pathlib.Path(folder) / 'config.json').read_text())
  heads = said['num_attention_heads']
  return Model(
    layers=said['num_hidden_layers'],
    width=said['hidden_size'],
    heads=heads,
    kv_heads=said.get('num_key_value_heads') or heads,
    head_dim=said.get('head_dim') or said['hidden_size'] // heads,
    mlp_width=said['intermediate_size'],
    vocab=said['vocab_size'],
  )


@dataclasses.dataclass(frozen=True)
class Shape:
  """One iteration: B prompts of P tokens, G responses of at most T tokens.

  Attributes:
    least: tokens of the shortest response, where lengths have a heavy tail
      from there to T; 0 where all have T.
  """

  prompts: int
  samples: int
  prompt: int
  response: int
  least: int = 0

  @property
  def rows(self) -> int:
    return self.prompts * self.samples

  def lengths(self, vocab: int) -> tuple[int, ...]:
    """How long a response is, for each token that it may begin with.

    The first token decides, so that everybody can draw from one distribution
    with random numbers of their own.
    """
    if not self.least:
      return (self.response,) * vocab
    return heavy_tail(vocab, self.least, self.response)


def heavy_tail(count: int, least: int, most: int) -> tuple[int, ...]:
  """Lengths with P(length > x) = sqrt(least / x), cut at `most`.

  The same at every call. From 8 to 512, an eighth is cut, half is below 32,
  and the mean is 120.
  """
  uniform = random.Random(0).random
  return tuple(
    min(most, math.floor(least / (1 - uniform()) ** 2)) for _ in range(count)
  )


SHAPES = {
  'brief': Shape(8, 8, 32, 16),
  'short': Shape(8, 8, 64, 128),
  'long': Shape(4, 16, 512, 128),
  'deep': Shape(8, 8, 64, 512),
  'ragged': Shape(64, 8, 64, 512, least=8),
}


def prompts(model: Model, shape: Shape) -> list[list[int]]:
  """Tokens of the prompts, the same for everybody and none of them special."""
  draw = random.Random(1)
  return [
    [draw.randrange(8, model.vocab) for _ in range(shape.prompt)]
    for _ in range(shape.prompts)
  ]


def texts(model: Model, shape: Shape) -> list[str]:
  """The prompts in words, which `folders` makes tokens of their number."""
  return [' '.join(f't{i}' for i in row) for row in prompts(model, shape)]


def rewards(responses, rows=()) -> list[float]:
  """What everybody's verifier says: a number of [0, 1) for every text."""
  del rows
  return [random.Random(text).random() for text in responses]


# Seconds that a verifier waits for each response, as for a server's answer.
WAITED = 0.002


def patient(responses, rows=()) -> list[float]:
  """The same, after a while."""
  time.sleep(WAITED * len(responses))
  return rewards(responses, rows)


def tokens(model: Model, shape: Shape) -> float:
  """Response tokens of an iteration, on average where lengths are random."""
  return shape.rows * statistics.fmean(shape.lengths(model.vocab))


def forward(model: Model, shape: Shape) -> float:
  """Operations of one forward pass over every row, as the module says."""
  rows = (_row(model, shape.prompt, t) for t in shape.lengths(model.vocab))
  return shape.rows * statistics.fmean(rows)


def shared(model: Model, shape: Shape) -> float:
  """The same where every prompt is read once a group."""
  again = shape.rows - shape.prompts
  return forward(model, shape) - again * _row(model, shape.prompt, 0)


def traffic(model: Model, shape: Shape, size: int = 4) -> float:
  """Bytes that sampling must read at least, if nothing stays in caches.

  Each of the T steps of the longest row reads all parameters, and the keys
  and values of every prompt, once a group. Every token reads its row's past.

  Args:
    size: bytes of a number.
  """
  lengths = shape.lengths(model.vocab)
  past = statistics.fmean(t * (t - 1) / 2 for t in lengths) * shape.rows
  prompts = shape.prompts * shape.prompt * model.cached
  steps = shape.response * (model.parameters + prompts)
  return size * (steps + past * model.cached)


def _row(model: Model, prompt: int, response: int) -> int:
  s = prompt + response
  pairs = s * (s + 1) // 2 * model.pair
  return s * model.linear + pairs + response * model.unembed
