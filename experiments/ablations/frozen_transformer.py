"""A small transformer, frozen, sorts by what its prompts say.

  python -m experiments.sweep --all \\
      --study=experiments/ablations/frozen_transformer.py

Training-Free GRPO (arXiv 2510.08191) and Memento (arXiv 2508.16153) on a policy
of the house: the model and the task of the default experiment, words of six
digits. Its careless teacher copies 7 of 10 words and sorts the others; here it
also does as the one or two examples before a question do, which are sorted or
copied as often. After 300 steps of imitation in `runs/frozen_transformer`, five
minutes of CPU time, the model stays as it is. 16 of 64 questions a step, 5
answers to each, 6 steps, three seeds of questions and samples on the one model.
`experiences` is `TrainingFreeGRPO` with two of them; `nearest` and `likely`
show two earlier cases, without saying which were right. Measured: right answers
to 128 other questions, one sample each, before the first step and after each.
Expected: as in `training_free.py` and `case_banks.py`: experiences and likely
cases teach it to sort, the nearest cases to copy.
"""

import functools
import json
import pathlib
import random

import jax
import numpy as np

from experiments.ablations.case_banks import unmarked
from experiments.ablations.study import Figure, over
from experiments.configs import default
from jaxrl_llm import problems
from jaxrl_llm.learners import cases as banks
from jaxrl_llm.learners import experiences, texts
from jaxrl_llm.training import loop

LENGTH, RECORDS, STEPS, BATCH, SAMPLES = 6, 8192, 6, 16, 5
LEARNERS = ('experiences', 'nearest', 'likely')
FIGURE = Figure(
  y='right', x='step', series='learner', title='a frozen transformer sorts'
)


def cells():
  return over(learner=LEARNERS, seed=range(3))


def record(rng, examples):
  """A question behind some examples, and how the teacher answers it."""

  def word():
    return ''.join(rng.choice('0123456789') for _ in range(LENGTH))

  count = rng.choice(examples)
  copies = rng.random() < (0.5 if count else 0.7)

  def done(text):
    return text if copies else ''.join(sorted(text))

  shown = [word() for _ in range(count)]
  lines = [f'sort {text}={done(text)}' for text in shown]
  text = word()
  return {
    'prompt': '\n'.join([*lines, f'sort {text}=']),
    'answer': ''.join(sorted(text)),
    'demonstration': done(text),
  }


@functools.cache
def policy():
  """The one transformer, after its imitation, as a function of prompts."""
  workdir = pathlib.Path('runs', 'frozen_transformer', '0')
  workdir.mkdir(parents=True, exist_ok=True)
  rng, path = random.Random(0), workdir / 'questions.jsonl'
  records = [record(rng, (0, 1, 2)) for _ in range(RECORDS)]
  path.write_text('\n'.join(map(json.dumps, records)))
  config = default.get_config()
  with config.unlocked():
    config.seed, config.data.path = 0, str(path)
    config.sample.max_prompt, config.sample.max_response = 64, LENGTH + 2
    config.warm_start.steps = 300
  session, params = problems.assemble(config, workdir)
  lent = session.lend(loop.begin(session, params), jax.random.key(0))
  return texts.speaking(lent)


def judge(questions, answers):
  """1 for a sorted word, else 0."""
  words = [question.removeprefix('sort ')[:LENGTH] for question in questions]
  pairs = zip(words, answers, strict=True)
  return np.array(
    [float(''.join(sorted(word)) == said) for word, said in pairs]
  )


def learner_of(name, policy):
  if name == 'experiences':
    return experiences.TrainingFreeGRPO(policy, most=2)
  kind = banks.NearestCases if name == 'nearest' else banks.LikelyCases
  return kind(policy, prompt=unmarked, top=2)


def run(seeds, *, learner):
  """Shares of right answers before and after each step."""
  found = []
  for seed in map(int, seeds):
    made = learner_of(learner, policy())
    rng = random.Random(1000 + seed)
    asked = [record(rng, (0,))['prompt'] for _ in range(64 + 128)]
    key = jax.random.key(seed)
    steps = texts.practise(
      made,
      judge,
      asked[:64],
      key,
      steps=STEPS,
      batch=BATCH,
      samples=SAMPLES,
    )
    states = [made.init(), *(state for state, _ in steps)]
    said = [made.act(state, asked[64:], key)[0] for state in states]
    found.append([judge(asked[64:], answers).mean() for answers in said])
  right = np.array(found)
  return {
    'step': np.tile(np.arange(STEPS + 1), (len(right), 1)),
    'right': right,
    'before': right[:, 0],
    'at the end': right[:, -1],
  }
