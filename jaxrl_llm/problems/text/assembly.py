"""A run on text assembled from its config, every part checked."""

from __future__ import annotations

import dataclasses
import functools
import math
import pathlib
from collections.abc import Sequence

import jax.numpy as jnp
from absl import logging
from ml_collections import ConfigDict

from jaxrl_llm import compose, digests, optimizers
from jaxrl_llm import recipe as recipe_lib
from jaxrl_llm.plans import recorded
from jaxrl_llm.policies.language import fused, hf, lora, transformer
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
  guests.check(config, recipe)
  _check_packing(config, recipe, rows)
  if 'support' in terms.provides and not config.sample.support:
    raise ValueError(
      f'the recipe {config.recipe.name} learns among the tokens that the '
      'sampler could draw, of which sample.support=0 keeps none; set it to '
      'several hundred'
    )
  for part in filter(None, (recipe, terms.sampler, terms.rater)):
    recipe_lib.check(part, rows=rows, microbatches=config.learn.microbatches)
  verifiers = verify.Verifiers(
    config.verify.names,
    config.verify.weights,
    seconds=config.verify.seconds,
    workers=config.verify.workers,
    judges=reward_models.judges(config.verify.names),
  )
  source = sources.folder_of(config, workdir)
  model = hf.config_of(source)
  kernel = fused.resolve(
    config.model.attention, model, config.model.dtype, mesh.shape
  )
  replay = config.model.replay_routes
  model = dataclasses.replace(model, kernel=kernel, replay=replay)
  transformer.check_context(model, config.mesh.context)
  tokenizer = sources.tokenizer_of(source)
  ends = sources.end_tokens(tokenizer, source, model.vocab)
  from_data = recordings.used(config)
  if not (from_data or verifiers.names or config.verify.preference):
    raise ValueError(
      'verify.names is empty; give at least one verifier, or the '
      'verify.preference of a game'
    )
  environment = guests.environment(config)
  chats = chats_of(config, tokenizer, ends, getattr(environment, 'tools', ()))
  if from_data:
    train, held_out = recordings.load(config, tokenizer, recipe, ends)
  else:
    train, held_out = questions_lib.load(
      config, tokenizer, terms.columns, chats
    )
  _check_room(terms.written, tokenizer, config.sample.max_response)
  recipe = mixed(recipe, train.weights)
  config = timed(config, recipe, len(train))
  for examine in terms.checks:
    examine(train.rows)
  sets = examinations.load(config.eval.sets, config, tokenizer, train)
  parts = (train, held_out, *sets.values())
  questions_lib.check(parts, tokenizer, model.vocab)
  spec = Spec(
    rows=rows,
    samples=terms.samples,
    prompt_length=config.sample.max_prompt,
    response_length=config.sample.max_response,
    tasks=len(train),
    domains=int(train.domain.max()) + 1,
    component_names=('recorded',) if from_data else verifiers.names,
    task_domains=tuple(train.domain.tolist()),
    task_lengths=tuple(train.mask.sum(axis=1).tolist()),
    seed=config.seed,
  )
  # What cannot work is refused before a warm start is made.
  recipe.curriculum.init(spec)
  sampling_of(config)
  tx = optimizer_of(config, recipe)
  talks = terms.turns and train.in_messages
  if talks or (config.program and tokenizer.chat_template is not None):
    report = inspection.inspect(chats.templated)
    report.check()
    if not report.keeps and config.serve.history != 'template':
      logging.warning(
        'the chat template writes the history anew, and episodes keep it as it '
        'was said; who asks this model through the template later shows it '
        'something else: %s',
        report.rewrites,
      )
  if config.warm_start.steps and not abstract:
    source = sources.warmed_up(
      config,
      workdir,
      source,
      tokenizer,
      train,
      policy.scorer(model, config),
      mesh,
    )
  params, layout = policy.parameters(
    config, recipe, source, model, mesh, abstract
  )
  here = functools.partial(policy.scorer, layout=layout)
  teachers = () if abstract else guests.teachers(config, model, mesh, here)
  trainable, frozen = lora.split(params)
  rowwise = here(model, config)

  def program_of(recipe, tx):
    piece = rows // (recipe.minibatches * config.learn.microbatches)
    shared = step.shared_rows(terms, piece, mesh.shape['data'])
    # Tokens are split of whole rows, each with its prompt.
    shared = shared if config.mesh.context == 1 else 1
    shared = 1 if config.learn.packing else shared
    return step.Program(
      recipe=recipe,
      scorer=functools.partial(rowwise, shared=shared),
      tx=tx,
      microbatches=config.learn.microbatches,
      layout=layout,
      shared=shared,
      widths=widths_of(config),
      packed=config.learn.packing,
      shown=config.log.samples if config.log.tokens else 0,
    )

  def beside(recipe):
    if recipe is None:
      return None
    program = program_of(recipe, optimizer_of(config, recipe))
    return program, program.compile()

  program = program_of(recipe, tx)
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
    answering=dataclasses.replace(
      answering_of(
        config, terms.turns, model, chats, ends, environment, verifiers, layout
      ),
      program=guests.program(config),
    ),
    scorer=rowwise,
    frozen=frozen,
    teachers=teachers,
    sampler=beside(terms.sampler),
    rater=beside(terms.rater),
  )
  return session, trainable


def _check_packing(
  config: ConfigDict, recipe: recipe_lib.Recipe, rows: int
) -> None:
  """Refuses packing where it would do nothing or cannot be done."""
  if not config.learn.packing:
    return
  if not recordings.used(config):
    raise ValueError(
      'learn.packing fills microbatches with recorded responses, and '
      'data.responses=sampled; use learn.widths for sampled ones'
    )
  if config.learn.widths > 1:
    raise ValueError(
      f'learn.widths={config.learn.widths} narrows rows, and learn.packing '
      'fills them; choose one, for recorded responses learn.packing'
    )
  if recipe.objective.block in ('batch', rows // recipe.minibatches):
    raise ValueError(
      'learn.packing makes do with fewer microbatches, and the recipe '
      f'{config.recipe.name} compares all rows of an optimizer step, which are '
      'then one microbatch; leave learn.packing out'
    )
  if config.learn.microbatches == 1:
    raise ValueError(
      'learn.packing makes do with fewer microbatches, and '
      'learn.microbatches=1 leaves one; set it to 2 or more'
    )
  if config.mesh.context != 1:
    raise ValueError(
      'learn.packing fills a row with several sequences, and mesh.context='
      f'{config.mesh.context} splits rows of one; use mesh.context=1, or leave '
      'learn.packing out'
    )
  read = recipe.statistics
  if 'log_probs' in read or digests.among(read):
    raise ValueError(
      f'the recipe {config.recipe.name} reads log-probs of the whole '
      'vocabulary, which packed rows do not give; leave learn.packing out'
    )


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
  """The optimizer of all steps that a recipe takes in the run."""
  total = config.steps * recipe.epochs * recipe.minibatches
  return optimizers.chain(total=total, seed=config.seed, **config.optimizer)


def sampling_of(config: ConfigDict) -> Sampling:
  """How tokens are drawn.

  Raises:
    ValueError: a setting that means nothing.
  """
  settings = config.sample
  return Sampling(
    temperature=settings.temperature,
    top_k=settings.top_k,
    top_p=settings.top_p,
    min_p=settings.min_p,
  ).checked()


def chats_of(config, tokenizer, ends, tools=()) -> chats_lib.Chats:
  """How the policy is talked with; `tools` are the environment's."""
  silent = text.silent_tokens(tokenizer, ends, special=config.sample.special)
  return chats_lib.Chats(
    dialogue.Reader(tokenizer, ends, silent=silent, stop=config.sample.stop),
    questions_lib.variables_of(config.data.chat_template_kwargs),
    tools,
  )


def answering_of(
  config, turns, model, chats, ends, environment, verifiers, layout
) -> Answering:
  """Sampling as the config says, with verifiers; `turns` as the plan says."""
  settings, reader = config.sample, chats.reader
  tokenizer, silent, stop = reader.tokenizer, reader.silent, reader.stop
  return Answering(
    sampler=Sampler(
      model,
      max_tokens=settings.max_response,
      dtype=jnp.dtype(config.model.dtype),
      unroll=settings.unroll,
      slots=settings.slots,
      widths=settings.widths,
      support=settings.support,
      stop_tokens=ends,
      stop_table=text.stop_table(
        tokenizer, stop, silent=silent, vocab=model.vocab
      )
      if stop
      else None,
    ),
    sampling=sampling_of(config),
    tokenizer=tokenizer,
    stop=stop,
    silent=silent,
    chats=chats,
    verifiers=verifiers,
    oracle=oracles.load(config.verify.preference),
    batch=settings.prompts,
    environment=environment,
    turns=turns,
    layout=layout,
    keep=settings.keep,
    anew=guests.is_rewritten(config),
  )
