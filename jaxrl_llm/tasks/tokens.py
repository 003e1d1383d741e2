"""The tokenizer of toy models. Their questions are in `toys`."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import Any

PAD, BOS, EOS = '<|pad|>', '<|bos|>', '<|eos|>'
_BYTES = 256
# A chat template of few letters: a letter for who speaks, and for tools their
# names. A call is written as [name {"argument":1}].
CHAT = (
  '{{ bos_token }}'
  '{% if tools %}t:{% for tool in tools %}'
  "{{ tool.function.name }}{{ '' if loop.last else ' ' }}"
  '{% endfor %}{{ eos_token }}{% endif %}'
  '{% for m in messages %}'
  "{{ {'system': 's', 'user': 'q', 'assistant': 'a', 'tool': 'r'}[m.role] }}:"
  '{{ m.content }}{% for call in m.tool_calls or () %}'
  '[{{ call.function.name }} '
  "{{ call.function.arguments | tojson(separators=(',', ':')) }}]"
  '{% endfor %}{{ eos_token }}{% endfor %}'
  '{% if add_generation_prompt %}a:{% endif %}'
)


def toy_tokenizer(
  folder: str | pathlib.Path,
  *,
  texts: Sequence[str] = (),
  vocabulary: int = _BYTES + 3,
  chat_template: str = '',
) -> Any:
  """Trains a byte-level tokenizer and saves it as a Hugging Face folder.

  Any text round-trips. The first ids are padding, beginning and end of text;
  the beginning is put before every encoded text.

  Args:
    folder: written; made where it does not exist.
    texts: to learn merges from.
    vocabulary: tokens at most; without merges there is one token per byte.
    chat_template: Jinja source; '' for a tokenizer without one.

  Returns:
    A `transformers.PreTrainedTokenizerFast`, padding on the left.

  Raises:
    ValueError: a vocabulary that cannot hold every byte, or larger than that
      without texts to learn it from.
  """
  # Half a second of import that array code does not need.
  import tokenizers
  import transformers

  if vocabulary < _BYTES + 3 or (vocabulary > _BYTES + 3 and not texts):
    raise ValueError(
      f'vocabulary={vocabulary} must be {_BYTES + 3}, or more with texts to '
      'learn merges from'
    )
  model = tokenizers.Tokenizer(tokenizers.models.BPE())
  model.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(
    add_prefix_space=False
  )
  model.decoder = tokenizers.decoders.ByteLevel()
  trainer = tokenizers.trainers.BpeTrainer(
    vocab_size=vocabulary,
    special_tokens=[PAD, BOS, EOS],
    initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
    show_progress=False,
  )
  model.train_from_iterator(texts, trainer)
  model.post_processor = tokenizers.processors.TemplateProcessing(
    single=f'{BOS} $A',
    pair=f'{BOS} $A $B',
    special_tokens=[(BOS, model.token_to_id(BOS))],
  )
  tokenizer = transformers.PreTrainedTokenizerFast(
    tokenizer_object=model,
    pad_token=PAD,
    bos_token=BOS,
    eos_token=EOS,
    # Set later, as an attribute, it would not be saved.
    padding_side='left',
    **({'chat_template': chat_template} if chat_template else {}),
  )
  tokenizer.save_pretrained(str(folder))
  return tokenizer
