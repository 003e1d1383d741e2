"""Toolboxes, good and bad, that workers find by name."""

import os
import sys
import time

from jaxrl_llm.tasks.toolbox import Toolbox, final


class Shop(Toolbox):
  """Prices that must be asked for; the cheapest is to be bought."""

  def reset(self, row):
    self.prices, self.bought = row['prices'], ''

  def price(self, item: str) -> int:
    """The price of an item.

    Args:
      item: its name.
    """
    return self.prices[item]

  @final
  def buy(self, item: str, count: int = 1):
    """Buys an item, and is done.

    Args:
      item: its name.
      count: how many.
    """
    self.bought = item * count

  def reward(self):
    cheapest = min(self.prices, key=self.prices.get)
    return (self.bought == cheapest) + 10.0 * (self.said == 'bye')


class Wild(Toolbox):
  """Does whatever a tool should not."""

  def reset(self, row):
    self.count = 0
    if row.get('begin') == 'raise':
      raise OSError('no room')

  def _told(self):
    return 'nobody may call this'

  def count_up(self) -> str:
    """Counts."""
    self.count += 1
    return f'{self.count}'

  def wait(self, seconds: float) -> str:
    """Waits.

    Args:
      seconds: how long.
    """
    self.count += 1
    time.sleep(seconds)
    return 'waited'

  def leave(self) -> str:
    """Ends its process."""
    os._exit(3)

  def quit(self) -> str:
    """Raises what ends a program."""
    sys.exit('bye')

  def fork(self) -> str:
    """Leaves a process behind."""
    if os.fork() == 0:
      time.sleep(30)
    return 'parent'

  def shout(self, letters: int) -> str:
    """Prints, and says, a lot.

    Args:
      letters: how many.
    """
    print('x' * 10_000_000)
    return 'a' + 'b' * letters + 'c\ud800'

  def hoard(self) -> str:
    """Keeps more than can be kept."""
    self.kept = 'x' * (2 << 20)
    return 'kept'

  def reward(self):
    if self.count == 7:
      raise ValueError('seven')
    return float(self.count)


class Silent(Toolbox):
  """Says too little of its tool."""

  def look(self, place):
    """Looks.

    Args:
      place: where.
    """


class Shadow(Toolbox):
  """Has a tool by the name of something else."""

  def earned(self) -> float:
    """What was earned."""
    return 1.0


class Payer(Toolbox):
  """Pays what the record says."""

  def reset(self, row):
    self.amount = row['amount']

  def work(self) -> str:
    """Works."""
    self.earned = self.amount
    return 'done'

  def reward(self):
    return self.amount


class Empty(Toolbox):
  """Has no tools."""


class Talkative(Toolbox):
  """Begins with what is neither text nor messages."""

  def reset(self, row):
    return 'Welcome' * 99_999 if row.get('long') else 3

  def look(self) -> str:
    """Looks."""
    return ''


class Paying(Shop):
  """Says itself what is asked, and pays for asking where it is cheap."""

  def reset(self, row):
    super().reset(row)
    if row.get('fails'):
      raise OSError('no room')
    things = ' or '.join(self.prices)
    return [
      {'role': 'system', 'content': 'You buy.'},
      {'role': 'user', 'content': f'Which of {things}?'},
    ]

  def price(self, item: str) -> int:
    """The price of an item.

    Args:
      item: its name.
    """
    self.earned += 0.25 if self.prices[item] < 3 else -0.5
    return self.prices[item]

  @final
  def rob(self) -> str:
    """Takes all that there is."""
    self.earned = float('inf')
    return 'gone'

  @final
  def buy(self, item: str, count: int = 1):
    """Buys an item, and is done.

    Args:
      item: its name.
      count: how many.
    """
    self.earned += 2.0
    super().buy(item, count)


class Careful(Shop):
  """Inherits tools, and has one more."""

  def total(self, items: list[str], mean: bool = False) -> float:
    """What items cost.

    Args:
      items: their names.
      mean: of one of them.
    """
    cost = sum(self.prices[item] for item in items)
    return cost / len(items) if mean else cost
