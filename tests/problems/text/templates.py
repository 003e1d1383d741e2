"""Small tokenizers with chat templates, each in the manner of a family.

The templates are short ones of our own with the features of theirs: who starts
a text, how turns are marked, roles and tools that they know, thinking.
"""

import dataclasses
from typing import Any

import tokenizers
import transformers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

THOUGHT = ('<think>', '</think>')
_CHATML = (
  '{%- if tools %}<|im_start|>system\n# Tools\n'
  '{% for tool in tools %}{{ tool | tojson }}\n{% endfor %}'
  '<|im_end|>\n{% endif %}'
  "{%- for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}"
  "{%- if m.role == 'assistant' and '</think>' in m.content"
  ' and not loop.last %}'
  "{{ m.content.split('</think>')[-1].lstrip('\n') }}"
  '{%- else %}{{ m.content }}{% endif %}'
  '{%- for call in m.tool_calls or () %}'
  '{{ \'\n<tool_call>\n{"name": "\' + call.function.name'
  ' + \'", "arguments": \' }}'
  "{{ call.function.arguments | tojson }}{{ '}\n</tool_call>' }}{% endfor %}"
  "{{ '<|im_end|>\n' }}{% endfor %}"
  "{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
  '{%- if enable_thinking is defined and enable_thinking is false %}'
  "{{ '<think>\n\n</think>\n\n' }}{% endif %}{% endif %}"
)
_PLAIN_CHATML = (
  "{% for m in messages %}{% if loop.first and m.role != 'system' %}"
  "{{ '<|im_start|>system\nYou help.<|im_end|>\n' }}{% endif %}"
  "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}"
  '{% endfor %}'
  "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
_HEADERS = (
  '{{- bos_token }}'
  '{%- if tools %}<|start_header_id|>system<|end_header_id|>\n\n'
  '{% for tool in tools %}{{ tool | tojson(indent=4) }}{% endfor %}<|eot_id|>'
  '{% endif %}'
  '{%- for m in messages %}'
  "{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' }}"
  "{{- m.content | trim + '<|eot_id|>' }}{% endfor %}"
  '{%- if add_generation_prompt %}'
  "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
_TURNS = (
  '{{ bos_token }}{% for m in messages %}'
  "{% if m.role == 'assistant' %}{% set role = 'model' %}"
  '{% else %}{% set role = m.role %}{% endif %}'
  "{% if role not in ('user', 'model') %}"
  "{{ raise_exception('No such role') }}{% endif %}"
  "{{ '<start_of_turn>' + role + '\n' + m.content | trim + '<end_of_turn>\n' }}"
  '{% endfor %}'
  "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
_INST = (
  '{% for m in messages %}'
  "{% if m.role == 'assistant' %}"
  "{{ ' ' + m.content.strip() + ' ' + eos_token }}"
  '{% else %}'
  "{{ bos_token + '[INST] ' + m.content.strip() + ' [/INST]' }}"
  '{% endif %}{% endfor %}'
)
# As Qwen 2.5: a system message of its own, results in the turn of a user.
_RESULTS = (
  "{% set own = messages[0].role == 'system' %}"
  "{{ '<|im_start|>system\n' }}"
  "{{ messages[0].content if own else 'You help.' }}"
  "{% if tools %}{{ '\n# Tools' }}{% for tool in tools %}"
  "{{ '\n' }}{{ tool | tojson }}{% endfor %}{% endif %}"
  "{{ '<|im_end|>\n' }}"
  '{% for m in (messages[1:] if own else messages) %}'
  "{% if m.role == 'tool' %}"
  "{% if loop.previtem is undefined or loop.previtem.role != 'tool' %}"
  '<|im_start|>user{% endif %}'
  "{{ '\n<tool_response>\n' + m.content + '\n</tool_response>' }}"
  "{% if loop.last or loop.nextitem.role != 'tool' %}"
  "{{ '<|im_end|>\n' }}{% endif %}"
  '{% else %}'
  "{{ '<|im_start|>' + m.role }}"
  "{% if m.content or not m.tool_calls %}{{ '\n' + m.content }}{% endif %}"
  '{% for call in m.tool_calls or () %}'
  "{{ '\n<tool_call>\n' }}"
  '{"name": "{{ call.function.name }}", "arguments": '
  "{{ call.function.arguments | tojson }}{{ '}\n</tool_call>' }}{% endfor %}"
  "{{ '<|im_end|>\n' }}{% endif %}{% endfor %}"
  "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# As Llama 3.2: one call a turn, bare JSON; results of a role of their own.
_BARE = (
  '{{ bos_token }}'
  '{% for m in messages %}{% if m.tool_calls %}'
  "{% if m.tool_calls | length != 1 %}{{ raise_exception('One at once') }}"
  '{% endif %}{% set call = m.tool_calls[0].function %}'
  "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}"
  '{"name": "{{ call.name }}", "parameters": {{ call.arguments | tojson }}}'
  '<|eot_id|>'
  "{% elif m.role == 'tool' %}"
  "{{ '<|start_header_id|>ipython<|end_header_id|>\n\n' }}"
  '{{ m.content | tojson }}<|eot_id|>'
  '{% else %}'
  "{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' }}"
  '{% if tools and loop.first %}Functions:{% for t in tools %}'
  "{{ '\n' }}{{ t | tojson(indent=4) }}{% endfor %}{{ '\n\n' }}{% endif %}"
  '{{ m.content | trim }}<|eot_id|>{% endif %}{% endfor %}'
  '{% if add_generation_prompt %}'
  "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
# As GLM: arguments one by one, and no token that ends a turn but the next mark.
_PAIRS = (
  '{% for tool in tools or () %}{{ tool | tojson }}{% endfor %}'
  "{% for m in messages %}{{ '<|' + m.role + '|>' + m.content }}"
  '{% for call in m.tool_calls or () %}'
  "{{ '\n<tool_call>' + call.function.name }}"
  '{% for key, value in call.function.arguments.items() %}'
  "{{ '\n<arg_key>' + key + '</arg_key>\n<arg_value>' }}"
  '{{ value if value is string else value | tojson }}</arg_value>{% endfor %}'
  "{{ '\n</tool_call>' }}{% endfor %}{% endfor %}"
  "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
# As Gemma 3: two roles in turn, the system's words in the first message.
_ALTERNATING = (
  "{% set own = messages[0].role == 'system' %}{{ bos_token }}"
  '{% for m in (messages[1:] if own else messages) %}'
  "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
  "{{ raise_exception('Roles must alternate') }}{% endif %}"
  "{{ '<start_of_turn>' + ('model' if m.role == 'assistant' else m.role) }}"
  "{{ '\n' }}{% if own and loop.first %}"
  "{{ messages[0].content + '\n\n' }}{% endif %}"
  "{{ m.content | trim + '<end_of_turn>\n' }}{% endfor %}"
  "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)


@dataclasses.dataclass(frozen=True)
class Style:
  """A family's manner.

  Attributes:
    template: its source. special: more special tokens. bos, eos: two of them.
    pieces: whether the backend is in the manner of SentencePiece.
    roles: that it writes beside user and assistant.
    tools, thinks: whether it writes tools, and knows enable_thinking.
    trims: whether it takes space off contents.
  """

  template: str
  special: tuple[str, ...]
  eos: str
  bos: str | None = None
  pieces: bool = False
  roles: tuple[str, ...] = ()
  tools: bool = False
  thinks: bool = False
  trims: bool = False


STYLES = {
  'qwen3': Style(
    _CHATML,
    ('<|endoftext|>', '<|im_start|>'),
    '<|im_end|>',
    roles=('system', 'tool'),
    tools=True,
    thinks=True,
  ),
  'smollm2': Style(
    _PLAIN_CHATML,
    ('<|endoftext|>', '<|im_start|>'),
    '<|im_end|>',
    roles=('system', 'tool'),
  ),
  'llama3': Style(
    _HEADERS,
    ('<|start_header_id|>', '<|end_header_id|>', '<|end_of_text|>'),
    '<|eot_id|>',
    bos='<|begin_of_text|>',
    roles=('system', 'ipython'),
    tools=True,
    trims=True,
  ),
  'gemma': Style(
    _TURNS,
    ('<start_of_turn>', '<end_of_turn>', '<pad>'),
    '<eos>',
    bos='<bos>',
    pieces=True,
    trims=True,
  ),
  'llama2': Style(
    _INST, ('<unk>',), '</s>', bos='<s>', pieces=True, trims=True
  ),
}
# A manner of calling tools, of a template that ends no turn.
GLM = Style(
  _PAIRS,
  ('<|assistant|>', '<|system|>', '<|tool|>'),
  '<|user|>',
  roles=('system', 'tool'),
  tools=True,
)
# More manners of talking with tools and systems.
TALKS = STYLES | {
  'qwen2.5': Style(
    _RESULTS,
    ('<|endoftext|>', '<|im_start|>'),
    '<|im_end|>',
    roles=('system', 'tool'),
    tools=True,
  ),
  'llama3.2': Style(
    _BARE,
    ('<|start_header_id|>', '<|end_header_id|>', '<|end_of_text|>'),
    '<|eot_id|>',
    bos='<|begin_of_text|>',
    roles=('system', 'tool'),
    tools=True,
    trims=True,
  ),
  'gemma3': Style(
    _ALTERNATING,
    ('<start_of_turn>', '<end_of_turn>', '<pad>'),
    '<eos>',
    bos='<bos>',
    pieces=True,
    roles=('system',),
    trims=True,
  ),
}


def _bytes() -> tokenizers.Tokenizer:
  """Bytes are tokens, and so are a few runs of them."""
  characters = sorted(pre_tokenizers.ByteLevel.alphabet())
  pairs = [
    ('t', 'h'),
    ('<', '|'),
    ('|', '>'),
    ('Ġ', 't'),
    ('Ċ', 'Ċ'),
    ('i', 'm'),
  ]
  vocab = characters + [a + b for a, b in pairs]
  backend = tokenizers.Tokenizer(
    models.BPE({token: i for i, token in enumerate(vocab)}, pairs)
  )
  backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
  backend.decoder = decoders.ByteLevel()
  return backend


def _pieces(prefix: bool) -> tokenizers.Tokenizer:
  """Characters and spelled bytes; a space is ▁, perhaps before every text."""
  vocab = [chr(i) for i in range(33, 127)] + ['▁', '\n']
  pairs = [('▁', 't'), ('t', 'h'), ('▁', '▁')]
  vocab += [a + b for a, b in pairs]
  vocab += [f'<0x{byte:02X}>' for byte in range(256)]
  backend = tokenizers.Tokenizer(
    models.BPE(
      {token: i for i, token in enumerate(vocab)}, pairs, byte_fallback=True
    )
  )
  steps = [decoders.Replace('▁', ' '), decoders.ByteFallback(), decoders.Fuse()]
  if prefix:
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme='first')
    steps.append(decoders.Strip(' ', 1, 0))
  else:
    backend.normalizer = normalizers.Replace(' ', '▁')
  backend.decoder = decoders.Sequence(steps)
  return backend


def _framed(backend, *, bos: str = '', eos: str = '') -> None:
  """Has the backend put tokens around every text."""
  used = [token for token in (bos, eos) if token]
  around = ' '.join([*([bos] if bos else []), '$A', *([eos] if eos else [])])
  backend.post_processor = processors.TemplateProcessing(
    single=around,
    special_tokens=[(token, backend.token_to_id(token)) for token in used],
  )


def tokenizer(name: str) -> Any:
  """The tokenizer of that style, with the tokens of thoughts."""
  style = (TALKS | {'glm': GLM})[name]
  backend = _pieces(name == 'llama2') if style.pieces else _bytes()
  special = [*style.special, style.eos, *([style.bos] if style.bos else [])]
  backend.add_special_tokens(special)
  backend.add_tokens(list(THOUGHT))
  if style.bos:
    _framed(backend, bos=style.bos)
  return transformers.PreTrainedTokenizerFast(
    tokenizer_object=backend,
    eos_token=style.eos,
    chat_template=style.template,
    **({'bos_token': style.bos} if style.bos else {}),
    additional_special_tokens=list(style.special),
  )


def ending() -> Any:
  """A tokenizer that ends every text."""
  backend = _bytes()
  backend.add_special_tokens(['<eos>'])
  _framed(backend, eos='<eos>')
  return transformers.PreTrainedTokenizerFast(
    tokenizer_object=backend, eos_token='<eos>'
  )


def words() -> Any:
  """A tokenizer of whole words, one of which is a special token."""
  vocab = {'<end>': 0, 'a': 1, '?': 2}
  backend = tokenizers.Tokenizer(models.WordLevel(vocab, unk_token='?'))
  backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
  return transformers.PreTrainedTokenizerFast(
    tokenizer_object=backend,
    eos_token='<end>',
    chat_template='{% for m in messages %}{{ m.content }} <end> {% endfor %}',
  )
