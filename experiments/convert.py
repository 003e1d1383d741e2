"""Writes the model of a GGUF file as a Hugging Face folder.

python -m experiments.convert --file=MODEL.gguf --output=models/mine
python -m experiments.train --config.model.path=models/mine ...

Llama, Mistral, SmolLM, Qwen 2, 2.5 and 3, Gemma 2 and 3 (text). Weights are
dequantised; tokenizer, chat template and what ends a response come along. Needs
the package gguf: pip install 'jaxrl_llm[gguf]'.
"""

from __future__ import annotations

from absl import flags

from experiments import command

_FILE = flags.DEFINE_string('file', None, 'GGUF file.', required=True)
_OUTPUT = flags.DEFINE_string(
  'output',
  None,
  'Folder to write; must not exist.',
  required=True,
  allow_override=True,
)
_DTYPE = flags.DEFINE_enum(
  'dtype',
  'bfloat16',
  ['bfloat16', 'float32'],
  'Of the stored weights; float32 keeps what was dequantised exactly.',
  allow_override=True,
)


def main() -> None:
  from jaxrl_llm.policies.language.hf import gguf

  converted = gguf.convert(_FILE.value, _OUTPUT.value, dtype=_DTYPE.value)
  print(f'converted {_FILE.value} to {_OUTPUT.value}, {_DTYPE.value}')
  print(converted)


if __name__ == '__main__':
  command.run(main)
