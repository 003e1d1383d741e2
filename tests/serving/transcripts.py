"""Agents of the guide in four ways, as the rows that are learned from.

  python -m tests.serving.transcripts

writes `experiments/results/transcripts.md`.

The policy's words are given; tokens, template, tools, server and client are
those of a run. The template is in the manner of Qwen 3: it writes calls between
marks, and leaves thoughts out where it writes the history anew.
"""

import pathlib
import re
import sys
import tempfile
from collections.abc import Iterator

from jaxrl_llm.problems.text import dialogue
from jaxrl_llm.problems.text.chats import Chats, Talk
from jaxrl_llm.serving import engine as engine_lib
from jaxrl_llm.serving import ledger as ledger_lib
from jaxrl_llm.serving import programs
from jaxrl_llm.tasks import hosted, imports, toolbox
from tests.problems.text import templates

ROOT = pathlib.Path(__file__).parents[2]
PAGE = ROOT / 'experiments' / 'results' / 'transcripts.md'
ROW = {
  'prompt': 'Which is cheapest, a or b?',
  'prices': {'a': 3, 'b': 2},
}
TOKENIZER = templates.tokenizer('qwen3')
ENDS = [TOKENIZER.eos_token_id]
_CALL = '<tool_call>\n{{"name": "price", "arguments": {{"item": "{}"}}}}\n'
CALLS = '\n'.join(_CALL.format(item) + '</tool_call>' for item in 'ab')
PRODUCT = {'prompt': 'How much is 6 times 7?'}
_PROGRAM = '{"name": "python", "arguments": {"code": "print(6 * 7)"}}'
COMPUTES = f'<tool_call>\n{_PROGRAM}\n</tool_call>'


def say(ids) -> list[int]:
  """Asks for both prices in one turn, and names the cheaper."""
  told = re.findall(r'tool\n(\d)', TOKENIZER.decode(ids))
  if told:
    words = f'<think>\n{min(told)} is less.\n</think>\n\n'
    words += 'ab'[told.index(min(told))]
  else:
    words = f'<think>\nI do not know the prices.\n</think>\n\n{CALLS}'
  return TOKENIZER(words, add_special_tokens=False)['input_ids'] + ENDS


class Engine:
  """Answers at once."""

  room = engine_lib.Room(2000, 2000, 500)

  def submit(self, ids, identity):
    del identity
    future = engine_lib.Future()
    said = tuple(say(ids))
    future.set_result(
      engine_lib.Drawn(said, {'logp': [0.0] * len(said)}, False)
    )
    return future


def compute(ids) -> list[int]:
  """Writes a program, and says what it printed."""
  told = re.findall(r'tool\n(\d+)', TOKENIZER.decode(ids))
  words = f'It is {told[0]}.' if told else COMPUTES
  return TOKENIZER(words, add_special_tokens=False)['input_ids'] + ENDS


def in_process(
  name='shop:Shop', row=ROW, say=say
) -> tuple[list[ledger_lib.Row], float]:
  """A class of tools, without HTTP."""
  world = hosted.Hosted(name, workers=1)
  schemas = toolbox.schemas(imports.imported('tools', name))
  chats = Chats(dialogue.Reader(TOKENIZER, ENDS), tools=schemas)
  prompt = [{'role': 'user', 'content': row['prompt']}]
  [state], talk = world.reset([row]), Talk(prompt)
  ids, turns = list(chats.begin(prompt)), []
  while True:
    drawn = say(ids)
    turns.append((len(ids), ledger_lib.Turn(tuple(ids), tuple(drawn), {})))
    ids += drawn
    said = chats.read(talk, drawn)
    [step] = world.step([state], [said])
    if step.done:
      world.close()
      return [ledger_lib.Row(tuple(ids), tuple(turns))], step.reward
    told, talk = chats.after(talk, said, step.observation)
    ids, state = ids + told, step.state


def over_http(*, anew: bool) -> tuple[list[ledger_lib.Row], float]:
  """The program, which asks with the client of OpenAI."""
  import agent

  from jaxrl_llm.serving.server import Server

  chats = Chats(dialogue.Reader(TOKENIZER, ENDS))
  with Server(Engine(), programs.Limits()) as server:
    ledger = ledger_lib.Ledger(chats.asked_with, anew=anew)
    episode = server.begin(ledger)
    reward = agent.solve(ROW, server.url, episode.key)
  return ledger_lib.rows(ledger.turns), reward


def written(row: ledger_lib.Row) -> Iterator[str]:
  """Its text, every line marked by whether it is learned."""
  at = 0
  for begins, turn in row.turns:
    yield from _lines('  ', row.ids[at:begins])
    at = begins + len(turn.said)
    yield from _lines('> ', row.ids[begins:at])
  if at < len(row.ids):
    yield from _lines('  ', row.ids[at:])


def _lines(mark: str, ids) -> Iterator[str]:
  for line in TOKENIZER.decode(ids).strip('\n').split('\n'):
    yield (mark + line).rstrip()


WAYS = {
  'In process, `--config.environment=shop:Shop`': in_process,
  'Over HTTP, `--config.program=agent:solve`': lambda: over_http(anew=False),
  'Over HTTP, with `--config.serve.history=template`': lambda: over_http(
    anew=True
  ),
  'With a sandbox, `--config.environment=wiki:Clerk`': lambda: in_process(
    'wiki:Clerk', PRODUCT, compute
  ),
}


def page() -> str:
  """All of it; the agents are where Python finds them."""
  lines = [
    '# One agent in three ways, and one with a sandbox',
    '',
    'Agents of [the guide](../../docs/agents.md) on a record each, as the',
    'rows that are learned from: lines that the policy drew begin with `>`,',
    'all others are read and masked. What the policy says is given here; the',
    'rest is that of a run. [What else can be seen of agents](agents.md).',
    '',
    '```',
    'python -m tests.serving.transcripts',
    '```',
  ]
  for name, way in WAYS.items():
    rows, reward = way()
    tokens = sum(len(turn.said) for row in rows for _, turn in row.turns)
    lines += ['', f'## {name}', '']
    count = f'{len(rows)} row{"s" * (len(rows) > 1)}'
    lines.append(f'{count}, {tokens} tokens learned, reward {reward:g}.')
    for row in rows:
      lines += ['', '```', *written(row), '```']
  return '\n'.join(lines) + '\n'


def with_guide(folder: pathlib.Path) -> None:
  """Puts the files of the guide where Python finds them."""
  text = (ROOT / 'docs' / 'agents.md').read_text()
  for name, code in re.findall(
    r'```python\n# (\w+\.py)\n(.*?)```', text, re.DOTALL
  ):
    (folder / name).write_text(code)


def main() -> None:
  with tempfile.TemporaryDirectory() as folder:
    with_guide(pathlib.Path(folder))
    sys.path.insert(0, folder)
    PAGE.write_text(page())


if __name__ == '__main__':
  main()
