"""Commands: train, eval, export, sweep, bench."""

import os

# What XLA finds wrong comes back as an exception. Its own log is of no use
# beside that, and on some processors says of every cached program that it may
# crash (openxla/xla#44565). It is read when jax is imported.
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')

# What begins a command, as the user calls it: the script that is installed says
# its own name, since modules are none of the path where it is called.
CALL = 'python -m experiments.'
