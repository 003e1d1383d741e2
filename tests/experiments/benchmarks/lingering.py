"""A peer whose process does not end by itself, for tests."""

import threading

from experiments.benchmarks import protocol


def prepare(request):
  del request
  threading.Thread(target=threading.Event().wait).start()
  return lambda: protocol.outcome((1.0, 1.0), (0.5, 0.5), 1.0)


if __name__ == '__main__':
  protocol.serve(prepare, ())
