import math

from jaxrl_llm.training import curve


def _history(steps: int) -> list[dict]:
  return [
    {
      'step': step,
      'reward/mean': math.sin(step) if step % 5 else None,
      'reward/std': 0.2,
      'reward/low': -0.9,
      'reward/high': 0.9,
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


def _titles(**metrics):
  history = [{'step': step, **metrics} for step in range(3)]
  return [panel.title for panel in curve.panels(history)]


def test_a_run_is_shown_by_what_its_kind_is_looked_at_for():
  policy = {'policy/entropy': 1.0, 'policy/kl': 0.0, 'reference/kl': 0.1}
  lasts = ['Entropy', 'KL divergence']
  rest = {'response/length': 3.0, 'grad/norm': 1.0}
  shaped = {'reward/shaped': 0.5}
  reward = {'reward/mean': 0.5, 'accuracy': 0.5}
  assert _titles(**reward, **shaped, **policy, **rest) == [
    'Reward', 'Accuracy', *lasts,
  ]  # fmt: skip
  pairs = {'preference/accuracy': 0.7, 'eval/preference/margin': 1.0}
  assert _titles(**pairs, **policy, **rest) == [
    'Better response rated higher', 'Margin between the two', *lasts,
  ]  # fmt: skip
  game = {'eval/win_rate': 0.6, 'eval/exploitability': 0.2}
  assert _titles(**shaped, **game, **policy, **rest) == [
    'Reward', 'Wins against the first policy', 'What the best challenger wins',
    *lasts, 'Response length',
  ]  # fmt: skip
  paid = {'eval/return': -3.0, 'eval/optimum': -2.0}
  assert _titles(**reward, **paid, **policy)[:2] == ['Reward', 'Return']
  # One optimizer step an iteration: no divergence, and no panel of it.
  assert 'KL divergence' not in _titles(**{'policy/kl': 0.0}, **reward)


def test_the_band_ends_where_rewards_do(monkeypatch):
  drawn = []
  monkeypatch.setattr(
    'matplotlib.axes.Axes.fill_between',
    lambda axes, steps, low, high, **_: drawn.append((low, high)),
  )
  line = {'reward/mean': 0.9, 'reward/std': 0.3}
  curve.png([{'step': 1, **line, 'reward/low': 0.0, 'reward/high': 1.0}])
  [((low,), (high,))] = drawn
  assert abs(low - 0.6) < 1e-12 and high == 1.0
