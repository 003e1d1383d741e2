"""Stand-ins for the extras that recipes ask of their plans.

    key -> f(rng, rollouts) -> array with leading axis N

`rng` is a `numpy.random.Generator`; `rollouts` holds NumPy arrays. A recipe
that needs `extras:key` is tested on what the generator of `key` gives.

`OWN_REWARDS` are the keys that put other aims in the place of the verifier's
rewards; a recipe that needs one cannot be asked to improve those.
"""

import numpy as np

OWN_REWARDS = frozenset({'constraint_logp', 'form', 'gain', 'prefix_reward'})


def _ids(count):
  return lambda rng, rollouts: rng.integers(
    0, count, rollouts.group.shape[0]
  ).astype(np.int32)


def _token_ids(count):
  return lambda rng, rollouts: rng.integers(
    0, count, rollouts.content.response.shape
  ).astype(np.int32)


def _rows(scale=1.0):
  return lambda rng, rollouts: (
    scale * rng.random(rollouts.group.shape[0])
  ).astype(np.float32)


def _tokens(scale=1.0):
  return lambda rng, rollouts: (
    scale * rng.standard_normal(rollouts.content.response.shape)
  ).astype(np.float32)


def _of_groups(rng, rollouts):
  """One number for all rows of a group."""
  return rng.random(rollouts.group.shape[0]).astype('f')[rollouts.group]


def _tail(rng, rollouts):
  """The end of every third row, from its third token on."""
  del rng
  rows, tokens = (np.arange(n) for n in rollouts.content.response.shape)
  return (tokens > 1) & (rows % 3 == 1)[:, None]


def _hops(rng, rollouts):
  """One of two numbers of hops for all rows of a group."""
  del rng
  return (rollouts.group % 2).astype(np.int32)


def _places(rng, rollouts):
  """Which row of its group a row is."""
  del rng
  same = rollouts.group[:, None] == rollouts.group
  return np.sum(np.tril(same, -1), axis=1).astype(np.int32)


def _bundles(rng, rollouts):
  """Two groups in each bundle."""
  del rng
  return (rollouts.group // 2).astype(np.int32)


def _log_probs(*shape):
  def generate(rng, rollouts):
    rows, tokens = rollouts.content.response.shape
    sizes = {'N': rows, 'T': tokens, 'P': rollouts.content.prompt.shape[1]}
    full = [sizes.get(s, s) for s in shape]
    return -rng.exponential(1.0, full).astype(np.float32)

  return generate


GENERATORS = {
  'action_end': lambda rng, r: rng.random(r.content.response.shape) < 0.4,
  'agent': _ids(2),
  'agreement': _rows(),
  'anchor': _ids(2),
  'answer': _ids(3),
  'bundle': _bundles,
  'constraint_logp': _log_probs('N', 'T', 2),
  'coverage': _of_groups,
  'decision_reward': _tokens(),
  'demonstration_reward': _of_groups,
  'drift': _rows(0.1),
  'form': _rows(),
  'gain': lambda rng, r: rng.random((r.group.shape[0], 3)).astype('f'),
  'greedy_reward': _of_groups,
  'guide': _tail,
  'hops': _hops,
  'hidden_square': lambda rng, r: 1e4 * rng.random(r.content.response.shape),
  'information': _rows(),
  'item': _token_ids(4),
  'level': _token_ids(2),
  'node': _ids(3),
  'node_path': lambda rng, r: rng.integers(0, 2, (r.group.shape[0], 2)),
  'offline': lambda rng, r: _places(rng, r) == 1,
  'opponent': lambda rng, r: _places(rng, r) % 2 == 1,
  'paper': _places,
  'predicted_reward': _of_groups,
  'prefix_reward': _tokens(),
  'prefix_value': _tokens(),
  'prompt_logp': _log_probs('N', 'P'),
  'quality': _rows(),
  'resampled': _hops,
  'step': lambda rng, r: (_places(rng, r) % 2).astype(np.int32),
  'step_reward': _rows(),
  'tempered': lambda rng, r: _places(rng, r) % 4 == 3,
  'thought': lambda rng, r: rng.random(r.content.response.shape) < 0.5,
  'tool_calls': _ids(4),
  'tool_start': lambda rng, r: rng.integers(-1, 3, r.group.shape[0]).astype(
    np.int32
  ),
  'trajectory': lambda rng, r: (_places(rng, r) // 2).astype(np.int32),
  'turn': _token_ids(2),
}
