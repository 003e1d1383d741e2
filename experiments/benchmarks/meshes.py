"""Whether meshes compute the same, and what their devices send each other.

`python -m experiments.benchmarks.meshes`: every kind of recipe of
`experiments.benchmarks.equality` on every mesh of eight virtual CPU devices,
beside one device. Writes meshes.jsonl, a line a cell, and meshes.md; about
five minutes on two cores, nearly all of which is compilation.
"""

from __future__ import annotations

import collections
import json
import pathlib

from absl import flags

from experiments import command
from experiments.benchmarks import markdown

_RESULTS = command.results_flag()
_RENDER = flags.DEFINE_bool(
  'render', False, 'Only write the page.', allow_override=True
)

_PROGRAMS = ('sample', 'learn')
_LOOPED = 'a turn of loops'


def main() -> int:
  results = pathlib.Path(_RESULTS.value)
  if not _RENDER.value:
    measure(results)
  print(f'wrote {draw(results)}')
  return 0


def measure(results: pathlib.Path) -> None:
  """Every cell into meshes.jsonl, as it is known."""
  import jax

  jax.config.update('jax_platforms', 'cpu')
  jax.config.update('jax_num_cpu_devices', 8)
  from experiments.benchmarks import equality
  from jaxrl_llm.training import progress

  cells = [(kind, m) for kind in equality.KINDS for m in equality.MESHES]
  with open(results / 'meshes.jsonl', 'w') as file:
    for kind, mesh in progress.bar(cells, desc='meshes'):
      line = {'kind': kind, 'mesh': mesh, 'git_commit': command.commit()}
      line |= cell(kind, mesh)
      file.write(json.dumps(line) + '\n')
      file.flush()


def cell(kind: str, mesh: tuple[int, int]) -> dict:
  """Differences from one device, and bytes by program and collective."""
  from experiments.benchmarks import equality

  found = equality.difference(kind, mesh)
  learned = equality.learned(kind, mesh)
  return {
    'recipe': equality.KINDS[kind].name,
    'apart': found,
    'parameters': learned.own,
    'sample': _sent(equality.sampled(kind, mesh).sent),
    'learn': _sent(learned.sent),
  }


def _sent(found) -> dict[str, int]:
  """Bytes by kind of collective, those inside of loops apart."""
  sent: collections.Counter[str] = collections.Counter()
  for each in found:
    sent[_LOOPED if each.looped else each.kind] += each.bytes
  return dict(sent)


def draw(results: pathlib.Path) -> pathlib.Path:
  """Puts what was measured into meshes.md."""
  text = (results / 'meshes.jsonl').read_text()
  path = results / 'meshes.md'
  path.write_text(page([json.loads(line) for line in text.splitlines()]))
  return path


def page(lines: list[dict]) -> str:
  """Three tables: equality, what is sent, and full sharding beside a count."""
  return _PAGE.format(
    commit=lines[0]['git_commit'][:12],
    equal=_equal(lines),
    most=', '.join(
      f'{name} {max(line["apart"][name] for line in lines):.0e}'
      for name in _RELATIVE
    ),
    tokens=sum(line['apart']['tokens'] for line in lines),
    logp=max(line['apart']['logp'] for line in lines),
    sent=_sent_table(lines),
    sharded=_sharded(lines),
  )


def _equal(lines) -> str:
  """The largest difference of each cell, of all that is relative."""
  meshes = list(dict.fromkeys(tuple(line['mesh']) for line in lines))
  head, rows = ('kind', 'recipe', *map(_shape, meshes)), []
  for kind in dict.fromkeys(line['kind'] for line in lines):
    own = {tuple(x['mesh']): x for x in lines if x['kind'] == kind}
    recipe = next(iter(own.values()))['recipe']
    apart = [own[mesh]['apart'] for mesh in meshes]
    most = [max(x[name] for name in _RELATIVE) for x in apart]
    rows.append([kind, f'`{recipe}`', *(f'{x:.0e}' for x in most)])
  return markdown.table(head, rows)


_RELATIVE = ('loss', 'gradient', 'step', 'memory')


def _sent_table(lines) -> str:
  names = ('all-gather', 'all-reduce', _LOOPED)
  counted = [f'{p}: {x}' for p in _PROGRAMS for x in (*names, 'other')]
  head, rows = ('kind', 'mesh', *counted), []
  for line in lines:
    counts = []
    for program in _PROGRAMS:
      sent = line[program]
      rest = sum(sent.values()) - sum(sent.get(name, 0) for name in names)
      counts += [*(sent.get(name, 0) for name in names), rest]
    numbers = [f'{count:,}' for count in counts]
    rows.append([line['kind'], _shape(line['mesh']), *numbers])
  return markdown.table(head, rows)


def _sharded(lines) -> str:
  """What full sharding should send, each parameter twice, and what it sent."""
  head, rows = ('kind', '4 p', 'all-gather', 'all-reduce'), []
  for line in lines:
    if line['kind'] == 'pair, no reference' and line['mesh'] == [8, 1]:
      sent, whole = line['learn'], line['parameters']
      ratios = [sent[name] / whole for name in ('all-gather', 'all-reduce')]
      rows.append([line['kind'], f'{whole:,}', *(f'{x:.3f}' for x in ratios)])
  return markdown.table(head, rows)


def _shape(mesh) -> str:
  return ' x '.join(map(str, mesh))


_PAGE = """# What a mesh changes

`python -m experiments.benchmarks.meshes` measured this at `{commit}`, on
eight virtual CPU devices.

## The same numbers

Largest difference from one device of loss, gradient, step of the parameters
and memory of the method, each relative to its largest entry (of the loss, to
1 at least), after one iteration in float32. Meshes are `data` x `model`.

{equal}

By what it is of, at most: {most}.
A step is the difference of two parameters, which float32 resolves to about
1e-5 of it. Of all cells, {tokens} sampled tokens differ, and log-probs of
tokens by at most {logp:.0e} nats.

## What the devices send each other

Bytes on one device and program, by collective; the learner's is a whole
iteration, with the passes before credit is assigned. What is in a loop is of
one turn: a sampled token, or a microbatch.

{sent}

## Full sharding beside its count

Without other passes, the learner gathers every parameter once and adds up
every gradient once: 4 p bytes each for p parameters in float32, whatever the
microbatches. Bytes sent in those units:

{sharded}
"""


if __name__ == '__main__':
  command.run(main)
