"""Key turns teach a strategist what the outcome of a game tells too seldom.

  python -m experiments.sweep --all \\
      --study=experiments/ablations/key_strategies.py

EPO (arXiv 2502.12486) claims that process rewards of key turns, beside the
outcome, teach a strategist to reach goals that are several turns away.

A game of hidden roles in three turns. One of four players is the wolf, which
the strategist cannot see. In each turn it says one of five words: the name of a
player, or `ask`. If it asks first, the seer tells it who is the wolf. Next it
accuses: the village believes it if it names the wolf. Last it votes, and wins
if it names the wolf and was believed. What others say stands in the row. A
table of logits for every history, 0 at first: one game in 25 is won, and who
asks can win all. 64 groups of 8 games an iteration, 60 iterations, Adam at
0.05. `epo` hears of a judge that asking, and naming the wolf, were key; in
`epo, outcome alone` no turn is key; `epo, judge errs` has one judgement in five
turned over; `grpo` is told the outcome. One pass over the rows for all.
Measured: the chance to win, exact; the chance to ask. Expected: the judge finds
the way through the seer, the outcome alone mostly wins without asking.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.ablations import tables
from experiments.ablations.study import Figure, over
from jaxrl_llm.tabular import policy

PLAYERS, VOCAB, COLUMNS = 4, 5, 5
ASK = SILENT = 4
BELIEVED, TURNS = 0, (0, 2, 4)
GROUPS, SAMPLES, STEPS, EVERY = 64, 8, 60, 4
ERRS = 0.2
LEARNERS = ('epo', 'epo, outcome alone', 'epo, judge errs', 'grpo')
OWN = np.isin(np.arange(COLUMNS), TURNS)

FIGURE = Figure(
  y='wins', x='iteration', series='learner', title='games of hidden roles'
)


def cells():
  return over(learner=LEARNERS, seed=range(5))


def heard(wolf, column, said):
  """i32[N]: what others say after the strategist's word in a column."""
  if column == TURNS[0]:
    return jnp.where(said == ASK, wolf, SILENT)
  return jnp.where(said == wolf, BELIEVED, SILENT)


def rows(tokens, **others):
  found = policy.as_rollouts(
    tokens, jnp.ones(tokens.shape, bool), task=jnp.zeros(len(tokens), jnp.int32)
  )
  own = jnp.broadcast_to(jnp.asarray(OWN), tokens.shape)
  return found.replace(action_mask=own, **others)


def play(params, key, wolf):
  """Rows of games against wolves i32[N]."""
  node, said = jnp.zeros(len(wolf), jnp.int32), []
  for column in TURNS:
    key, draw = jax.random.split(key)
    word = jax.random.categorical(draw, params['logits'][0, node])
    others = (word, heard(wolf, column, word)) if column < 4 else (word,)
    for token in others:
      node = VOCAB * node + token.astype(jnp.int32) + 1
      said.append(token.astype(jnp.int32))
  group = jnp.arange(len(wolf), dtype=jnp.int32) // SAMPLES
  found = rows(jnp.stack(said, axis=1), group=group)
  return found.replace(
    logp=jnp.where(OWN, policy.score(params, found).logp, 0.0)
  )


def judged(tokens, wolf):
  """Who won f32[N], and which columns were key bool[N, COLUMNS]."""
  asked, named = tokens[:, 0] == ASK, tokens[:, 2] == wolf
  won = named & (tokens[:, 4] == wolf)
  none = jnp.zeros_like(asked)
  return won * 1.0, jnp.stack([asked, none, named, none, none], axis=1)


def exact(params):
  """The chances to win and to ask, over all games."""
  grid = np.stack(np.meshgrid(*[np.arange(VOCAB)] * 3, np.arange(PLAYERS)), -1)
  *words, wolf = jnp.asarray(grid.reshape(-1, 4).T, jnp.int32)
  told = heard(wolf, TURNS[0], words[0]), heard(wolf, TURNS[1], words[1])
  tokens = jnp.stack([words[0], told[0], words[1], told[1], words[2]], axis=1)
  logp = policy.score(params, rows(tokens)).logp
  chance = jnp.exp(jnp.sum(jnp.where(OWN, logp, 0.0), axis=1)) / PLAYERS
  won, _ = judged(tokens, wolf)
  return chance @ won, chance @ (words[0] == ASK)


def run(seeds, *, learner):
  """The chance to win along training, and to ask at the end."""
  name = learner.split(',')[0]
  one = {'epochs': 1} if name == 'epo' else {'kl_weight': 0.0}
  program = tables.program_of(
    name, tx=optax.adam(0.05), samples=SAMPLES, minibatches=1, **one
  )

  def train(key):
    nodes = policy.states(VOCAB, COLUMNS)
    start = {
      'logits': jnp.zeros((1, nodes, VOCAB)),
      'values': jnp.zeros((1, nodes)),
    }

    def step(state, key):
      deal, draw, err, update = jax.random.split(key, 4)
      wolf = jax.random.randint(deal, (GROUPS * SAMPLES,), 0, PLAYERS)
      made = play(state.params, draw, wolf)
      won, key_turns = judged(made.content.response, wolf)
      turned = jax.random.bernoulli(err, ERRS, key_turns.shape) & OWN
      paid = {
        'epo': key_turns,
        'epo, judge errs': key_turns ^ turned,
      }.get(learner, jnp.zeros_like(key_turns))
      turn = jnp.broadcast_to(jnp.arange(COLUMNS) // 2, made.action_mask.shape)
      made = made.replace(
        extras={'turn': turn.astype(jnp.int32), 'decision_reward': paid * 1.0}
      )
      state, _ = tables.learn(program, state, made, won, update)
      return state, exact(state.params)

    state = tables.begin(program, start, prompts=GROUPS)
    return jax.lax.scan(step, state, jax.random.split(key, STEPS))[1]

  wins, asks = tables.over_seeds(train, seeds)
  steps = np.arange(EVERY, STEPS + 1, EVERY)
  return {
    'iteration': np.tile(steps, (len(wins), 1)),
    'wins': wins[:, EVERY - 1 :: EVERY],
    'at the end': wins[:, -1],
    'over training': wins.mean(axis=1),
    'asks': asks[:, -1],
  }
