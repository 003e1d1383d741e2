"""What the programs of every recipe reserve at a real vocabulary.

  python -m experiments.benchmarks.vocabulary
  python -m experiments.benchmarks.vocabulary --recipe=grpo --recipe=dapo

The log-probs of whole rows of N x T tokens over V entries are 4 N T V bytes. No
recipe keeps them: what it reads of a policy is made of the logits of a few
positions at a time, and here is what that takes. Passes and learner are
compiled on shapes alone, for one small layer and the V of Qwen2.5; memory is
what the compiler for this machine reserves for results and in between. Every
recipe is measured on its own; on the page those that read the same of the
policy share a line. Writes vocabulary.jsonl, where lines of recipes that were
not asked for stay, and vocabulary.md. All take 15 minutes, one 3 seconds.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import math
import pathlib
from typing import Any

from absl import flags

from experiments import command
from experiments.benchmarks import cases, markdown

_RECIPE = flags.DEFINE_multi_string(
  'recipe', [], 'Of which recipes; all without.', allow_override=True
)
_RESULTS = command.results_flag()

VOCAB = 151936
MODEL = cases.Model(1, 16, 2, 1, 8, 16, VOCAB)
# Rows, tokens of a response, and positions whose logits exist at once.
ROWS, TOKENS, CHUNK = 16, 64, 2
PROMPT = 4
_HEAD = (
  'read of the policy',
  'recipes',
  'passes MiB',
  'learner MiB',
  'of all',
  'most in',
)


def main() -> int:
  from jaxrl_llm import recipes

  path = pathlib.Path(_RESULTS.value) / 'vocabulary.jsonl'
  lines = finished(path)
  for name in _RECIPE.value or recipes.names():
    lines[name] = (
      {'recipe': name, 'read': read(recipes.build(name))}
      | measured(name)
      | {'git_commit': command.commit()}
    )
    print(json.dumps(lines[name]), flush=True)
    _write(path, lines)
  return 0


def _write(path, lines):
  """What is known so far, in the order of the names."""
  from jaxrl_llm import recipes

  kept = [lines[name] for name in recipes.names() if name in lines]
  path.write_text(''.join(json.dumps(line) + '\n' for line in kept))
  path.with_suffix('.md').write_text(page(kept))


def finished(path: pathlib.Path) -> dict[str, dict[str, Any]]:
  """Recipe -> what was measured of it."""
  text = path.read_text() if path.exists() else ''
  return {line['recipe']: line for line in map(json.loads, text.splitlines())}


def read(recipe) -> list[str]:
  """What a recipe reads of a policy beside its log-probs."""
  from jaxrl_llm import reads

  return sorted(reads.provided(recipe.needs, 'policy', 'pass'))


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
  alike = sorted(lines, key=lambda line: line['read'])
  sets = [[*x] for _, x in itertools.groupby(alike, lambda x: x['read'])]
  rows = [_row(lines) for lines in sorted(sets, key=len, reverse=True)]
  every, scaled = whole() / 2**20, 4 * 256 * 512 * VOCAB / 2**30
  head = [
    '# Memory at a real vocabulary',
    '',
    'Written by `python -m experiments.benchmarks.vocabulary`.',
    '',
    f'One layer of width {MODEL.width}, {VOCAB:,} entries, about {ROWS} rows '
    f'of {TOKENS} tokens,',
    f'the logits of {CHUNK} positions at a time, and each of {len(lines)} '
    'recipes measured;',
    'a line has the least and the most of those that read the same. *Of all*: '
    'the',
    'larger of both, of the bytes that all log-probs over the vocabulary are: '
    f'{every:.0f} MiB',
    f'for {ROWS} rows. Of 256 rows of 512 tokens they would be '
    f'{scaled:.0f} GiB.',
    '',
  ]
  return '\n'.join(head) + '\n' + markdown.table(_HEAD, rows) + '\n'


def _row(lines):
  """The line of recipes that read the same."""
  most = max(lines, key=_share)
  return (
    ', '.join(f'`{name}`' for name in most['read']) or '-',
    ', '.join(line['recipe'] for line in lines),
    *(_between(lines, program) for program in ('passes', 'learner')),
    f'{_share(most):.1%}',
    most['recipe'],
  )


def _share(line):
  """Of all log-probs, what the larger of the programs reserves."""
  most = max(line.get('passes', 0), line['learner'])
  return most / whole(line['rows'])


def _between(lines, program):
  """The least and the most that a program reserves, in MiB."""
  sizes = [line.get(program, 0) / 2**20 for line in lines]
  ends = dict.fromkeys(f'{x:.0f}' for x in (min(sizes), max(sizes)))
  return '-'.join(ends) if max(sizes) else '-'


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
  spec = Spec(
    rows,
    samples,
    PROMPT,
    TOKENS,
    tasks=ROWS,
    domains=2,
    # Both kinds of curricula: by domain, and by length.
    task_domains=tuple(task % 2 for task in range(ROWS)),
    task_lengths=tuple(range(1, ROWS + 1)),
  )
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
  # As many as a critic has answers, so that one of several labels has them.
  labels = math.prod(recipe.critic.shape)
  scores = Scores(
    jnp.zeros((rows, labels)), jnp.ones(labels), jnp.zeros((rows, samples))
  )
  credit, _, _ = jax.eval_shape(
    functools.partial(compiled.assign, state.method['credit']), rollouts, scores
  )
  key = jax.random.key(0)
  found['learner'] = compiled.learn, (state, {}, rollouts, credit, key)
  return rows, found


if __name__ == '__main__':
  command.run(main)
