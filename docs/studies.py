"""What the papers claim, and what came out: one section a study."""

from __future__ import annotations

import functools
import re
from typing import NamedTuple

import filling

TABLE = 'experiments/results/README.md'
# How a verdict of the table begins, and what its badge says.
VERDICTS = {
  'yes': 'held',
  'partly': 'held in part',
  'not shown': 'not shown',
  'no': 'did not hold',
}


class Claim(NamedTuple):
  """A row of the table of studies.

  Attributes:
    text: what a paper says. result: in numbers. verdict: one of `VERDICTS`.
    remark: what else its cell says. study: the name of its file.
  """

  text: str
  result: str
  verdict: str
  remark: str
  study: str

  @property
  def badge(self) -> str:
    kind = self.verdict.replace(' ', '-')
    return f'[{VERDICTS[self.verdict]}]{{.verdict .{kind}}}'


@functools.cache
def claims() -> tuple[Claim, ...]:
  """The rows of the table of `TABLE`.

  Raises:
    ValueError: a verdict that begins with none of `VERDICTS`.
  """
  found = []
  for line in (filling.ROOT / TABLE).read_text(encoding='utf-8').split('\n'):
    cells = [cell.strip() for cell in re.split(r'(?<!\\)\|', line)[1:-1]]
    if len(cells) != 4 or not cells[3].endswith('.py`'):
      continue
    text, result, told, study = cells
    verdict = next((v for v in VERDICTS if re.match(rf'{v}\b', told)), '')
    if not verdict:
      raise ValueError(
        f'the verdict on {study} is {told[:40]!r} in {TABLE}; begin it with '
        f'one of {", ".join(VERDICTS)}'
      )
    remark = told.removeprefix(verdict).lstrip('.,:; ')
    remark = remark[:1].upper() + remark[1:] + '.' * bool(remark)
    found.append(Claim(text, result, verdict, remark, study.strip('`')[:-3]))
  return tuple(found)


def of_paper(arxiv: str) -> list[Claim]:
  """The claims of a paper, by its number; none without one."""
  return [claim for claim in claims() if arxiv and arxiv in claim.text]


def page(text: str) -> str:
  """The page with its table taken apart, one section a study."""
  before, _, rest = text.partition('\n| claim |')
  after = re.sub(r'\A[^\n]*\n(\|[^\n]*\n)*', '', rest)
  grouped: dict[str, list[Claim]] = {}
  for claim in claims():
    grouped.setdefault(claim.study, []).append(claim)
  counts = [
    f'{sum(c.verdict == v for c in claims())} {VERDICTS[v]}' for v in VERDICTS
  ]
  made = filling.page(
    'studies.jinja',
    claims=claims(),
    counts=counts,
    studies={
      name: (filling.docstring(f'experiments/ablations/{name}.py'), found)
      for name, found in grouped.items()
    },
  )
  return before + made + after
