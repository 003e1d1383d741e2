"""Supervised warm start: likelihood of demonstrations, by the same learner.

A demonstration is a rollout that somebody else wrote: with advantage 1 and the
score-function surrogate, the policy-gradient step is the gradient of

    -(1 / tokens) sum log pi(token | prefix)

so that the loss, the masks, the microbatches and the mesh are those of RL.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from jaxrl_llm import credit, optimizers
from jaxrl_llm.advantages import group
from jaxrl_llm.objectives import aggregate, base, surrogates
from jaxrl_llm.plans import sampled
from jaxrl_llm.problems.text import encoding as text
from jaxrl_llm.problems.text import turns
from jaxrl_llm.problems.text.chats import Talk
from jaxrl_llm.problems.text.questions import Questions
from jaxrl_llm.recipe import Recipe
from jaxrl_llm.tasks import conversations
from jaxrl_llm.training import shard, step
from jaxrl_llm.types import Rollouts, Scores, Spec, Tokens

RECIPE = Recipe(
  plan=sampled.independent(samples=1),
  credit=credit.estimate(group.reward),
  objective=base.policy_gradient(surrogates.score_function),
  aggregate=aggregate.token_mean,
)


def train(
  params,
  frozen,
  demonstrations: Rollouts,
  *,
  scorer: step.Scorer,
  steps: int,
  batch: int,
  learning_rate: float,
  seed: int,
  layout: shard.Layout = shard.ALONE,
  progress=iter,
):
  """Parameters after `steps` steps on shuffled demonstrations.

  Args:
    params, frozen: trainable and frozen parameters.
    demonstrations: all of them, one row each.
    steps, batch: optimizer steps and rows of each.
    learning_rate: the peak; warms up over a tenth of the steps, then decays
      linearly to 0.
    seed: of the order.
    layout: where rows and parameters live.
    progress: wraps the range of steps, as tqdm does.

  Raises:
    ValueError: fewer demonstrations than one batch.
  """
  rows = demonstrations.valid.shape[0]
  if rows < batch:
    raise ValueError(
      f'{rows} demonstrations do not fill a batch of {batch}; set '
      f'warm_start.batch to at most {rows}'
    )
  tx = optimizers.chain(
    learning_rate=learning_rate,
    schedule='linear',
    warmup=steps // 10,
    total=steps,
  )
  program = step.Program(RECIPE, scorer, tx, layout=layout)
  spec = Spec(batch, 1, *_lengths(demonstrations))
  state = program.init(jax.tree.map(jnp.copy, params), spec)
  learn = jax.jit(program.learn, donate_argnums=0)
  assign = jax.jit(program.assign)
  scores = Scores(jnp.ones((batch, 1)), jnp.ones(1))
  order = np.random.default_rng(seed)
  epoch = np.empty(0, int)
  for number in progress(range(steps)):
    if len(epoch) < batch:
      epoch = order.permutation(rows)
    chosen, epoch = epoch[:batch], epoch[batch:]
    rollouts = _rows(demonstrations, chosen)
    given, _, _ = assign(state.method['credit'], rollouts, scores)
    key = jax.random.key(number)
    state, metrics = learn(state, frozen, rollouts, given, key)
  logging.info('warm start ended with loss %.4f', float(metrics['loss']))
  return state.params


def _rows(rollouts, chosen):
  rollouts = jax.tree.map(lambda x: x[chosen], rollouts)
  return rollouts.replace(group=jnp.arange(len(chosen), dtype=jnp.int32))


def _lengths(rollouts):
  return rollouts.content.prompt.shape[1], rollouts.content.response.shape[1]


def encode(
  questions: Questions,
  tokenizer,
  length: int,
  *,
  ends: Collection[int],
  vocab: int,
) -> Rollouts:
  """The demonstrations of a dataset as rollouts, each ended once.

  Args:
    questions: rows with a `demonstration`, a text, or the messages of an
      episode, of which those of the assistant are learned.
    length: T; the longest demonstration must fit with its end.
    ends: tokens that end a response, beside the EOS. vocab: V of the model.

  Raises:
    ValueError: a row without a demonstration, or one that is too long or holds
      a token that the model has not.
  """
  rows = questions.rows
  without = sum(row.get('demonstration') is None for row in rows)
  if without:
    raise ValueError(
      f'{without} of {len(rows)} rows have no field "demonstration"; set '
      'warm_start.steps=0 or add them'
    )
  encoded = _encoded(questions, tokenizer, ends)
  longest = max(len(ids) for ids, _ in encoded)
  if longest > length:
    raise ValueError(
      f'a demonstration of {longest} tokens exceeds sample.max_response='
      f'{length}; set it to at least {longest}'
    )
  response = np.zeros((len(rows), length), np.int32)
  mask, action = np.zeros((2, len(rows), length), bool)
  for row, (ids, own) in enumerate(encoded):
    place = f'{questions.places[row]}: the demonstration'
    text.check_vocabulary(tokenizer, ids, vocab, place)
    response[row, : len(ids)] = ids
    mask[row, : len(ids)], action[row, : len(ids)] = True, own
  count = len(rows)
  # Of the host, as a step takes a few rows; a struct declares a device's.
  content: dict[str, Any] = {
    'prompt': questions.tokens,
    'prompt_mask': questions.mask,
    'response': response,
  }
  fields: dict[str, Any] = {
    'content': Tokens(**content),
    'response_mask': mask,
    'action_mask': action,
    'logp': np.zeros(mask.shape, np.float32),
    'paid': np.zeros(mask.shape, np.float32),
    'group': np.arange(count, dtype=np.int32),
    'task': np.arange(count, dtype=np.int32),
    'domain': questions.domain,
    'valid': np.ones(count, bool),
    'truncated': np.zeros(count, bool),
  }
  return Rollouts(**fields)


def _encoded(questions, tokenizer, ends):
  """Tokens of every demonstration, and which of them are to be said."""
  given = [row['demonstration'] for row in questions.rows]
  texts = [row for row, x in enumerate(given) if isinstance(x, str)]
  prompts = [questions.asked(row).prompt for row in texts]
  plain = [given[row] for row in texts]
  closing = turns.closing(tokenizer, ends, prompts)
  whole = iter(
    text.encode_responses(tokenizer, plain, ends, closing) if plain else ()
  )
  found = []
  for row, said in enumerate(given):
    if isinstance(said, str):
      ids = next(whole)
      found.append((ids, [True] * len(ids)))
      continue
    place = f'{questions.places[row]}: the demonstration'
    messages = conversations.conversation(place, said)
    try:
      asked = questions.asked(row)
      talk = Talk(asked.prompt, asked.tools)
      found.append(questions.chats.demonstrated(talk, messages))
    except ValueError as error:
      raise ValueError(f'{place}: {error}') from error
  return found
