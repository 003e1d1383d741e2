"""Programs that ask the policy over HTTP, for `--config.program`.

They know a record of the data, a URL and a key, and nothing of what trains.
"""

import json
import urllib.request

from jaxrl_llm.tasks import environments, toolboxes


def prices(row, url, key):
  """Asks for prices until the model answers; verifiers judge the answer."""
  box = toolboxes.Prices()
  box.reset(row)
  messages = [{'role': 'user', 'content': row['prompt']}]
  while True:
    said = _answer(url, key, messages, row['tools'])
    calls = said.get('tool_calls')
    if not calls:
      return
    messages.append(said)
    for call in calls:
      name, arguments = (call['function'][x] for x in ('name', 'arguments'))
      try:
        result = str(getattr(box, name)(**json.loads(arguments)))
      except (AttributeError, LookupError, TypeError, ValueError) as error:
        result = f'error: {type(error).__name__}: {error}'
      told = {'role': 'tool', 'tool_call_id': call['id'], 'name': name}
      messages.append({**told, 'content': result})


def lookup(row, url, key):
  """Tells the digits of letters until the model asks for none."""
  world = environments.Lookup()
  [state] = world.reset([row])
  messages = [{'role': 'user', 'content': row['prompt']}]
  while True:
    said = _answer(url, key, messages)
    [step] = world.step([state], [said['content']])
    if step.done:
      return
    state = step.state
    messages += [said, {'role': 'user', 'content': step.observation}]


def _answer(url, key, messages, tools=()):
  body = {'model': 'policy', 'messages': messages}
  if tools:
    body['tools'] = tools
  request = urllib.request.Request(
    f'{url}/chat/completions',
    json.dumps(body).encode(),
    {'Authorization': f'Bearer {key}'},
  )
  with urllib.request.urlopen(request) as answer:
    return json.load(answer)['choices'][0]['message']
