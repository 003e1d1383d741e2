"""Writes the policy of a run as a Hugging Face folder.

python -m experiments.export --workdir=runs/default-grpo-0
    writes runs/default-grpo-0/export from the newest checkpoint

Says how many of the weights that training changed still differ as they are
stored: small changes of a bfloat16 model are lost in bfloat16, so it is then
written in float32.
"""

from __future__ import annotations

import pathlib

from absl import flags

from experiments import command

_WORKDIR = flags.DEFINE_string(
  'workdir', None, 'Run folder.', required=True, allow_override=True
)
_OUTPUT = flags.DEFINE_string(
  'output',
  '',
  'Folder to write (default: WORKDIR/export); must not exist.',
  allow_override=True,
)
_DTYPE = flags.DEFINE_enum(
  'dtype',
  'auto',
  ['auto', 'float32', 'bfloat16', 'float16'],
  "Of the stored weights; auto is the source model's unless rounding to it "
  'would take back more than 1 % of what training changed, else float32.',
  allow_override=True,
)
_STOCHASTIC = flags.DEFINE_bool(
  'stochastic',
  False,
  'Round to bfloat16 up or down at random: changes are kept on average.',
)


def main() -> None:
  from experiments import card, runs

  workdir = command.folder('workdir', _WORKDIR.value)
  output = pathlib.Path(_OUTPUT.value or workdir / 'export')
  session, state = runs.restore(workdir)
  try:
    written = session.export(
      state,
      output,
      dtype=None if _DTYPE.value == 'auto' else _DTYPE.value,
      stochastic=_STOCHASTIC.value,
      card=card.of_run(workdir, int(state.step)),
    )
  finally:
    session.close()
  print(f'exported iteration {int(state.step)} of {workdir} to {output}')
  print(f'weights: {written}')


if __name__ == '__main__':
  command.run(main)
