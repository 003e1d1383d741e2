"""A reward that is easier to have than to deserve, on a pretrained model.

  python -m experiments.real.prepare
  python -m experiments.sweep --all --study=experiments/real/shown_work.py

GRPO on "What is a + b?", as in `methods.py` and for 10 iterations. To the point
for a right answer comes one for work that is shown, told by two signs of
equality: 17 + 5 = 17 + 3 + 2 = 22. Nobody reads the work. Measured: the mean
reward and both of its parts over the iterations, and the share of greedy
answers that are right on 64 held-out questions; the same without the second
part. Expected: the reward rises for the signs alone, and accuracy stays behind
that of the plain reward, though half of the points are for it.
"""

from experiments.ablations.study import Figure, over
from experiments.real import methods

CONFIG = methods.CONFIG
PARTS = ('numeric', 'work=format:=.*=')

FIGURE = Figure(
  y='eval/accuracy',
  x='iteration',
  series='verify.weights',
  title='"What is a + b?", greedy; points for a right answer, for shown work',
)


def cells():
  axes = {'verify.weights': ['(1.0, 1.0)', '(1.0, 0.0)']}
  more = {'verify.names': str(PARTS), 'steps': 10, 'eval.every': 5}
  cells = over(recipe=['grpo'], seed=[0], **axes)
  return [cell | methods.SHORT | more for cell in cells]
