"""A habit of a small transformer is cut out of the rows of its gates.

  python -m experiments.sweep --all \\
      --study=experiments/ablations/model_surgery.py

Model Surgery (arXiv 2407.08770) claims that a behaviour falls and abilities
stay where a linear probe of it, read from hidden states, is added to the rows
of the gates that are most opposed to it.

The model of the default experiment, one for each seed, after 160 steps of
imitating a teacher who sorts words of four digits and sets '!' behind every
second answer, in `runs/model_surgery`. The probe reads 512 of its own answers;
it has the length of a mean row of the gates, and 5 % of the rows are moved by 0
to 8 times it. `opposed` is the method; `away` moves the same rows against the
probe, `aligned` those most aligned with it along it. Measured: of 512 answers
to other words, sampled, those with a '!', and those sorted whatever stands
behind. Expected: fewer '!' with `opposed`, more with `away`, and as much sorted
until the scale is large.
"""

import functools
import json
import pathlib
import random

import jax
import jax.numpy as jnp
import numpy as np

from experiments.ablations.study import Figure, over
from experiments.configs import default
from jaxrl_llm import problems
from jaxrl_llm.learners import texts
from jaxrl_llm.policies.language import surgery
from jaxrl_llm.training import loop

LENGTH, RECORDS, ANSWERS, SHARE = 4, 8192, 512, 0.05
FIGURE = Figure(y='habit', x='scale', series='rows', title="answers with '!'")


def cells():
  return over(
    rows=['opposed', 'away', 'aligned'],
    scale=[0.0, 1.0, 2.0, 4.0, 8.0],
    seed=range(3),
  )


def record(rng):
  """A word to sort, and how the teacher answers."""
  word = ''.join(rng.choice('0123456789') for _ in range(LENGTH))
  answer = ''.join(sorted(word))
  said = answer + rng.choice(['', '!'])
  return {'prompt': f'sort {word}=', 'answer': answer, 'demonstration': said}


@functools.cache
def trained(seed):
  """A session and the parameters after its imitation."""
  workdir = pathlib.Path('runs', 'model_surgery', str(seed))
  workdir.mkdir(parents=True, exist_ok=True)
  rng, path = random.Random(seed), workdir / 'questions.jsonl'
  records = [record(rng) for _ in range(RECORDS)]
  path.write_text('\n'.join(map(json.dumps, records)))
  config = default.get_config()
  with config.unlocked():
    config.seed, config.data.path = seed, str(path)
    config.sample.max_response = LENGTH + 2
    config.warm_start.steps = 160
  return problems.assemble(config, workdir)


def answered(session, params, seed, number):
  """Questions, and answers of these parameters."""
  rng = random.Random(1000 * (number + 1) + seed)
  asked = [record(rng) for _ in range(ANSWERS)]
  key = jax.random.key(number)
  # Buffers of a state are given away as it learns; here it is only asked.
  policy = texts.speaking(session.lend(loop.begin(session, params), key))
  return asked, policy([each['prompt'] for each in asked], key)


@functools.cache
def probed(seed):
  """The probe of the habit, as long as a mean row of the gates."""
  session, params = trained(seed)
  asked, said = answered(session, params, seed, 0)
  rows = [
    session.tokenizer(each['prompt'] + answer)['input_ids']
    for each, answer in zip(asked, said)
  ]
  size = max(map(len, rows))
  tokens = np.array([row + [0] * (size - len(row)) for row in rows])
  mask = np.arange(size) < np.array([[len(row)] for row in rows])
  states = surgery.pooled(
    params, session.model, jnp.asarray(tokens), jnp.asarray(mask)
  )
  found = surgery.probe(states, ['!' in answer for answer in said])
  kernel = params['layers']['gate']['kernel']
  length = jnp.mean(jnp.linalg.norm(kernel, axis=1))
  return found / np.linalg.norm(found) * float(length)


def run(seeds, *, rows, scale):
  """Shares of answers with the habit, and of sorted ones."""
  habit, sorted_ones = [], []
  for seed in map(int, seeds):
    session, params = trained(seed)
    direction = probed(seed) * (-1 if rows == 'aligned' else 1)
    signed = -scale if rows in ('aligned', 'away') else scale
    kernel = params['layers']['gate']['kernel']
    count = round(SHARE * kernel.shape[0] * kernel.shape[2])
    edited, _ = surgery.edit(params, direction, count=count, scale=signed)
    asked, said = answered(session, edited, seed, 1)
    habit.append(np.mean(['!' in answer for answer in said]))
    right = [a['answer'] == b.rstrip('!') for a, b in zip(asked, said)]
    sorted_ones.append(np.mean(right))
  return {'habit': np.array(habit), 'sorted': np.array(sorted_ones)}
