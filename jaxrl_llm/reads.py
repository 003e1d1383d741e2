"""What a part of a method may read beside its arguments: one table, one mark.

    @reads('old_logp', 'ref_logp')

A stage or a combiner finds what it reads in `rollouts.extras`; a part of an
objective (a surrogate, gate, score, cost or loss of rows) gets it by keyword.
A name says whose it is, everywhere:

    logp, values, ...           of the policy that is being differentiated
    old_logp, old_values, ...   of the policy at the start of the iteration
    ref_logp, teacher_logp, sampler_logp   of who they name

`Recipe.needs` unites what all of its parts read, and nothing else is computed.
What a plan of one's own adds to the rows is declared with `declare`. What is
made of whole distributions is a `digests.Digest` in the place of a name.

python -m jaxrl_llm.reads     writes docs/reads.md here
"""

from __future__ import annotations

import functools
import inspect
import pathlib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxrl_llm import digests, spelling
from jaxrl_llm.types import Array, Batch, Rollouts, Stats

PAGE = pathlib.Path('docs') / 'reads.md'
Draw = Callable[[np.random.Generator, tuple[int, ...], Rollouts], np.ndarray]
_KINDS = {'f32': np.float32, 'i8': np.int8, 'i32': np.int32, 'bool': bool}
# Axes that no array of the rollouts has, in examples.
_SIZES = {'C': 2, 'I': 3, 'L': 2, 'S': 4, 'V': 5}


class Read(NamedTuple):
  """A row of the table.

  Attributes:
    shape: such as 'f32[N, T]', in the letters of `types`; '' for a demand on
      the rows that comes with no array.
    by: who gives it: the 'policy' while it learns, a 'pass' before credit is
      assigned, the 'sampler', the 'plan', 'credit', the 'rows' themselves or
      the 'batch' of an optimizer step. The last three are always there.
    says: what it is, in one sentence.
    when: 'now', differentiated with the policy; 'old', of the policy at the
      start of the iteration; or 'constant'.
    get: f(stats, batch), where it does not stand under its own name.
    draw: f(rng, shape, rollouts) -> array in NumPy, an example for tests.
  """

  shape: str
  by: str
  says: str
  when: str = 'constant'
  get: Callable[[Stats, Batch], Array] | None = None
  draw: Draw | None = None

  @property
  def axes(self) -> tuple[str, ...]:
    """The letters of its shape."""
    return tuple(re.findall(r'[A-Z]', self.shape.partition('[')[2]))

  def example(self, rng: np.random.Generator, rollouts: Rollouts):
    """An array of its kind and shape for some rows, made up, in NumPy."""
    rows, columns = rollouts.content.response.shape
    prompt = rollouts.content.prompt.shape[1]
    sizes = _SIZES | {'N': rows, 'T': columns, 'P': prompt}
    kind = self.shape.partition('[')[0]
    draw = self.draw or _DRAWS[kind]
    shape = tuple(sizes[axis] for axis in self.axes)
    return draw(rng, shape, rollouts).astype(_KINDS[kind])


def reads(*names: str) -> Callable:
  """Marks a function, a class of stages or a partial as reading more.

  Adds to what another mark says. Who reads `group` compares the rows of a
  group, who reads `share` averages over the whole step: a microbatch then cuts
  neither.

  Raises:
    ValueError: a name that is not in the table.

  Example:
    >>> @reads('old_entropy')
    ... def sure(rewards, rollouts):
    ...   return rewards - rollouts.extras['old_entropy'].sum(axis=1)
    >>> sorted(reads_of(sure))
    ['old_entropy']
  """
  for name in names:
    find(name)

  def mark(part):
    before, more = inspect.getattr_static(part, 'reads', None), {*names}
    if isinstance(before, property):  # Of stages that read what they hold does.
      part.reads = property(lambda stage: before.__get__(stage) | more)
    else:
      part.reads = reads_of(part) | more
    return part

  return mark


def reads_of(part) -> frozenset[str]:
  """What a function, a partial of one, a stage or any other part reads."""
  while isinstance(part, functools.partial) and not hasattr(part, 'reads'):
    part = part.func
  return frozenset(getattr(part, 'reads', ()))


def united(parts: Iterable) -> frozenset[str]:
  """What any of the parts reads."""
  return frozenset().union(*map(reads_of, parts))


def given(part: Callable, stats: Stats, batch: Batch) -> dict[str, Array]:
  """The keywords of a part of an objective."""
  return {
    name: _array(name, stats, batch)
    for name in sorted(reads_of(part))
    if find(name).shape
  }


def chosen(part: Callable, arrays: Mapping[str, Array]) -> dict[str, Array]:
  """The keywords of a part, of those that its whole was given."""
  return {n: arrays[n] for n in reads_of(part) if find(n).shape}


def find(name: str) -> Read:
  """The row of the table.

  Raises:
    ValueError: there is none; it says how to declare one.
  """
  if isinstance(name, digests.Digest):
    return Read(
      'f32[N, T, D]',
      'pass' if name.when == 'old' else 'policy',
      'Made of whole rows of log-probs.',
      name.when,
    )
  if name not in _TABLE:
    near = spelling.nearest(name, _TABLE)
    hint = f'did you mean {near!r}? ' if near else ''
    raise ValueError(
      f'{name!r} is not in the table of what can be read; {hint}What a plan of '
      f"yours adds is declared by reads.declare({name!r}, 'f32[N]', 'What it "
      "is.')"
    )
  return _TABLE[name]


def names() -> tuple[str, ...]:
  """All that can be read."""
  return tuple(_TABLE)


# Who gives what not every iteration has.
ASKED = ('policy', 'pass', 'sampler', 'plan')


def provided(wanted: Iterable[str], *by: str) -> frozenset[str]:
  """Those of the names that one of these gives."""
  return frozenset(name for name in wanted if find(name).by in by)


def statistics(wanted: Iterable[str], *when: str) -> frozenset[str]:
  """The fields of `Stats`, beside log-probs, behind some names.

  Args:
    when: 'now' or 'old'; by default either.
  """
  when = when or ('now', 'old')
  fields = {field(n) for n in wanted if find(n).when in when}
  return frozenset(fields - {'logp', 'last_value'})


def field(name: str) -> str:
  """What a policy says to give what is read now or of the old one."""
  if isinstance(name, digests.Digest):
    return name.now
  return name.removeprefix('old_')


def declare(
  name: str, shape: str, says: str, *, draw: Draw | None = None
) -> None:
  """Adds what a plan of one's own provides, under `rollouts.extras[name]`.

  Args:
    shape: such as 'f32[N]' or 'bool[N, T]'. An axis T has one entry for each
      decision, and is cut where rows are learned in narrow programs.
    says: one sentence. draw: an example's numbers, see `Read`; by default
      normal, one of 0 to 2, or a coin.

  Raises:
    ValueError: a shape that does not begin with N, or a name that is taken.
  """
  read = _of_plan(shape, says, draw)
  if read.axes[:1] != ('N',):
    raise ValueError(
      f'{name!r} of shape {shape!r} does not begin with the rows; write it '
      "like 'f32[N]' or 'bool[N, T]'"
    )
  if name in _TABLE and _TABLE[name][:3] != read[:3]:
    raise ValueError(
      f'{name!r} is declared already, as {_TABLE[name].shape}: '
      f'{_TABLE[name].says} Take another name'
    )
  _TABLE[name] = read


def _array(name: str, stats: Stats, batch: Batch) -> Array:
  read = find(name)
  if read.get:
    return read.get(stats, batch)
  places = {
    'credit': batch.credit,
    'rows': batch.rollouts,
    'batch': batch,
  }
  if read.by == 'policy':
    return stats.said(name)
  if read.by in places:
    return getattr(places[read.by], name)
  return batch.rollouts.extras[name]


def _local_ids(stats, batch):
  del stats
  return digests.local(batch.rollouts.group)


# Numbers of examples, f(rng, shape, rollouts).


def _below(high, low=0):
  return lambda rng, shape, _: rng.integers(low, high, shape)


def _odds(chance):
  return lambda rng, shape, _: rng.random(shape) < chance


def _uniform(scale=1.0):
  return lambda rng, shape, _: scale * rng.random(shape)


def _normal(rng, shape, rollouts):
  del rollouts
  return rng.standard_normal(shape)


def _log_chance(rng, shape, rollouts):
  del rollouts
  return -rng.exponential(1.0, shape)


def _of_groups(rng, shape, rollouts):
  """One number for all rows of a group."""
  return rng.random(shape)[rollouts.group]


def _group_over(count):
  return lambda rng, shape, rollouts: rollouts.group // count


def _parity(rng, shape, rollouts):
  """One of two numbers for all rows of a group."""
  del rng, shape
  return rollouts.group % 2


def _places(rng, shape, rollouts):
  """Which row of its group a row is."""
  del rng, shape
  same = rollouts.group[:, None] == rollouts.group
  return np.sum(np.tril(same, -1), axis=1)


def _pairs(rng, shape, rollouts):
  """Two rows of a group each."""
  place = _places(rng, shape, rollouts) // 2
  pair = rollouts.group * shape[0] + place
  return np.unique(pair, return_inverse=True)[1]


def _two_of_them(rng, shape, rollouts):
  """Two entries of three or more each, and no others."""
  del rollouts
  named = np.full(shape, -1)
  named[..., 0] = rng.integers(0, 3, shape[:-1])
  named[..., 1] = (named[..., 0] + rng.integers(1, 3, shape[:-1])) % 3
  return rng.permuted(named, axis=-1)


def _log_shares(rng, shape, rollouts):
  """Logarithms of numbers that add up to less than 1."""
  del rollouts
  share = rng.exponential(1.0, (*shape[:-1], shape[-1] + 1))
  return np.log(share / share.sum(axis=-1, keepdims=True))[..., :-1]


def _of_places(fn):
  return lambda *given: fn(_places(*given))


def _tail(rng, shape, rollouts):
  """The end of every third row, from its third token on."""
  del rng, rollouts
  rows, tokens = (np.arange(n) for n in shape)
  return (tokens > 1) & (rows % 3 == 1)[:, None]


def _head(rng, shape, rollouts):
  """The beginning of two rows in three, of two tokens."""
  del rng, rollouts
  rows, tokens = (np.arange(n) for n in shape)
  return (tokens < 2) & (rows % 3 > 0)[:, None]


def _of_plan(shape, says, draw=None):
  return Read(shape, 'plan', says, draw=draw)


_DRAWS = {
  'f32': _normal,
  'i8': _below(3),
  'i32': _below(3),
  'bool': _odds(0.4),
}

# What a policy says of decisions: each now, and of the old policy as a pass.
_OF_POLICY = {
  'logp': ('f32[N, T]', 'Log-probs of the decisions, nats.'),
  'entropy': ('f32[N, T]', 'Nats of the distribution of each decision.'),
  'values': (
    'f32[N, T]',
    'What a critic says before each decision; [N, T, ...] now, where it '
    'answers more than a number.',
  ),
  'after_values': (
    'f32[N, T]',
    'The same, once a decision is made and before anything answers it.',
  ),
  'log_probs': ('f32[N, T, V]', 'Log-probs of all that could be decided.'),
}
_TABLE: dict[str, Read] = {
  **{n: Read(x, 'policy', says, 'now') for n, (x, says) in _OF_POLICY.items()},
  **{
    f'old_{name}': Read(shape, 'pass', f'`{name}` of the old policy.', 'old')
    for name, (shape, _) in _OF_POLICY.items()
  },
}
# The learner may take its own log-probs for the old ones, see `Batch.fresh`.
_TABLE['old_logp'] = _TABLE['old_logp']._replace(
  get=lambda stats, batch: batch.old_logp
)
_TABLE |= {
  'old_last_value': Read(
    'f32[N]',
    'pass',
    'What the critic says after the last decision, 0 where the row ended; '
    'comes with `old_values`, from policies that give one.',
    'old',
  ),
  'ref_logp': Read('f32[N, T]', 'pass', 'Log-probs under the reference.'),
  'sampler_logp': Read(
    'f32[N, T]',
    'sampler',
    'Log-probs of the decisions as they were sampled; `rollouts.logp`.',
    get=lambda stats, batch: batch.rollouts.logp,
  ),
  'own_samples': Read(
    '', 'sampler', 'No array: the rows are samples of the policy itself.'
  ),
  'log_mass': Read(
    'f32[N, T]', 'sampler', 'Log of the mass that truncation kept.'
  ),
  'support': Read(
    'i32[N, T, S]', 'sampler', 'Tokens that truncation kept, where asked; -1.'
  ),
  'routes': Read(
    'i8[N, T, L, S]',
    'sampler',
    'Experts of the token before each decision, where asked; -1.',
  ),
  'rewards': Read('f32[N]', 'credit', 'What the credit stages made of scores.'),
  'components': Read('f32[N, K]', 'credit', 'Scores of the verifiers.'),
  'preference': Read(
    'f32[N, G]', 'credit', 'P(row beats the j-th row of its group).'
  ),
  'keep': Read('f32[N]', 'credit', 'The weight of a row; 0 drops it.'),
  'valid': Read('bool[N]', 'rows', 'Rows that count.'),
  'task': Read('i32[N]', 'rows', 'Rows of the table of questions.'),
  'group': Read(
    'i32[N]', 'rows', 'Rows of equal ids are compared.', get=_local_ids
  ),
  'tokens': Read(
    'i32[N, T]',
    'rows',
    'The response; `rollouts.content.response`.',
    get=lambda stats, batch: batch.rollouts.content.response,
  ),
  'share': Read(
    'f32[N, T]', 'batch', "Each token's share of the step's tokens."
  ),
  'row_weights': Read(
    'f32[N]', 'batch', 'What a row weighs in a loss of whole responses.'
  ),
}

_TABLE |= {
  'action_end': _of_plan(
    'bool[N, T]', "The last token of each of an agent's actions."
  ),
  'agent': _of_plan('i32[N]', 'Who of several agents acts.', _below(2)),
  'agreement': _of_plan(
    'f32[N]',
    'How often the other wordings of a question were answered alike.',
    _uniform(),
  ),
  'anchor': _of_plan('i32[N]', 'The state that a step begins in.', _below(2)),
  'answer': _of_plan(
    'i32[N]', 'Equal where the final answers are the same text.'
  ),
  'assigned': _of_plan(
    'bool[N]',
    'Rows whose beginning was assigned.',
    _of_places(lambda place: place % 4 < 3),
  ),
  'auxiliary': _of_plan(
    'f32[N]', 'Above 1/2 where a response uses a device.', _uniform()
  ),
  'beginning': _of_plan(
    'i32[N]',
    'Which of several beginnings a response has, -1 none.',
    _below(3, -1),
  ),
  'begun': _of_plan(
    'bool[N, T]', 'Tokens of a beginning that was assigned.', _head
  ),
  'budget': _of_plan(
    'f32[N]', 'Tokens that a response is allowed.', _below(6, 1)
  ),
  'bundle': _of_plan(
    'i32[N]', 'Questions that are judged together.', _group_over(2)
  ),
  'candidates': _of_plan(
    'i32[N, T, S]',
    'Tokens that distributions are compared on, different ones; -1 none.',
    _two_of_them,
  ),
  'constraint_logp': _of_plan(
    'f32[N, T, C]',
    'Log-probs under the policies of the constraints.',
    _log_chance,
  ),
  'copies': _of_plan(
    'i32[N]', 'How often a turn counts, of as many in each episode.', _below(3)
  ),
  'coverage': _of_plan(
    'f32[N]', 'How much of its demonstration the policy knows.', _of_groups
  ),
  'decision_reward': _of_plan('f32[N, T]', 'What single decisions earn.'),
  'demonstration_reward': _of_plan(
    'f32[N]', 'What the demonstration of the question earns.', _of_groups
  ),
  'demonstrated': _of_plan(
    'bool[N]', 'Recorded rows of which none is better than another.'
  ),
  'diversity': _of_plan(
    'f32[N]', 'How varied the words of a response are.', _uniform()
  ),
  'drift': _of_plan(
    'f32[N]',
    'How far the policy moved since it was last asked, nats per token.',
    _uniform(0.1),
  ),
  'earlier': _of_plan(
    'bool[N, T]', 'Tokens that a policy of earlier iterations chose.', _head
  ),
  'episode': _of_plan(
    'i32[N]',
    'The episode of a program that a row is of, in [0, N).',
    _pairs,
  ),
  'flawed': _of_plan(
    'f32[N]', 'What a judge finds wrong in the steps to an answer.', _uniform()
  ),
  'exit': _of_plan(
    'i32[N]', 'After which part of a thought it was broken off, from 0.'
  ),
  'compared': _of_plan(
    'i32[N]', 'Rows with equal numbers are compared.', _below(3)
  ),
  'form': _of_plan('f32[N]', 'How well a response keeps its form.', _uniform()),
  'gain': _of_plan('f32[N, I]', 'What each place of a list earns.', _uniform()),
  'greedy_reward': _of_plan(
    'f32[N]', "What the policy's greedy response earns.", _of_groups
  ),
  'guide': _of_plan('bool[N, T]', 'Tokens that a guide wrote.', _tail),
  'heat': _of_plan(
    'f32[N]',
    "A row's temperature over that of the run, one for all that have another.",
    lambda rng, shape, rollouts: np.where(rollouts.group % 3 == 2, 0.8, 1.0),
  ),
  'hidden_square': _of_plan(
    'f32[N, T]', '|h|^2 of the state that a token is drawn from.', _uniform(1e4)
  ),
  'hops': _of_plan('i32[N]', 'Steps that a question takes.', _parity),
  'implicit_reward': _of_plan(
    'f32[N, T]', 'What a second policy that learns says a token earns.'
  ),
  'information': _of_plan(
    'f32[N]', "The entropy of a response's words, nats.", _uniform()
  ),
  'item': _of_plan(
    'i32[N, T]', 'The place in a list that a token belongs to.', _below(4)
  ),
  'justified': _of_plan(
    'f32[N]',
    'By how much a judge prefers the evidence for a response to that for '
    "a baseline's.",
  ),
  'level': _of_plan(
    'i32[N, T]', 'The edge of a tree that a token lies on.', _below(2)
  ),
  'node': _of_plan('i32[N]', 'The node of a graph that a step is taken in.'),
  'node_path': _of_plan(
    'i32[N, L]', 'The child taken at each level.', _below(2)
  ),
  'offline': _of_plan(
    'bool[N]',
    'Rows that another policy wrote.',
    _of_places(lambda place: place == 1),
  ),
  'opponent': _of_plan(
    'bool[N]',
    "Rows of the policy's opponent.",
    _of_places(lambda place: place % 2 == 1),
  ),
  'proposed': _of_plan(
    'bool[N]',
    'Questions that the policy proposes.',
    _of_places(lambda place: place == 0),
  ),
  'paper': _of_plan(
    'i32[N]', 'Responses of a bundle that make one whole.', _places
  ),
  'predicted_reward': _of_plan(
    'f32[N]', 'What the data expects a response to earn.', _of_groups
  ),
  'prefix_reward': _of_plan(
    'f32[N, T]', 'Log R of what stands before each token.'
  ),
  'prefix_value': _of_plan('f32[N, T]', 'What continuations of a prefix earn.'),
  'prompt_logp': _of_plan(
    'f32[N, P]', "Log-probs of the prompt's tokens.", _log_chance
  ),
  'prompt_odds': _of_plan(
    'f32[N]',
    'Odds that a prompt is that of a good response.',
    lambda *given: 3 * _of_groups(*given),
  ),
  'quality': _of_plan('f32[N]', 'A fine score beside the reward.', _uniform()),
  'recorded': _of_plan('bool[N]', 'Rows that the data holds.'),
  'refined': _of_plan(
    'f32[N]', 'How often a solver is right after a critique.', _uniform()
  ),
  'replayed': _of_plan(
    'bool[N]',
    'Rows of an earlier iteration.',
    _of_places(lambda place: place == 0),
  ),
  'resampled': _of_plan(
    'i32[N]', 'The turn at which the rows of a group part.', _parity
  ),
  'role': _of_plan(
    'i32[N]', 'What kind of row it is: 0 a thought, 1 an answer.', _below(2)
  ),
  'segment': _of_plan(
    'i32[N, T]', 'The part of a thought that a token lies in, from 0.'
  ),
  'single': _of_plan(
    'bool[N]',
    'Rows that are a single step.',
    lambda rng, shape, rollouts: rollouts.group % 2 == 1,
  ),
  'span_reward': _of_plan(
    'f32[N, T]', 'What is said of the span that a token is in, or ends.'
  ),
  'step': _of_plan(
    'i32[N]',
    'When a step of a trajectory is taken.',
    _of_places(lambda place: place % 2),
  ),
  'step_end': _of_plan('bool[N, T]', 'The last tokens of steps.'),
  'step_reward': _of_plan('f32[N]', 'What a single step earns.', _uniform()),
  'stop': _of_plan(
    'i32[N]',
    'Why an episode ended, a place in `tasks.environments.STOPS`.',
    _below(11),
  ),
  'teacher_candidates': _of_plan(
    'f32[N, T, S]',
    'Log-probs of the candidates under the teacher; 0 of none.',
    _log_shares,
  ),
  'teacher_logp': _of_plan(
    'f32[N, T]', 'Log-probs under the teacher.', _log_chance
  ),
  'thought': _of_plan(
    'bool[N, T]', 'Tokens that reason before an action.', _odds(0.5)
  ),
  'tool_calls': _of_plan('i32[N]', 'Calls of a tool.', _below(4)),
  'tool_start': _of_plan(
    'i32[N]',
    'Where the first call of a tool begins, -1 without.',
    _below(3, -1),
  ),
  'trajectory': _of_plan(
    'i32[N]',
    'The trajectory that a step belongs to.',
    _of_places(lambda place: place // 2),
  ),
  'turn': _of_plan('i32[N, T]', 'The turn that a token belongs to.', _below(2)),
  'unfinished': _of_plan(
    'bool[N]', 'Rows that go on in the next iteration.', _odds(0.4)
  ),
}


def page() -> str:
  """`docs/reads.md`."""
  rows = [
    f'| `{name}` | `{read.shape or "-"}` | {read.when} | {read.by} | '
    f'{read.says.replace("|", chr(92) + "|")} |'
    for name, read in _TABLE.items()
  ]
  lines = [
    '# What can be read',
    '',
    'One row a name of `@reads(...)`; written by `python -m jaxrl_llm.reads`.',
    'N rows, T decisions, P prompt tokens, V vocabulary, K scores, G rows of',
    'a group, C constraints, I items of a list, L levels of a tree, S tokens',
    'kept or named. What is read now is of the policy that learns, with its',
    'slope; what is old, of that at the start of the iteration. A stage finds',
    'a pass, and what the plan or the sampler gives, in `rollouts.extras`; a',
    'part of an objective gets whatever it reads by keyword.',
    '',
    '| name | shape | whose | given by | what it is |',
    '|---|---|---|---|---|',
    *rows,
    '',
  ]
  return '\n'.join(lines)


def main() -> None:
  PAGE.parent.mkdir(exist_ok=True)
  PAGE.write_text(page(), encoding='utf-8')
  print(f'wrote {len(_TABLE)} names to {PAGE.resolve()}')


if __name__ == '__main__':
  main()


def of_shape(part: Callable, value: Array, shape: tuple[int, ...]) -> Array:
  """What a part returned, which must not be broadcast.

  A scalar, or one number a row where tokens have one each, would be counted as
  often as it is repeated.

  Raises:
    ValueError: another shape.
  """
  found = jnp.shape(value)
  if found != shape:
    while isinstance(part, functools.partial):
      part = part.func
    name = getattr(part, '__qualname__', type(part).__name__)
    each = 'token' if len(shape) == 2 else 'row'
    raise ValueError(
      f'{name} returned an array of shape {list(found)}, and it must return '
      f'one number for each {each}, of shape {list(shape)}; sums and means '
      'are left to the aggregator'
    )
  return value
