"""Toys on token arrays, and the tokenizer of toy models.

The rewards are pure functions that compile: for tests, for tabular studies,
and for training loops that never leave the device. Text toys are in `toys`.
"""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp

Array = jax.Array

PAD, BOS, EOS = '<|pad|>', '<|bos|>', '<|eos|>'
_BYTES = 256


def same(
  response: Array, mask: Array, target: Array, target_mask: Array
) -> Array:
  """1 where the response is the target, token by token, else 0.

  Args:
    response: i32[N, T], right padded. mask: bool[N, T], tokens that exist,
      with the end token where the policy emitted one.
    target: i32[N, U], right padded. target_mask: bool[N, U].

  Returns:
    f32[N]. Two empty sequences are the same.
  """
  chex.assert_equal_shape([response, mask])
  chex.assert_equal_shape([target, target_mask])
  width = max(response.shape[1], target.shape[1])

  def padded(x, where):
    # -1 is no token: what is masked only equals what is masked.
    x = jnp.where(where, x, -1)
    return jnp.pad(x, ((0, 0), (0, width - x.shape[1])), constant_values=-1)

  equal = padded(response, mask) == padded(target, target_mask)
  return jnp.all(equal, axis=-1).astype(jnp.float32)


def share(response: Array, mask: Array, target: Array) -> Array:
  """The share of the response's tokens that are the target token.

      r_i = sum_t m_it [y_it = target_i] / sum_t m_it

  Args:
    response: i32[N, T]. mask: bool[N, T].
    target: i32[N], a token per row.

  Returns:
    f32[N] in [0, 1]; 0 for an empty response.
  """
  chex.assert_equal_shape([response, mask])
  chex.assert_shape(target, (response.shape[0],))
  hits = jnp.sum(mask & (response == target[:, None]), axis=-1)
  length = jnp.sum(mask, axis=-1)
  return (hits / jnp.maximum(length, 1)).astype(jnp.float32)


def sum_modulo(
  response: Array, mask: Array, target: Array, *, modulus: int
) -> Array:
  """1 where the token ids add up to the target modulo `modulus`, else 0.

      r_i = [ sum_t m_it y_it = target_i  (mod modulus) ]

  A sparse reward of the whole sequence with many right answers, 1 / modulus
  of all sequences of a vocabulary that it divides.

  Args:
    response: i32[N, T]. mask: bool[N, T].
    target: i32[N].
    modulus: at least 1.

  Returns:
    f32[N]. An empty response adds up to 0.
  """
  chex.assert_equal_shape([response, mask])
  chex.assert_shape(target, (response.shape[0],))
  # Reduced before the sum, which then cannot overflow.
  residue = jnp.sum(jnp.where(mask, response % modulus, 0), axis=-1)
  return (residue % modulus == target % modulus).astype(jnp.float32)


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
