"""Writes the policy of a run as a Hugging Face folder.

python -m experiments.export --workdir=runs/default-grpo-0
    writes runs/default-grpo-0/export from the newest checkpoint
"""

from __future__ import annotations

import pathlib

from absl import flags

from experiments import command

_WORKDIR = flags.DEFINE_string('workdir', None, 'Run folder.', required=True)
_OUTPUT = flags.DEFINE_string(
  'output', '', 'Folder to write (default: WORKDIR/export); must not exist.'
)


def main() -> None:
  from experiments import runs

  workdir = pathlib.Path(_WORKDIR.value)
  output = pathlib.Path(_OUTPUT.value or workdir / 'export')
  session, state = runs.restore(workdir)
  try:
    session.export(state, output)
  finally:
    session.close()
  print(f'exported iteration {int(state.step)} of {workdir} to {output}')


if __name__ == '__main__':
  command.run(main)
