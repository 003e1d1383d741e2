"""Tasks that need no file: each a toy, its verifier and its difficulties."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from jaxrl_llm.tasks import game_toys, structured_toys, toys, trails


@dataclasses.dataclass(frozen=True)
class Toy:
  """A toy with its verifier and its difficulty levels, easiest first."""

  row: Callable[..., toys.Row]
  verifier: str
  levels: tuple[Mapping[str, Any], ...]


TOYS = {
  'chain_sum': Toy(
    toys.chain_sum,
    'numeric',
    (
      {'terms': 3, 'largest': 9},
      {'terms': 4, 'largest': 9, 'worked': 0.3},
      {'terms': 5, 'largest': 20, 'worked': 0.3},
      {'terms': 8, 'largest': 99, 'worked': 0.3},
    ),
  ),
  'countdown': Toy(
    toys.countdown,
    'countdown',
    (
      {'numbers': 3, 'largest': 9, 'signs': '+-'},
      {'numbers': 4, 'largest': 9, 'signs': '+-'},
      {'numbers': 4, 'largest': 20, 'signs': '+-*'},
    ),
  ),
  'document': Toy(trails.document, 'exact', ({},)),
  'documents': Toy(toys.documents, 'numeric', ({'numbers': 3},)),
  'judge': Toy(
    structured_toys.judge,
    'exact',
    (
      {'length': 3},
      {'length': 4, 'careless': 0.5},
      {'length': 4, 'careless': 0.5, 'thought': True},
      {'length': 4, 'careless': 0.5, 'thought': True, 'doubts': 0.5},
    ),
  ),
  'line': Toy(toys.line, 'code', ({'largest': 9},)),
  'cycle': Toy(toys.cycle, 'listed', ({}, {'careless': 0.4})),
  'lookup': Toy(
    toys.lookup, 'numeric', ({'length': 3}, {'length': 3, 'careless': 0.7})
  ),
  'number_line': Toy(
    game_toys.number_line,
    'returned',
    ({'apart': 4}, {'apart': 4, 'careless': 0.5}),
  ),
  'poker': Toy(game_toys.poker, 'exact', ({'timid': 0.7},)),
  'prices': Toy(
    toys.prices,
    'exact',
    (
      {'count': 2},
      {'count': 2, 'careless': 0.5},
      {'count': 2, 'careless': 0.5, 'listed': True},
    ),
  ),
  'proof': Toy(
    structured_toys.proof,
    'exact',
    ({'terms': 3}, {'terms': 4, 'careless': 0.5}),
  ),
  'reverse': Toy(
    toys.reverse, 'exact', ({'length': 4}, {'length': 8}, {'length': 16})
  ),
  'screen': Toy(
    structured_toys.screen,
    'place',
    (
      {'things': 1, 'careless': 0.5},
      {'things': 2, 'careless': 0.5},
      {'things': 4, 'careless': 0.5},
    ),
  ),
  'send': Toy(structured_toys.send, 'same_call', ({}, {'careless': 0.5})),
  'series': Toy(toys.series, 'code', ({}, {'careless': 0.5})),
  'sort': Toy(
    toys.sort,
    'exact',
    ({'length': 5}, {'length': 8, 'careless': 0.7}, {'length': 16}),
  ),
  'sums': Toy(toys.sums, 'numeric', ({'numbers': 3},)),
  'trail': Toy(trails.trail, 'exact', ({}, {'careless': 0.3})),
  'walk': Toy(trails.walk, 'exact', ({}, {'careless': 0.3})),
}
