"""Model folders of tests: a tiny decoder with whatever tokenizer is asked."""

import pathlib

import jax
import transformers

from jaxrl_llm.policies.language import hf, parameters
from jaxrl_llm.tasks import tokens

# A template in the manner of ChatML, with tools, thinking and a turn's end.
CHAT = (
  "{%- if tools %}<|turn|>tools\n{{ tools | map('tojson') | join('\n') }}"
  '<|end|>\n{% endif %}'
  '{%- for m in messages %}<|turn|>{{ m.role }}\n{{ m.content }}<|end|>\n'
  '{% endfor %}'
  '{%- if add_generation_prompt %}<|turn|>assistant\n'
  '{% if enable_thinking is defined and not enable_thinking %}'
  '<think></think>{% endif %}{% endif %}'
)
CONTROL = ('<|turn|>', '<|end|>')


def tokenizer_in(folder, *, special=(), added=(), chat_template=''):
  """A tokenizer of bytes with more tokens, saved in a folder."""
  tokenizer = tokens.toy_tokenizer(folder, chat_template=chat_template)
  tokenizer.add_special_tokens({'additional_special_tokens': list(special)})
  tokenizer.add_tokens(list(added))
  tokenizer.save_pretrained(str(folder))
  return tokenizer


def model_in(folder, *, vocab=0, **options):
  """A folder with a random decoder and a tokenizer, see `tokenizer_in`.

  Args:
    vocab: rows of the embedding; 0 is one a token.
  """
  folder = pathlib.Path(folder)
  tokenizer = tokenizer_in(folder / 'tokenizer', **options)
  description = transformers.Qwen3Config(
    vocab_size=vocab or len(tokenizer),
    hidden_size=32,
    intermediate_size=64,
    num_hidden_layers=1,
    num_attention_heads=2,
    num_key_value_heads=1,
    head_dim=16,
    tie_word_embeddings=True,
  )
  model = hf.config_of(description)
  params = parameters.init(model, jax.random.key(0))
  hf.save(
    folder / 'model', model, params, source=description, tokenizer=tokenizer
  )
  return folder / 'model'
