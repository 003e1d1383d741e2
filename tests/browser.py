"""A headless Chromium that tests look at pages with.

It is spoken to in its own protocol over a pair of pipes, so that nothing needs
to be installed beside it: https://chromedevtools.github.io/devtools-protocol.
"""

from __future__ import annotations

import base64
import io
import json
import os
import pathlib
import shutil
import subprocess
import time
from typing import Any

PATH = next(
  filter(None, map(shutil.which, ('chromium', 'google-chrome', 'chrome'))), None
)
_KEYS = {'ArrowDown': 40, 'ArrowUp': 38, 'Tab': 9}


class Browser:
  """One page of one browser; used as a context.

  Attributes:
    errors: what scripts of the page threw.
  """

  def __init__(self, folder: pathlib.Path):
    self.errors: list[str] = []
    self._number, self._session = 0, ''
    (read, theirs), (mine, self._write) = os.pipe(), os.pipe()
    self._answers = os.fdopen(read, 'rb')
    # It reads from 3 and writes to 4.
    words = f'exec "$0" "$@" 3<&{mine} 4>&{theirs}'
    self._process = subprocess.Popen(
      ['bash', '-c', words, PATH, '--headless', '--remote-debugging-pipe']
      + ['--no-sandbox', '--disable-gpu', '--no-first-run']
      + ['--host-resolver-rules=MAP * ~NOTFOUND', f'--user-data-dir={folder}'],
      pass_fds=(mine, theirs),
      stdout=subprocess.DEVNULL,
      stderr=subprocess.DEVNULL,
    )
    os.close(mine)
    os.close(theirs)
    target = self.ask('Target.createTarget', url='about:blank')['targetId']
    self._session = self.ask(
      'Target.attachToTarget', targetId=target, flatten=True
    )['sessionId']
    self.ask('Runtime.enable')
    self.ask('Emulation.setScrollbarsHidden', hidden=True)

  def __enter__(self):
    return self

  def __exit__(self, *_):
    # It ends by itself, and its own processes with it, once nobody asks.
    os.close(self._write)
    try:
      self._process.wait(timeout=20)
    except subprocess.TimeoutExpired:
      self._process.kill()
      self._process.wait()
    self._answers.close()

  def ask(self, method: str, **given: Any) -> dict[str, Any]:
    """The answer to a command of the protocol."""
    self._number += 1
    asked = {'id': self._number, 'method': method, 'params': given}
    if self._session:
      asked['sessionId'] = self._session
    os.write(self._write, json.dumps(asked).encode() + b'\0')
    while True:
      heard = json.loads(self._heard())
      if heard.get('method') == 'Runtime.exceptionThrown':
        self.errors.append(heard['params']['exceptionDetails']['text'])
      if heard.get('id') == self._number:
        assert 'error' not in heard, heard
        return heard['result']

  def _heard(self) -> bytes:
    text = b''
    while not text.endswith(b'\0'):
      byte = self._answers.read(1)
      assert byte, 'the browser is gone'
      text += byte
    return text[:-1]

  def open(self, path: pathlib.Path, width: int, height: int = 800) -> None:
    """Shows a file in a window, which is a phone's where it is narrow."""
    self.ask(
      'Emulation.setDeviceMetricsOverride',
      width=width,
      height=height,
      deviceScaleFactor=1,
      mobile=width < 500,
    )
    self.ask('Page.navigate', url=path.resolve().as_uri())
    for _ in range(200):
      if self.value('document.readyState') == 'complete':
        return
      time.sleep(0.02)
    raise TimeoutError(path)

  def value(self, code: str) -> Any:
    """What an expression is in the page."""
    found = self.ask('Runtime.evaluate', expression=code, returnByValue=True)
    assert 'exceptionDetails' not in found, found
    return found['result'].get('value')

  def point(self, selector: str, *, click: bool = True) -> None:
    """Moves the mouse over the first such element, and clicks."""
    x, y = self.value(
      f'(() => {{ const e = document.querySelector({selector!r}); '
      "e.scrollIntoView({block: 'center'}); const r = e.getClientRects()[0]; "
      'return [r.x + r.width / 2, r.y + r.height / 2] })()'
    )
    for kind in ('mouseMoved', *('mousePressed', 'mouseReleased') * click):
      self.ask(
        'Input.dispatchMouseEvent',
        type=kind,
        x=x,
        y=y,
        button='left' if click else 'none',
        clickCount=int(click),
      )

  def press(self, key: str) -> None:
    """A key, where the focus is."""
    for kind in ('rawKeyDown', 'keyUp'):
      self.ask(
        'Input.dispatchKeyEvent',
        type=kind,
        key=key,
        code=key,
        windowsVirtualKeyCode=_KEYS[key],
      )

  def picture(self, *, whole: bool = False) -> bytes:
    """The page as a PNG, what is in the window or all of it."""
    found = self.ask('Page.captureScreenshot', captureBeyondViewport=whole)
    return base64.b64decode(found['data'])

  def colour(self, selector: str) -> tuple[int, ...]:
    """That of the upper left corner of the first such element, as shown."""
    from PIL import Image

    x, y = self.value(
      f'(() => {{ const e = document.querySelector({selector!r}); '
      'const r = e.getClientRects()[0]; return [r.x + 1, r.y + 1] })()'
    )
    image = Image.open(io.BytesIO(self.picture())).convert('RGB')
    return image.getpixel((int(x), int(y)))
