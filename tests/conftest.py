"""What every test runs on: 8 virtual CPU devices, float32, cached programs."""

import getpass
import itertools
import os
import pathlib
import re
import signal
import sys
import tempfile

import hypothesis
import pytest

from experiments import compilation

# In the environment and before jax is imported, so that the programs which
# tests start in processes of their own get the same.
os.environ['JAX_PLATFORMS'] = 'cpu'
os.environ['JAX_ENABLE_X64'] = '0'
os.environ['JAX_NUM_CPU_DEVICES'] = '8'
_CACHE = pathlib.Path(tempfile.gettempdir(), f'jaxrl_llm-{getpass.getuser()}')
os.environ.setdefault('JAX_COMPILATION_CACHE_DIR', str(_CACHE))
os.environ['JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS'] = '0'
os.environ['JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES'] = '-1'

# Tests run a program for a millisecond and compile it for a second: compile
# carelessly.
os.environ.setdefault('XLA_FLAGS', compilation.flags(compilation.QUICKLY))

# What a shell runs in the background ignores Ctrl-C, and so would the programs
# whose answer to it is tested.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
  signal.signal(signal.SIGINT, signal.default_int_handler)

# Compilation makes first calls slow, and a failure must be there again on the
# next machine.
hypothesis.settings.register_profile(
  'jaxrl_llm', deadline=None, derandomize=True, max_examples=25
)
hypothesis.settings.load_profile('jaxrl_llm')


def pytest_make_parametrize_id(config, val, argname):
  """Names a value by its repr without addresses, which differ by process.

  Two workers must collect the same names, and a name that stays can be asked
  for again.
  """
  shown = repr(val)
  if _ADDRESS.search(shown) is None:
    return None
  return _ADDRESS.sub(r'\1', shown)


_ADDRESS = re.compile(r'(?:<function )?([\w.<>]+) at 0x[0-9a-f]+>?')


@pytest.fixture(scope='session')
def namespaces():
  """Skips what can only be shown where the kernel lets users isolate.

  There, and only there, `tasks.sandbox` runs programs at all.
  """
  from jaxrl_llm.tasks import sandbox

  try:
    sandbox.require()
  except sandbox.Unavailable as error:
    pytest.skip(str(error))


@pytest.fixture(autouse=True)
def few_programs():
  """Forgets compiled programs before they use up the memory maps of a process.

  Each takes about three, and a worker of a whole suite would come past the
  65530 that Linux allows by default, where loading the next one crashes.
  """
  yield
  if next(_TESTS) % 50 == 0 and 'jax' in sys.modules:
    maps = pathlib.Path('/proc/self/maps')
    if maps.exists() and maps.read_bytes().count(b'\n') > 20_000:
      sys.modules['jax'].clear_caches()


_TESTS = itertools.count(1)
