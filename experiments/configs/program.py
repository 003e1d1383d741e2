"""The agent of `agent.py` as a program that asks the policy over HTTP.

  python -m experiments.train --config=experiments/configs/program.py
  python -m experiments.train --config=experiments/configs/program.py:rloo \
      --config.program=my_agent:solve

any recipe that samples independently, and any program, see
docs/agents.md. The server is in the extra `serve`.

The first command takes 185 seconds of CPU time. Of sampled answers to held-out
questions 0.445 are right before, and 0.898 after 60 iterations; a second run,
whose programs asked at other times, gave the same numbers.
"""

from experiments.configs import agent


def get_config(recipe: str = 'grpo'):
  """Recipes whose rows are what a program asked."""
  config = agent.prices(recipe)
  config.data.level = 3  # as 2, and records list the tools
  config.program = 'experiments.programs:prices'
  config.serve.answer = 24
  config.serve.requests = 3
  return config.lock()
