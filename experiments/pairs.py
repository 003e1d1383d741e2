"""Makes pairs to learn preferences from, out of responses that were judged.

  python -m experiments.eval --config.model.path=FOLDER --samples=8 \\
      --questions=questions.jsonl --output=answers.json
  python -m experiments.pairs --responses=answers.jsonl --output=pairs.jsonl
      pairs of what a model answered, as the verifier has it
  python -m experiments.pairs --responses=RUN/samples.jsonl --most=2
      of the responses that a run kept while it learned, two pairs a prompt

Written are records of `prompt`, `chosen`, `rejected` and the question's
`answer`, as docs/records.md describes, for
`experiments.train --config=experiments/configs/preference.py`. Different
responses to a prompt are compared: the best with the worst, the second best
with the second worst, and so on, while the one earned more than the other. What
is earned is the reward, or of an evaluation the score of the first verifier.
Left out are responses that were not judged and, as a record would end where
they do not, those that the budget of tokens cut. With `--cut` these are kept,
for a run whose `sample.max_response` is that budget and cuts them there again.
"""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterable
from typing import Any

from absl import flags

from experiments import command, samples
from experiments.samples import Line

_RESPONSES = flags.DEFINE_string(
  'responses',
  '',
  'JSONL: samples.jsonl or eval_samples.jsonl of a run, or what '
  'experiments.eval wrote.',
)
_MOST = flags.DEFINE_integer(
  'most', 1, 'Pairs of a prompt at most.', allow_override=True
)
_CUT = flags.DEFINE_bool(
  'cut',
  False,
  'Keep responses that the budget of tokens cut.',
  allow_override=True,
)
_OUTPUT = flags.DEFINE_string(
  'output', 'pairs.jsonl', 'File to write.', allow_override=True
)


def main() -> None:
  from jaxrl_llm.training import writers

  if _MOST.value < 1:
    raise command.Refused(f'--most={_MOST.value} must be 1 or more')
  path = pathlib.Path(_RESPONSES.value)
  if not path.is_file():
    raise command.Refused(
      f'no responses at {_RESPONSES.value!r}; give --responses=FILE.jsonl'
    )
  lines = samples.of_file(path)
  pairs = list(paired(lines, _MOST.value, cut=_CUT.value))
  if not pairs:
    raise command.Refused(
      f'none of the {len(lines)} responses of {path} is better than another to '
      'the same prompt; sample more of each, or with more tokens, or give --cut'
    )
  output = pathlib.Path(_OUTPUT.value)
  output.parent.mkdir(parents=True, exist_ok=True)
  writers.write_lines(output, pairs)
  prompts = {json.dumps(pair['prompt']) for pair in pairs}
  print(
    f'{len(pairs)} pairs of {len(prompts)} prompts, out of {len(lines)} '
    f'responses to {len(samples.grouped(lines))}, written to {output}'
  )


def paired(
  lines: Iterable[Line], most: int, *, cut: bool = False
) -> Iterable[dict[str, Any]]:
  """Records of pairs, of each prompt at most so many.

  Args:
    cut: whether what the budget of tokens cut may be in a pair.
  """
  able = (line for line in lines if _comparable(line, cut))
  for group in samples.grouped(able):
    once = {line['response']: line for line in reversed(group)}
    ranked = sorted(reversed(once.values()), key=_earned, reverse=True)
    for better, worse in list(zip(ranked, reversed(ranked)))[:most]:
      if _earned(better) > _earned(worse):
        about = {k: group[0][k] for k in ('prompt', 'answer') if k in group[0]}
        pair = {'chosen': better['response'], 'rejected': worse['response']}
        yield about | pair


def _comparable(line: Line, cut: bool) -> bool:
  """Whether a response was judged, and has an end or needs none."""
  known = isinstance(line, dict) and isinstance(line.get('response'), str)
  if not known or 'prompt' not in line:
    raise command.Refused(
      'these lines have no prompt and response in words; pairs are made of '
      'what a policy of text said'
    )
  if line.get('truncated', False) and not cut:
    return False
  return line.get('valid', True) and _earned(line) is not None


def _earned(line: Line) -> Any:
  """The reward or, where it is not said, the first score; None of neither."""
  [first, *_] = line.get('scores') or [None]
  reward = line.get('reward', first)
  if reward is not None and not isinstance(reward, (int, float)):
    raise command.Refused(f'the reward {reward!r:.40} is no number')
  return reward


if __name__ == '__main__':
  command.run(main)
