"""A frozen policy learns by what its prompt says of its groups.

  python -m experiments.sweep --all \\
      --study=experiments/ablations/training_free.py

Training-Free GRPO (arXiv 2510.08191) claims that experiences, read off groups
of answers some of which are right, improve a policy whose parameters stay; that
groups are needed; and that the vote of the group can do for the ground truth.

The frozen policy of `reader.py`: six kinds of questions, each with a wrong
habit of chance 0.7 and a right way of 0.15. `TrainingFreeGRPO` with groups of 5
on 12 of 48 questions a step, 12 steps, at most 24 experiences. `groups of 1`
keeps an answer that earned something; `vote` pays what most of the group said;
`any answer` takes the first by the alphabet, right or wrong; `one in ten
misjudged` turns verdicts over. Measured: the chance of a right answer to 60
held-out questions with the experiences, exact, along the steps. Expected:
nearly all right with groups, almost as much with a judge that errs, nothing
from any answer, and worse than nothing from the vote, since most of a group
follow the habit.
"""

import zlib

import jax
import numpy as np

from experiments.ablations import reader
from experiments.ablations.study import Figure, over
from jaxrl_llm.learners import experiences, texts

STEPS, BATCH, SAMPLES = 12, 12, 5
LEARNERS = (
  'groups of 5',
  'groups of 1',
  'vote',
  'any answer',
  'one in ten misjudged',
)
FIGURE = Figure(
  y='right',
  x='step',
  series='learner',
  title='chance of a right answer to held-out questions',
)


def cells():
  return over(learner=LEARNERS, seed=range(8))


def judge_of(learner, world):
  """What is paid, and what is an experience."""

  def vote(questions, answers):
    pairs = list(zip(questions, answers, strict=True))
    most = {
      q: max(answers, key=lambda a: pairs.count((q, a))) for q in questions
    }
    return np.array([float(most[q] == a) for q, a in pairs])

  def misjudged(questions, answers):
    right = world.judge(questions, answers)
    text = [q + a for q, a in zip(questions, answers, strict=True)]
    turned = np.array([zlib.crc32(t.encode()) % 10 == 0 for t in text])
    return np.where(turned, 1 - right, right)

  known = {'vote': vote, 'one in ten misjudged': misjudged}
  return known.get(learner, world.judge)


def first_said(question, answers, rewards, before):
  """The first answer by the alphabet, whatever it earned."""
  return experiences.winner(question, sorted(answers), rewards, before)


class Alone(experiences.TrainingFreeGRPO):
  """Without groups: what earned something is an experience."""

  def update(self, state, questions, answers, rewards):
    lessons = [
      experiences.Operation('add', q + a)
      for q, a, r in zip(questions, answers, rewards, strict=True)
      if r > 0
    ]
    return self.merge(experiences.revised(state, lessons))[-self.most :]


def train(seed, learner):
  """Chances before the first step and after each."""
  world = reader.world(seed)
  rng = np.random.default_rng(1000 + seed)
  questions = world.questions(rng, 108)
  asked, held_out = questions[:48], questions[48:]
  make = Alone if learner == 'groups of 1' else experiences.TrainingFreeGRPO
  read_off = first_said if learner == 'any answer' else experiences.winner
  made = make(world.policy, advantage=read_off, most=24)
  samples = 1 if learner == 'groups of 1' else SAMPLES
  steps = texts.practise(
    made,
    judge_of(learner, world),
    asked,
    jax.random.key(seed),
    steps=STEPS,
    batch=BATCH,
    samples=samples,
  )
  states = [made.init(), *(state for state, _ in steps)]
  prompts = [[made.prompt(state, q) for q in held_out] for state in states]
  return [world.accuracy(texts) for texts in prompts], len(states[-1])


def run(seeds, *, learner):
  """Chances along the steps, and how many experiences there are."""
  found = [train(int(seed), learner) for seed in seeds]
  right = np.array([one[0] for one in found])
  return {
    'step': np.tile(np.arange(STEPS + 1), (len(found), 1)),
    'right': right,
    'before': right[:, 0],
    'at the end': right[:, -1],
    'experiences': np.array([one[1] for one in found]),
  }
