"""The papers in a terminal, see `jaxrl_llm.catalogue.command`."""

from __future__ import annotations

import sys

from jaxrl_llm import pipes
from jaxrl_llm.catalogue.command import main

if __name__ == '__main__':
  with pipes.unread():
    sys.exit(main())
