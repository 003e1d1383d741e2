"""Programs that are paid for being fast, by clocks that are noisy.

  python -m experiments.sweep --all \\
      --study=experiments/ablations/timed_programs.py

Code optimisation by reinforcement learning (arXiv 2312.05657) rewards a program
by its run time. The verifier `faster` claims of itself that times relative to
the reference, in the middle of three rounds in which both run, keep a busy
machine from being learned.

32 problems, 8 right programs each, whose true speed-ups over the reference are
2^u with u uniform in [-1, 1]. A round is slowed by e^(0.5 z), z normal, for all
that run in it, and each run by 5 % more or less. GRPO is paid 1 + clip(log2 S),
with S by one run beside the time of the reference that was taken once and for
all, by one round of both, or by `programs.speed_up` of three rounds of both; or
with the true S. Groups of 8, Adam at 0.05, 150 iterations. Measured: the spread
of what one program earns, the true log2 of the policy's speed-up over that of
the best programs, and its chance of programs that are slower than the
reference. Expected: the noise of one run costs most of the gain, the rounds
little.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.ablations import tables
from experiments.ablations.study import Figure, over
from jaxrl_llm.tabular import policy
from jaxrl_llm.tasks import programs

PROBLEMS, PROGRAMS, STEPS, EVERY, RATE = 32, 8, 150, 10, 0.05
BUSY, NOISE, SECONDS, START = 0.5, 0.05, 1.0, 0.05
ROUNDS = {'one run': 0, 'one round': 1, 'three rounds': 3, 'the truth': 0}
FIGURE = Figure(
  y='speed-up',
  x='iteration',
  series='timed by',
  title='log2 of the speed-up, over that of the best programs',
)


def cells():
  return over(**{'timed by': list(ROUNDS)}, seed=range(3))


def times(rng, seconds, rounds):
  """Wall times [rounds, ...] of runs that take some seconds on an idle machine.

  Args:
    seconds: [runs, rows], those that share a round beside each other.
  """
  shape = (rounds, *seconds.shape)
  busy = BUSY * rng.standard_normal((rounds, 1, seconds.shape[1]))
  return seconds * np.exp(busy + NOISE * rng.standard_normal(shape))


def paid(rng, gain, rounds):
  """What rows earn whose programs are 2^gain times as fast: f[N]."""
  own = START + SECONDS * 2.0**-gain
  start, before = np.full_like(own, START), np.full_like(own, START + SECONDS)
  if not rounds:
    [[once]] = times(rng, own[None], 1)
    return 1 + np.clip(np.log2((START + SECONDS) / once), -1, 3)
  wall = times(rng, np.stack([start, before, own]), rounds)
  return np.array(
    [
      1 + programs.speed_up(*row)
      for row in np.moveaxis(wall, 2, 0).swapaxes(1, 2)
    ]
  )


def train(seed, how):
  """True gains and chances of slower programs, after each iteration."""
  rng, key = np.random.default_rng(seed), jax.random.key(seed)
  gain = rng.uniform(-1, 1, (PROBLEMS, PROGRAMS))
  program = tables.program_of('grpo', tx=optax.adam(RATE), kl_weight=0.0)
  samples = program.recipe.plan.contract.samples
  params = policy.init(key, tasks=PROBLEMS, vocab=PROGRAMS, length=1, scale=0.0)
  state = tables.begin(program, params, prompts=PROBLEMS)
  problems = jnp.arange(PROBLEMS)
  draw = jax.jit(lambda p, k: policy.sample(p, k, problems, samples=samples))
  learn = jax.jit(lambda *given: tables.learn(program, *given)[0])
  found = []
  for step in range(STEPS):
    sample, update = jax.random.split(jax.random.fold_in(key, step))
    rows = draw(state.params, sample)
    own = gain[np.asarray(rows.task), np.asarray(rows.content.response[:, 0])]
    rewards = own + 1 if how == 'the truth' else paid(rng, own, ROUNDS[how])
    state = learn(state, rows, jnp.asarray(rewards, jnp.float32), update)
    chance = np.asarray(jax.nn.softmax(state.params['logits'][:, 0]))
    found.append(((chance * gain).sum(), (chance * (gain < 0)).sum()))
  return np.array(found) / [gain.max(1).sum(), PROBLEMS]


def run(seeds, **cell):
  """Speed-ups of what is learned."""
  how = cell['timed by']
  found = np.array([train(int(seed), how) for seed in seeds])
  same = np.zeros(1000)
  spread = [
    0.0
    if how == 'the truth'
    else paid(np.random.default_rng(int(seed)), same, ROUNDS[how]).std()
    for seed in seeds
  ]
  return {
    'iteration': np.tile(np.arange(EVERY, STEPS + 1, EVERY), (len(seeds), 1)),
    'speed-up': found[:, EVERY - 1 :: EVERY, 0],
    'spread of one': np.array(spread),
    'at the end': found[:, -1, 0],
    'over training': found[..., 0].mean(1),
    'slower programs': found[:, -1, 1],
  }
