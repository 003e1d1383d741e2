"""What can be read beside the arguments of a part: one table, see `reads`."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from jaxrl_llm import digests, made_up
from jaxrl_llm.types import Array, Batch, Rollouts, Stats

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
    draw = self.draw or made_up.BY_KIND[kind]
    shape = tuple(sizes[axis] for axis in self.axes)
    return draw(rng, shape, rollouts).astype(_KINDS[kind])


def of_plan(shape: str, says: str, draw: Draw | None = None) -> Read:
  """A row of what a plan adds to `rollouts.extras`."""
  return Read(shape, 'plan', says, draw=draw)


def _local_ids(stats, batch):
  del stats
  return digests.local(batch.rollouts.group)


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
TABLE: dict[str, Read] = {
  **{n: Read(x, 'policy', says, 'now') for n, (x, says) in _OF_POLICY.items()},
  **{
    f'old_{name}': Read(shape, 'pass', f'`{name}` of the old policy.', 'old')
    for name, (shape, _) in _OF_POLICY.items()
  },
}
# The learner may take its own log-probs for the old ones, see `Batch.fresh`.
TABLE['old_logp'] = TABLE['old_logp']._replace(
  get=lambda stats, batch: batch.old_logp
)
TABLE |= {
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

TABLE |= {
  'action_end': of_plan(
    'bool[N, T]', "The last token of each of an agent's actions."
  ),
  'agent': of_plan('i32[N]', 'Who of several agents acts.', made_up.below(2)),
  'agreement': of_plan(
    'f32[N]',
    'How often the other wordings of a question were answered alike.',
    made_up.uniform(),
  ),
  'anchor': of_plan(
    'i32[N]', 'The state that a step begins in.', made_up.below(2)
  ),
  'answer': of_plan(
    'i32[N]', 'Equal where the final answers are the same text.'
  ),
  'assigned': of_plan(
    'bool[N]',
    'Rows whose beginning was assigned.',
    made_up.of_places(lambda place: place % 4 < 3),
  ),
  'auxiliary': of_plan(
    'f32[N]', 'Above 1/2 where a response uses a device.', made_up.uniform()
  ),
  'beginning': of_plan(
    'i32[N]',
    'Which of several beginnings a response has, -1 none.',
    made_up.below(3, -1),
  ),
  'begun': of_plan(
    'bool[N, T]', 'Tokens of a beginning that was assigned.', made_up.head
  ),
  'budget': of_plan(
    'f32[N]', 'Tokens that a response is allowed.', made_up.below(6, 1)
  ),
  'bundle': of_plan(
    'i32[N]', 'Questions that are judged together.', made_up.group_over(2)
  ),
  'candidates': of_plan(
    'i32[N, T, S]',
    'Tokens that distributions are compared on, different ones; -1 none.',
    made_up.two_of_them,
  ),
  'constraint_logp': of_plan(
    'f32[N, T, C]',
    'Log-probs under the policies of the constraints.',
    made_up.log_chance,
  ),
  'copies': of_plan(
    'i32[N]',
    'How often a turn counts, of as many in each episode.',
    made_up.below(3),
  ),
  'coverage': of_plan(
    'f32[N]',
    'How much of its demonstration the policy knows.',
    made_up.of_groups,
  ),
  'decision_reward': of_plan('f32[N, T]', 'What single decisions earn.'),
  'demonstration_reward': of_plan(
    'f32[N]', 'What the demonstration of the question earns.', made_up.of_groups
  ),
  'demonstrated': of_plan(
    'bool[N]', 'Recorded rows of which none is better than another.'
  ),
  'diversity': of_plan(
    'f32[N]', 'How varied the words of a response are.', made_up.uniform()
  ),
  'drift': of_plan(
    'f32[N]',
    'How far the policy moved since it was last asked, nats per token.',
    made_up.uniform(0.1),
  ),
  'earlier': of_plan(
    'bool[N, T]',
    'Tokens that a policy of earlier iterations chose.',
    made_up.head,
  ),
  'episode': of_plan(
    'i32[N]',
    'The episode of a program that a row is of, in [0, N).',
    made_up.pairs,
  ),
  'first_rate': of_plan(
    'f32[N]',
    'The share of right responses of the first policy to a question.',
    made_up.uniform(),
  ),
  'flawed': of_plan(
    'f32[N]',
    'What a judge finds wrong in the steps to an answer.',
    made_up.uniform(),
  ),
  'exit': of_plan(
    'i32[N]', 'After which part of a thought it was broken off, from 0.'
  ),
  'compared': of_plan(
    'i32[N]', 'Rows with equal numbers are compared.', made_up.below(3)
  ),
  'form': of_plan(
    'f32[N]', 'How well a response keeps its form.', made_up.uniform()
  ),
  'gain': of_plan(
    'f32[N, I]', 'What each place of a list earns.', made_up.uniform()
  ),
  'greedy_reward': of_plan(
    'f32[N]', "What the policy's greedy response earns.", made_up.of_groups
  ),
  'guide': of_plan('bool[N, T]', 'Tokens that a guide wrote.', made_up.tail),
  'heat': of_plan(
    'f32[N]',
    "A row's temperature over that of the run, one for all that have another.",
    lambda rng, shape, rollouts: np.where(rollouts.group % 3 == 2, 0.8, 1.0),
  ),
  'hidden_square': of_plan(
    'f32[N, T]',
    '|h|^2 of the state that a token is drawn from.',
    made_up.uniform(1e4),
  ),
  'hops': of_plan('i32[N]', 'Steps that a question takes.', made_up.parity),
  'implicit_reward': of_plan(
    'f32[N, T]', 'What a second policy that learns says a token earns.'
  ),
  'information': of_plan(
    'f32[N]', "The entropy of a response's words, nats.", made_up.uniform()
  ),
  'item': of_plan(
    'i32[N, T]',
    'The place in a list that a token belongs to.',
    made_up.below(4),
  ),
  'justified': of_plan(
    'f32[N]',
    'By how much a judge prefers the evidence for a response to that for '
    "a baseline's.",
  ),
  'level': of_plan(
    'i32[N, T]', 'The edge of a tree that a token lies on.', made_up.below(2)
  ),
  'node': of_plan('i32[N]', 'The node of a graph that a step is taken in.'),
  'node_path': of_plan(
    'i32[N, L]', 'The child taken at each level.', made_up.below(2)
  ),
  'offline': of_plan(
    'bool[N]',
    'Rows that another policy wrote.',
    made_up.of_places(lambda place: place == 1),
  ),
  'opponent': of_plan(
    'bool[N]',
    "Rows of the policy's opponent.",
    made_up.of_places(lambda place: place % 2 == 1),
  ),
  'overlap': of_plan(
    'f32[N, C]',
    'How alike each step from the same node is, in [0, 1].',
    made_up.uniform(),
  ),
  'proposed': of_plan(
    'bool[N]',
    'Questions that the policy proposes.',
    made_up.of_places(lambda place: place == 0),
  ),
  'paper': of_plan(
    'i32[N]', 'Responses of a bundle that make one whole.', made_up.places
  ),
  'predicted_reward': of_plan(
    'f32[N]', 'What the data expects a response to earn.', made_up.of_groups
  ),
  'prefix_reward': of_plan(
    'f32[N, T]', 'Log R of what stands before each token.'
  ),
  'prefix_value': of_plan('f32[N, T]', 'What continuations of a prefix earn.'),
  'prompt_logp': of_plan(
    'f32[N, P]', "Log-probs of the prompt's tokens.", made_up.log_chance
  ),
  'prompt_odds': of_plan(
    'f32[N]',
    'Odds that a prompt is that of a good response.',
    made_up.odds_of_groups,
  ),
  'quality': of_plan(
    'f32[N]', 'A fine score beside the reward.', made_up.uniform()
  ),
  'recorded': of_plan('bool[N]', 'Rows that the data holds.'),
  'refined': of_plan(
    'f32[N]', 'How often a solver is right after a critique.', made_up.uniform()
  ),
  'resampled': of_plan(
    'i32[N]', 'The turn at which the rows of a group part.', made_up.parity
  ),
  'role': of_plan(
    'i32[N]',
    'What kind of row it is: 0 a thought, 1 an answer.',
    made_up.below(2),
  ),
  'segment': of_plan(
    'i32[N, T]', 'The part of a thought that a token lies in, from 0.'
  ),
  'single': of_plan(
    'bool[N]',
    'Rows that are a single step.',
    made_up.odd_groups,
  ),
  'span_reward': of_plan(
    'f32[N, T]', 'What is said of the span that a token is in, or ends.'
  ),
  'step': of_plan(
    'i32[N]',
    'When a step of a trajectory is taken.',
    made_up.of_places(lambda place: place % 2),
  ),
  'step_end': of_plan('bool[N, T]', 'The last tokens of steps.'),
  'step_reward': of_plan(
    'f32[N]', 'What a single step earns.', made_up.uniform()
  ),
  'stop': of_plan(
    'i32[N]',
    'Why an episode ended, a place in `tasks.environments.STOPS`.',
    made_up.below(11),
  ),
  'teacher_candidates': of_plan(
    'f32[N, T, S]',
    'Log-probs of the candidates under the teacher; 0 of none.',
    made_up.log_shares,
  ),
  'teacher_logp': of_plan(
    'f32[N, T]', 'Log-probs under the teacher.', made_up.log_chance
  ),
  'thought': of_plan(
    'bool[N, T]', 'Tokens that reason before an action.', made_up.odds(0.5)
  ),
  'tool_calls': of_plan('i32[N]', 'Calls of a tool.', made_up.below(4)),
  'tool_start': of_plan(
    'i32[N]',
    'Where the first call of a tool begins, -1 without.',
    made_up.below(3, -1),
  ),
  'trajectory': of_plan(
    'i32[N]',
    'The trajectory that a step belongs to.',
    made_up.of_places(lambda place: place // 2),
  ),
  'turn': of_plan(
    'i32[N, T]', 'The turn that a token belongs to.', made_up.below(2)
  ),
  'unfinished': of_plan(
    'bool[N]', 'Rows that go on in the next iteration.', made_up.odds(0.4)
  ),
}
