"""Names and what is said of them, in two columns of a terminal."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Mapping

INDENT = '  '


def aligned(pairs: Mapping[str, str]) -> list[str]:
  """Two columns, the second wrapped to the width of the terminal."""
  columns = shutil.get_terminal_size().columns
  wide = max(map(len, pairs), default=0)
  lines = []
  for key, text in pairs.items():
    head = f'{INDENT}{key:{wide}}  '
    wrapped = textwrap.wrap(
      text, max(columns - len(head), 30), break_on_hyphens=False
    ) or ['']
    hang = '\n' + ' ' * len(head)
    lines.append(head + hang.join(wrapped))
  return lines
