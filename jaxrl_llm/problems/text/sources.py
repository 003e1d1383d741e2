"""What a run starts from: a folder with a model and its tokenizer.

It is given, or made in the run folder; a warm start makes another of it.
"""

from __future__ import annotations

import functools
import json
import pathlib

import jax
from ml_collections import ConfigDict

from jaxrl_llm.policies.language import hf, parameters
from jaxrl_llm.problems.text import turns, warm_start
from jaxrl_llm.tasks import tokens
from jaxrl_llm.training import hosts, progress, shard
from jaxrl_llm.training.step import Scorer

# What may be made in a run folder: a fresh model, a warmed-up one.
FOLDERS = ('model', 'warm_start')


def tokenizer_of(source: pathlib.Path):
  """The tokenizer of a model folder, able to end a response.

  Raises:
    ValueError: there is none, or it names no end-of-sequence token.
  """
  tokenizer = read_tokenizer(source)
  if tokenizer.eos_token_id is None:
    raise ValueError(
      f'the tokenizer of {source} has no eos_token; a response could not '
      'end. Add one to its tokenizer_config.json'
    )
  return tokenizer


def read_tokenizer(source: pathlib.Path):
  """The tokenizer of a model folder.

  Raises:
    ValueError: its files cannot be read, need code of their own, or are not
      there, where some classes of transformers make one without words.
  """
  import transformers

  try:
    # Else it asks on the terminal whether to run code of the folder.
    tokenizer = transformers.AutoTokenizer.from_pretrained(
      source, trust_remote_code=False
    )
  except Exception as error:  # of many libraries
    reason = ' '.join(f'{type(error).__name__}: {error}'.split())
    raise ValueError(
      f'transformers cannot read the tokenizer of {source}: {reason}. Copy '
      'tokenizer.json and tokenizer_config.json there from where the model '
      'comes from'
    ) from error
  if set(tokenizer.get_vocab().values()) <= set(tokenizer.all_special_ids):
    raise ValueError(
      f'{source} has no tokenizer that knows a word; copy tokenizer.json and '
      'tokenizer_config.json there from where the model comes from'
    )
  return tokenizer


def end_tokens(tokenizer, source: pathlib.Path, vocab: int) -> tuple[int, ...]:
  """What ends a response: EOS, what the model's files name, what ends a turn.

  Chat models name several in generation_config.json, or in config.json: Llama
  3 ends a turn with another token than a text. A chat template shows its own,
  where it is none of them.

  Args:
    source: the model folder. vocab: V of the model.

  Raises:
    ValueError: a file that names no token of the model, or no JSON object.
  """
  ends = {tokenizer.eos_token_id}
  if tokenizer.eos_token_id >= vocab:
    raise ValueError(
      f'the eos_token of the tokenizer of {source} is '
      f'{tokenizer.eos_token_id}, and the model has a vocabulary of {vocab}; '
      'a response could not end. Name another in its tokenizer_config.json'
    )
  for name in ('generation_config.json', 'config.json'):
    ends |= _named_ends(source / name, vocab)
  turn = turns.end_of_turn(tokenizer, ends)
  if turn < vocab:
    ends.add(turn)
  return tuple(sorted(ends))


def _named_ends(path: pathlib.Path, vocab: int) -> set[int]:
  """The `eos_token_id` of a file, one or several; none without the file."""
  if not path.exists():
    return set()
  try:
    named = dict(json.loads(path.read_bytes())).get('eos_token_id')
  except (ValueError, RecursionError, TypeError) as error:
    raise ValueError(f'{path} is no JSON object: {error}') from error
  ids = named if isinstance(named, list) else [named]
  ids = [] if named is None else ids
  # A boolean is an integer to Python.
  if not all(type(i) is int and 0 <= i < vocab for i in ids):
    raise ValueError(
      f'{path} names eos_token_id {named!r}, and the tokens of the model are '
      f'0 to {vocab - 1}; mend it, or take it out'
    )
  return set(ids)


def folder_of(config: ConfigDict, workdir: pathlib.Path) -> pathlib.Path:
  """The Hugging Face folder that a run starts from.

  Raises:
    FileNotFoundError: none.
    ValueError: an adapter where its model should be, or one beside settings
      that it cannot go with.
  """
  _check_adapter(config)
  if config.model.path:
    folder = hf.resolve(config.model.path)
    said = folder / hf.adapters.CONFIG
    if said.is_file() and not (folder / 'config.json').is_file():
      raise ValueError(
        f'model.path={config.model.path} is an adapter; set model.adapter to '
        'it, and model.path to the model that it was made for, '
        f'{json.loads(said.read_bytes()).get("base_model_name_or_path")}'
      )
    return folder
  folder = workdir / 'model'
  hosts.on_first(lambda: _make_model(config, folder))
  return folder


def _check_adapter(config: ConfigDict) -> None:
  """Refuses settings that do not go with `model.adapter`."""
  settings, name = config.model, config.model.adapter
  if not name:
    return
  if not settings.path:
    raise ValueError(
      f'model.adapter={name} needs the model under it; set model.path'
    )
  if settings.lora_rank:
    raise ValueError(
      f'model.lora_rank={settings.lora_rank} and model.adapter={name}, which '
      'has a rank of its own; leave the first 0'
    )
  if config.warm_start.steps:
    raise ValueError(
      f'warm_start.steps={config.warm_start.steps} would train the model under '
      f'model.adapter={name}; set it to 0'
    )


def _make_model(config: ConfigDict, folder: pathlib.Path) -> None:
  """A fresh model and tokenizer, as a Hugging Face folder, unless made."""
  if (folder / 'config.json').exists():
    return
  import tempfile

  import transformers

  size = config.model.fresh
  with tempfile.TemporaryDirectory() as scratch:
    tokenizer = tokens.toy_tokenizer(
      pathlib.Path(scratch), chat_template=tokens.CHAT if size.chat else ''
    )
    description = transformers.Qwen3Config(
      vocab_size=len(tokenizer),
      hidden_size=size.width,
      intermediate_size=size.mlp_width,
      num_hidden_layers=size.layers,
      num_attention_heads=size.heads,
      num_key_value_heads=size.kv_heads,
      head_dim=size.width // size.heads,
      max_position_embeddings=4096,
      tie_word_embeddings=True,
      bos_token_id=tokenizer.bos_token_id,
      eos_token_id=tokenizer.eos_token_id,
      pad_token_id=tokenizer.pad_token_id,
      architectures=['Qwen3ForCausalLM'],
      dtype='float32',
    )
    model = hf.config_of(description)
    init = jax.jit(parameters.init, static_argnums=0)
    params = init(model, jax.random.key(config.seed))
    hf.save(folder, model, params, source=description, tokenizer=tokenizer)


def warmed_up(
  config: ConfigDict,
  workdir: pathlib.Path,
  source: pathlib.Path,
  tokenizer,
  train,
  scorer: Scorer,
  mesh: jax.sharding.Mesh,
) -> pathlib.Path:
  """The model folder after the supervised warm start, made once per run."""
  folder = workdir / 'warm_start'
  if (folder / 'config.json').exists():
    return folder
  model, params = hf.load(source)
  params = warm_start.train(
    params,
    {},
    warm_start.encode(
      train,
      tokenizer,
      config.sample.max_response,
      ends=end_tokens(tokenizer, source, model.vocab),
      vocab=model.vocab,
    ),
    scorer=scorer,
    steps=config.warm_start.steps,
    batch=config.warm_start.batch,
    learning_rate=config.warm_start.learning_rate,
    seed=config.seed,
    layout=shard.layout(mesh, {}, {}),
    progress=functools.partial(progress.bar, desc='warm start'),
  )
  save = functools.partial(hf.save, source=source, tokenizer=tokenizer)
  hosts.on_first(lambda: save(folder, model, params))
  return folder
