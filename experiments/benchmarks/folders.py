"""Makes the model folders of a benchmark: random weights, words for tokens."""

from __future__ import annotations

import pathlib
from typing import Any

import jax

from experiments.benchmarks import cases
from jaxrl_llm.policies.language import hf, parameters


def folder_of(name: str, scratch: pathlib.Path) -> pathlib.Path:
  """A Hugging Face folder in float32, whose tokenizer has words for tokens.

  Args:
    name: a model of `cases.MODELS`, whose weights are drawn, or a folder,
      whose weights are copied: its own tokenizer would give prompts a length
      of their own.
    scratch: where the folder is made.

  Raises:
    FileNotFoundError: neither.
  """
  source: Any
  if name in cases.MODELS:
    source = description(cases.MODELS[name])
    config = hf.config_of(source)
    init = jax.jit(parameters.init, static_argnums=0)
    params = init(config, jax.random.key(0))
  else:
    source = hf.resolve(name)
    config, params = hf.load(source)
  folder = scratch / 'model'
  words = _words(config.vocab)
  hf.save(
    folder, config, params, source=source, tokenizer=words, dtype='float32'
  )
  return folder


def description(model: cases.Model):
  """The configuration of a model of these sizes, as `transformers` has it."""
  import transformers

  return transformers.Qwen3Config(
    vocab_size=model.vocab,
    hidden_size=model.width,
    intermediate_size=model.mlp_width,
    num_hidden_layers=model.layers,
    num_attention_heads=model.heads,
    num_key_value_heads=model.kv_heads,
    head_dim=model.head_dim,
    max_position_embeddings=4096,
    tie_word_embeddings=True,
    bos_token_id=1,
    eos_token_id=2,
    pad_token_id=0,
    architectures=['Qwen3ForCausalLM'],
    dtype='float32',
  )


def _words(vocab: int):
  """A tokenizer whose token i is the word `ti`: text keeps its length."""
  import tokenizers
  import transformers

  special = ['<|pad|>', '<|bos|>', '<|eos|>', '<|unknown|>']
  words = special + [f't{i}' for i in range(len(special), vocab)]
  model = tokenizers.Tokenizer(
    tokenizers.models.WordLevel(
      {word: i for i, word in enumerate(words)}, unk_token=special[3]
    )
  )
  model.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
  return transformers.PreTrainedTokenizerFast(
    tokenizer_object=model,
    pad_token=special[0],
    bos_token=special[1],
    eos_token=special[2],
    unk_token=special[3],
    padding_side='left',
  )
