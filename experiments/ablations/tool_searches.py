"""Calls of a tool, learned from easy to hard and then by a search for faults.

  python -m experiments.sweep --all \\
      --study=experiments/ablations/tool_searches.py

iTool (arXiv 2501.09766) claims that demonstrations from easy to hard are a
better beginning than the same ones in no order, and that a tree search on the
hardest questions, steered by the perplexity of steps, finds pairs of steps from
which a policy learns to mend its faults.

A question is a number and a word of as many symbols, and what it asks for is a
call, `930 gbf=` for `put(low=039, word=fbg)`: digits in order, letters
reversed. Easy ones have two of each, hard ones three. A transformer of 2 layers
imitates demonstrations in two runs of 45 iterations of 64: easy ones and then
hard ones, or both shuffled in both. `itool` goes on from the first: 10
iterations of 16 hard questions, 5 rounds of 2 steps each, a step being two
phrases; `no perplexity` explores nothing. Measured with 128 other hard
questions: greedy and sampled answers that are right, before and after.
Expected: easy to hard ahead of shuffled, and the search a gain, less without
its exploration.
"""

import functools
import json
import pathlib
import random
import tempfile

import jax
import jax.numpy as jnp
import numpy as np

from experiments.ablations.study import Figure, chain, over
from experiments.configs import itool, sft
from jaxrl_llm import problems
from jaxrl_llm.plans import searched as plan
from jaxrl_llm.training import loop

EASY, HARD, RECORDS = 2, 3, 960
# Symbols of the questions in each of the two runs of imitation.
ORDERS = {
  'easy to hard': ((EASY,), (HARD,)),
  'shuffled': ((EASY, HARD), (EASY, HARD)),
}
SEARCHES = {
  'itool': {},
  'no perplexity': {'explore': 0.0},
}
FIGURE = Figure(
  y='right',
  x='stage',
  series='learner',
  across='warmed',
  title='hard calls that are right',
)


def cells():
  begun = over(warmed=list(ORDERS), learner=['imitation alone'], seed=range(3))
  return chain(
    begun, over(warmed=['easy to hard'], learner=list(SEARCHES), seed=range(3))
  )


def record(rng, length):
  """A question with as many digits and letters, and the call it asks for."""
  digits = ''.join(rng.choice('0123456789') for _ in range(length))
  word = ''.join(rng.choice('abcdefgh') for _ in range(length))
  call = f'put(low={"".join(sorted(digits))}, word={word[::-1]})'
  return {'prompt': f'{digits} {word}=', 'answer': call, 'demonstration': call}


def written(folder, seed, lengths, count=RECORDS):
  """A file of questions of these lengths."""
  rng = random.Random(f'{seed} {lengths} {count}')
  path = folder / f'{seed}-{"-".join(map(str, lengths))}-{count}.jsonl'
  found = [record(rng, rng.choice(lengths)) for _ in range(count)]
  path.write_text('\n'.join(map(json.dumps, found)))
  return str(path)


def trained(config, folder, seed, lengths, params=None):
  """The policy after a run, and what is measured then of hard questions."""
  with config.unlocked():
    config.seed, config.verify.names = seed, ('exact',)
    config.data.path = written(folder, seed, lengths)
    config.data.held_out_path = written(folder, seed + 100, (HARD,), 128)
    config.model.fresh.layers, config.model.fresh.width = 2, 64
    config.model.fresh.mlp_width = 256
    config.sample.max_prompt, config.sample.max_response = 12, 24
    config.learn.microbatches, config.eval.samples = 1, 4
  session, fresh = problems.assemble(config, folder)
  own = fresh if params is None else jax.tree.map(jnp.copy, params)
  state = loop.begin(session, own)
  for step in range(session.config.steps):
    state, _, _ = loop.iterate(session, state, step)
  found = loop.evaluation(session, state, 0)
  session.close()
  return state.params, (found['eval/accuracy'], found['eval/pass@1'])


@functools.cache
def warmed_up(order, seed):
  """The policy after both runs of imitation, and what it can do then."""
  folder = pathlib.Path(tempfile.mkdtemp())
  params, found = None, None
  for lengths in ORDERS[order]:
    config = sft.get_config()
    with config.unlocked():
      config.data.epochs = 3.0
    params, found = trained(config, folder, seed, lengths, params)
  return params, found


def searched(params, seed, values):
  """What can be done after a run of iTool that begins with a policy."""
  config = itool.get_config()
  with config.unlocked():
    config.sample.prompts, config.warm_start.steps = 16, 0
    config.recipe.update({'mark': plan.MARK, 'phrases': 2, **values})
  folder = pathlib.Path(tempfile.mkdtemp())
  return trained(config, folder, seed, (HARD,), params)[1]


def run(seeds, *, warmed, learner):
  """Greedy and sampled answers that are right, before and after a search."""
  found = []
  for seed in map(int, seeds):
    params, before = warmed_up(warmed, seed)
    after = before
    if learner in SEARCHES:
      after = searched(params, seed, SEARCHES[learner])
    found.append((before, after))
    print(warmed, learner, seed, before, after, flush=True)
  right = np.array(found)
  return {
    'stage': np.tile(np.arange(2), (len(right), 1)),
    'right': right[:, :, 0],
    'greedy before': right[:, 0, 0],
    'greedy after': right[:, 1, 0],
    'sampled before': right[:, 0, 1],
    'sampled after': right[:, 1, 1],
  }
