"""Programs that tests run, with nothing but the standard library."""

import json
import random
import time
import urllib.request

from jaxrl_llm.tasks import environments, toolboxes


def ask(url, key, messages, **fields):
  """The message that answers."""
  body = {'model': 'policy', 'messages': messages, **fields}
  found = post(f'{url}/chat/completions', key, body)
  return found['choices'][0]['message']


def post(address, key, body):
  """What comes back."""
  request = urllib.request.Request(
    address, json.dumps(body).encode(), {'Authorization': f'Bearer {key}'}
  )
  with urllib.request.urlopen(request, timeout=60) as answer:
    return json.load(answer)


def spell_for_pay(row, url, key):
  """Asks as `environments.Lookup` answers, and pays what it pays."""
  lookup = environments.Lookup()
  [state] = lookup.reset([row])
  messages = [{'role': 'user', 'content': row['prompt']}]
  for _ in range(4):
    said = ask(url, key, messages)
    [step] = lookup.step([state], [said['content']])
    post(f'{url}/reward', key, {'reward': step.reward})
    if step.done:
      return
    state = step.state
    messages += [said, {'role': 'user', 'content': step.observation}]


def prices_backwards(row, url, key):
  """As `experiments.programs.prices`, with the last result first."""
  box = toolboxes.Prices()
  box.reset(row)
  messages = [{'role': 'user', 'content': row['prompt']}]
  while calls := (said := ask(url, key, messages, tools=row['tools'])).get(
    'tool_calls'
  ):
    messages.append(said)
    for call in reversed(calls):
      name, arguments = (call['function'][x] for x in ('name', 'arguments'))
      try:
        result = str(getattr(box, name)(**json.loads(arguments)))
      except KeyError as error:
        result = f'error: KeyError: {error}'
      told = {'role': 'tool', 'tool_call_id': call['id'], 'name': name}
      messages.append({**told, 'content': result})


def wandering(row, url, key):
  """Goes on whatever it hears, at times of its own, with a helper between."""
  words = row['prompt']
  messages = [{'role': 'user', 'content': words}]
  for turn in range(3):
    time.sleep(random.SystemRandom().random() / 20)
    messages.append(ask(url, key, messages, max_tokens=1 + turn))
    messages.append({'role': 'user', 'content': f'{turn}='})
    if turn == 1:
      ask(url, key, [{'role': 'user', 'content': words[:2]}])
  return float(len(messages[1]['content']) % 2)


def helped(row, url, key):
  """Two conversations, of which the second is begun with the first's end."""
  messages = [{'role': 'user', 'content': row['prompt']}]
  first = ask(url, key, messages)['content']
  second = ask(url, key, [{'role': 'user', 'content': f'{first[:1]}='}])
  return float(len(second['content']) % 3)


def delegating(row, url, key):
  """A helper, who is paid for its answer, and the one who asked for help."""

  def said(system):
    messages = [
      {'role': 'system', 'content': system},
      {'role': 'user', 'content': row['prompt']},
    ]
    body = {'model': 'policy', 'messages': messages}
    return post(f'{url}/chat/completions', key, body)['id']

  helped = said('1=')
  said('2=')
  post(f'{url}/reward', key, {'reward': 0.25, 'id': helped})
  return 1.0


async def misbehave(row, url, key):
  """What a program may do wrong, by the first letter of the prompt."""
  messages = [{'role': 'user', 'content': row['prompt']}]
  how = row['how']
  if how != 'silent':
    ask(url, key, messages)
  if how == 'impossible':
    ask(url, key, messages, n=2)
  if how == 'hang':
    time.sleep(100)
  if how == 'raise':
    raise KeyError('no')
  if how == 'endless':
    while True:
      ask(url, key, messages)
  if how in ('nan', '1e300'):
    return float(how)
  return 1.0
