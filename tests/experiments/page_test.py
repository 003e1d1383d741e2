import html.parser
import json

import pytest

from experiments import page
from experiments.command import Refused
from experiments.configs.base import base
from tests import browser


def run_of(folder, samples, **changes):
  config = base('grpo').to_dict() | changes
  record = {'config': config, 'command': 'python -m experiments.train'}
  (folder / 'config.json').write_text(json.dumps(record))
  history = [
    {'step': 0, 'eval/accuracy': 0.25},
    {'step': 1, 'reward/mean': 0.5, 'eval/accuracy': 0.75},
  ]
  for name, lines in (('metrics', history), ('samples', samples)):
    text = ''.join(json.dumps(line) + '\n' for line in lines)
    (folder / f'{name}.jsonl').write_text(text)
  return folder


def line(step=1, reward=1.0, **more):
  return {
    'step': step,
    'prompt': 'What is <b>1</b> + 1?',
    'answer': '2',
    'response': 'It is 2.',
    'reward': reward,
  } | more


# What a run keeps of tokens; of the second nothing was learned, and nobody
# chose the last.
TOKENS = {
  'tokens': ['It', ' is', ' <2>', ' a page'],
  'logp': [-0.5, 0.0, -2.0, None],
  'advantage': [1.0, 1.0, -1.0, None],
  'weight': [1.0, 0.0, 2.0, None],
  'entropy': [1.5, None, 0.25, None],
  'ratio': [1.0, None, 0.7, None],
}


class Page(html.parser.HTMLParser):
  """What stands in a page: texts, attributes of elements, open elements."""

  def __init__(self, text):
    super().__init__()
    self.texts, self.elements, self.open = [], [], []
    self.feed(text)

  def handle_starttag(self, tag, attrs):
    self.elements.append((tag, dict(attrs)))
    if tag not in ('meta', 'img', 'br'):
      self.open.append(tag)

  def handle_endtag(self, tag):
    assert self.open.pop() == tag

  def handle_data(self, data):
    self.texts.append(data)

  def having(self, name):
    return [e for _, e in self.elements if name in e.get('class', '').split()]


def test_a_page_is_whole_and_asks_nothing_of_others(tmp_path):
  made = Page(page.of_run(run_of(tmp_path, [line()], steps=7)))
  assert not made.open
  for tag, attributes in made.elements:
    for name in ('src', 'href'):
      assert attributes.get(name, 'data:').startswith('data:'), tag
  words = ' '.join(made.texts)
  assert '0.250' in words and '0.750' in words
  assert 'What is <b>1</b> + 1?' in words
  assert [t for t in made.texts if t == 'steps']
  assert 'optimizer.name' not in words


def test_responses_stand_by_iteration_and_group_with_what_they_earned(tmp_path):
  samples = [line(1), line(1, 0.0), line(3), line(3, prompt='Another?')]
  made = Page(page.of_run(run_of(tmp_path, samples)))
  assert [e['data-step'] for e in made.having('iteration')] == ['1', '3']
  assert ['hidden' in e for e in made.having('iteration')] == [True, False]
  assert [e['data-mean'] for e in made.having('group')] == ['0.5', '1.0', '1.0']
  assert len(made.having('better')) == len(made.having('worse')) == 1


def test_tokens_carry_their_numbers(tmp_path):
  made = Page(page.of_run(run_of(tmp_path, [line(**TOKENS)])))
  tokens = made.having('token')
  assert [e['data-logp'] for e in tokens] == ['-0.5', '0', '-2']
  assert [e['data-weighed'] for e in tokens] == ['1', '0', '-2']
  assert [e.get('data-entropy') for e in tokens] == ['1.5', None, '0.25']
  assert tokens[2]['data-ratio'] == '0.7'
  assert ' <2>' in made.texts and ' a page' in made.texts
  assert len(made.having('told')) == 1
  assert {e.get('value') for t, e in made.elements if t == 'option'} > {
    *page.SHADES
  }


def test_a_run_of_before_is_shaded_by_what_it_kept(tmp_path):
  kept = {name: TOKENS[name] for name in ('tokens', 'logp', 'advantage')}
  made = Page(page.of_run(run_of(tmp_path, [line(**kept)])))
  offered = {e.get('value') for t, e in made.elements if t == 'option'}
  assert offered & {*page.SHADES} == {'logp', 'advantage'}


def test_turns_of_an_agent_are_told_apart(tmp_path):
  turns = [{'said': 'look'}, {'told': 'a page'}]
  made = Page(page.of_run(run_of(tmp_path, [line(turns=turns)])))
  assert len(made.having('told')) == 1
  assert {'look', 'a page'} <= set(made.texts)


def test_a_run_without_responses_says_so(tmp_path):
  assert 'None was kept' in page.of_run(run_of(tmp_path, []))


def test_of_many_iterations_some_are_shown_evenly():
  assert page.spread({3, 1, 2}, 4) == [1, 2, 3]
  assert page.spread(range(101), 5) == [0, 25, 50, 75, 100]


def test_what_is_no_run_is_refused(tmp_path):
  with pytest.raises(Refused, match='is no run folder'):
    page.of_run(tmp_path)


def test_other_policies_than_text_have_tasks_and_arrays(tmp_path):
  acted = {'step': 1, 'task': 3, 'reward': 0.5, 'length': 2, 'paid': [0.0, 0.5]}
  acted['content'] = {'action': [1, 0]}
  words = ' '.join(Page(page.of_run(run_of(tmp_path, [acted]))).texts)
  assert 'task 3' in words and 'action [1, 0]' in words and 'paid' in words


@pytest.mark.skipif(not browser.PATH, reason='no Chromium is installed')
def test_a_page_works_in_a_browser_wide_and_on_a_phone(tmp_path):
  worse = line(1, 0.0, prompt='Worse?', **TOKENS)
  samples = [line(3), line(1, **TOKENS), worse]
  path = tmp_path / 'report.html'
  path.write_text(page.of_run(run_of(tmp_path, samples)))
  with browser.Browser(tmp_path / 'profile') as seen:
    for width in (1200, 390):
      seen.open(path, width)
      fits = 'document.documentElement.scrollWidth <= innerWidth'
      assert seen.value(fits)
      # The newest iteration is shown first, and the arrow goes to another.
      seen.value("find('step').focus()")
      assert not seen.value("document.querySelector('.token').offsetWidth")
      for key in ('ArrowUp', 'Tab', 'ArrowDown'):
        seen.press(key)
      first = (
        "document.querySelector('.iteration:not([hidden]) .say').innerText"
      )
      assert seen.value(first) == 'Worse?'
      seen.press('Tab')
      plain = seen.colour('.token')
      shades = []
      for name in page.SHADES:
        seen.press('ArrowDown')
        assert seen.value("find('shade').value") == name
        shades.append(seen.colour('.token'))
        assert seen.value("find('legend').innerText") == page.SHADES[name][1]
      assert len({plain, *shades}) >= 4
      # Red is unsure and less, blue is more.
      red, blue = shades[0], shades[2]
      assert red[0] > red[2] and blue[2] > blue[0]
      seen.point('.token', click=False)
      title = seen.value("document.querySelector('.token').title")
      told = 'advantage 1.000, advantage × weight 1.000, ratio 1.000'
      assert title == f'log-prob -0.500, entropy 1.500, {told}'
      seen.point('.token')
      assert seen.value("find('numbers').innerText") == f'It: {title}'
      assert seen.value(fits)
    assert not seen.errors
