"""What every logged number means, once: its equation, unit, bounds and a word.

python -m jaxrl_llm.training.metrics     writes docs/metrics.md here

A name in capitals inside a metric's name stands for any word. What a plan of
one's own notes is not in the table, and is logged all the same.
"""

from __future__ import annotations

import math
import pathlib
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

PAGE = pathlib.Path('docs') / 'metrics.md'


class Metric(NamedTuple):
  """One row of the table.

  Attributes:
    equation: in ASCII. unit: '1' where it has none. says: one sentence.
    low, high: between which it lies, whatever the recipe.
  """

  equation: str
  unit: str
  says: str
  low: float = -math.inf
  high: float = math.inf


def _share(equation: str, says: str) -> Metric:
  return Metric(equation, '1', says, 0.0, 1.0)


def _count(equation: str, unit: str, says: str) -> Metric:
  return Metric(equation, unit, says, 0.0)


def _seconds(says: str) -> Metric:
  return Metric('clock', 's', says, 0.0)


def _interval(name: str, metric: Metric) -> dict[str, Metric]:
  """A rate with the ends of its interval."""
  ends = {
    end: _share(f'{end} end of the Wilson interval', f'Of `{name}`, at 95 %.')
    for end in ('low', 'high')
  }
  return {name: metric} | {f'{name}/{end}': m for end, m in ends.items()}


# The means over pairs that training and evaluation share.
_PAIRS = {
  'preference/accuracy': _share(
    'mean over pairs of [s+ > s-] + [s+ = s-] / 2',
    'How often the better response of a pair is rated higher.',
  ),
  'preference/margin': Metric(
    'mean over pairs of s+ - s-',
    'rating',
    'By how much it is rated higher.',
  ),
  'preference/chosen_logp': Metric(
    'mean over pairs of log pi(y+)',
    'nats',
    'Log-prob of the better response.',
  ),
  'preference/rejected_logp': Metric(
    'mean over pairs of log pi(y-)',
    'nats',
    'Log-prob of the worse response.',
  ),
  'preference/information': _count(
    'mean over groups of sum_i w_i log(n w_i), w ~ e^s over n responses',
    'nats',
    'How unevenly the policy has come to rate the responses of a group.',
  ),
}

_TABLE: dict[str, Metric] = {
  # What was sampled, and what it earned.
  'reward/mean': Metric(
    'mean over valid rows of sum_k w_k c_k',
    'reward',
    'What the verifiers gave, combined by their weights, before the method '
    'makes anything of it; absent without verifiers.',
  ),
  'reward/std': Metric(
    'spread over valid rows of sum_k w_k c_k',
    'reward',
    'How much the responses of one iteration differ in it.',
    0.0,
  ),
  'reward/low': Metric(
    'min over valid rows of sum_k w_k c_k',
    'reward',
    'The least that a response of the iteration was given.',
  ),
  'reward/high': Metric(
    'max over valid rows of sum_k w_k c_k',
    'reward',
    'The most that a response of the iteration was given.',
  ),
  'reward/shaped': Metric(
    'mean over valid rows of credit.rewards',
    'reward',
    'What the combiner and the credit stages made of the rewards: what '
    'advantages are computed from.',
  ),
  'score/VERIFIER': Metric(
    'mean over valid rows of c_k',
    'score',
    'What one verifier gave.',
  ),
  'accuracy': _share(
    'share of valid rows with c_1 > 1/2',
    'How many sampled responses the first verifier calls right.',
  ),
  'response/length': _count(
    'mean over rows', 'tokens', "Tokens of a response, a tool's included."
  ),
  'response/truncated': _share(
    'share of rows', 'How many responses the token budget ended.'
  ),
  'rows/valid': _share(
    'share of rows', 'How many rows count: no padding, no failed verifier.'
  ),
  'tokens/sampled': _count(
    'sum of action_mask', 'tokens', 'What the policy chose.'
  ),
  # The same by source, where there are several.
  'source/NAME/share': _share(
    'share of rows', 'How many rows are of a source.'
  ),
  'source/NAME/reward': Metric(
    'mean over its valid rows of sum_k w_k c_k', 'reward', 'What they earned.'
  ),
  'source/NAME/accuracy': _share(
    'share of its valid rows with c_1 > 1/2', 'How many of them are right.'
  ),
  # What the policy learned from it: means over optimizer steps.
  'tokens/learned': _count(
    'tokens of weight > 0, summed over optimizer steps',
    'tokens',
    'What was learned from, counted in every epoch.',
  ),
  'groups/live': _share(
    'share of groups with max |d policy_loss / d statistic| > 1e-6 of the '
    'largest',
    'How many groups teach: some row of theirs has a slope in the loss '
    'without costs, in some optimizer step of the iteration.',
  ),
  'loss': Metric(
    'loss/policy + sum_c coef/c loss/c', '1', 'What the optimiser minimises.'
  ),
  'loss/policy': Metric('sum_it w_it l_it', '1', 'The loss without costs.'),
  'loss/COST': Metric(
    'sum_it w_it cost_it', 'of the cost', 'A cost without its coefficient.'
  ),
  'coef/COST': Metric(
    'by its controller', '1', 'What a cost is multiplied by.'
  ),
  'policy/entropy': Metric(
    'mean over learned tokens of H(pi(. | s_t))',
    'nats per token',
    'How undecided the policy is, at the temperature of sampling; of a '
    'density below 0 where it is narrow.',
  ),
  'policy/kl': Metric(
    'mean over learned tokens of r - 1 - log r, r = pi / pi_old',
    'nats per token',
    'How far the policy is from that at the start of the iteration: 0 with '
    'one optimizer step.',
    0.0,
  ),
  'policy/clip_fraction': _share(
    'share of learned tokens with A != 0, slope(pi_old) != 0, slope(pi) = 0',
    'How many tokens the trust region has silenced since the old policy; an '
    'advantage below 1e-6 of the largest is 0.',
  ),
  'policy/push_up': _count(
    'sum over tokens of max(-d policy_loss / d logp, 0)',
    '1',
    'How strongly log-probs are raised.',
  ),
  'policy/push_down': _count(
    'sum over tokens of max(d policy_loss / d logp, 0)',
    '1',
    'How strongly log-probs are lowered.',
  ),
  'reference/kl': Metric(
    'mean over learned tokens of e^-x - 1 + x, x = log pi - log pi_ref',
    'nats per token',
    'How far the policy is from the reference, where the recipe has one.',
    0.0,
  ),
  'sampler/gap_mean': Metric(
    'mean over learned tokens of |log pi_old - log pi_sampler|',
    'nats per token',
    'How sampler and learner disagree; with `pipeline` = 1, how far a step '
    'moved the policy.',
    0.0,
  ),
  'sampler/gap_max': Metric(
    'largest over learned tokens of |log pi_old - log pi_sampler|',
    'nats',
    'The same of the worst token.',
    0.0,
  ),
  'critic/error': Metric(
    'mean over learned tokens of |V - target|',
    'reward',
    'How wrong the critic is.',
    0.0,
  ),
  'grad/norm': _count(
    '|g|_2, before clipping', '1', 'The size of the gradient.'
  ),
  'grad/norm_l1': _count(
    '|g|_1, before clipping', '1', 'The sum of its absolute entries.'
  ),
  'trust/step': _count('|step|_2', '1', "The size of a trust region's step."),
  'trust/tries': _count(
    'count', 'tries', 'Lengths that its line search tried.'
  ),
  'bad_steps': _count(
    'count',
    'optimizer steps',
    'Steps whose loss or gradient was not finite; they changed nothing.',
  ),
  'learn/columns': _share(
    'columns computed / columns of all rows at full width',
    'What part of the columns was computed, with `learn.widths` or '
    '`learn.packing`.',
  ),
  **_PAIRS,
  # Evaluation on held-out questions.
  **_interval(
    'eval/accuracy',
    _share('share of questions', 'Greedy answers that are right.'),
  ),
  **_interval(
    'eval/pass@K',
    _share(
      'mean over questions of 1 - C(n - c, K) / C(n, K)',
      'The chance that one of K sampled answers is right.',
    ),
  ),
  **_interval(
    'eval/maj@K',
    _share(
      'mean over questions',
      'The chance that the most frequent of K sampled answers is right.',
    ),
  ),
  'eval/source/NAME/accuracy': _share(
    'share of its questions', 'Greedy answers that are right, by source.'
  ),
  **_interval(
    'eval/SET/accuracy',
    _share('share of its questions', 'The same of a set of `eval.sets`.'),
  ),
  'eval/SET/source/NAME/accuracy': _share(
    'share of its questions', 'Of a source of a set.'
  ),
  **_interval(
    'eval/SET/pass@K', _share('as eval/pass@K', 'Of a set of `eval.sets`.')
  ),
  **_interval(
    'eval/SET/maj@K', _share('as eval/maj@K', 'Of a set of `eval.sets`.')
  ),
  'eval/nll': _count(
    'mean over tokens to be said of -log pi',
    'nats per token',
    'How surprising held-out demonstrations are.',
  ),
  'eval/token_accuracy': _share(
    'share of tokens to be said with pi(y_t) = max_v pi(v)',
    'How often no other token is more probable than the demonstrated one.',
  ),
  'eval/return': Metric(
    'mean over tasks of sum_t paid_t',
    'reward',
    'What a row is paid where an environment judges.',
  ),
  'eval/return/low': Metric(
    'return - 1.96 standard errors', 'reward', 'Of `eval/return`, at 95 %.'
  ),
  'eval/return/high': Metric(
    'return + 1.96 standard errors', 'reward', 'Of `eval/return`, at 95 %.'
  ),
  'eval/optimum': Metric(
    'known of the problem', 'reward', 'The most that `eval/return` can be.'
  ),
  **{f'eval/{name}': metric for name, metric in _PAIRS.items()},
  'eval/rating/accuracy': _share(
    'mean over pairs of [m > 0] + [m = 0] / 2',
    'How often a reward model rates the better response higher.',
  ),
  'eval/rating/nll': _count(
    'mean over pairs of -log sigmoid(m)', 'nats', 'Its log-loss.'
  ),
  'eval/rating/brier': _share(
    'mean over pairs of (1 - sigmoid(m))^2', 'Its squared error.'
  ),
  'eval/rating/ece': _share(
    'sum_k n_k / J |accuracy_k - confidence_k|',
    'How far its probabilities are from frequencies.',
  ),
  'eval/rating/best_of_N': Metric(
    'mean over questions', 'score', 'What the best rated of N responses earns.'
  ),
  'eval/win_rate': _share(
    'mean over questions and pairs of answers of P(y beats y_start)',
    "How often the policy wins against that of the run's start.",
  ),
  'eval/exploitability': Metric(
    'mean over questions of max_y P(y beats pi) - 1/2, cross-fitted',
    '1',
    'What a challenger wins beyond a draw; in games of control max - min of '
    'what best replies of either side bring, exact.',
    -0.5,
    1.0,
  ),
  # What plans, verifiers and data note.
  'plan/perplexity': _count(
    'mean over prompts',
    'exp of nats per token',
    'Of the demonstrations of the questions that are asked.',
  ),
  'plan/clusters': _count('count', 'clusters', 'Latent strategies of a round.'),
  'plan/exploitability': _count(
    'best responses to the shares of texts that are each move',
    'reward',
    'What is won from who speaks like the texts that were drawn.',
  ),
  'plan/rounds': _count('count', 'rounds', 'Rounds of sampling until enough.'),
  'plan/steps_taken': _count(
    'count', 'steps', 'Of the sampler, before its limit ended them.'
  ),
  'plan/replayed': _count('count', 'groups', 'Groups shown again.'),
  'plan/nodes': _count('mean over trees', 'nodes', 'That a search made.'),
  'plan/proposed': _share(
    'share of rows', 'How many proposals are questions with an answer.'
  ),
  'plan/solved': _share(
    'mean over proposals', 'How many of their solutions are right.'
  ),
  'plan/retried': _share(
    'share of groups', 'How many have rows that were asked in other words.'
  ),
  'plan/taught': _share(
    'share of rows', 'The policy was shown an answer to learn from.'
  ),
  'plan/foretold': _count(
    '3/4 mean cross-entropy + 1/4 mean ranking loss of foretold rates',
    'nats',
    'How far foretold success rates were from those that came.',
  ),
  'plan/anchored': _share(
    'share of groups', 'Learned with a demonstration, all else being wrong.'
  ),
  'plan/unfinished': _share(
    'share of rows', 'They go on in the next iteration.'
  ),
  'plan/hint_level': _count(
    'mean over prompts', 'levels', 'How much their hints tell, 0 nothing.'
  ),
  'plan/reflected': _share(
    'share of rows', 'How many bad episodes were rewritten to turn good.'
  ),
  'plan/rater_loss': Metric(
    'mean over rows', 'nats', 'The loss of a second policy before its step.'
  ),
  'plan/candidates': Metric(
    'mean over candidates',
    'reward',
    'What all candidates earned, of which some were kept.',
  ),
  'plan/too_long': _count(
    'count',
    'groups or rows',
    'Other words were longer than sample.max_prompt allows.',
  ),
  'plan/temperature': _count(
    'heat', '1', "That of the rows it heats, over the run's."
  ),
  'plan/segments': _count(
    'mean over rows', 'segments', 'Prefixes of a response that were valued.'
  ),
  'plan/guide_first': _share('0 or 1', 'Whether the guide began.'),
  'plan/largest_group': _count('max over groups', 'rows', 'Rows of a group.'),
  'plan/budget': _count('tokens', 'tokens', 'What a response is allowed.'),
  'plan/dropped': _share('share of rows', 'Recorded rows that lost thoughts.'),
  'plan/exit': _count(
    'mean over rows', 'tokens', 'Of a thought, before it was broken off.'
  ),
  'plan/forked': _share(
    'share of late episodes', "They go on from another one's turn."
  ),
  'plan/wrong_mode': _share(
    'share of episodes', 'They called a tool, and their mode has none.'
  ),
  'stop/done': _share('share of episodes', 'The environment ended them.'),
  'stop/turns': _share('share of episodes', 'Their turns ran out.'),
  'stop/tokens': _share(
    'share of episodes',
    'Their tokens had no room for what the environment says, and one more.',
  ),
  'stop/said': _share(
    'share of episodes', 'The policy called no tool: it answered.'
  ),
  'stop/tool': _share('share of episodes', 'A tool ended them.'),
  'stop/calls': _share(
    'share of episodes', 'With more calls than `tools.calls`.'
  ),
  'stop/errors': _share(
    'share of episodes', 'With `tools.errors` turns in a row that went wrong.'
  ),
  'stop/seconds': _share(
    'share of episodes',
    'Whose calls took `tools.episode_seconds`, or whose program '
    '`serve.seconds`, which do not count.',
  ),
  'stop/requests': _share(
    'share of episodes', 'Of programs that had `serve.requests` answers.'
  ),
  'stop/rows': _share(
    'share of episodes',
    'Of programs, with more than `serve.rows` rows; they do not count.',
  ),
  'programs/requests': _count(
    'mean over episodes', 'requests', 'That were answered.'
  ),
  'episodes/rows': _count(
    'mean over episodes', 'rows', 'That their histories, written anew, made.'
  ),
  'programs/rows': _count(
    'mean over episodes', 'rows', 'That their requests made.'
  ),
  'programs/overruled': _count(
    'mean over requests',
    '1',
    'What programs asked for in vain, such as a temperature.',
  ),
  'stop/failed': _share(
    'share of episodes', 'Whose environment failed; they do not count.'
  ),
  'verify/errors': _count('count', 'verdicts', 'Verifiers that raised.'),
  'verify/timeouts': _count('count', 'verdicts', 'Stopped at their limit.'),
  'verify/crashes': _count('count', 'verdicts', 'Whose process died.'),
  'verify/nan': _count('count', 'verdicts', 'Scores that are not finite.'),
  'verify/preferences': _count('count', 'duels', 'That could not be judged.'),
  'data/records': _count('count', 'records', 'Recorded prompts.'),
  'data/identical': _count('count', 'records', 'With equal responses.'),
  'data/empty': _count('count', 'records', 'With an empty response.'),
  'data/truncated': _count('count', 'records', 'With one that was cut.'),
  'data/untrained': _count(
    'count', 'records', 'Without a turn to be said; they are left out.'
  ),
  'data/divided': _count(
    'count', 'records', 'Of several rows, as earlier turns are written anew.'
  ),
  # Clocks, which alone differ between equal runs.
  'time/sample': _seconds('Sampling.'),
  'time/verify': _seconds('Verification.'),
  'time/score': _seconds('Passes of the old and the reference policy.'),
  'time/learn': _seconds('Credit and optimizer steps.'),
  'time/step': _seconds('The iteration, without evaluation and saving.'),
  'time/eval': _seconds('Evaluation.'),
  'time/compile': _seconds('Compilation, or reading what was compiled before.'),
  'time/cpu': _seconds(
    'Processor time of this process, all since the line before.'
  ),
}
TABLE: Mapping[str, Metric] = MappingProxyType(_TABLE)


def find(name: str) -> Metric:
  """The row of a metric, by its name as it is logged.

  Raises:
    KeyError: it is not in the table.
  """
  if name in TABLE:
    return TABLE[name]
  for known, metric in TABLE.items():
    if re.fullmatch(re.sub('[A-Z]+', '[^/]+', known), name):
      return metric
  raise KeyError(
    f'no metric {name!r}; give it a row in jaxrl_llm/training/metrics.py'
  )


def page() -> str:
  """`docs/metrics.md`."""
  rows = [
    f'| `{name}` | {_code(metric.equation)} | {metric.unit} | {metric.says} |'
    for name, metric in TABLE.items()
  ]
  lines = [
    '# What is logged',
    '',
    'One row a metric of `metrics.jsonl`; written by '
    '`python -m jaxrl_llm.training.metrics`.',
    'A word in capitals stands for any name. Rows are responses, w_k and c_k '
    'the weight and',
    'the score of verifier k, w_it the weight of a token in the loss, A its '
    'advantage. Learned',
    'tokens are those that count in an optimizer step, over whose steps '
    'everything is averaged',
    'unless it says more. Ratings s are log-probs, log-ratios to the reference '
    'or, of a reward',
    'model, its answers, and m is a difference of two.',
    '',
    '| metric | equation | unit | what it says |',
    '|---|---|---|---|',
    *rows,
    '',
  ]
  return '\n'.join(lines)


def _code(equation: str) -> str:
  escaped = equation.replace('|', '\\|')
  return f'`{escaped}`'


def main() -> None:
  PAGE.parent.mkdir(exist_ok=True)
  PAGE.write_text(page(), encoding='utf-8')
  print(f'wrote {len(TABLE)} metrics to {PAGE.resolve()}')


if __name__ == '__main__':
  main()
