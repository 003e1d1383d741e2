"""A GGUF file becomes the folder that it was made of, tokenizer included."""

import json

import chex
import gguf
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
import transformers
from flax import traverse_util

from jaxrl_llm.policies.language import hf, parameters
from jaxrl_llm.policies.language.hf import gguf as ours
from jaxrl_llm.policies.language.hf import gguf_tokenizer
from tests.policies.language import families

# What llama.cpp calls the modules of a layer; norms of Gemma differ.
_LEAVES = {
  'self_attn.q_proj': 'attn_q',
  'self_attn.k_proj': 'attn_k',
  'self_attn.v_proj': 'attn_v',
  'self_attn.o_proj': 'attn_output',
  'self_attn.q_norm': 'attn_q_norm',
  'self_attn.k_norm': 'attn_k_norm',
  'mlp.gate_proj': 'ffn_gate',
  'mlp.up_proj': 'ffn_up',
  'mlp.down_proj': 'ffn_down',
  'input_layernorm': 'attn_norm',
  'post_attention_layernorm': 'ffn_norm',
}
_GEMMA_LEAVES = _LEAVES | {
  'post_attention_layernorm': 'post_attention_norm',
  'pre_feedforward_layernorm': 'ffn_norm',
  'post_feedforward_layernorm': 'post_ffw_norm',
}
_WHOLE = {
  'model.embed_tokens': 'token_embd',
  'model.norm': 'output_norm',
  'lm_head': 'output',
}
_LLAMA3 = {
  'rope_type': 'llama3',
  'rope_theta': 500_000.0,
  'factor': 8.0,
  'low_freq_factor': 1.0,
  'high_freq_factor': 4.0,
  'original_max_position_embeddings': 8192,
}
_GEMMA = {'query_pre_attn_scalar': 12}
_VARIANTS = {
  'llama2': {},
  'llama3': {'rope_parameters': _LLAMA3},
  'llama_tied': {},
  'llama_biases': {},
  'llama_linear': {},
  'qwen2': {},
  'qwen2_yarn': {},
  'qwen3': {},
  'gemma2': _GEMMA,
  'gemma3': _GEMMA,
}
_LETTERS = [*'abdeilnortuw', *'0123456789', 'Ġ', 'Ċ', '+', '=', '?']
_TOKENS = ['<unk>', '<s>', '</s>', '<|im_end|>', *_LETTERS]
_TOKENS += ['in', '12', 'Ġa', 'de', 'Ġ1']
_MERGES = ['i n', '1 2', 'Ġ a', 'd e', 'Ġ 1']
_TEMPLATE = '{% for m in messages %}<|im_end|>{{ m.content }}{% endfor %}'


def _permuted(x, heads):
  """Rows of each head, as llama.cpp lays them out for its rotation."""
  half = x.shape[0] // heads // 2
  by_halves = x.reshape(heads, 2, half, *x.shape[1:])
  return by_halves.swapaxes(1, 2).reshape(x.shape)


def _their_tensor(name, x, source, architecture):
  """(name, array) of one tensor of Hugging Face in a GGUF file."""
  stem, kind = name.rsplit('.', 1)
  gemma = architecture.startswith('gemma')
  if stem in _WHOLE:
    stem = _WHOLE[stem]
  else:
    _, _, layer, stem = stem.split('.', 3)
    stem = f'blk.{layer}.{(_GEMMA_LEAVES if gemma else _LEAVES)[stem]}'
  if architecture == 'llama' and stem.endswith('attn_q'):
    x = _permuted(x, source.num_attention_heads)
  if architecture == 'llama' and stem.endswith('attn_k'):
    x = _permuted(x, source.num_key_value_heads)
  if gemma and stem.endswith('norm'):
    x = x + np.float32(1)
  return f'{stem}.{kind}', x


def _add_settings(writer, source):
  writer.add_context_length(source.max_position_embeddings)
  writer.add_embedding_length(source.hidden_size)
  writer.add_block_count(source.num_hidden_layers)
  writer.add_feed_forward_length(source.intermediate_size)
  writer.add_head_count(source.num_attention_heads)
  writer.add_head_count_kv(source.num_key_value_heads)
  writer.add_layer_norm_rms_eps(source.rms_norm_eps)
  if getattr(source, 'head_dim', None):
    writer.add_key_length(source.head_dim)
    writer.add_value_length(source.head_dim)
  spun = source.rope_parameters
  if 'sliding_attention' in spun:
    local = spun['sliding_attention']['rope_theta']
    writer.add_float32('gemma3.rope.freq_base_swa', local)
    spun = spun['full_attention']
  writer.add_rope_freq_base(spun['rope_theta'])
  if spun['rope_type'] in ('linear', 'yarn'):
    writer.add_rope_scaling_type(gguf.RopeScalingType(spun['rope_type']))
    writer.add_rope_scaling_factor(spun['factor'])
  if spun['rope_type'] == 'yarn':
    length = spun['original_max_position_embeddings']
    writer.add_rope_scaling_orig_ctx_len(length)
  if spun['rope_type'] == 'llama3':
    # The pairs of 8 dimensions turn in 6, 167, 4,443 and 118,147 tokens: two
    # are kept, and 8192 / 4443 lies 0.28128 of the way from 1 to 4.
    factors = [1, 1, 1 / (0.28128 + (1 - 0.28128) / 8), 8]
    writer.add_tensor('rope_freqs.weight', np.array(factors, np.float32))
  if source.model_type.startswith('gemma'):
    writer.add_sliding_window(source.sliding_window)
    if source.final_logit_softcapping:
      writer.add_final_logit_softcapping(source.final_logit_softcapping)
  if source.model_type == 'gemma2':
    writer.add_attn_logit_softcapping(source.attn_logit_softcapping)
  if source.model_type == 'gemma3_text':
    writer.add_uint32('gemma3.attention.sliding_window_pattern', 3)


def _add_tokens(writer):
  writer.add_tokenizer_model('gpt2')
  writer.add_tokenizer_pre('smollm')
  writer.add_token_list(_TOKENS)
  kinds = [gguf.TokenType.CONTROL] * 4
  kinds += [gguf.TokenType.NORMAL] * (len(_TOKENS) - 4)
  writer.add_token_types(kinds)
  writer.add_token_merges(_MERGES)
  writer.add_bos_token_id(1)
  writer.add_eos_token_id(2)
  writer.add_chat_template(_TEMPLATE)


def _made(folder, name='llama_tied', kind='F32', change=None, **fields):
  """A folder of random weights, and a GGUF file of the same model."""
  source = families.hf_config(name, **_VARIANTS.get(name, {}))
  config = hf.config_of(source)
  rng = np.random.default_rng(0)
  params = traverse_util.unflatten_dict(
    {
      path: rng.normal(size=entry.shape).astype(np.float32)
      for path, entry in parameters.table(config).items()
    }
  )
  hf.save(folder / 'source', config, params, source=source, dtype='float32')
  tensors = safetensors.numpy.load_file(folder / 'source/model.safetensors')
  architecture = source.model_type.removesuffix('_text')
  writer = gguf.GGUFWriter(folder / 'model.gguf', architecture)
  _add_settings(writer, source)
  _add_tokens(writer)
  for key, value in fields.items():
    writer.add_uint32(key.replace('__', '.'), value)
  kind = gguf.GGMLQuantizationType[kind]
  stored = dict(
    _their_tensor(name, x, source, architecture) for name, x in tensors.items()
  )
  for name, x in (change or (lambda x: x))(stored).items():
    block, _ = gguf.GGML_QUANT_SIZES[kind]
    if x.ndim == 2 and kind.name != 'F32' and x.shape[1] % block == 0:
      x = gguf.quants.quantize(x, kind)
      writer.add_tensor(name, x, raw_dtype=kind)
    else:
      writer.add_tensor(name, x)
  writer.write_header_to_file()
  writer.write_kv_data_to_file()
  writer.write_tensors_to_file()
  writer.close()
  return folder / 'model.gguf'


@pytest.mark.parametrize('name', _VARIANTS)
def test_the_file_becomes_the_folder_it_was_made_of(name, tmp_path):
  file = _made(tmp_path, name)
  ours.convert(file, tmp_path / 'made', dtype='float32')
  config, params = hf.load(tmp_path / 'source')
  again, found = hf.load(tmp_path / 'made')
  assert again == config
  if config.norm_offset:  # 1 + w rounds to float32
    chex.assert_trees_all_close(found, params, rtol=0, atol=3e-7)
  else:
    chex.assert_trees_all_equal(found, params)


@pytest.mark.parametrize('kind', ['BF16', 'Q8_0', 'Q4_1'])
def test_quantised_weights_are_what_their_blocks_say(kind, tmp_path):
  file = _made(tmp_path, kind=kind)
  said = ours.convert(file, tmp_path / 'made', dtype='float32')
  assert said.stored == tuple(sorted({'F32', kind}))
  config, params = hf.load(tmp_path / 'source')
  _, found = hf.load(tmp_path / 'made')
  table = parameters.table(config)
  assert said.weights == sum(np.prod(x.shape) for x in table.values())
  kind = gguf.GGMLQuantizationType[kind]
  # Rows of the output are rows of blocks; ours has inputs first.
  x = np.asarray(params['layers']['q']['kernel'][1])
  rows = x.reshape(config.width, -1).T
  blocks = gguf.quants.quantize(np.ascontiguousarray(rows), kind)
  wanted = gguf.quants.dequantize(blocks, kind).T.reshape(x.shape)
  np.testing.assert_array_equal(found['layers']['q']['kernel'][1], wanted)
  assert 0 < np.max(np.abs(wanted - x)) < 0.3


def test_a_folder_is_bfloat16_and_has_all_that_a_model_needs(tmp_path):
  file = _made(tmp_path)
  said = ours.convert(file, tmp_path / 'made')
  assert str(said).startswith('llama, ') and 'from F32, ' in str(said)
  stored = safetensors.numpy.load_file(tmp_path / 'made/model.safetensors')
  assert stored['model.norm.weight'].dtype == jnp.bfloat16
  described = json.loads((tmp_path / 'made/config.json').read_text())
  assert described['architectures'] == ['LlamaForCausalLM']
  assert described['rms_norm_eps'] == 1e-6
  generation = json.loads(
    (tmp_path / 'made/generation_config.json').read_text()
  )
  assert generation == {'bos_token_id': 1, 'eos_token_id': [2, 3]}
  tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / 'made')
  assert (tokenizer.bos_token, tokenizer.eos_token) == ('<s>', '</s>')
  assert tokenizer.pad_token is None
  chat = [{'role': 'user', 'content': '12'}]
  assert tokenizer.apply_chat_template(chat, tokenize=False) == '<|im_end|>12'
  ids = tokenizer.encode('<|im_end|> in 12 a')
  assert tokenizer.convert_ids_to_tokens(ids) == [
    '<|im_end|>', 'Ġ', 'in', 'Ġ', '1', '2', 'Ġa'
  ]  # fmt: skip
  assert tokenizer.decode(ids) == '<|im_end|> in 12 a'


# What splits before merging, from the expressions of llama.cpp by hand.
_TEXT = "I'LL add 1234  x!\n\n\u00e9"
_PIECES = {
  'gpt-2': "I ' LL _add _1234 _ _x ! \n \n \u00e9",
  'smollm': "I ' LL _add _ 1 2 3 4 _ _x ! \n \n \u00e9",
  'llama-bpe': "I 'LL _add _ 123 4 _ _x !\n\n \u00e9",
  'qwen2': "I 'LL _add _ 1 2 3 4 _ _x !\n\n \u00e9",
  'tekken': "I 'LL _add _ 1 2 3 4 _ _x !\n\n \u00e9",
}


@pytest.mark.parametrize('word', _PIECES)
def test_text_is_split_as_the_file_names_it(word):
  tokens = sorted({*_letters().values()})
  metadata = {
    'tokenizer.ggml.model': 'gpt2',
    'tokenizer.ggml.pre': word,
    'tokenizer.ggml.tokens': tokens,
    'tokenizer.ggml.token_type': [1] * len(tokens),
    'tokenizer.ggml.merges': [],
    'tokenizer.ggml.bos_token_id': 0,
    'tokenizer.ggml.eos_token_id': 0,
  }
  tokenizer = gguf_tokenizer.build(metadata).backend_tokenizer
  found = [p for p, _ in tokenizer.pre_tokenizer.pre_tokenize_str(_TEXT)]
  spelled = _letters()
  wanted = [
    ''.join(spelled[b] for b in piece.replace('_', ' ').encode())
    for piece in _PIECES[word].split(' ')
  ]
  assert found == wanted
  text = 'e\u0301'  # two characters that are one to Qwen
  ids = tokenizer.encode(text, add_special_tokens=False).ids
  assert tokenizer.decode(ids) == ('\u00e9' if word == 'qwen2' else text)


def _letters():
  """Byte -> the letter that stands for it in a byte-level vocabulary."""
  plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
  others = [byte for byte in range(256) if byte not in plain]
  return {b: chr(b) for b in plain} | {
    b: chr(256 + i) for i, b in enumerate(others)
  }


def _spoken(**changes):
  """Metadata of a SentencePiece vocabulary."""
  pieces = ['<unk>', '<s>', '</s>']
  pieces += [f'<0x{byte:02X}>' for byte in range(256)]
  pieces += ['\u2581', 'a', 'b', 'c', 'ab', 'bc', '\u2581a', '  ']
  scores = [0.0] * 259 + [-9.0, -9.0, -9.0, -9.0, -2.0, -1.0, -3.0, 0.0]
  kinds = [2, 3, 3] + [6] * 256 + [1] * 7 + [4]
  return {
    'tokenizer.ggml.model': 'llama',
    'tokenizer.ggml.pre': 'default',
    'tokenizer.ggml.tokens': pieces,
    'tokenizer.ggml.scores': scores,
    'tokenizer.ggml.token_type': kinds,
  } | {f'tokenizer.ggml.{name}': x for name, x in changes.items()}


def _said(text, **changes):
  tokenizer = gguf_tokenizer.build(_spoken(**changes))
  ids = tokenizer.encode(text)
  assert tokenizer.decode(ids, skip_special_tokens=True) == text
  return tokenizer.convert_ids_to_tokens(ids)


def test_sentencepiece_joins_the_pair_that_scores_best():
  # 'ab' would be first by position; 'bc' scores better.
  assert _said('abc') == ['<s>', '\u2581a', 'bc']
  assert _said('abb') == ['<s>', '\u2581', 'ab', 'b']
  plain = {'add_space_prefix': False, 'add_bos_token': False}
  assert _said('ab  a', **plain) == ['ab', '  ', 'a']
  assert _said('\u00e9', **plain) == ['<0xC3>', '<0xA9>']


@pytest.mark.parametrize(
  ('changes', 'reason'),
  [
    ({'pre': 'unheard', 'model': 'gpt2'}, "pre='unheard' is not supported"),
    ({'model': 'bert'}, "model='bert' is not supported; supported are gpt2"),
    ({'scores': None}, 'lack tokenizer.ggml.scores'),
    ({'eos_token_id': 999}, 'its eos token is 999 of 267 tokens'),
    (
      {'model': 'gpt2', 'pre': 'gpt-2', 'merges': ['a zz']},
      'its tokens and merges do not fit',
    ),
    (
      {'model': 'gpt2', 'pre': 'gpt-2', 'merges': [], 'add_bos_token': True},
      'adds a bos token and names none',
    ),
  ],
)
def test_a_tokenizer_that_is_not_understood_is_refused(changes, reason):
  with pytest.raises(ValueError, match=reason):
    gguf_tokenizer.build(_spoken(**changes))


@pytest.mark.parametrize(
  ('options', 'reason'),
  [
    ({'llama__expert_count': 8}, 'llama with expert_count=8 is not supported'),
    ({'llama__rope__dimension_count': 6}, 'dimension_count=6 with heads of 12'),
    ({'split__count': 3}, 'one of 3 parts; join them first'),
    (
      {'change': lambda x: x | {'rope_freqs.weight': np.ones(3, np.float32)}},
      'rope_freqs.weight does not hold the factors of Llama 3',
    ),
    (
      {'change': lambda x: {k: v for k, v in x.items() if 'blk.1' not in k}},
      'missing model.layers.1.self_attn.q_proj.weight',
    ),
    (
      {'change': lambda x: x | {'blk.0.extra.weight': np.ones(3, np.float32)}},
      r'leftover blk.0.extra.weight \[3\]',
    ),
    (
      {'change': lambda x: x | {'output_norm.weight': np.ones(32, np.int32)}},
      'output_norm.weight is stored as I32, which',
    ),
  ],
)
def test_what_is_not_computed_is_refused_by_name(options, reason, tmp_path):
  file = _made(tmp_path, **options)
  with pytest.raises(ValueError, match=reason):
    ours.convert(file, tmp_path / 'made')
  assert not (tmp_path / 'made').exists()


def test_other_architectures_and_damaged_files_are_refused(tmp_path):
  file = tmp_path / 'other.gguf'
  writer = gguf.GGUFWriter(file, 'phi3')
  writer.write_header_to_file()
  writer.write_kv_data_to_file()
  writer.close()
  with pytest.raises(ValueError, match="'phi3' is not supported; .* gemma3"):
    ours.convert(file, tmp_path / 'made')
  whole = _made(tmp_path).read_bytes()
  for size in (0, 3, 1000, len(whole) // 2):
    file.write_bytes(whole[:size])
    with pytest.raises(ValueError, match='is not a whole GGUF file'):
      ours.convert(file, tmp_path / 'made')
  with pytest.raises(FileExistsError, match='is not empty'):
    ours.convert(tmp_path / 'model.gguf', tmp_path / 'source')
  with pytest.raises(FileNotFoundError):
    ours.convert(tmp_path / 'absent.gguf', tmp_path / 'made')
  with pytest.raises(ValueError, match='experiments.convert --file=.*gguf'):
    hf.resolve(tmp_path / 'model.gguf')
