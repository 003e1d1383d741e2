"""Mirror prox keeps its rate on the game that breaks mirror descent.

  python -m experiments.sweep --all \\
      --study=experiments/ablations/nash_mp_rate.py

Nash-MP (arXiv 2505.19731) claims that the KL from the regularised equilibrium
to its last iterate falls by 1 + 2 beta in each step, whatever the number of
actions; with two preference queries in a step,

    KL after N queries <= (1 + 2 beta)^(-N / 2) KL at the start.

Nash-MD (arXiv 2312.00886) and INPO (arXiv 2407.00617) promise 1 / N.

Rock, paper, scissors with sure wins, a uniform reference and beta = 0.02; seed
0 starts from the policy 0.05, 0.15, 0.8, the others from logits of spread 2.
Nothing else is random. A query is the chance of every action to beat one
policy. Step sizes: Nash-MP 2 beta; EGPO (arXiv 2503.08942)
its largest, 1 / (beta + 3); INPO and Nash-MD once constant, the step that is
equal to Nash-MP's, 2 / (1 + 2 beta), and INPO also falling as in its proof,
2 / (beta (t + 2)); SPPO (arXiv 2405.00675), which knows no reference, that of
Nash-MP. Nash-MD with its falling step starts at the reference, which is the
equilibrium here; `nash_queries.py` has it. Measured: the KL and the duality
gap of the regularised game, and the largest ratio of the KL to Nash-MP's
bound. Expected: a ratio of at most 1 for Nash-MP alone.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from experiments.ablations import tables
from experiments.ablations.study import Figure, over
from jaxrl_llm.tabular import games, mirror

GAME = np.array([[0.5, 1, 0], [0, 0.5, 1], [1, 0, 0.5]], np.float32)
START = np.log(np.array([0.05, 0.15, 0.8], np.float32))
WEIGHT, QUERIES = 0.02, 500


def _anchored(game, policy, ref, *, step_size, weight):
  gain = games.win_rate(game, policy)
  return games.anchored_step(
    policy, ref, gain, step_size=step_size, weight=weight
  )


def _unanchored(game, policy, ref, *, step_size, weight):
  del ref, weight
  gain = games.win_rate(game, policy)
  return mirror.mirror_step(policy, gain, step_size=step_size)


def constant(weight, t):
  """The step that one half of Nash-MP takes, as one of mirror descent."""
  del t
  return 2 / (1 + 2 * weight)


def falling(weight, t):
  """The schedule of the rates 1 / t."""
  return 2 / (weight * (t + 2))


# Method: its step, its step size f(weight, t), and its queries in a step.
METHODS: dict[str, tuple[Callable, Callable, int]] = {
  'nash_mp': (games.nash_mp_step, lambda weight, t: 0.0, 2),
  'egpo': (games.egpo_step, lambda weight, t: 1 / (weight + 3), 2),
  'inpo': (_anchored, constant, 1),
  'inpo_falling': (_anchored, falling, 1),
  'nash_md': (games.nash_md_step, constant, 1),
  'nash_md_falling': (games.nash_md_step, falling, 1),
  'sppo': (_unanchored, constant, 1),
}

FIGURE = Figure(
  y='KL, nats',
  x='queries',
  series='method',
  log='y',
  title='KL to the equilibrium of rock, paper, scissors',
)


def cells():
  methods = [name for name in METHODS if name != 'nash_md_falling']
  return over(method=methods, seed=range(8))


def path(method, game, start, ref, *, weight):
  """Queries i32[K + 1] and log-policies f32[K + 1, A] of a method."""
  step, size, cost = METHODS[method]
  count = QUERIES // cost

  def body(policy, t):
    # Nash-MP takes a step size of 0 for its own, which must not be traced.
    eta = size(weight, t)
    new = step(game, policy, ref, step_size=eta, weight=weight)
    return new, new

  later = jax.lax.scan(body, start, jnp.arange(count))[1]
  return cost * np.arange(count + 1), jnp.concatenate([start[None], later])


def _start(seed):
  key = jax.random.key(seed)
  drawn = jax.nn.log_softmax(2 * jax.random.normal(key, (3,)))
  return drawn if seed else jnp.asarray(START)


def run(seeds, *, method):
  """KL, gap and the largest share of the bound."""
  # The equilibrium is the reference.
  ref = jnp.full(3, -np.log(3), jnp.float32)

  def play(key, start):
    del key
    queries, policies = path(method, GAME, start, ref, weight=WEIGHT)
    divergence = jax.vmap(lambda p: games.kl(ref, p))(policies)
    bound = (1 + 2 * WEIGHT) ** (-queries / 2) * divergence[0]
    gap = games.regularised_gap(GAME, policies[-1], ref, weight=WEIGHT)
    return divergence, gap, jnp.max((divergence / bound)[1:])

  starts = jnp.stack([_start(seed) for seed in seeds])
  divergence, gap, share = tables.over_seeds(play, seeds, starts)
  # A KL of float32 log-probabilities is no smaller than about 1e-8.
  divergence = np.maximum(divergence, 1e-8)
  kept = slice(None, None, 20 // METHODS[method][2])
  queries = np.arange(0, QUERIES + 1, 20)
  return {
    'queries': np.tile(queries, (len(seeds), 1)),
    'KL, nats': divergence[:, kept],
    'final KL': divergence[:, -1],
    'final gap': np.maximum(gap, 0),
    'share of the bound': share,
  }
