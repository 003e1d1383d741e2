"""A store of the test's own instead of the one of JAX: a dictionary."""

import threading

import pytest

from jaxrl_llm.training import watch

SECONDS = 0.4


class Store:
  """Answers, until `answers` is cleared; shared by processes or not."""

  def __init__(self, kept):
    self.kept, self.answers = kept, threading.Event()
    self.answers.set()

  def key_value_set(self, key, value, allow_overwrite):
    self.answers.wait()
    self.kept[key] = value

  def key_value_dir_get(self, prefix):
    self.answers.wait()
    return [x for x in list(self.kept.items()) if x[0].startswith(prefix)]


@pytest.fixture
def three():
  """Three processes that watch each other: stores, watches, what they said."""
  kept, stores, watches, said = {}, [], [], [[], [], []]
  for index in range(3):
    stores.append(Store(kept))
    watches.append(
      watch.Watch(
        stores[-1],
        index,
        3,
        SECONDS,
        lambda silent, wait, index=index: said[index].append(silent),
      )
    )
  for each in watches:
    each.start()
  yield stores, watches, said
  for each in stores:
    each.answers.set()
  for each in watches:
    each.stop()


def _wait(condition):
  ended = threading.Event()
  for _ in range(400):
    if condition() or ended.wait(0.05):
      return
  raise AssertionError('nothing in 20 s')


def test_all_name_the_process_that_fell_silent(three):
  stores, _, said = three
  stores[2].answers.clear()
  _wait(lambda: said[0] and said[1])
  assert said[0] == [2] and said[1] == [2]


def test_the_first_is_silent_where_it_does_not_answer(three):
  stores, _, said = three
  # It keeps the store, so nobody is answered.
  for each in stores:
    each.answers.clear()
  _wait(lambda: said[1] and said[2])
  assert said[1] == [0] and said[2] == [0]


def test_one_that_left_is_not_missed(three):
  _, watches, said = three
  watches[2].stop()
  threading.Event().wait(3 * SECONDS)
  assert said == [[], [], []]


def test_a_store_that_is_gone_ends_the_watch():
  class Gone(Store):
    def key_value_set(self, key, value, allow_overwrite):
      raise RuntimeError('UNAVAILABLE')

  said = []
  watching = watch.Watch(Gone({}), 1, 2, 0.05, lambda *x: said.append(x))
  watching.start()
  threading.Event().wait(0.5)
  watching.stop()
  assert said == []


def test_the_sentence_names_who_how_long_and_what_next():
  said = watch.sentence(1, 4, 100)
  assert 'process 2 of 4 has been silent for 100 s' in said
  assert 'the same command goes on from the newest checkpoint' in said
  assert '\n' not in said
