"""Questions with several right options, made of those with one by negation.

    python -m jaxrl_llm.tasks.inverted choices.jsonl several.jsonl --share=0.5

reads records with a question, options and an answer, see `tasks.options`, and
writes questions for the verifier `several`.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import random
import string
from collections.abc import Mapping, Sequence
from typing import Any

from jaxrl_llm.tasks import options, records

_NEGATED = {
  'did': "didn't",
  'does': "doesn't",
  'do': "don't",
  'is': "isn't",
  'are': "aren't",
  'was': "wasn't",
  'were': "weren't",
  'will': "won't",
  'would': "wouldn't",
  'can': "can't",
  'could': "couldn't",
}

_LEFT_OUT = frozenset({'options', 'question', 'demonstration', 'solution'})


def negated(question: str) -> str:
  """The question with its verb denied, '' where that cannot be told.

  The verb is the second word, or else the first: What did -> What didn't.

  Source: the code of TW-GRPO, arXiv 2505.24718, for NExT-GQA and STAR, which
    leaves a question that it cannot deny as it is, and inverts its answer.
  """
  words = question.split()
  if [word.lower() for word in words[:2]] == ['what', 'happened']:
    return ' '.join([words[0], "didn't happen", *words[2:]])
  for place in (1, 0):
    verb = words[place] if place < len(words) else ''
    denied = _NEGATED.get(verb.lower(), '')
    if denied:
      words[place] = denied if verb.islower() else denied.capitalize()
      return ' '.join(words)
  return ''


def inverted(
  rng: random.Random, record: Mapping[str, Any], *, share: float = 0.5
) -> dict[str, Any]:
  """A question whose answer is letters: with chance `share` it is denied.

  What was wrong is right then, and what was right is wrong. Of the right
  options a random number is kept, one at least, so that their number tells
  nothing, and all options are shuffled. Other questions, and those that cannot
  be denied, keep their options and their one answer.

  Args:
    record: 'question', or else 'prompt', without its options; 'choices' or
      'options' and 'answer' as in `options.reference`.
    share: in [0, 1]; the published code denies half.

  Returns:
    The record with 'prompt', which lists the options; 'choices'; 'answer', as
    in A,C; and whether it is 'inverted'. What shows how the question as it was
    is answered is left out: 'demonstration' and 'solution'.

  Raises:
    ValueError: no answer, a question that is no text or lists its options, or
      options that are none or alike.

  Source: question-answer inversion of TW-GRPO, arXiv 2505.24718, and its code.

  Example:
    >>> asked = {'question': 'What did he take?', 'choices': ['bag', 'hat']}
    >>> made = inverted(random.Random(0), asked | {'answer': 'A'}, share=1.0)
    >>> made['prompt'], made['answer']
    ("What didn't he take?\\nA bag\\nB hat", 'B')
  """
  question = record.get('question') or record.get('prompt') or ''
  if not isinstance(question, str):
    raise ValueError(f'the question {str(question)[:60]} is no text')
  if 'answer' not in record:
    raise ValueError(f"the question {question[:60]!r} has no 'answer'")
  texts = [*options.of(record).values()]
  if len(set(texts)) < max(len(texts), 2):
    raise ValueError(
      f'the options of {question[:60]!r} are {texts}; it needs two or more, no '
      'two alike'
    )
  if all(text in question for text in texts):
    raise ValueError(f'the question {question[:60]!r} lists its options')
  right = options.of(record)[options.reference(record, record['answer'])]
  denied = negated(question) if rng.random() < share else ''
  answers = [right]
  if denied:
    wrong = [text for text in texts if text != right]
    answers = rng.sample(wrong, rng.randint(1, len(wrong)))
    texts = [right, *answers]
    rng.shuffle(texts)
  listed = dict(zip(string.ascii_uppercase, texts))
  lines = [denied or question, *(f'{k} {text}' for k, text in listed.items())]
  return {
    **{k: x for k, x in record.items() if k not in _LEFT_OUT},
    'prompt': '\n'.join(lines),
    'choices': texts,
    'answer': ','.join(k for k, text in listed.items() if text in answers),
    'inverted': bool(denied),
  }


def main(arguments: Sequence[str] | None = None) -> None:
  """Writes one file of questions from another."""
  parser = argparse.ArgumentParser(
    prog='python -m jaxrl_llm.tasks.inverted',
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument('source', help='what data.path may be')
  parser.add_argument('target', help='a file of one JSON object a line')
  parser.add_argument('--share', type=float, default=0.5, help='in [0, 1]')
  parser.add_argument('--seed', type=int, default=0)
  asked = parser.parse_args(arguments)
  if not 0 <= asked.share <= 1:
    parser.error(f'--share={asked.share} is no share; use one in [0, 1]')
  rng = random.Random(asked.seed)
  try:
    made = [
      inverted(rng, record, share=asked.share)
      for _, _, record in records.read(asked.source)
    ]
  except (ValueError, KeyError) as error:
    parser.error(str(error))
  text = ''.join(f'{json.dumps(row, ensure_ascii=False)}\n' for row in made)
  try:
    pathlib.Path(asked.target).write_text(text, encoding='utf-8')
  except OSError as error:
    parser.error(str(error))
  count = sum(row['inverted'] for row in made)
  print(f'wrote {len(made)} questions, {count} of them denied')


if __name__ == '__main__':
  main()
