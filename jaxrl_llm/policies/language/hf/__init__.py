"""Hugging Face folders: read into our parameters, written from them.

folders   which files and tensors there are, and what we call them
families  the table of what is known; layouts, rotations and configuration say
          where tensors lie, how layers rotate and what a folder is a model of
reading   load, load_classifier
writing   save
adapters  load, save: deltas of LoRA as PEFT keeps them
gguf      convert: a file of llama.cpp into a folder
"""

from jaxrl_llm.policies.language.hf import adapters
from jaxrl_llm.policies.language.hf.configuration import config_of
from jaxrl_llm.policies.language.hf.folders import (
  description_of,
  files,
  resolve,
)
from jaxrl_llm.policies.language.hf.reading import (
  check_finite,
  is_classifier,
  load,
  load_classifier,
)
from jaxrl_llm.policies.language.hf.writing import save

__all__ = [
  'adapters',
  'check_finite',
  'config_of',
  'description_of',
  'files',
  'is_classifier',
  'load',
  'load_classifier',
  'resolve',
  'save',
]
