"""Reinforcement learning for language models as pure functions in JAX.

README.md says what each folder holds. Beside them, in the order to read them:

  what passes    types        every array that crosses a module, and its letters
                 reads        what a part says it reads, of the table `readable`
                 digests      what is read of whole distributions
                 numerics     means and sums under masks, and over groups
                 grouping     which rows are compared
  a method       recipe       its slots
                 credit       the stages from scores to advantages
                 reference    what the policy is held close to
                 update       from gradients to parameters
                 control      coefficients that follow what is measured
                 schedules    of the learning rate
                 optimizers   by name, some of which are `in_place`
  its name       registry     paper, limits and defaults of an entry
                 ranges       what its numbers may be
                 parts        what fits a slot, by name
                 compose      a recipe with other parts
                 presets      what other trainers do
  small things   spelling, pipes, hub, and the `made_up` arrays of tests
"""

import os

# Models are ours: that transformers finds no PyTorch is no news to the user.
os.environ.setdefault('TRANSFORMERS_NO_ADVISORY_WARNINGS', '1')
