"""Settings of data, as tests change them."""

from types import SimpleNamespace


def settings(path='sort', **changed):
  fields = {
    'path': str(path),
    'level': 1,
    'size': 20,
    'held_out': 5,
    'held_out_path': '',
    'subset': '',
    'split': '',
    'prompt_field': 'prompt',
    'answer_field': 'answer',
  }
  return SimpleNamespace(**fields | changed)
