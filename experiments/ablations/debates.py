"""Two sides that disagree find answers that reflection does not.

  python -m experiments.sweep --all --study=experiments/ablations/debates.py

Encouraging Divergent Thinking through Multi-Agent Debate (arXiv 2305.19118)
claims that a model that reflects on its own answer keeps it (degeneration of
thought), that two sides in tit for tat with a judge leave wrong first thoughts
behind, and that breaking off when the judge is content is better than going on.

The frozen policy of `reader.py`: of each kind of question the first thought is
wrong with 0.7 and right with 0.15. 300 questions. `alone`: one answer;
`reflection`: three, each shown the last as right; `vote`: the most frequent of
6; `debate`: 3 rounds at most; `no tit for tat`: what the other side said is
shown as right; `no break`: the judge is asked after 3 rounds alone. The judge
tells, of what was said, what is right from what is wrong with a chance of 0.5,
0.7, 0.85 or 1, each answer for itself and anew each time, and picks among those
that seem right, or in the end among all; `agreed` is the judge of the default,
who knows nothing. Measured: right answers, answers that differ from the first,
rounds. Expected: reflection changes nothing, the vote is worse than one answer,
a debate better the better the judge, and worse with none who knows.
"""

import collections
import zlib

import jax
import numpy as np

from experiments.ablations import reader
from experiments.ablations.study import Figure, chain, over
from jaxrl_llm.learners import debate

QUESTIONS, ROUNDS = 300, 3
JUDGES = (0.5, 0.7, 0.85, 1.0)
FIGURE = Figure(
  y='right',
  x='sees',
  series='method',
  title='share of right answers, by how often the judge sees what is right',
)


def cells():
  return chain(
    over(
      method=['debate', 'no tit for tat', 'no break'],
      sees=JUDGES,
      seed=range(6),
    ),
    over(
      method=['alone', 'reflection', 'vote', 'agreed'],
      sees=[1.0],
      seed=range(6),
    ),
  )


def judge_of(world, sees, seed, breaks):
  """Who sees for each answer alone whether it is right, and is asked anew."""

  def judge(question, rounds, last):
    if not (last or breaks):
      return ''
    text = f'{seed} {len(rounds)} {last} {question}'
    rng = np.random.default_rng(zlib.crc32(text.encode()))
    said = list(dict.fromkeys(a for each in rounds for a in each))
    right = np.array([a == world.answer(question) for a in said])
    seems = np.where(rng.random(len(said)) < sees, right, ~right)
    chosen = np.flatnonzero(seems)
    if len(chosen):
      return said[rng.choice(chosen)]
    return said[rng.integers(len(said))] if last else ''

  return judge


def affirmed(question, own, others):
  """What the other side said, as if it were right, and the question."""
  del own
  return '\n'.join([*(question + said for said in others), question])


def answers_of(world, method, sees, seed, questions, key):
  """Answers and first answers to the questions, and rounds taken."""
  if method in ('alone', 'reflection', 'vote'):
    said, shown = [], list(questions)
    for i in range(
      {'alone': 1, 'reflection': ROUNDS, 'vote': 2 * ROUNDS}[method]
    ):
      said.append(world.policy(shown, jax.random.fold_in(key, i)))
      if method == 'reflection':
        pairs = zip(questions, said[-1], strict=True)
        shown = [affirmed(q, (), [a]) for q, a in pairs]
    votes = [
      collections.Counter(each).most_common(1)[0][0] for each in zip(*said)
    ]
    return votes if method == 'vote' else said[-1], said[0], len(said)
  judge = judge_of(world, sees, seed, method != 'no break')
  made = debate.Debate(
    world.policy,
    debate.agreed if method == 'agreed' else judge,
    affirmed if method == 'no tit for tat' else debate.opposed,
    rounds=ROUNDS,
  )
  found, rounds = made.act(made.init(), questions, key)
  first = [each[0].affirmative for each in rounds]
  return found, first, float(np.mean([len(each) for each in rounds]))


def run(seeds, *, method, sees):
  """Shares of right and of changed answers, and rounds."""
  found = []
  for seed in map(int, seeds):
    world = reader.world(seed)
    questions = world.questions(np.random.default_rng(1000 + seed), QUESTIONS)
    key = jax.random.key(seed)
    answers, first, rounds = answers_of(
      world, method, sees, seed, questions, key
    )
    changed = np.mean([a != b for a, b in zip(answers, first, strict=True)])
    found.append((world.judge(questions, answers).mean(), changed, rounds))
  right, changed, rounds = np.array(found).T
  return {
    'right': right,
    'changed': changed,
    'rounds': rounds,
  }
