"""How to compile what runs for a millisecond: carelessly.

Knows of XLA only what the installed jaxlib knows: it ends a process whose
XLA_FLAGS name an option that is unknown to it. Imports no jax, which reads
those when it is first used.
"""

from __future__ import annotations

from importlib import metadata

Options = dict[str, str | bool]


def careless(jaxlib: str) -> Options:
  """Options of XLA that compile fast and run slowly, for a release of jaxlib.

  jaxlib 0.11.1 was the first without `xla_cpu_use_fusion_emitters`.
  """
  options: Options = {
    'xla_backend_optimization_level': '0',
    'xla_cpu_parallel_codegen_split_count': '1',
  }
  release = tuple(int(part) for part in jaxlib.split('.')[:3] if part.isdigit())
  if release < (0, 11, 1):
    options['xla_cpu_use_fusion_emitters'] = False
  return options


def flags(options: Options) -> str:
  """The options as the environment variable XLA_FLAGS spells them."""
  return ' '.join(
    f'--{name}={str(value).lower()}' for name, value in options.items()
  )


QUICKLY = careless(metadata.version('jaxlib'))
