"""Help that is paid for: a device, and calls of a search.

  python -m experiments.sweep --all \\
      --study=experiments/ablations/priced_help.py

GeometryZero (arXiv 2506.07160) claims that a bonus for auxiliary lines only
where they help their group, a penalty where they hurt, teaches when to draw
them, where a bonus for every line teaches to draw always. GraphRAG-R1
(2507.23581) claims that paying for calls, less for each further one, keeps a
policy from searching too little, and that a cost from then on keeps it from
searching too much.

Lines: 20 questions, right with a chance of 0.5 + gain / 2 with a line and
0.5 - gain / 2 without, gain -0.5 to 0.5; at first a line is drawn one time in
ten. GCPO with weights of 0.5, without its bonus for length; GRPO; and GRPO paid
0.5 for every line. Calls: 12 questions need 1, 2 or 3 calls; the answer's F1 is
0.9 with enough of them, less 0.05 for each further one, 0.2 else, and 0 in a
wrong form, which nearly half have. At first each further call, of 6 at most, is
0.22 times as likely. GRPO on form and F1; GraphRAG-R1 with phases of 20 and 60
iterations, without the phase of costs, and without that of paid calls. Groups
of 8, Adam at 0.05, 200 iterations. Measured, exactly: chance of a line by gain,
calls by need, accuracy and F1 at the end, F1 over training. Expected: as
claimed.
"""

import jax
import jax.numpy as jnp
import optax

from experiments.ablations import tables
from experiments.ablations.study import Figure, chain, over

STEPS, EVERY, RATE = 200, 10, 0.05
GAINS = jnp.array([-0.5, -0.2, 0.0, 0.2, 0.5])
MOST, NEEDED = 6, jnp.repeat(jnp.arange(1, 4), 4)
BONUS = 0.5

LINES = {
  'grpo': {'kl_weight': 0.0},
  'grpo, every line': {'kl_weight': 0.0},
  'gcpo': {'weight': BONUS, 'length_weight': 0.0},
}
CALLS = {
  'grpo': {'kl_weight': 0.0},
  'graphrag_r1': {'kl_weight': 0.0},
  'graphrag_r1, no costs': {'kl_weight': 0.0, 'retrieving': 10**6},
  'graphrag_r1, unpaid calls': {'kl_weight': 0.0, 'retrieving': 20},
}
FIGURE = Figure(
  y='helped',
  x='iteration',
  series='learner',
  across='help',
  title='lines where they help; calls over those needed',
)


def cells():
  return chain(
    over(help=['lines'], learner=list(LINES), seed=range(4)),
    over(help=['calls'], learner=list(CALLS), seed=range(4)),
  )


def lines(seeds, program, learner):
  """Chances of a line, by what it gains."""
  gain = jnp.repeat(GAINS, 4)
  logits = jnp.tile(jnp.log(jnp.array([0.9, 0.1])), (len(gain), 1, 1))
  params = {'logits': logits, 'values': jnp.zeros((len(gain), 1))}

  def earned(_, rows, key):
    drawn = rows.content.response[:, 0]
    chance = 0.5 + (drawn - 0.5) * gain[rows.task]
    right = jax.random.bernoulli(key, chance) * 1.0
    paid = BONUS * drawn * (learner == 'grpo, every line')
    return {'auxiliary': drawn * 1.0}, right + paid

  def measure(_, params):
    return jax.nn.softmax(params['logits'])[:, 0, 1]

  line = tables.course(
    [program], lambda key: (params, ()), earned, measure, seeds, steps=STEPS
  )
  by_gain = line.reshape(*line.shape[:2], len(GAINS), -1).mean(3)
  last = by_gain[:, -1]
  accuracy = (0.5 + (line[:, -1] - 0.5) * gain).mean(1)
  return by_gain[..., -2:].mean(2), {
    'accuracy': accuracy,
    **{f'at {g:+.1f}': last[:, i] for i, g in enumerate(GAINS.tolist())},
  }


def calls(seeds, program, learner):
  """Calls, and the F1 of answers."""
  plain = learner == 'grpo'
  count = jnp.arange(MOST + 1)
  # The first token is the number of calls, the second the form: 0 is right.
  form = jnp.log(jnp.array([0.55] + [0.45 / MOST] * MOST))
  nodes = jnp.vstack([-1.5 * count, jnp.tile(form, (MOST + 1, 1))])
  tasks = len(NEEDED)
  params = {
    'logits': jnp.tile(nodes, (tasks, 1, 1)),
    'values': jnp.zeros((tasks, MOST + 2)),
  }
  spare = jnp.maximum(0, count - NEEDED[:, None])
  f1 = jnp.where(count >= NEEDED[:, None], 0.9 - 0.05 * spare, 0.2)

  def earned(_, rows, key):
    del key
    called, form = rows.content.response.T
    right = (form == 0) * 1.0
    answer = f1[rows.task, called] * right
    return {'form': right, 'tool_calls': called}, answer + plain * right

  def measure(_, params):
    chance = jax.nn.softmax(params['logits'])
    first, formal = chance[:, 0], chance[:, 1:, 0]
    return jnp.sum(first * count, 1), jnp.sum(first * formal * f1, 1)

  called, answered = tables.course(
    [program], lambda key: (params, ()), earned, measure, seeds, steps=STEPS
  )
  by_need = called.reshape(*called.shape[:2], 3, -1).mean(3)[:, -1]
  return (called / NEEDED).mean(2), {
    'F1': answered[:, -1].mean(1),
    'F1 over training': answered.mean((1, 2)),
    **{f'calls of {n}': by_need[:, n - 1] for n in (1, 2, 3)},
  }


def run(seeds, *, help, learner):
  """Where help is taken, and what comes of it."""
  measured, learners = (lines, LINES) if help == 'lines' else (calls, CALLS)
  program = tables.program_of(
    learner.split(',')[0], tx=optax.adam(RATE), **learners[learner]
  )
  helped, results = measured(seeds, program, learner)
  shown = slice(EVERY - 1, None, EVERY)
  return {
    'iteration': jnp.tile(jnp.arange(EVERY, STEPS + 1, EVERY), (len(seeds), 1)),
    'helped': helped[:, shown],
  } | results
