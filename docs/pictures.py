"""Draws the pictures of a run that the documentation shows.

  python -m docs.pictures runs/default-grpo-0

writes docs/images/report.png and docs/images/terminal.png, with Chromium: what
`report.html` and the commands show of that run, as they show it.
"""

from __future__ import annotations

import html
import io
import os
import pathlib
import pty
import re
import subprocess
import sys
import tempfile

from PIL import Image

from tests.browser import Browser

IMAGES = pathlib.Path(__file__).parent / 'images'
COLUMNS = 84
COMMANDS = (
  'python -m jaxrl_llm.recipes for --have=verifier --want=hard',
  'python -m experiments.show {run} --step=3 --mixed --count=2',
)
# The iteration of the report, and what its tokens are shaded by.
STEP, SHADE = 11, 'weighed'
HEIGHT = 1900
STYLES = {'32': 'color: #3fb950', '31': 'color: #ff7b72', '2': 'opacity: .6'}
PAGE = """<!doctype html><meta charset="utf-8"><style>
body {{ margin: 0; background: #0d1117; color: #e6edf3; width: max-content; }}
pre {{ font: 14px/1.35 'DejaVu Sans Mono', monospace; }}
pre {{ padding: 16px; margin: 0; }}
b {{ color: #79c0ff; }}
</style><pre>{}</pre>"""


def printed(words: list[str]) -> str:
  """What a command prints on a terminal."""
  ours, theirs = pty.openpty()
  subprocess.run(
    words,
    stdout=theirs,
    stderr=theirs,
    check=True,
    env=os.environ | {'COLUMNS': str(COLUMNS), 'TERM': 'xterm-256color'},
  )
  os.close(theirs)
  text = b''
  try:
    while part := os.read(ours, 4096):
      text += part
  except OSError:  # So Linux says that nobody writes there any more.
    pass
  return text.decode().replace('\r\n', '\n').rstrip()


def coloured(text: str) -> str:
  """Text with colours of a terminal as HTML."""
  text = re.sub(
    r'\x1b\[(\d+)m(.*?)\x1b\[0m',
    lambda found: f'<span style="{STYLES[found[1]]}">{found[2]}</span>',
    html.escape(text, quote=False),
  )
  assert '\x1b' not in text, text
  return text


def terminal(browser: Browser, run: str, folder: pathlib.Path) -> None:
  """Draws commands and what they print."""
  blocks = []
  for command in COMMANDS:
    typed = command.format(run=run)
    shown = printed([sys.executable, *typed.split()[1:]])
    blocks.append(f'<b>$ {typed}</b>\n{coloured(shown)}')
  path = folder / 'terminal.html'
  path.write_text(PAGE.format('\n\n'.join(blocks)), encoding='utf-8')
  browser.open(path, 1000)
  box = browser.value('[document.body.offsetWidth, document.body.offsetHeight]')
  image = Image.open(io.BytesIO(browser.picture(whole=True)))
  image.crop((0, 0, *box)).quantize(64, dither=Image.Dither.NONE).save(
    IMAGES / 'terminal.png'
  )


def report(browser: Browser, run: str) -> None:
  """Draws the report of a run, wide and on a phone, side by side."""
  path = pathlib.Path(run) / 'report.html'
  shown = []
  for width in (960, 390):
    browser.open(path, width, HEIGHT)
    browser.value(
      "const nearest = [...find('step').options].map((o) => +o.value)"
      f'.filter((x) => x <= {STEP}).pop();'
      f"find('step').value = nearest; find('order').value = 'mixed';"
      f"find('shade').value = {SHADE!r}; order(); shade();"
    )
    browser.point('.iteration:not([hidden]) .token')
    shown.append(Image.open(io.BytesIO(browser.picture())))
  gap = 24
  size = sum(x.width for x in shown) + 3 * gap, HEIGHT + 2 * gap
  sheet, left = Image.new('RGB', size, '#e2e2e2'), gap
  for image in shown:
    sheet.paste(image, (left, gap))
    left += image.width + gap
  sheet.quantize(256, dither=Image.Dither.NONE).save(IMAGES / 'report.png')


def main(run: str) -> None:
  """Draws both."""
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    with Browser(folder / 'profile') as browser:
      terminal(browser, run, folder)
      report(browser, run)


if __name__ == '__main__':
  main(*sys.argv[1:])
