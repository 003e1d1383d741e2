"""Reads the text of compiled programs."""

import re


def loops(text: str, shapes) -> list[str]:
  """The bodies of the while loops that handle arrays of these shapes."""
  bodies = [
    re.search(rf'^%?{re.escape(name)} .*?^}}', text, re.M | re.S).group(0)
    for name in re.findall(r' while\(.*body=%?([\w.\-]+)', text)
  ]
  return [body for body in bodies if any(shape in body for shape in shapes)]


def copies(body: str, shapes) -> list[str]:
  """The copies of arrays of these shapes that a computation makes."""
  lines = [line for line in body.splitlines() if ' copy(' in line]
  return [line for line in lines if any(shape in line for shape in shapes)]
