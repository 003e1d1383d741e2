"""The tokenizer that the metadata of a GGUF file describe.

A file lists tokens, merges and special tokens, and names by a word how text is
split before tokens are merged (`tokenizer.ggml.pre`). What the word means is
written in llama.cpp alone, so those in `_SPLITS` are understood and others are
refused: merges on text that is split otherwise give other tokens, silently.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

Metadata = Mapping[str, Any]

# Types of tokens, as llama.cpp numbers them.
_UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED = 2, 3, 4, 5
_SPACE = '\u2581'

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_REST = r' ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+'
_WORDS = rf'{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+'
_UPPER = r'[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]'
_LOWER = r'[\p{Ll}\p{Lm}\p{Lo}\p{M}]'
_LLAMA3 = rf'{_WORDS}|\p{{N}}{{1,3}}|{_REST}'
_QWEN2 = rf'{_WORDS}|\p{{N}}|{_REST}'
_TEKKEN = (
  rf'[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+'
  rf'|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*'
  r'|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+'
)
# GPT-2's own splits, as `tokenizers` has them, and with every digit alone.
_GPT2, _DIGITS = 'words', 'words and digits'
_SPLITS = {
  'gpt-2': _GPT2,
  **dict.fromkeys(
    ('smollm', 'starcoder', 'refact', 'command-r', 'codeshell'), _DIGITS
  ),
  **dict.fromkeys(('llama-bpe', 'llama3', 'llama-v3'), _LLAMA3),
  **dict.fromkeys(('dbrx', 'smaug-bpe'), _LLAMA3),
  **dict.fromkeys(('qwen2', 'deepseek-r1-qwen', 'megrez'), _QWEN2),
  'tekken': _TEKKEN,
}
# A piece of text that is a token stays whole, whatever merges would make.
_WHOLE = ('llama-bpe', 'llama3', 'llama-v3', 'tekken')
# What ends a turn, in files whose metadata name the end of a text alone.
_TURN_ENDS = ('<|eot_id|>', '<|eom_id|>', '<|im_end|>', '<end_of_turn>')


def build(metadata: Metadata):
  """A `transformers.PreTrainedTokenizerFast`, with the file's chat template.

  Raises:
    ValueError: a kind of tokenizer, or of splitting, that is not understood;
      metadata that contradict each other.
  """
  import transformers

  kind = _required(metadata, 'model')
  if kind not in ('gpt2', 'llama'):
    raise ValueError(
      f'tokenizer.ggml.model={kind!r} is not supported; supported are gpt2 '
      'and llama.'
    )
  try:
    tokenizer = (_byte_level if kind == 'gpt2' else _sentencepiece)(metadata)
    _add_tokens(tokenizer, metadata)
    _add_ends(tokenizer, metadata)
  except ValueError:
    raise
  except Exception as error:  # `tokenizers` raises no class of its own
    raise ValueError(f'its tokens and merges do not fit: {error}') from error
  tokens = _required(metadata, 'tokens')
  named = {f'{name}_token': tokens[i] for name, i in _special(metadata).items()}
  return transformers.PreTrainedTokenizerFast(
    tokenizer_object=tokenizer,
    chat_template=metadata.get('tokenizer.chat_template'),
    model_input_names=['input_ids', 'attention_mask'],
    clean_up_tokenization_spaces=False,
    **named,
  )


def ends(metadata: Metadata) -> dict[str, Any]:
  """generation_config.json: what begins, pads and ends a response."""
  special = _special(metadata)
  tokens = _required(metadata, 'tokens')
  types = metadata.get('tokenizer.ggml.token_type', ())
  found = {special.get('eos')}
  found |= {
    metadata.get(f'tokenizer.ggml.{name}_token_id') for name in ('eot', 'eom')
  }
  found |= {
    i
    for i, (token, kind) in enumerate(zip(tokens, types))
    if kind in (_CONTROL, _USER_DEFINED) and token in _TURN_ENDS
  }
  named = sorted(i for i in found if i is not None)
  values = {
    'bos_token_id': special.get('bos'),
    'eos_token_id': named[0] if len(named) == 1 else named,
    'pad_token_id': special.get('pad'),
  }
  return {name: value for name, value in values.items() if value is not None}


def _required(metadata: Metadata, name: str) -> Any:
  value = metadata.get(f'tokenizer.ggml.{name}')
  if value is None:
    raise ValueError(f'its metadata lack tokenizer.ggml.{name}.')
  return value


def _special(metadata: Metadata) -> dict[str, int]:
  """Ids of those that `transformers` has names for."""
  names = {
    'bos': 'bos',
    'eos': 'eos',
    'unk': 'unknown',
    'pad': 'padding',
  }
  # What llama.cpp takes for granted of SentencePiece.
  usual = {'bos': 1, 'eos': 2, 'unk': 0}
  if metadata.get('tokenizer.ggml.model') != 'llama':
    usual = {}
  found = {
    ours: metadata.get(f'tokenizer.ggml.{theirs}_token_id', usual.get(ours))
    for ours, theirs in names.items()
  }
  count = len(_required(metadata, 'tokens'))
  for name, i in found.items():
    if i is not None and not 0 <= i < count:
      raise ValueError(f'its {name} token is {i} of {count} tokens.')
  return {name: i for name, i in found.items() if i is not None}


def _vocabulary(metadata: Metadata) -> dict[str, int]:
  """Token -> id, without those that fill the matrix up to a round number."""
  tokens = _required(metadata, 'tokens')
  types = metadata.get('tokenizer.ggml.token_type', [1] * len(tokens))
  return {
    token: i
    for i, (token, kind) in enumerate(zip(tokens, types))
    if not (kind == _UNUSED and re.fullmatch(r'\[PAD\d+\]', token))
  }


def _byte_level(metadata: Metadata):
  """BPE over bytes, each written as one of 256 printable letters."""
  from tokenizers import (
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
  )

  word = metadata.get('tokenizer.ggml.pre', 'default')
  split = _SPLITS.get(word)
  if split is None:
    raise ValueError(
      f'tokenizer.ggml.pre={word!r} is not supported; supported are '
      f'{", ".join(_SPLITS)}.'
    )
  merges = [tuple(pair.split(' ', 1)) for pair in _required(metadata, 'merges')]
  tokenizer = Tokenizer(
    models.BPE(
      vocab=_vocabulary(metadata), merges=merges, ignore_merges=word in _WHOLE
    )
  )
  if split == _QWEN2:  # Theirs normalises; llama.cpp leaves it out.
    tokenizer.normalizer = normalizers.NFC()
  own = split in (_GPT2, _DIGITS)
  letters = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=own)
  steps: list[Any] = [letters]
  if split == _DIGITS:
    steps = [pre_tokenizers.Digits(individual_digits=True), letters]
  elif not own:
    steps = [pre_tokenizers.Split(Regex(split), 'isolated'), letters]
  tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
  tokenizer.decoder = decoders.ByteLevel()
  return tokenizer


def _sentencepiece(metadata: Metadata):
  """BPE over characters, spaces written as one; bytes where none is a token."""
  from tokenizers import Tokenizer, decoders, models, normalizers

  tokens = _required(metadata, 'tokens')
  prefix = metadata.get('tokenizer.ggml.add_space_prefix', True)
  tokenizer = Tokenizer(
    models.BPE(
      vocab=_vocabulary(metadata),
      merges=_merges(tokens, _required(metadata, 'scores')),
      unk_token=tokens[_special(metadata)['unk']],
      fuse_unk=True,
      byte_fallback=True,
    )
  )
  spaces = [normalizers.Replace(' ', _SPACE)]
  tokenizer.normalizer = normalizers.Sequence(
    [normalizers.Prepend(_SPACE), *spaces] if prefix else spaces
  )
  steps = [
    decoders.Replace(_SPACE, ' '),
    decoders.ByteFallback(),
    decoders.Fuse(),
  ]
  if prefix:
    steps.append(decoders.Strip(' ', 1, 0))
  tokenizer.decoder = decoders.Sequence(steps)
  return tokenizer


def _merges(tokens, scores) -> list[tuple[str, str]]:
  """Every pair of tokens that is a token, the best scored first.

  SentencePiece joins the two neighbours whose union scores best, so a pair has
  the rank of what it makes.
  """
  known = {token: i for i, token in enumerate(tokens)}
  merges = []
  for i in sorted(known.values(), key=lambda i: (-scores[i], i)):
    token = tokens[i]
    cuts = [(token[:cut], token[cut:]) for cut in range(1, len(token))]
    merges += sorted(
      (pair for pair in cuts if pair[0] in known and pair[1] in known),
      key=lambda pair: (known[pair[0]], known[pair[1]]),
    )
  return merges


def _add_tokens(tokenizer, metadata: Metadata) -> None:
  """Tokens that text is cut at before all else."""
  from tokenizers import AddedToken

  tokens = _required(metadata, 'tokens')
  types = metadata.get('tokenizer.ggml.token_type', ())

  def added(*kinds, special):
    return [
      AddedToken(token, normalized=False, special=special)
      for token, kind in zip(tokens, types)
      if kind in kinds
    ]

  tokenizer.add_special_tokens(added(_CONTROL, _UNKNOWN, special=True))
  tokenizer.add_tokens(added(_USER_DEFINED, special=False))


def _add_ends(tokenizer, metadata: Metadata) -> None:
  """What stands before and after every text."""
  from tokenizers import processors

  word = metadata.get('tokenizer.ggml.pre', 'default')
  begins = metadata['tokenizer.ggml.model'] == 'llama' or word in _WHOLE
  wanted = {
    'bos': metadata.get('tokenizer.ggml.add_bos_token', begins),
    'eos': metadata.get('tokenizer.ggml.add_eos_token', False),
  }
  special = _special(metadata)
  absent = [name for name in wanted if wanted[name] and name not in special]
  if absent:
    raise ValueError(f'it adds a {absent[0]} token and names none.')
  tokens = _required(metadata, 'tokens')
  first, last = ([tokens[special[x]]] if wanted[x] else [] for x in wanted)
  if first or last:
    tokenizer.post_processor = processors.TemplateProcessing(
      single=[*first, '$A', *last],
      pair=[*first, '$A', *last, *(f'{x}:1' for x in first), '$B:1']
      + [f'{x}:1' for x in last],
      special_tokens=[
        (tokens[special[x]], special[x]) for x in wanted if wanted[x]
      ],
    )
