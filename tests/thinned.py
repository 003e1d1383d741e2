"""Cases that cost much and break seldom.

One in so many runs with all tests, the rest by `pytest -m slow`.
"""

from collections.abc import Iterable

import pytest


def every(number: int, values: Iterable) -> list:
  """The values as parameters, of which the first of each `number` is quick."""
  return [
    pytest.param(
      *(value if isinstance(value, tuple) else (value,)),
      marks=pytest.mark.slow if place % number else (),
    )
    for place, value in enumerate(values)
  ]
