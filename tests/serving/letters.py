"""A chat whose tokens are letters."""

from jaxrl_llm.tasks.speech import Call, Said

TOOLS = [{'type': 'function', 'function': {'name': 'add'}}]


class Letters:
  """A chat whose tokens are letters; thoughts end with `~`, calls with `!`."""

  def begin(self, prompt, tools=()):
    names = [tool['function']['name'] for tool in tools]
    return self._ids(''.join(names) + self._written(prompt))

  def after(self, history, said, new, tools=()):
    assert all(m['role'] != 'assistant' for m in new)
    return self._ids('|' * (said.ended is None) + self._written(new))

  def read(self, ids, tools=(), *, cut=False):
    text = ''.join(map(chr, ids))
    thought, _, rest = text.rstrip('|').rpartition('~')
    calls = ()
    if tools and rest.endswith('!') and not cut:
      calls, rest = [Call('call00000', rest[:-1].strip(), {'a': 1})], ''
    ended = ord('|') if text.endswith('|') else None
    return Said(
      text, ids=ids, content=rest, thought=thought, calls=calls, ended=ended
    )

  def _written(self, messages):
    said = [
      m['role'][0]
      + ''.join(c['function']['name'] for c in m.get('tool_calls', ()))
      + m['content']
      for m in messages
    ]
    return '|'.join([*said, 'a'])

  def _ids(self, text):
    return list(map(ord, text))
