"""Texts of which some pieces are text whatever they spell.

Who writes a control token decides what it is. In what others than the policy
and its chat template wrote, the letters of one go between two marks, and are
spelled out in other tokens when the whole is encoded.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

# Code points that Unicode keeps for programs and no text has. SPOT is where an
# answer would stand.
OPEN, CLOSE, SPOT = '\ufdd0', '\ufdd1', '\ufdd2'
_NO_MARKS = {ord(OPEN): None, ord(CLOSE): None, ord(SPOT): None}


def any_of(texts: Iterable[str]) -> re.Pattern:
  """Finds any of some texts, the longest first, as one may begin another."""
  longest = sorted(map(re.escape, texts), key=len, reverse=True)
  return re.compile('|'.join(longest) or '(?!)')


NONE = any_of(())


class Marks:
  """Marks around the control tokens of a tokenizer, and what they mean.

  Attributes:
    special: finds the tokenizer's special tokens.
    control: finds these, and the added tokens that the template writes.

  Args:
    tokenizer: of `transformers`.
    template: the source of its chat template, '' without one.
  """

  def __init__(self, tokenizer, template: str = ''):
    self._tokenizer = tokenizer
    added = tokenizer.added_tokens_decoder.values()
    special = {token.content for token in added if token.special}
    written = {token.content for token in added if token.content in template}
    self.special = any_of(special)
    self.control = any_of(special | {t for t in written if not t.isspace()})
    self._pieces = re.compile(
      f'{OPEN}({self.control.pattern}){CLOSE}|[{OPEN}{CLOSE}]'
    )
    self._newline = self._plain('\n')

  def around(self, value: Any, tokens: re.Pattern) -> Any:
    """A value with marks around the tokens of every text in it."""
    if isinstance(value, str):
      # Whoever wrote marks could forge with them.
      value = value.translate(_NO_MARKS)
      return tokens.sub(rf'{OPEN}\g<0>{CLOSE}', value)
    if isinstance(value, Mapping):
      return {key: self.around(each, tokens) for key, each in value.items()}
    if isinstance(value, list | tuple):
      return [self.around(each, tokens) for each in value]
    return value

  def tokens(self, written: str, *, behind: bool = False) -> list[int]:
    """Tokens of a text of which marked pieces are text.

    What wrote it may have cut a text between its marks. What is left of them is
    dropped, and nothing joins across it.

    Args:
      behind: it goes on from an earlier text.

    Raises:
      ValueError: control tokens that the tokenizer cannot spell.
    """
    first, *pieces = self._pieces.split(written)
    ids = self._inside(first, self._plain) if behind else self._plain(first)
    for spelled, text in zip(pieces[::2], pieces[1::2]):
      if spelled:
        ids += self._spelled(spelled)
      if text:
        ids += self._inside(text, self._plain)
    return ids

  def inert(self, text: str) -> list[int]:
    """Tokens of a text that no policy wrote: none of them is a control token.

    Others are as the tokenizer has them.
    """
    return self.tokens(self.around(text, self.control))

  def _spelled(self, token: str) -> list[int]:
    ids = self._inside(token, self._letters)
    if self._tokenizer.convert_tokens_to_ids(token) in ids:
      raise ValueError(
        f'{token!r} in the text of a message is a control token, which the '
        'tokenizer cannot spell in other tokens; take it out'
      )
    return ids

  def _inside(self, text: str, encode: Callable[[str], list[int]]) -> list[int]:
    """Tokens of a text that does not begin where the others do.

    Some tokenizers put a space before the first word of a text; after a
    newline they do not.
    """
    ids, count = encode(f'\n{text}'), len(self._newline)
    return ids[count:] if ids[:count] == self._newline else encode(text)

  def _plain(self, text: str) -> list[int]:
    return self._tokenizer(text, add_special_tokens=False)['input_ids']

  def _letters(self, text: str) -> list[int]:
    """Tokens of a text in which no added token is looked for."""
    backend = getattr(self._tokenizer, 'backend_tokenizer', None)
    if backend is None:
      return self._plain(text)
    if backend.normalizer is not None:
      text = backend.normalizer.normalize_str(text)
    words = [text]
    if backend.pre_tokenizer is not None:
      words = [w for w, _ in backend.pre_tokenizer.pre_tokenize_str(text)]
    return [token.id for w in words for token in backend.model.tokenize(w)]
