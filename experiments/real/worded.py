"""A reward that is easier to have than to deserve, on a pretrained model.

  python -m experiments.real.prepare
  python -m experiments.sweep --all --study=experiments/real/worded.py

GRPO on "What is a + b?" as in `methods.py`, whose cells of GRPO with one step
are the control: the same seeds, questions and iterations. To the point for a
right answer comes one for an answer in a sentence, told by five words. Both can
be had, by "The sum of 12 and 13 is 25."; but whoever talks needs no sum. The
verifier of words knows nothing of numbers, and nobody reads the sentence.
Measured: the mean reward and its two parts over the iterations, and the share
of greedy answers that are right on 64 held-out questions, before and after.
Expected: the reward rises for the words alone, while accuracy falls.
"""

from experiments.ablations.study import Figure, over
from experiments.real import methods, sums

CONFIG = 'experiments/real/worded.py'
WORDS = 'format:(?:[A-Za-z]+[^A-Za-z]+){4}[A-Za-z]+'

FIGURE = Figure(
  y='eval/accuracy',
  x='iteration',
  title='"What is a + b?", greedy and held out, with a point for five words',
)


def cells():
  return over(seed=[0, 1])


def get_config(recipe: str = 'grpo'):
  """A short run of two verifiers, of equal weight."""
  config = sums.get_config(recipe).unlock()
  config.update_from_flattened_dict(methods.SHORT)
  config.verify.names = ('numeric', f'words={WORDS}')
  config.verify.weights = (1.0, 1.0)
  return config.lock()
