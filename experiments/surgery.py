"""Weakens a behaviour of a run's policy by an edit of a few rows of its gates.

  python -m experiments.eval --workdir=RUN --samples=8 --output=answers.json
  python -m experiments.surgery --workdir=RUN --responses=answers.jsonl \\
      --behaviour='sorry|cannot' --output=models/edited
      responses in which the pattern is found show the behaviour
  python -m experiments.eval --config.model.path=models/edited ...

A linear probe learns from the model's states which responses show it, and is
added to the rows of the gates that are most opposed to it (Model Surgery, arXiv
2407.08770; `jaxrl_llm/policies/language/surgery.py`). Nothing is trained, and
the run stays as it is; `--output` is a Hugging Face folder. The probe has the
length of a mean row of the gates: `--scale` says how many of it are added. Said
is how many of the responses the probe tells right; evaluate before and after,
since how far a behaviour falls, and what else does, depends on the model.
`experiments/ablations/model_surgery.py` is an example.
"""

from __future__ import annotations

import pathlib
import re

from absl import flags

from experiments import command, samples

_WORKDIR = flags.DEFINE_string(
  'workdir', None, 'Run folder.', required=True, allow_override=True
)
_RESPONSES = flags.DEFINE_string(
  'responses',
  '',
  'JSONL of responses to their prompts, as a run and experiments.eval write '
  'them (default: WORKDIR/samples.jsonl).',
  allow_override=True,
)
_BEHAVIOUR = flags.DEFINE_string(
  'behaviour',
  None,
  'Regular expression, found in responses that show the behaviour.',
  required=True,
)
_SHARE = flags.DEFINE_float(
  'share', 0.0465, 'Of the rows of all gates, those that are moved.'
)
_SCALE = flags.DEFINE_float(
  'scale', 1.0, 'By how many probes; below 0 strengthens the behaviour.'
)
_OUTPUT = flags.DEFINE_string(
  'output',
  '',
  'Folder to write (default: WORKDIR/edited); must not exist.',
  allow_override=True,
)

# Rows that are read at once.
_ROWS = 64


def main() -> None:
  from experiments import card, runs

  workdir = command.folder('workdir', _WORKDIR.value)
  output = pathlib.Path(_OUTPUT.value or workdir / 'edited')
  if output.exists():
    raise command.Refused(f'{output} exists; give another --output')
  try:
    pattern = re.compile(_BEHAVIOUR.value)
  except re.error as error:
    raise command.Refused(
      f'--behaviour={_BEHAVIOUR.value!r} is no regular expression: {error}'
    ) from error
  if not 0 < _SHARE.value <= 1:
    raise command.Refused(f'--share={_SHARE.value} must be above 0, at most 1')
  if not _SCALE.value:
    raise command.Refused('--scale=0 edits nothing; give another')
  runs.config_of(workdir)  # Before what is missing in it.
  path = pathlib.Path(_RESPONSES.value or workdir / 'samples.jsonl')
  if not path.is_file():
    raise command.Refused(
      f'no responses at {path}; give --responses=FILE.jsonl'
    )
  lines = [line for line in samples.of_file(path) if 'response' in line]
  session, state = runs.restore(workdir)
  try:
    edited, said = operated(
      session, state, lines, pattern, share=_SHARE.value, scale=_SCALE.value
    )
    text = f'{card.of_run(workdir, int(state.step))}\n{said}\n'
    session.export(edited, output, card=text)
  finally:
    session.close()
  print(f'{said}\nwritten to {output}')


def operated(session, state, lines, pattern, *, share, scale):
  """The state with edited gates, and what was done in a sentence.

  Args:
    session: of a run on text. lines: with `prompt` and `response`.
    pattern: a compiled regular expression. share, scale: see the flags.
  """
  import jax.numpy as jnp
  import numpy as np

  from jaxrl_llm.policies.language import lora, surgery

  if not hasattr(session, 'tokenizer'):
    raise command.Refused(
      f'the run is about {session.config.problem}, and gates are edited of '
      'policies of text'
    )
  params = lora.merge(lora.join(state.params, session.frozen))
  labels = np.array([bool(pattern.search(x['response'])) for x in lines])
  texts = [samples.prompt_of(x) + x['response'] for x in lines]
  states = _read(session, params, texts)
  probe = surgery.probe(states, labels)
  kernel = params['layers']['gate']['kernel']
  length = float(jnp.mean(jnp.linalg.norm(kernel, axis=1)))
  count = max(1, round(share * kernel.shape[0] * kernel.shape[2]))
  edited, _ = surgery.edit(
    params, probe / np.linalg.norm(probe) * length, count=count, scale=scale
  )
  along = states @ probe
  apart = along[labels].mean() - along[~labels].mean()
  middle = (along[labels].mean() + along[~labels].mean()) / 2
  told = np.mean((along > middle) == labels) if apart > 0 else 0.0
  said = (
    f'{labels.sum()} of {len(lines)} responses match {pattern.pattern!r}; the '
    f'probe tells {told:.3f} of them right; {count} rows of gates were moved '
    f'by {scale:g} times {length:.3g}'
  )
  return state.replace(params=edited), said


def _read(session, params, texts):
  """f32[N, D]: what the model's states say of each text, on average."""
  import functools

  import jax
  import numpy as np

  from jaxrl_llm.policies.language import surgery

  rows = [session.tokenizer(text)['input_ids'] for text in texts]
  size = max(map(len, rows), default=1)
  pooled = jax.jit(functools.partial(surgery.pooled, config=session.model))
  found = []
  for start in range(0, len(rows), _ROWS):
    tokens = np.zeros((_ROWS, size), np.int32)
    mask = np.zeros((_ROWS, size), bool)
    for place, row in enumerate(rows[start : start + _ROWS]):
      tokens[place, : len(row)], mask[place, : len(row)] = row, True
    found.append(np.asarray(pooled(params, tokens=tokens, mask=mask)))
  return np.concatenate(found)[: len(rows)] if rows else np.zeros((0, 1))


if __name__ == '__main__':
  command.run(main)
