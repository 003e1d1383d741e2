"""Between text and tokens: prompts in, responses out, and stop strings.

A stop string ends a response where the decoded text first contains it, though
it may begin and end inside tokens. Inside a compiled loop there is no text, so
the strings become an automaton over bytes, and that a table over tokens: one
look-up per row and step.
"""

from __future__ import annotations

import collections
import json
from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxrl_llm.types import Rollouts


def encode_prompt(tokenizer, prompt: str) -> list[int]:
  """A text as it is, control tokens and all, where a response begins.

  What the tokenizer puts before every text stands before it once: a prompt that
  was written by a template has it. What some put after every text, its end, is
  left out: the response goes on from there. Of white space it may be nothing.
  """
  whole = tokenizer(prompt)['input_ids']
  own = tokenizer(prompt, add_special_tokens=False)['input_ids']
  for count in range(len(whole) - len(own) + 1):
    if whole[count : count + len(own)] == own:
      return own if whole[:count] == own[:count] else whole[:count] + own
  return whole


def encode_responses(
  tokenizer,
  texts: Sequence[str],
  ends: Collection[int] = (),
  closing: Sequence[int] = (),
) -> list[list[int]]:
  """Whole responses as tokens, each ended once.

  A text that ends with an end token, and perhaps white space that a template
  puts after it, keeps that one.

  Args:
    ends: tokens that end a response, beside the EOS.
    closing: what others get, for each text; () is the tokenizer's EOS.
  """
  closing = closing or [tokenizer.eos_token_id] * len(texts)
  ends = {tokenizer.eos_token_id, *ends, *closing}

  def encoded(texts):
    return tokenizer(texts, add_special_tokens=False)['input_ids']

  def ended(ids):
    return bool(ids) and ids[-1] in ends

  rows = encoded(list(texts))
  for row, said in enumerate(texts):
    if not ended(rows[row]) and said != said.rstrip():
      [bare] = encoded([said.rstrip()])
      rows[row] = bare if ended(bare) else rows[row]
  return [
    ids if ended(ids) else [*ids, end]
    for ids, end in zip(rows, closing, strict=True)
  ]


def padded(
  rows: Sequence[Sequence[int]], length: int
) -> tuple[np.ndarray, np.ndarray, list[int]]:
  """Tokens of B prompts, padded on the left.

  Args:
    length: P, the most tokens of a prompt.

  Returns:
    i32[B, P]; bool[B, P]; the indices of prompts longer than P, whose rows
    are masked as a whole and must be dropped.
  """
  # Padding is masked, so any token of the model will do; that of the tokenizer
  # need not be one.
  tokens = np.zeros((len(rows), length), np.int32)
  mask = np.zeros(tokens.shape, bool)
  too_long = []
  for row, ids in enumerate(rows):
    if len(ids) > length:
      too_long.append(row)
      continue
    tokens[row, length - len(ids) :] = ids
    mask[row, length - len(ids) :] = True
  return tokens, mask, too_long


def check_vocabulary(tokenizer, ids: Iterable[int], vocab: int, what: str):
  """Refuses tokens that the tokenizer has and the model has not.

  An embedding would be read past its end, which gives some row of it.

  Args:
    ids: of `what`. vocab: V of the model.

  Raises:
    ValueError: naming the first of them.
  """
  past = next((i for i in ids if i >= vocab), None)
  if past is not None:
    raise ValueError(
      f'{what} holds {tokenizer.convert_ids_to_tokens(int(past))!r}, token '
      f'{past} of the tokenizer, and the model has the tokens 0 to '
      f'{vocab - 1}; take it out, or use a model with a row for it'
    )


def silent_tokens(
  tokenizer, ends: Collection[int] = (), *, special: bool = True
) -> frozenset[int]:
  """The tokens without text: those that end or pad a response.

  Args:
    tokenizer: of `transformers`.
    ends: tokens that end a response, beside the tokenizer's.
    special: other special tokens, such as `<think>`, have their text; False:
      they have none either.
  """
  silent = {*ends, tokenizer.eos_token_id, tokenizer.pad_token_id} - {None}
  if not special:
    added = tokenizer.added_tokens_decoder.items()
    silent |= {i for i, token in added if token.special}
  return frozenset(silent)


def decode(
  tokenizer,
  rollouts: Rollouts,
  *,
  silent: Collection[int] | None = None,
  stop: Sequence[str] = (),
  rows: slice = slice(None),
) -> list[str]:
  """The text of every response.

  Args:
    tokenizer: of `transformers`.
    rollouts: N of them.
    silent: tokens without text; None is `silent_tokens` of the tokenizer.
    stop: strings; what follows the first end of any of them is cut. The
      string itself stays: the policy wrote it, and verifiers look for it.
    rows: which of them.

  Returns:
    A text each. Bytes that are not UTF-8 become U+FFFD.
  """
  silent = silent_tokens(tokenizer) if silent is None else silent
  texts = []
  masks = np.asarray(rollouts.response_mask)[rows]
  for ids, mask in zip(np.asarray(rollouts.content.response)[rows], masks):
    texts.append(
      text_of(tokenizer, ids[mask].tolist(), silent=silent, stop=stop)
    )
  return texts


def text_of(
  tokenizer,
  ids: Sequence[int],
  *,
  silent: Collection[int],
  stop: Sequence[str] = (),
) -> str:
  """The text of tokens up to the first end of a stop string, see `decode`."""
  text = _text(tokenizer, ids, silent)
  found = [(text.find(s), s) for s in stop if s in text]
  return text[: min((start + len(s) for start, s in found), default=len(text))]


def runs(ids: Any, own: Any) -> list[tuple[bool, list[int]]]:
  """A row's tokens in runs, and whether they are the policy's.

  Args:
    ids: i32[T]. own: bool[T].
  """
  cuts = np.flatnonzero(np.diff(own)) + 1
  parts = zip(np.split(np.asarray(own), cuts), np.split(np.asarray(ids), cuts))
  return [(bool(o[0]), i.tolist()) for o, i in parts if len(o)]


def pieces(
  tokenizer, rollouts: Rollouts, *, silent: Collection[int]
) -> list[list[str]]:
  """The text of every response, token by token; '' for silent ones."""
  ids, place = np.unique(
    np.asarray(rollouts.content.response), return_inverse=True
  )
  texts = [_text(tokenizer, [token], silent) for token in ids.tolist()]
  place = place.reshape(rollouts.content.response.shape)
  masks = np.asarray(rollouts.response_mask)
  return [[texts[i] for i in row[m]] for row, m in zip(place, masks)]


def _text(tokenizer, ids: Sequence[int], silent: Collection[int]) -> str:
  return tokenizer.decode(
    [token for token in ids if token not in silent],
    skip_special_tokens=False,
    clean_up_tokenization_spaces=False,
  )


def stop_table(
  tokenizer,
  strings: Sequence[str],
  *,
  silent: Collection[int] | None = None,
  vocab: int | None = None,
) -> np.ndarray:
  """The automaton that notices stop strings, as a table over tokens.

  A row starts in state 0; a token moves it from state s to table[s, token].
  The last state says that the text so far contains a string; it is never
  left. Tokens without text and ids without a token move nothing, but for a
  special token that is itself a stop string: it leads to the last state, as its
  letters do.

  Args:
    tokenizer: of `transformers`, with a byte-level or SentencePiece-style
      decoder.
    strings: at least one, none empty.
    silent: tokens without text, as of `decode`.
    vocab: V of the model. Tokens from there on, which a tokenizer may have
      and the model cannot write, get no column.

  Returns:
    i32[states, V'], V' the largest token id + 1, at most V.

  Raises:
    ValueError: an unusable string, or a decoder of another kind.

  Source: Aho and Corasick, Communications of the ACM 18 (6), 1975.
  """
  special = {
    token.content: i
    for i, token in tokenizer.added_tokens_decoder.items()
    if token.special
  }
  if not strings or not all(strings):
    raise ValueError(f'sample.stop {strings!r} must hold non-empty strings')
  ends = [special[string] for string in strings if string in special]
  for string in strings:
    token = special.get(string, 0)
    if vocab is not None and token >= vocab:
      raise ValueError(
        f'stop string {string!r} is token {token}, which a model of {vocab} '
        'tokens cannot write; leave it out of sample.stop'
      )
  decoder = _decoder(tokenizer)
  silent = silent_tokens(tokenizer) if silent is None else silent
  texts = _token_texts(tokenizer, decoder, silent)[:vocab]
  moves = _automaton([string.encode() for string in strings])
  still = np.array([text is None for text in texts])
  states = np.arange(len(moves), dtype=np.int32)[:, None]
  table = np.where(still, states, _walk(moves, texts))
  if decoder.first:
    # At the start of a text the decoder drops spaces, so the start is a state
    # of its own, which nothing comes back to.
    first = [text and text[_dropped(text, decoder.first) :] for text in texts]
    start = np.where(still, 0, _walk(moves[:1], first, moves)[0] + 1)
    table = np.concatenate([start[None], table + 1])
  table[:, ends] = len(table) - 1
  return table.astype(np.int32)


class _Decoder(NamedTuple):
  """What a tokenizer's decoder does.

  Attributes:
    byte_level: characters stand for bytes.
    byte_fallback: '<0x41>' stands for a byte.
    replaced: pairs of strings, the first becomes the second.
    first: spaces dropped at the start of a text at most.
  """

  byte_level: bool
  byte_fallback: bool
  replaced: tuple[tuple[str, str], ...]
  first: int


def _decoder(tokenizer) -> _Decoder:
  backend = getattr(tokenizer, 'backend_tokenizer', None)
  node = backend and backend.decoder
  if node is None:
    raise ValueError(
      f'{type(tokenizer).__name__} does not say how tokens become text, so '
      'stop strings cannot be noticed; leave sample.stop empty'
    )
  node = json.loads(node.__getstate__())
  kinds, replaced, first = set(), [], 0
  for part in node.get('decoders', [node]):
    kind = part['type']
    kinds.add(kind)
    if kind == 'Replace' and 'String' in part['pattern']:
      replaced.append((part['pattern']['String'], part['content']))
    elif kind == 'Metaspace':
      replaced.append((part['replacement'], ' '))
      # Unlike Strip, it drops every space that the first token begins with.
      first = 0 if part['prepend_scheme'] == 'never' else 2**30
    elif kind == 'Strip' and part['content'] == ' ' and not part['stop']:
      first = part['start']
    elif kind not in ('ByteLevel', 'ByteFallback', 'Fuse'):
      raise ValueError(
        'stop strings are noticed in the text of byte-level and '
        f'SentencePiece-style decoders, not {kind}; leave sample.stop empty'
      )
  return _Decoder(
    'ByteLevel' in kinds, 'ByteFallback' in kinds, tuple(replaced), first
  )


def _token_texts(tokenizer, decoder, silent) -> list[bytes | None]:
  """The bytes of each id; None where decoding leaves the token out."""
  vocab = tokenizer.get_vocab()
  texts: list[bytes | None] = [None] * (max(vocab.values()) + 1)
  characters = _byte_characters()
  for token, i in vocab.items():
    if i in silent:
      continue
    for old, new in decoder.replaced:
      token = token.replace(old, new)
    if decoder.byte_level and all(c in characters for c in token):
      texts[i] = bytes(characters[c] for c in token)
    elif decoder.byte_fallback and _is_byte(token):
      texts[i] = bytes([int(token[3:5], 16)])
    else:
      texts[i] = token.encode()
  return texts


def _is_byte(token: str) -> bool:
  return len(token) == 6 and token.startswith('<0x') and token.endswith('>')


def _byte_characters() -> dict[str, int]:
  """The characters by which byte-level tokenizers write bytes.

  Printable bytes of Latin-1 are themselves; the others follow U+0100.
  """
  printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
  others = [byte for byte in range(256) if byte not in printable]
  return {chr(byte): byte for byte in printable} | {
    chr(256 + i): byte for i, byte in enumerate(others)
  }


def _dropped(text: bytes, limit: int) -> int:
  return min(len(text) - len(text.lstrip(b' ')), limit)


def _automaton(strings: list[bytes]) -> np.ndarray:
  """i32[states, 256]: moves over bytes; the last state is absorbing."""
  children: list[dict[int, int]] = [{}]
  found = {0: False}
  for string in strings:
    node = 0
    for byte in string:
      if byte not in children[node]:
        children[node][byte] = len(children)
        found[len(children)] = False
        children.append({})
      node = children[node][byte]
    found[node] = True
  moves = np.zeros((len(children), 256), np.int32)
  queue = collections.deque([(0, 0)])
  while queue:
    # `back` is the state of the longest proper suffix; it is nearer to the
    # root, so its moves are complete.
    node, back = queue.popleft()
    found[node] |= found[back]
    if node:
      moves[node] = moves[back]
    for byte, child in children[node].items():
      queue.append((child, int(moves[node][byte])))
      moves[node][byte] = child
  going = [node for node in range(len(children)) if not found[node]]
  number = np.full(len(children), len(going), np.int32)
  number[going] = np.arange(len(going))
  last = np.full((1, 256), len(going), np.int32)
  return np.concatenate([number[moves[going]], last])


def _walk(rows: np.ndarray, texts, moves: np.ndarray | None = None):
  """i32[len(rows), V]: where each text leads from each of the first states."""
  moves = rows if moves is None else moves
  lengths = np.array([len(text or b'') for text in texts])
  flat = np.frombuffer(b''.join(text or b'' for text in texts), np.uint8)
  starts = np.cumsum(lengths) - lengths
  states = np.repeat(
    np.arange(len(rows), dtype=np.int32)[:, None], len(texts), axis=1
  )
  for position in range(lengths.max()):
    longer = np.flatnonzero(lengths > position)
    byte = flat[starts[longer] + position]
    states[:, longer] = moves[states[:, longer], byte]
  return states


def spelled(tokenizer, ids: Sequence[int]) -> list[str]:
  """The text of each token, that of control tokens too.

  A token is decoded behind the one before it, because some tokenizers write
  the space before a word only where it is not the first. One of several that
  spell a character is the replacement character.
  """
  ids = [int(i) for i in ids]
  pairs = [ids[max(place - 1, 0) : place + 1] for place in range(len(ids))]
  both = tokenizer.batch_decode(pairs)
  firsts = ['', *tokenizer.batch_decode([[i] for i in ids[:-1]])]
  return [two[len(one) :] for two, one in zip(both, firsts)]
