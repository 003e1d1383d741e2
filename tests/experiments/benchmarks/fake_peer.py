"""A peer without a model, for tests: larger microbatches learn faster."""

from experiments.benchmarks import protocol


def prepare(request):
  print('what a library prints while it starts')
  calls = 0

  def iteration():
    nonlocal calls
    calls += 1
    if request['shape'] == 'broken' and calls > 2:
      raise MemoryError('no room')
    step = 1 + 8.0 / request['microbatch']
    return protocol.outcome((step, 2 * step), (1.0, 2.0), float(calls))

  return iteration


if __name__ == '__main__':
  protocol.serve(prepare, ('numpy',))
