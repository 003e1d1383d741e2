"""Agents in small games and teams, where the best return is known.

  python -m experiments.train --config=experiments/configs/team.py:epo
      EPO plays both sides of a game of hidden roles
  python -m experiments.train --config=experiments/configs/team.py:m_grpo
      M-GRPO trains a main agent and its sub-agent as two policies
  python -m experiments.train --config=experiments/configs/team.py:mashost
      MasHost builds teams of agents, as graphs
  python -m experiments.train --config=experiments/configs/team.py:hi_agent
      Hi-Agent: both levels, the one that decides and the one that carries out
  python -m experiments.train --config.environment.name=research \\
      --config=experiments/configs/team.py:gigpo
      any recipe for agents, whose rows are episodes or turns
  python -m experiments.train --config.environment.name=debate \\
      --config=experiments/configs/team.py:flow_grpo_agent \\
      --config.recipe.turns=4 --config.recipe.kl_weight=0 \\
      --config.recipe.minibatches=1 --config.sample.prompts=96 \\
      --config.steps=100
      both sides of a debate before a judge that is fitted to pairs of decisions

Of the first, `eval/return` is how often the village wins, which is 0.5 where
nobody can be exploited. With --config.seed=0, 1 and 2 it goes from 0.04 to
0.54, 0.43 and 0.47, and `eval/exploitability` from 0.66 over 0.29, 0.38 and
0.45 to 0.43, 0.53 and 0.54: both sides become better, and then chase each other
round. The second takes `eval/return` from 0.24 to 0.934, 0.930 and 0.922 of at
most 0.9325; with --config.policy.frozen="(1,)", a sub-agent that does not
learn, it ends at 0.25 for seeds 0 and 1. The third goes from 0.085 to 0.992
after 20 iterations and 1.000 after 60 for seed 0, and as far for 1 and 2; with
--config.recipe.weight=0 it is at 0.979 and 0.980 after 20, with 1 it ends at
0.000, 0.997 and 0.665: what earns less than 0 is avoided before a right team is
seen, for all queries, for none, and for one of three. The fourth ends at 0.936,
0.929 and 0.922 for seeds 0, 1 and 2, of 0.9325. Each takes 6 to 15 seconds of
CPU time. In the last `eval/exploitability` goes from 0.34 to 0.09, seed 0.
"""

from experiments.configs.base import base

# What each recipe is about in its paper, and the steps of an episode there.
ABOUT = {'epo': 'werewolf', 'mashost': 'teams'}
STEPS = {'werewolf': 4, 'teams': 4, 'research': 5}
CHANGED = {
  'epo': {'steps': 100, 'optimizer.learning_rate': 0.02},
  'mashost': {'steps': 60},
  'm_grpo': {'recipe.calls': 2},
}


def get_config(recipe: str = 'm_grpo'):
  """Any recipe for agents that acts in an environment."""
  config = base(recipe, 'control')
  name = ABOUT.get(recipe, 'research')
  config.environment.name = name
  config.recipe.turns = STEPS[name]
  config.steps = 200
  config.sample.prompts = 32
  config.optimizer.learning_rate = 0.05
  config.eval.every = 20
  config.eval.samples = 256
  config.checkpoint.every = 50
  config.update_from_flattened_dict(CHANGED.get(recipe, {}))
  return config.lock()
