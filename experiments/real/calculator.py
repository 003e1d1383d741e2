"""A calculator, as a tool of an agent."""

from jaxrl_llm.tasks import expressions
from jaxrl_llm.tasks.toolbox import Toolbox


class Calculator(Toolbox):
  """Computes what it is asked to; `agent.py` trains with it."""

  def calculate(self, expression: str) -> str:
    """Computes an expression.

    Args:
      expression: such as 2 * 3.
    """
    return str(expressions.evaluate(expression)[0])
