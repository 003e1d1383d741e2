"""What a turn of an episode costs, by its number, with and without kept keys.

  python -m experiments.benchmarks.episodes

The sampler on made-up episodes: the `tiny` model, 8 prompts of 64 tokens, 4
rows to each, 8 turns in which the policy writes 48 tokens and hears 16. Kept,
a turn reads what is new (`policies/language/held.py`); otherwise, as with
`sample.keep=False`, the whole row. Every program is compiled before the first
is timed; seconds of a turn are the least of the rounds by the clock.

What was predicted: read anew, every turn reads all columns of a row, 32 x (64 +
512) tokens, and writes 32 x 48; kept, it reads 32 x 17. Reading a token costs
about a sixth of writing one here, so a turn was to be 3 times faster, and as
fast whatever its number.
"""

from __future__ import annotations

import json
import pathlib
import time

from absl import flags

from experiments import command
from experiments.benchmarks import cases

_ROUNDS = flags.DEFINE_integer(
  'rounds', 3, 'Timed episodes of each kind.', 1, allow_override=True
)
_RESULTS = command.results_flag()

MODEL = cases.MODELS['tiny']
SHAPE = cases.Shape(prompts=8, samples=4, prompt=64, response=512)
TURNS, SAID, HEARD = 8, 48, 16


def main() -> int:
  kinds = {'kept': _kept, 'read anew': _anew}
  parts = _parts()
  for play in kinds.values():
    play(*parts)
  times = {
    name: [play(*parts) for _ in range(_ROUNDS.value)]
    for name, play in kinds.items()
  }
  write(times, _ROUNDS.value, pathlib.Path(_RESULTS.value, 'episodes.jsonl'))
  return 0


def write(times, rounds: int, path: pathlib.Path) -> None:
  """Prints and writes the least of each turn over the rounds.

  Args:
    times: by name, `kept` and `read anew`, a list of turns for each round.
  """
  lines: list[dict[str, object]] = []
  for turn in range(TURNS):
    best = {
      name: round(min(each[turn] for each in found), 3)
      for name, found in times.items()
    }
    gain = round(best['read anew'] / best['kept'], 2)
    lines.append({'turn': turn + 1, **best, 'times faster': gain})
    print(json.dumps(lines[-1]), flush=True)
  lines.append({'rounds': rounds, 'git_commit': command.commit()})
  path.write_text(''.join(json.dumps(line) + '\n' for line in lines))


def _parts():
  """Sampler, parameters, prompts, and what is heard in every turn."""
  import jax
  import jax.numpy as jnp
  import numpy as np

  from experiments.benchmarks import folders
  from jaxrl_llm.policies.language import hf, parameters
  from jaxrl_llm.policies.language.sampler import Sampler
  from jaxrl_llm.types import Prompts

  config = hf.config_of(folders.description(MODEL))
  params = jax.jit(parameters.init, static_argnums=0)(config, jax.random.key(0))
  tokens = jnp.asarray(cases.prompts(MODEL, SHAPE), jnp.int32)
  task = jnp.arange(len(tokens), dtype=jnp.int32)
  prompts = Prompts(tokens, jnp.ones(tokens.shape, bool), task, 0 * task)
  heard = np.random.default_rng(0).integers(
    8, MODEL.vocab, (TURNS, SHAPE.rows, HEARD)
  )
  return Sampler(config, SHAPE.response), params, prompts, heard


def _kept(sampler, params, prompts, heard) -> list[float]:
  """Seconds of each turn; the first also reads the prompts."""
  import dataclasses

  import jax
  import jax.numpy as jnp

  from jaxrl_llm.policies.language import held as held_lib
  from jaxrl_llm.policies.language.sampler import row_keys

  rows, found = SHAPE.rows, []
  turn = dataclasses.replace(sampler, max_tokens=SAID)
  count, going = jnp.full(rows, HEARD + 1, jnp.int32), jnp.ones(rows, bool)
  started = time.perf_counter()
  held = held_lib.opened(sampler, SHAPE.samples, params, prompts)
  for number in range(TURNS):
    key = jax.random.fold_in(jax.random.key(1), number)
    keys = row_keys(key, jnp.arange(rows))
    more, held = held_lib.write(turn, params, held, keys, _sampling(), going)
    jax.block_until_ready(held)
    found.append(time.perf_counter() - started)
    last = more.content.response[:, -1:]
    tokens = jnp.concatenate([last, heard[number]], axis=1)
    started = time.perf_counter()
    held = held_lib.read(sampler, params, held, tokens, count)
  return found


def _anew(sampler, params, prompts, heard) -> list[float]:
  """Seconds of each turn."""
  import dataclasses

  import jax
  import jax.numpy as jnp
  import numpy as np

  from jaxrl_llm.plans import given, prefixes

  turn = dataclasses.replace(sampler, max_tokens=SAID)
  rollouts, found = given.blank(prompts, SHAPE.samples, SHAPE.response), []
  for number in range(TURNS):
    started = time.perf_counter()
    key = jax.random.fold_in(jax.random.key(1), number)
    cut = rollouts.length
    more = turn(
      params,
      prefixes.as_prompts(rollouts, cut),
      jnp.arange(SHAPE.rows),
      key,
      _sampling(),
    )
    jax.block_until_ready(more)
    found.append(time.perf_counter() - started)
    rollouts = prefixes.joined(rollouts, cut, more)
    told = given.written(rollouts, np.asarray(heard[number]).tolist())
    rollouts = prefixes.joined(rollouts, rollouts.length, told)
  return found


def _sampling():
  from jaxrl_llm.policies.language.truncation import Sampling

  return Sampling(temperature=1.0, top_k=0, top_p=1.0, min_p=0.0)


if __name__ == '__main__':
  command.run(main)
