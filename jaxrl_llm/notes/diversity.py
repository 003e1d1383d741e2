"""How varied the words of a response are: eight signals, each in [0, 1].

Words are runs of letters, digits and apostrophes in lower case; sentences end
with `.`, `!`, `?` or a line break. The signals are those that MultiRole-R1
(arXiv 2507.20187) names; their formulas are ours.
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
import math
import re
import statistics
from collections.abc import Sequence

import jax.numpy as jnp

from jaxrl_llm.notes.base import Stateless

_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
_SENTENCE = re.compile(r'[.!?\n]+')
_FUNCTION_WORDS = frozenset(
  'a an the this that these those i you he she it we they me him her us them '
  'my your his its our their who which what and or but if because although '
  'while of in on at by for with about to from as into than so not no is are '
  'was were be been am do does did have has had will would can could may might '
  'must shall should'.split()
)


@dataclasses.dataclass(frozen=True)
class Diversity(Stateless):
  """`diversity` f32[N]: the mean of the eight signals of `signals`."""

  provides = frozenset({'diversity'})

  def write(self, tools, rollouts, scores, state):
    del scores
    values = [
      statistics.fmean(signals(text).values())
      for text in tools.decode(rollouts)
    ]
    return {'diversity': jnp.asarray(values, jnp.float32)}, state


def signals(text: str) -> dict[str, float]:
  """What varies in a text, by name.

      lexical     distinct words / words
      entropy     the entropy of the words / log(words)
      repetition  1 - chance that two of the words are the same (Yule's K)
      bigrams     distinct pairs of neighbours / such pairs
      functions   distinct function words / function words
      patterns    distinct beginnings, of two words, of sentences / sentences
      lengths     spread of the sentences' lengths / their mean, at most 1
      adjacent    1 - mean share of words that a sentence and the next have
                  in common, of all in either

  Returns:
    0 for a signal of which the text has nothing: a single word has no pair.

  Example:
    >>> signals('a b. a c.')['adjacent']
    0.6666666666666667
  """
  words = _words(text)
  counts = collections.Counter(words)
  total = len(words)
  pairs = list(itertools.pairwise(words))
  alike = sum(n * (n - 1) for n in counts.values())
  entropy = -sum(n / total * math.log(n / total) for n in counts.values())
  found = [_words(part) for part in _SENTENCE.split(text)]
  sentences = [part for part in found if part]
  lengths = [len(part) for part in sentences]
  return {
    'lexical': _distinct(words),
    'entropy': entropy / math.log(total) if total > 1 else 0.0,
    'repetition': 1 - alike / (total * (total - 1)) if total > 1 else 0.0,
    'bigrams': _distinct(pairs),
    'functions': _distinct([w for w in words if w in _FUNCTION_WORDS]),
    'patterns': _distinct([tuple(part[:2]) for part in sentences]),
    'lengths': min(1.0, statistics.pstdev(lengths) / statistics.fmean(lengths))
    if lengths
    else 0.0,
    'adjacent': _apart(sentences),
  }


def _words(text: str) -> list[str]:
  return _WORD.findall(text.lower())


def _distinct(items: Sequence) -> float:
  return len(set(items)) / len(items) if items else 0.0


def _apart(sentences: Sequence[Sequence[str]]) -> float:
  shared = [
    len({*one} & {*other}) / len({*one} | {*other})
    for one, other in itertools.pairwise(sentences)
  ]
  return 1 - statistics.fmean(shared) if shared else 0.0
