"""Where the commands are in a wheel; all else is in pyproject.toml.

In the repository they are `experiments/`, which is no name for a package that
is installed: others have one, too. A wheel keeps the folder below the package,
and `jaxrl_llm/__main__.py` finds it.
"""

import setuptools

_PLACE = 'jaxrl_llm.commands'

setuptools.setup(
  packages=[
    *setuptools.find_packages(include=['jaxrl_llm', 'jaxrl_llm.*']),
    *(
      f'{_PLACE}.{name}'
      for name in setuptools.find_packages(
        include=['experiments', 'experiments.*']
      )
    ),
  ],
  package_dir={f'{_PLACE}.experiments': 'experiments'},
  package_data={
    'jaxrl_llm': ['py.typed'],
    f'{_PLACE}.experiments': ['page.html'],
  },
)
