"""The commands, one module each; `python -m experiments` lists them.

The other modules are what they share:

  a run         settings     refuses what cannot work or does nothing
                start        how it starts or goes on
                fork         that it begins with another one's policy
                dry_run      what it would be
                programs     that ask the policy over HTTP
  what it left  runs         its folder, read back
                samples      its responses
                page, card   as one page, and as the README of an export
  any command   command      flags that explain, errors in one line
                modules      files of Python that are the user's
  a program     collectives  what it sends between devices
                compilation  how to compile what is over at once

Configs are in `configs`, studies in `ablations`, what they came to in
`results`, measurements in `benchmarks`, pretrained models in `real`, and the
parts of `mutation` in `mutants`.
"""

import os

# What XLA finds wrong comes back as an exception. Its own log is of no use
# beside that, and on some processors says of every cached program that it may
# crash (openxla/xla#44565). It is read when jax is imported.
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')

# What begins a command, as the user calls it: the script that is installed says
# its own name, since modules are none of the path where it is called.
CALL = 'python -m experiments.'
