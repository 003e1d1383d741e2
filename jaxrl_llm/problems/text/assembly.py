"""A run on text assembled from its config, every part checked."""

from __future__ import annotations

import dataclasses
import functools
import math
import pathlib
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from absl import logging
from ml_collections import ConfigDict

from jaxrl_llm import compose, optimizers
from jaxrl_llm import recipe as recipe_lib
from jaxrl_llm.plans import recorded
from jaxrl_llm.policies import agents
from jaxrl_llm.policies.language import fused, hf, lora, transformer
from jaxrl_llm.policies.language.config import Config
from jaxrl_llm.policies.language.sampler import Sampler
from jaxrl_llm.policies.language.truncation import Sampling
from jaxrl_llm.problems.text import chats as chats_lib
from jaxrl_llm.problems.text import (
  dialogue,
  examinations,
  guests,
  inspection,
  oracles,
  policy,
  recordings,
  reward_models,
  settings,
  sources,
)
from jaxrl_llm.problems.text import encoding as text
from jaxrl_llm.problems.text import questions as questions_lib
from jaxrl_llm.problems.text.answering import Answering
from jaxrl_llm.problems.text.inputs import fingerprints  # noqa: F401
from jaxrl_llm.problems.text.session import TextSession
from jaxrl_llm.problems.text.settings import check  # noqa: F401
from jaxrl_llm.selection import curricula
from jaxrl_llm.tasks import verify
from jaxrl_llm.training import (
  pipeline,
  shard,
  step,
  widths,
)
from jaxrl_llm.types import Spec


def assemble(config: ConfigDict, workdir: pathlib.Path, *, abstract=False):
  """Builds and checks everything a run needs.

  Args:
    config: as `experiments.configs.base` makes it.
    workdir: where a fresh model and the warm start are kept.
    abstract: parameters are shapes only, and no warm start is made.

  Returns:
    The session and its trainable parameters.

  Raises:
    ValueError, KeyError, FileNotFoundError: a setting that cannot be used;
      the message names it, its value and the remedy.
  """
  recipe = recipe_of(config)
  mesh = shard.make_mesh(**config.mesh)
  terms = recipe.plan.contract
  rows = config.sample.prompts * terms.groups * terms.samples
  settings.check_recipe(config, recipe, rows)
  verifiers = _verifiers(config)
  source = sources.folder_of(config, workdir)
  model = _model(config, source, mesh)
  tokenizer = sources.tokenizer_of(source)
  ends = sources.end_tokens(tokenizer, source, model.vocab)
  environment = guests.environment(config)
  chats = chats_of(config, tokenizer, ends, getattr(environment, 'tools', ()))
  _check_room(terms.written, tokenizer, config.sample.max_response)
  train, held_out, sets = _questions(config, recipe, model, chats, ends)
  recipe = mixed(recipe, train.weights)
  config = timed(config, recipe, len(train))
  spec = _spec(config, terms, rows, train, verifiers.names)
  # What cannot work is refused before a warm start is made.
  recipe.curriculum.init(spec)
  sampling_of(config)
  optimizer_of(config, recipe)
  _check_template(config, terms, train, chats)
  if config.warm_start.steps and not abstract:
    single = policy.scorer(model, config)
    source = sources.warmed_up(
      config, workdir, source, tokenizer, train, single, mesh
    )
  params, layout = policy.parameters(
    config, recipe, source, model, mesh, abstract
  )
  scorer_of = functools.partial(policy.scorer, layout=layout)
  trainable, frozen = lora.split(params)
  scorer = agents.scorer(scorer_of(model, config), config.model.agents)
  program_of = functools.partial(_program, config, terms, rows, layout, scorer)
  program = program_of(recipe)
  session = TextSession(
    config=config,
    recipe=recipe,
    spec=spec,
    mesh=mesh,
    model=model,
    tokenizer=tokenizer,
    source=source,
    train=train,
    held_out=held_out,
    sets=sets,
    program=program,
    compiled=program.compile(),
    answering=_answering(
      config, terms.turns, model, chats, ends, environment, verifiers, layout
    ),
    scorer=scorer,
    frozen=frozen,
    teachers=()
    if abstract
    else guests.teachers(config, model, mesh, scorer_of),
    sampler=_beside(program_of, terms.sampler),
    rater=_beside(program_of, terms.rater),
  )
  return session, trainable


def _verifiers(config: ConfigDict) -> verify.Verifiers:
  """What scores responses, where the data do not."""
  names = config.verify.names
  if not (names or recordings.used(config) or config.verify.preference):
    raise ValueError(
      'verify.names is empty; give at least one verifier, or the '
      'verify.preference of a game'
    )
  return verify.Verifiers(
    names,
    config.verify.weights,
    seconds=config.verify.seconds,
    workers=config.verify.workers,
    judges=reward_models.judges(names),
  )


def _model(
  config: ConfigDict, source: pathlib.Path, mesh: jax.sharding.Mesh
) -> Config:
  """The model of a folder, with the kernel and the routes of the run."""
  model = hf.config_of(source)
  kernel = fused.resolve(
    config.model.attention, model, config.model.dtype, mesh.shape
  )
  transformer.check_context(model, config.mesh.context)
  replay = config.model.replay_routes
  return dataclasses.replace(model, kernel=kernel, replay=replay)


def _questions(config, recipe, model, chats, ends):
  """Questions to train on, those held out, and further sets by name."""
  terms, tokenizer = recipe.plan.contract, chats.reader.tokenizer
  if recordings.used(config):
    train, held_out = recordings.load(config, tokenizer, recipe, ends)
  else:
    train, held_out = questions_lib.load(
      config, tokenizer, terms.columns, chats
    )
  for examine in terms.checks:
    examine(train.rows)
  sets = examinations.load(config.eval.sets, config, tokenizer, train)
  parts = (train, held_out, *sets.values())
  questions_lib.check(parts, tokenizer, model.vocab)
  return train, held_out, sets


def _spec(config, terms, rows, train, names) -> Spec:
  """The sizes of the run; `names` of the verifiers."""
  return Spec(
    rows=rows,
    samples=terms.samples,
    prompt_length=config.sample.max_prompt,
    response_length=config.sample.max_response,
    tasks=len(train),
    domains=int(train.domain.max()) + 1,
    component_names=('recorded',) if recordings.used(config) else names,
    task_domains=tuple(train.domain.tolist()),
    task_lengths=tuple(train.mask.sum(axis=1).tolist()),
    seed=config.seed,
  )


def _check_template(config, terms, train, chats) -> None:
  """Refuses a chat template that episodes cannot go on with."""
  asked = config.program and chats.reader.tokenizer.chat_template is not None
  if not (asked or (terms.turns and train.in_messages)):
    return
  report = inspection.inspect(chats.templated)
  report.check()
  if not report.keeps and config.serve.history != 'template':
    logging.warning(
      'the chat template writes the history anew, and episodes keep it as it '
      'was said; who asks this model through the template later shows it '
      'something else: %s',
      report.rewrites,
    )


def _program(config, terms, rows, layout, scorer, recipe) -> step.Program:
  """The program of the run's recipe, or of one that learns beside it."""
  piece = rows // (recipe.minibatches * config.learn.microbatches)
  shared = step.shared_rows(terms, piece, layout.data)
  # Tokens are split of whole rows, each with its prompt.
  if config.mesh.context > 1 or config.learn.packing:
    shared = 1
  return step.Program(
    recipe=recipe,
    scorer=functools.partial(scorer, shared=shared),
    tx=optimizer_of(config, recipe),
    microbatches=config.learn.microbatches,
    layout=layout,
    shared=shared,
    widths=widths_of(config),
    packed=config.learn.packing,
    shown=config.log.samples if config.log.tokens else 0,
  )


def _beside(program_of, recipe: recipe_lib.Recipe | None):
  """The program of a recipe and what it compiles to; None without one."""
  if recipe is None:
    return None
  program = program_of(recipe)
  return program, program.compile()


def _check_room(texts: Sequence[str], tokenizer, columns: int) -> None:
  """Refuses responses that have no room but for what a plan writes."""
  for said in texts:
    count = len(tokenizer(said, add_special_tokens=False)['input_ids'])
    if count >= columns:
      raise ValueError(
        f'the recipe writes {said!r} into responses, {count} tokens, and '
        f'sample.max_response={columns} leaves none to the policy; raise it'
      )


def mixed(
  recipe: recipe_lib.Recipe, weights: tuple[float, ...]
) -> recipe_lib.Recipe:
  """The recipe that draws each source as often as its weight says.

  Raises:
    ValueError: its curriculum draws in a way of its own.
  """
  if not weights:
    return recipe
  if not isinstance(recipe.curriculum, curricula.Shuffled):
    raise ValueError(
      f'the weights of data.path would do nothing: the curriculum '
      f'{type(recipe.curriculum).__name__} of the recipe draws as it sees fit. '
      'Leave them out, or choose another recipe'
    )
  return dataclasses.replace(recipe, curriculum=curricula.Mixed(weights))


def timed(
  config: ConfigDict, recipe: recipe_lib.Recipe, records: int
) -> ConfigDict:
  """The settings with the iterations that `data.epochs` come to.

  Args:
    records: that are trained on, each once in an epoch.

  Raises:
    ValueError: a curriculum that has no epochs.
  """
  if not config.data.epochs:
    return config
  if not isinstance(recipe.curriculum, curricula.Shuffled):
    raise ValueError(
      f'data.epochs={config.data.epochs:g} cannot be counted: the curriculum '
      f'{type(recipe.curriculum).__name__} draws records as it sees fit; set '
      'steps, and data.epochs=0'
    )
  config = config.copy_and_resolve_references()
  drawn = config.sample.prompts
  with config.unlocked():
    config.steps = math.ceil(config.data.epochs * records / drawn)
  return config


def widths_of(config: ConfigDict) -> tuple[int, ...]:
  """The widths that microbatches are computed in; () where there is one."""
  count, columns = config.learn.widths, config.sample.max_response
  return widths.halved(columns, count) if count > 1 else ()


def recipe_of(config: ConfigDict) -> recipe_lib.Recipe:
  """The recipe that the config names, with its values and its slots."""
  recipe = compose.from_config(config)
  if recordings.used(config):
    recipe = recordings.planned(recipe)
  elif isinstance(recipe.plan, recorded.Recorded):
    raise ValueError(
      f'the recipe {config.recipe.name} learns from what the data say; set '
      'data.responses=demonstrated, or recorded where it compares responses, '
      'or use experiments/configs/sft.py or preference.py'
    )
  if config.program:
    recipe = guests.asked_by_program(config, recipe)
  elif guests.is_rewritten(config):
    recipe = guests.rewritten_by_template(config, recipe)
  return pipeline.corrected(recipe, config) if config.pipeline else recipe


def optimizer_of(config: ConfigDict, recipe: recipe_lib.Recipe):
  """The optimizer of all steps that a recipe takes, one for each agent."""
  total = config.steps * recipe.steps
  tx = optimizers.chain(total=total, seed=config.seed, **config.optimizer)
  count, frozen = config.model.agents, tuple(config.model.frozen)
  return tx if count == 1 else agents.apart(tx, count, frozen)


def sampling_of(config: ConfigDict) -> Sampling:
  """How tokens are drawn.

  Raises:
    ValueError: a setting that means nothing.
  """
  sample = config.sample
  return Sampling(
    temperature=sample.temperature,
    top_k=sample.top_k,
    top_p=sample.top_p,
    min_p=sample.min_p,
  ).checked()


def chats_of(config, tokenizer, ends, tools=()) -> chats_lib.Chats:
  """How the policy is talked with; `tools` are the environment's."""
  silent = text.silent_tokens(tokenizer, ends, special=config.sample.special)
  return chats_lib.Chats(
    dialogue.Reader(tokenizer, ends, silent=silent, stop=config.sample.stop),
    questions_lib.variables_of(config.data.chat_template_kwargs),
    tools,
  )


def _answering(
  config, turns, model, chats, ends, environment, verifiers, layout
) -> Answering:
  """Sampling as the config says, with verifiers; `turns` as the plan says."""
  sample, reader = config.sample, chats.reader
  table = None
  if reader.stop:
    table = text.stop_table(
      reader.tokenizer, reader.stop, silent=reader.silent, vocab=model.vocab
    )
  return Answering(
    sampler=Sampler(
      model,
      max_tokens=sample.max_response,
      dtype=jnp.dtype(config.model.dtype),
      unroll=sample.unroll,
      slots=sample.slots,
      widths=sample.widths,
      support=sample.support,
      stop_tokens=ends,
      stop_table=table,
    ),
    sampling=sampling_of(config),
    chats=chats,
    verifiers=verifiers,
    oracle=oracles.load(config.verify.preference),
    batch=sample.prompts,
    environment=environment,
    turns=turns,
    program=guests.program(config),
    layout=layout.sampling(),
    keep=sample.keep,
    anew=guests.is_rewritten(config),
  )
