"""Ranks of an attention, chosen by what a segment needs.

  python -m experiments.sweep --all \\
      --study=experiments/ablations/dynamic_ranks.py

Dynamic Rank RL (arXiv 2512.15973) claims that a policy which sees the spectrum
of queries and keys keeps the fidelity of full attention at less cost than any
rank that is fixed.

The environment `ranks` at its defaults: 64 sequences of 8 segments, of 2 or 14
dimensions and noise, 8 ranks. PPO with a softmax policy, 600 iterations of 64
rows, entropy weights from 0 to 0.1. Measured, on all sequences: the return of
the most probable ranks, of the best fixed rank, of full rank, and of the
optimum, which knows all segments beforehand; and the share of the way from the
best fixed rank to the optimum. Expected: between the two.
"""

import functools
import pathlib
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np

from experiments.ablations.study import Figure, over
from experiments.configs import control
from jaxrl_llm import problems
from jaxrl_llm.environments import base
from jaxrl_llm.environments.ranks import Ranks
from jaxrl_llm.policies.categorical import Softmax
from jaxrl_llm.policies.protocol import initial
from jaxrl_llm.problems.control import policy_of
from jaxrl_llm.training import compact

STEPS = 600
FIGURE = Figure(
  y='return', x='entropy', title='return of the most probable ranks'
)


def cells():
  return over(entropy=[0.0, 0.01, 0.03, 0.1], seed=range(5))


def run(seeds, *, entropy):
  """Returns after training, and what they are held against."""
  config = control.get_config('ppo')
  with config.unlocked():
    config.environment.name = 'ranks'
    config.recipe.entropy_weight = entropy
    config.steps = STEPS
  session, _ = problems.assemble(config, pathlib.Path('.'))
  environment = Ranks()
  policy = cast(Softmax, policy_of(environment, config, session.recipe))
  states, _ = compact.seeds(
    session,
    functools.partial(initial, policy.table()),
    STEPS,
    jnp.asarray(list(seeds), jnp.int32),
  )
  tasks = jnp.arange(environment.sequences)

  @jax.jit
  def played(params):
    def choose(state, key):
      del key
      seen, legal = environment.observe(state), environment.legal(state)
      return policy.mode(params, seen, legal)

    return base.returns(environment, choose, tasks, jax.random.key(0)).mean()

  found = np.array(jax.vmap(played)(states.params))
  fixed = [environment.fixed_return(r).mean() for r in environment.ranks]
  best, most = max(fixed), environment.optimal_return.mean()
  every = np.ones(len(found))
  return {
    'return': found,
    'share of the way': (found - best) / (most - best),
    'best fixed': best * every,
    'full rank': fixed[-1] * every,
    'optimum': most * every,
  }
