"""One iteration of this codebase, on given weights, prompts and rewards.

The parts are those of a training run: the sampler, the program of the GRPO
recipe without its KL term, and the AdamW of the default config.
"""

from __future__ import annotations

import functools
import time

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks import cases, protocol
from jaxrl_llm import optimizers
from jaxrl_llm import recipe as recipe_lib
from jaxrl_llm.models import hf, score
from jaxrl_llm.rollouts.sampler import Sampler
from jaxrl_llm.rollouts.truncation import Sampling
from jaxrl_llm.training import step
from jaxrl_llm.types import Prompts, Scores, Spec


def prepare(request):
  """See `protocol`.

  Args:
    request: model (a folder), shape (a name of `cases.SHAPES`), dtype, and
      microbatch (rows of one).
  """
  shape = cases.SHAPES[request['shape']]
  model, params = hf.load(request['model'])
  dtype = jnp.dtype(request['dtype'])
  # No stop token: every response has the whole budget.
  sampler = Sampler(model, max_tokens=shape.response, dtype=dtype)
  program = _program(model, shape, request['microbatch'], dtype)
  spec = Spec(shape.rows, shape.samples, shape.prompt, shape.response)
  compiled, state = program.compile(), program.init(params, spec)
  prompts = _prompts(request['model'], shape)
  scores = Scores(
    jnp.asarray(cases.rewards(shape), jnp.float32)[:, None], jnp.ones(1)
  )
  number = 0

  def iteration():
    nonlocal state, number
    started = time.perf_counter()
    rollouts = sampler(
      state.params,
      prompts,
      jnp.arange(shape.rows),
      jax.random.key(number),
      Sampling(),
      samples=shape.samples,
    )
    jax.block_until_ready(rollouts)
    sampled = time.perf_counter()
    rollouts = _shortened(rollouts, shape)
    rollouts = compiled.score(state, {}, rollouts)
    credit, _, _ = compiled.assign(state.method['credit'], rollouts, scores)
    key = jax.random.key(0)
    state, metrics = compiled.learn(state, {}, rollouts, credit, key)
    assert float(metrics['bad_steps']) == 0
    ended = time.perf_counter()
    number += 1
    return {
      'sample': sampled - started,
      'learn': ended - sampled,
      'step': ended - started,
    }

  return iteration


def _program(model, shape, microbatch, dtype) -> step.Program:
  recipe = recipe_lib.build('grpo', samples=shape.samples, kl_weight=0.0)
  shared = step.shared_rows(recipe.plan, microbatch)
  return step.Program(
    recipe=recipe,
    scorer=functools.partial(_score, model=model, dtype=dtype, shared=shared),
    tx=optimizers.chain(learning_rate=1e-6, b2=0.999),
    microbatches=shape.rows // microbatch,
  )


def _score(params, rollouts, needs, *, model, **options):
  return score.score(
    params, model, rollouts, needs=needs, chunk=0, unroll=True, **options
  )


def _prompts(folder, shape) -> Prompts:
  tokens = jnp.asarray(cases.prompts(cases.model_of(folder), shape), jnp.int32)
  rows = jnp.arange(shape.prompts)
  return Prompts(
    tokens=tokens,
    mask=jnp.ones_like(tokens, bool),
    task=rows,
    domain=jnp.zeros_like(rows),
  )


def _shortened(rollouts, shape):
  """The rollouts with the responses cut to the lengths of the shape."""
  if not shape.lengths:
    return rollouts
  mask = np.arange(shape.response) < np.array(shape.lengths)[:, None]
  return rollouts.replace(
    response_mask=jnp.asarray(mask), action_mask=jnp.asarray(mask)
  )


if __name__ == '__main__':
  protocol.serve(prepare, ('jax', 'optax', 'numpy'))
