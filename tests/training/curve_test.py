import math

from jaxrl_llm.training import curve


def _history(steps: int) -> list[dict]:
  return [
    {
      'step': step,
      'reward/mean': math.sin(step) if step % 5 else None,
      'reward/std': 0.2,
      'accuracy': 0.5,
      'policy/entropy': 1.0 / (1 + step),
      'policy/kl': 0.01 * step,
      **({'eval/accuracy': 0.4} if step % 10 == 0 else {}),
    }
    for step in range(steps)
  ]


def test_any_history_gives_a_picture():
  # None, one step, a short curve, one long enough to be smoothed.
  for steps in (0, 1, 8, 200):
    assert curve.png(_history(steps)).startswith(b'\x89PNG')


def test_metrics_that_were_never_logged_leave_their_panels_empty():
  assert curve.png([{'step': 1, 'accuracy': 0.1}]).startswith(b'\x89PNG')


def test_equal_histories_give_equal_pictures():
  assert curve.png(_history(30)) == curve.png(_history(30))


def test_every_metric_it_names_is_in_the_picture():
  whole = curve.png(_history(6))
  for name in _history(1)[0].keys() - {'step'}:
    without = [
      {key: value for key, value in line.items() if key != name}
      for line in _history(6)
    ]
    assert curve.png(without) != whole, name
