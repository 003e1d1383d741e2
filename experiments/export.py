"""Writes the policy of a run as a Hugging Face folder.

python -m experiments.export --workdir=runs/default-grpo-0
    writes runs/default-grpo-0/export from the newest checkpoint
python -m experiments.export --workdir=runs/default-grpo-0 --adapter
    writes runs/default-grpo-0/adapter, the deltas of LoRA as PEFT reads them

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
  'Folder to write (default: WORKDIR/export or WORKDIR/adapter); must not '
  'exist.',
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
_ADAPTER = flags.DEFINE_bool(
  'adapter', False, 'The deltas of LoRA alone, which PEFT puts on their model.'
)
_STOCHASTIC = flags.DEFINE_bool(
  'stochastic',
  False,
  'Round to bfloat16 up or down at random: changes are kept on average.',
)


def main() -> None:
  from experiments import card, runs

  adapter = _ADAPTER.value
  if adapter and (_DTYPE.value != 'auto' or _STOCHASTIC.value):
    raise command.Refused(
      '--dtype and --stochastic would do nothing: deltas are written as they '
      'are trained, in float32. Leave them out with --adapter'
    )
  workdir = command.folder('workdir', _WORKDIR.value)
  name = 'adapter' if adapter else 'export'
  output = pathlib.Path(_OUTPUT.value or workdir / name)
  session, state = runs.restore(workdir)
  step = int(state.step)
  try:
    if adapter:
      text = card.of_run(workdir, step, base=session.base)
      written = session.export_adapter(state, output, card=text)
    else:
      written = session.export(
        state,
        output,
        dtype=None if _DTYPE.value == 'auto' else _DTYPE.value,
        stochastic=_STOCHASTIC.value,
        card=card.of_run(workdir, step),
      )
  finally:
    session.close()
  print(f'exported iteration {step} of {workdir} to {output}')
  print(f'{name}: {written}' if adapter else f'weights: {written}')


if __name__ == '__main__':
  command.run(main)
