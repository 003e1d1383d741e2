"""What plans ask of their settings."""

from __future__ import annotations


def even(samples: int, parts: int, what: str) -> None:
  """Refuses rows that are not shared evenly.

  Args:
    samples: rows of a group. parts: that share them. what: they are.

  Example:
    >>> even(8, 3, 'wordings')
    Traceback (most recent call last):
    ...
    ValueError: 8 samples are not shared evenly by 3 wordings; use a multiple
  """
  if parts < 1 or samples % parts:
    raise ValueError(
      f'{samples} samples are not shared evenly by {parts} {what}; use a '
      'multiple'
    )


def share(value: float) -> None:
  """Refuses a share that is none."""
  if not 0 <= value <= 1:
    raise ValueError(f'a share of {value} is not in [0, 1]')


def each(columns: int, parts: int, what: str) -> int:
  """Tokens of each part of a response of so many columns; at least one."""
  if columns < parts:
    raise ValueError(
      f'{columns} tokens do not make {parts} {what}; raise '
      f'sample.max_response or ask for fewer'
    )
  return columns // parts
