"""What a workflow's parameters are blamed for, with and without its trace.

  python -m experiments.sweep --all --study=experiments/ablations/opto_traces.py

Trace (arXiv 2406.16218) claims that an optimizer which reads the part of the
trace by which a parameter led to the output finds parameters that one which is
told the feedback alone does not.

A workflow with six parameters, one text for each kind of question of
`reader.py`: what is shown before a question of that kind. A text is one of 8
that the frozen policy proposes: its own answers to a question of the kind, most
of them wrong. `Search` tries each choice until it has heard of it `trials`
times, and keeps the best. With the trace it hears of the parameter that was
shown, without it of all six. 12 questions a step, 40 steps. Measured: the
chance of a right answer to 60 other questions with the parameters that are best
known after each fourth step, exact; that of the best proposals is the most that
any search can reach. Expected: with the trace nearly the most, without it
little more than at random.
"""

import jax
import numpy as np

from experiments.ablations import reader
from experiments.ablations.study import Figure, over
from jaxrl_llm.learners import texts, trace

STEPS, BATCH, PROPOSALS, EVERY = 40, 12, 8, 4
SEARCHES = ('with the trace', 'without')
FIGURE = Figure(
  y='right',
  x='step',
  series='search',
  across='trials',
  title='chance of a right answer to other questions',
)


def cells():
  return over(search=list(SEARCHES), trials=[2, 4], seed=range(6))


def blamed(search):
  """An optimizer for which every parameter had a part in every answer."""

  def optimizer(parameters, heard, memory):
    nodes = tuple(trace.Node(n, v, True) for n, v in parameters.items())
    all_of_them = [trace.Heard(nodes, each.words) for each in heard]
    return search(parameters, all_of_them, memory)

  return optimizer


def proposals(world, seed):
  """Texts of each kind, as the policy would have it."""
  found, key = {}, jax.random.key(10_000 + seed)
  for i, kind in enumerate(reader.KINDS):
    question = f'{kind} 31204='
    asked = [question] * PROPOSALS
    said = world.policy(asked, jax.random.fold_in(key, i))
    found[kind] = tuple(question + answer for answer in said)
  return found


def workflow_of(world):
  """The question behind the text of its kind, and the answer to both."""

  def shown(text, question):
    return f'{text}\n{question}'

  def workflow(nodes, question, key):
    kind = question.value.split()[0]
    prompt = trace.apply(shown, nodes[kind], question)
    return trace.apply(lambda text: world.policy([text], key)[0], prompt)

  return workflow


def best(choices, memory):
  """The parameters of the largest mean so far."""

  def mean(name, value):
    count, total = memory.get((name, value), (0, 0.0))
    return total / count if count else -1.0

  return {
    name: max(known, key=lambda value: mean(name, value))
    for name, known in choices.items()
  }


def train(seed, search, trials):
  """Chances along the steps, and with the best proposals."""
  world = reader.world(seed)
  questions = world.questions(np.random.default_rng(1000 + seed), 108)
  asked, others = questions[:48], questions[48:]
  choices = proposals(world, seed)
  optimizer = trace.Search(choices, trials=trials)
  learner = trace.Opto(
    workflow_of(world),
    {kind: known[0] for kind, known in choices.items()},
    optimizer if search == 'with the trace' else blamed(optimizer),
  )

  def accuracy(parameters, among=others):
    prompts = [f'{parameters[q.split()[0]]}\n{q}' for q in among]
    return world.accuracy(prompts)

  steps = texts.practise(
    learner,
    world.judge,
    asked,
    jax.random.key(seed),
    steps=STEPS,
    batch=BATCH,
  )
  states = [state for state, _ in steps][EVERY - 1 :: EVERY]
  found = [accuracy(best(choices, state.memory)) for state in states]
  ideal = {}
  for kind, known in choices.items():
    own = [q for q in others if q.startswith(kind)]
    ideal[kind] = max(known, key=lambda v: accuracy({kind: v}, own))
  return found, accuracy(ideal)


def run(seeds, *, search, trials):
  """Chances along the steps, at the end, and the most that can be."""
  found = [train(int(seed), search, trials) for seed in seeds]
  right = np.array([one[0] for one in found])
  return {
    'step': np.tile(np.arange(EVERY, STEPS + 1, EVERY), (len(found), 1)),
    'right': right,
    'at the end': right[:, -1],
    'best proposals': np.array([one[1] for one in found]),
  }
