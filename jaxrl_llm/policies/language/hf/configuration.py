"""What the configuration of a Hugging Face model says of the one decoder.

What the decoder does not compute is refused by name, never approximated.
"""

from __future__ import annotations

import copy
import json
import os
import pathlib
from typing import Any

from jaxrl_llm.policies.language.config import Config
from jaxrl_llm.policies.language.hf.families import COMPOSITES, FAMILIES
from jaxrl_llm.policies.language.hf.rotations import rotations_of


def config_of(source: Any) -> Config:
  """The decoder that a Hugging Face configuration describes.

  Args:
    source: a `transformers` configuration, or a folder with a `config.json`.
      Of one of `COMPOSITES`, its part that is about text.

  Returns:
    A `Config`.

  Raises:
    FileNotFoundError: the folder has no `config.json`.
    ValueError: an architecture that is not supported, or a field whose value
      the decoder does not compute; the message names it.
  """
  source = text_of(source)
  family = getattr(source, 'model_type', None)
  if family not in FAMILIES:
    raise ValueError(_unsupported_family(family))
  _check_fields(family, source)
  if getattr(source, 'is_heterogeneous', False):
    # Sizes of some layers differ, which `fields` of the family look at.
    source = copy.deepcopy(source)
    source.allow_global_per_layer_attribute_access = True
  full, local = rotations_of(source, FAMILIES[family])
  head_dim = getattr(source, 'head_dim', None)
  fields = {
    'vocab': source.vocab_size,
    'width': source.hidden_size,
    'layers': source.num_hidden_layers,
    'heads': source.num_attention_heads,
    'kv_heads': source.num_key_value_heads,
    'head_dim': head_dim or source.hidden_size // source.num_attention_heads,
    'mlp_width': getattr(source, 'intermediate_size', 0),
    'norm_epsilon': float(source.rms_norm_eps),
    'tied': bool(source.tie_word_embeddings),
    'windows': FAMILIES[family].windows(source),
    'rope': full,
    'local_rope': local,
  }
  return Config(**{**fields, **FAMILIES[family].fields(source)})


def text_of(source: Any) -> Any:
  """The `transformers` configuration of the decoder in a source.

  Args, Raises: as of `config_of`, but that nothing in it is checked yet.
  """
  if isinstance(source, (str, os.PathLike)):
    source = _read(pathlib.Path(source))
  if getattr(source, 'model_type', None) not in COMPOSITES:
    return source
  text = copy.deepcopy(source.text_config)
  # What is said of the whole is said of the part.
  for name in ('tie_word_embeddings', 'quantization_config', 'dtype'):
    if getattr(source, name, None) is not None:
      setattr(text, name, getattr(source, name))
  return text


def _unsupported_family(family) -> str:
  return (
    f'architecture {family!r} is not supported; supported are '
    f'{", ".join([*FAMILIES, *COMPOSITES])}. docs/adding_a_model_family.md '
    'says how one is added.'
  )


def _read(folder: pathlib.Path):
  file = folder / 'config.json'
  if not file.is_file():
    raise FileNotFoundError(
      f'{folder} has no config.json; give a folder that holds a Hugging Face '
      'model.'
    )
  try:
    family = json.loads(file.read_bytes()).get('model_type')
  except (ValueError, RecursionError, AttributeError) as error:
    raise ValueError(f'{file} is not a JSON object: {error}') from error
  # Before `transformers` sees it: it fails at length on what it does not know.
  known = {*FAMILIES, *COMPOSITES}
  if not isinstance(family, str) or family not in known:
    raise ValueError(_unsupported_family(family))
  import transformers  # takes 0.6 s, and only real models need it

  try:
    return transformers.AutoConfig.from_pretrained(
      folder, trust_remote_code=False
    )
  except Exception as error:  # its checks raise classes of many libraries
    reason = ' '.join(str(error).split())
    raise ValueError(f'transformers refuses {file}: {reason}') from error


def _check_fields(family, source):
  """Refuses fields that would change the logits or the training silently."""
  fields: list[tuple[str, Any]] = [
    ('attention_dropout', 0.0),
    ('use_bidirectional_attention', False),
    ('use_mrope', False),
    ('quantization_config', None),
    # Those of experts: dense layers, noise on the way to the router, and a
    # loss that balances loads.
    ('decoder_sparse_step', 1),
    ('mlp_only_layers', []),
    ('router_jitter_noise', 0.0),
    ('output_router_logits', False),
  ]
  for name, plain in (*fields, *FAMILIES[family].plain.items()):
    value = getattr(source, name, plain)
    if name == 'quantization_config' and value:
      raise ValueError(
        f'{family} with {name}={value!r} is not supported; load it with '
        'transformers, dequantized, and save that model.'
      )
    if value and value != plain:
      raise ValueError(
        f'{family} with {name}={value!r} is not supported; the decoder '
        f'computes {name}={plain!r} only.'
      )
