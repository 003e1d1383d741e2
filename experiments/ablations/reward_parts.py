"""Rewards in parts: of an action on a screen, and of a second thought.

  python -m experiments.sweep --all \\
      --study=experiments/ablations/reward_parts.py

UI-R1 (arXiv 2503.21620) pays the kind of an action and its place apart, and
claims that rules as simple as these teach an agent of few examples. SRPO
(2506.01713) pays reflections that mend an answer or keep a right one, and
claims that they become frequent and useful.

The verifiers themselves, on every response that there is. Screens: 32 with one
of 6 kinds of action, at one of 36 places of which 4 are in the box; all are as
likely at first. `action` and `place` with equal weights, and `place` alone,
which is both at once. Thoughts: 32 questions with 4 answers; first an answer,
right one time in four, then a reflection or none, and after it a second answer,
which at first is right one time in two if the first was wrong, and four in five
else. `reflected`, and whether the last answer is right. GRPO, groups of 8, Adam
at 0.05, 300 iterations. Measured, exactly: kinds and places that are right,
over training; reflections, first and last answers that are right, and wrong
ones that are mended, at the end. Expected: parts teach faster, reflections are
learned where they are paid.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.ablations import tables
from experiments.ablations.study import Figure, over
from jaxrl_llm.tabular import policy
from jaxrl_llm.tasks import structured

QUESTIONS, STEPS, EVERY, RATE, LENGTH = 32, 300, 10, 0.05, 3
KINDS = ('click', 'scroll', 'type', 'swipe', 'back', 'open')
ANSWERS = 4
THOUGHTS = (
  'reward',
  'reflections',
  'first answer right',
  'last answer right',
  'mended of wrong ones',
)
FIGURE = Figure(
  y='right',
  x='iteration',
  series='paid',
  title='right places, and right last answers',
)


def cells():
  return over(
    paid=['kind and place', 'place', 'reflection', 'last answer'],
    seed=range(4),
  )


@functools.cache
def screens():
  """Rewards of `action` and `place`, f32[6, 9, 216], by kind and box."""
  tokens, _ = policy.all_responses(len(KINDS), LENGTH)
  texts = [
    f"[{{'action': '{KINDS[kind]}', 'coordinate': [{x}, {y}]}}]"
    for kind, x, y in tokens
  ]
  found = []
  for kind in KINDS:
    for left in (0, 2, 4):
      for top in (0, 2, 4):
        row = {'action': kind, 'box': [left, top, left + 1, top + 1]}
        rows = [row] * len(texts)
        verified = structured.action(texts, rows), structured.place(texts, rows)
        found.append(verified)
  return np.array(found, np.float32).reshape(6, 9, 2, -1)


@functools.cache
def thoughts():
  """`reflected`, reflections, first and last answers: f32[4, 4, 64]."""
  tokens, _ = policy.all_responses(ANSWERS, LENGTH)
  texts = []
  for first, without, second in tokens:
    text = f'<think>I count the parts.</think><answer>{first}</answer>'
    if not without:
      text += '<reflection>Is that so?</reflection><think>I count them.</think>'
      text += f'<answer>{second}</answer>'
    texts.append(text)
  first, without, second = np.array(tokens).T
  last = np.where(without > 0, first, second)
  found = []
  for answer in range(ANSWERS):
    paid = structured.reflected(texts, [{'answer': str(answer)}] * len(texts))
    found.append([paid, without == 0, first == answer, last == answer])
  return np.array(found, np.float32)


def on_screens(key):
  """A policy without any knowledge, and what is right at each response."""
  wanted, box = jax.random.split(key)
  kind = jax.random.randint(wanted, (QUESTIONS,), 0, len(KINDS))
  place = jax.random.randint(box, (QUESTIONS,), 0, 9)
  params = policy.init(
    key, tasks=QUESTIONS, vocab=len(KINDS), length=LENGTH, scale=0.0
  )
  return params, jnp.asarray(screens())[kind, place]


def in_thought(key):
  """A policy that now and then mends, and what is right at each response."""
  answer = jax.random.randint(key, (QUESTIONS,), 0, ANSWERS)
  params = policy.init(
    key, tasks=QUESTIONS, vocab=ANSWERS, length=LENGTH, scale=0.0
  )
  logits = params['logits']
  # Of the second token the first value is a reflection, one time in ten.
  logits = logits.at[:, 1:5, 0].set(jnp.log(3 / 9))
  first = jnp.arange(ANSWERS)
  mended = jnp.where(first == answer[:, None], jnp.log(12.0), jnp.log(3.0))
  node = ANSWERS * (first + 1) + 1  # after each first answer and a reflection
  right = jax.nn.one_hot(answer, ANSWERS)
  logits = logits.at[:, node].set(mended[..., None] * right[:, None])
  return params | {'logits': logits}, jnp.asarray(thoughts())[answer]


def run(seeds, *, paid):
  """What is right, and how it came about."""
  program = tables.program_of('grpo', tx=optax.adam(RATE), kl_weight=0.0)
  screen = 'place' in paid
  vocab = len(KINDS) if screen else ANSWERS
  tokens, _ = policy.all_responses(vocab, LENGTH)
  nodes = policy.prefix_states(jnp.asarray(tokens), vocab)
  powers = vocab ** jnp.arange(LENGTH - 1, -1, -1)

  def earned(known, rows, key):
    del key
    said = known[rows.task, :, rows.content.response @ powers]
    rewards = {
      'kind and place': said.sum(1),
      'place': said[:, 1],
      'reflection': said[:, 0],
      'last answer': said[:, -1],
    }
    return {}, rewards[paid]

  def measure(known, params):
    logp = jax.nn.log_softmax(params['logits'])[:, nodes, tokens].sum(-1)
    chance = jnp.exp(logp)
    means = jnp.einsum('qr,qkr->k', chance, known) / QUESTIONS
    if screen:
      return means
    wrong = chance * (1 - known[:, 2]) * known[:, 1]
    mended = jnp.sum(wrong * known[:, 3]) / jnp.sum(wrong)
    return jnp.append(means, mended)

  start = on_screens if screen else in_thought
  found = tables.course([program], start, earned, measure, seeds, steps=STEPS)
  names = ['kind', 'place'] if screen else list(THOUGHTS)
  place = names.index('place' if screen else 'last answer right')
  shown = slice(EVERY - 1, None, EVERY)
  return {
    'iteration': jnp.tile(jnp.arange(EVERY, STEPS + 1, EVERY), (len(seeds), 1)),
    'right': found[:, shown, place],
    'right over training': found[..., place].mean(1),
    **{name: found[:, -1, i] for i, name in enumerate(names)},
  }
