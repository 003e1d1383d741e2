"""What the programs of every recipe reserve at a real vocabulary.

  python -m experiments.benchmarks.vocabulary

The log-probs of whole rows of N x T tokens over V entries are 4 N T V bytes. No
recipe keeps them: what it reads of a policy is made of the logits of a few
positions at a time, and here is what that takes. Passes and learner are
compiled on shapes alone, for one small layer and the V of Qwen2.5; memory is
what the compiler for this machine reserves for results and in between. Recipes
that read the same of the policy have the same programs but for arrays of N T
numbers, so one of them stands for all. Writes vocabulary.jsonl and
vocabulary.md.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import json
import pathlib
from typing import Any

from experiments import command
from experiments.benchmarks import cases, markdown

_RESULTS = command.results_flag()

VOCAB = 151936
MODEL = cases.Model(1, 16, 2, 1, 8, 16, VOCAB)
# Rows, tokens of a response, and positions whose logits exist at once.
ROWS, TOKENS, CHUNK = 16, 64, 2
PROMPT = 4
_HEAD = ('read of the policy', 'recipes', 'passes MiB', 'learner MiB', 'of all')


def main() -> int:
  lines = []
  for read, names in sets().items():
    found = measured(names[0])
    lines.append(
      {'read': [*read], 'recipes': names, 'of': names[0]}
      | found
      | {'git_commit': command.commit()}
    )
    print(json.dumps(lines[-1]), flush=True)
  folder = pathlib.Path(_RESULTS.value)
  text = ''.join(json.dumps(line) + '\n' for line in lines)
  (folder / 'vocabulary.jsonl').write_text(text)
  (folder / 'vocabulary.md').write_text(page(lines))
  return 0


def sets() -> dict[tuple[str, ...], list[str]]:
  """What is read of a policy -> the recipes that read it.

  The first of them is one whose plan gives the least beside.
  """
  from jaxrl_llm import reads, recipes

  found = collections.defaultdict(list)
  given = {}
  for name in recipes.names():
    recipe = recipes.build(name)
    read = reads.provided(recipe.needs, 'policy', 'pass')
    found[tuple(sorted(read))].append(name)
    given[name] = len(reads.provided(recipe.needs, 'plan'))
  return {read: sorted(x, key=given.__getitem__) for read, x in found.items()}


def whole(rows: int = ROWS) -> int:
  """Bytes of the log-probs of all tokens over the vocabulary."""
  return 4 * rows * TOKENS * VOCAB


def measured(name: str) -> dict[str, Any]:
  """Bytes that the passes and the learner of a recipe reserve, and rows."""
  rows, programs = _programs(name)
  found: dict[str, Any] = {'rows': rows}
  for program, (function, arguments) in programs.items():
    memory = function.lower(*arguments).compile().memory_analysis()
    new = memory.output_size_in_bytes - memory.alias_size_in_bytes
    # What the learner gives back, parameters and moments, it was given.
    made = new if program == 'passes' else 0
    found[program] = memory.temp_size_in_bytes + made
  return found


def page(lines) -> str:
  """vocabulary.md."""
  rows = []
  for line in sorted(lines, key=lambda line: -len(line['recipes'])):
    size = [line.get(program, 0) for program in ('passes', 'learner')]
    rows.append(
      (
        ', '.join(f'`{name}`' for name in line['read']) or '-',
        ', '.join(line['recipes']),
        *(f'{x / 2**20:.0f}' if x else '-' for x in size),
        f'{max(size) / whole(line["rows"]):.1%}',
      )
    )
  every, scaled = whole() / 2**20, 4 * 256 * 512 * VOCAB / 2**30
  head = [
    '# Memory at a real vocabulary',
    '',
    'Written by `python -m experiments.benchmarks.vocabulary`.',
    '',
    f'One layer of width {MODEL.width}, {VOCAB:,} entries, about {ROWS} rows '
    f'of {TOKENS} tokens,',
    f'the logits of {CHUNK} positions at a time. *Of all*: the larger of both, '
    'of the bytes',
    f'that all log-probs over the vocabulary are: {every:.0f} MiB for {ROWS} '
    'rows. Of 256',
    f'rows of 512 tokens they would be {scaled:.0f} GiB.',
    '',
  ]
  return '\n'.join(head) + '\n' + markdown.table(_HEAD, rows) + '\n'


def _programs(name):
  """Its rows, and its programs with the shapes of their arguments."""
  import jax
  import jax.numpy as jnp
  import numpy as np
  import optax

  from experiments.benchmarks import folders
  from jaxrl_llm import reads, recipes
  from jaxrl_llm.policies.language import heads, hf, parameters, score
  from jaxrl_llm.tabular import policy
  from jaxrl_llm.training import step
  from jaxrl_llm.types import Scores, Spec

  config = hf.config_of(folders.description(MODEL))
  recipe = recipes.build(name)
  recipe = dataclasses.replace(recipe, epochs=1, minibatches=1)
  samples = recipe.plan.contract.samples
  rows = max(ROWS // samples, 1) * samples

  def scorer(params, rollouts, needs):
    return score.score(params, config, rollouts, needs=needs, chunk=CHUNK)

  def params():
    key = jax.random.key(0)
    own = {
      head: heads.init_value(config, key, shape=recipe.critic.shape)
      for need, head in heads.NAMES.items()
      if need in recipe.statistics
    }
    return parameters.init(config, key) | own

  program = step.Program(recipe, scorer, optax.adamw(1e-6))
  spec = Spec(rows, samples, PROMPT, TOKENS, tasks=rows // samples)
  state = jax.eval_shape(lambda: program.init(params(), spec))
  tokens, group = jnp.zeros((rows, TOKENS), int), jnp.arange(rows) // samples
  rollouts = policy.as_rollouts(
    tokens, jnp.ones(tokens.shape, bool), task=group, group=group
  )
  rng, given = np.random.default_rng(0), reads.provided(recipe.needs, 'plan')
  extras = {n: reads.find(n).example(rng, rollouts) for n in given}
  rollouts = rollouts.replace(extras=extras)
  compiled = program.compile()
  found: dict[str, tuple[Any, tuple]] = {}
  if program.passes:
    found['passes'] = compiled.score, (state, {}, rollouts)
    rollouts = jax.eval_shape(compiled.score, state, {}, rollouts)
  scores = Scores(jnp.zeros((rows, 1)), jnp.ones(1), jnp.zeros((rows, samples)))
  credit, _, _ = jax.eval_shape(
    functools.partial(compiled.assign, state.method['credit']), rollouts, scores
  )
  key = jax.random.key(0)
  found['learner'] = compiled.learn, (state, {}, rollouts, credit, key)
  return rows, found


if __name__ == '__main__':
  command.run(main)
