"""Whether the Hugging Face hub can be asked, before it is.

Its libraries try a host that is not there for half a minute, name by name.
"""

from __future__ import annotations

import functools

# In which a host that is there answers.
_SECONDS = 3.0


@functools.cache
def absence() -> str:
  """Why the hub does not answer, '' where it does; found out once a process.

  A proxy, the address in HF_ENDPOINT and HF_HUB_OFFLINE count as they do for
  the libraries.
  """
  import huggingface_hub  # slow to import, and only hub names need it
  from huggingface_hub import constants

  if huggingface_hub.is_offline_mode():
    return 'HF_HUB_OFFLINE is set'
  try:
    huggingface_hub.get_session().head(constants.ENDPOINT, timeout=_SECONDS)
  except Exception as error:  # Of the library behind it, which has changed.
    reason = str(error).strip() or type(error).__name__
    return f'{constants.ENDPOINT} gave no answer: {reason}'
  return ''


def remedy(kind: str, name: str) -> str:
  """What to do about a name that the hub cannot be asked for.

  Args:
    kind: model or dataset.
  """
  once = {
    'model': f'run `hf download {name}`',
    'dataset': f'call datasets.load_dataset for {name}',
  }
  return (
    f'{once[kind]} once where there is a network, with the same HF_HOME, or '
    'copy its files here and give their folder'
  )
