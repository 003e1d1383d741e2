"""A language model controls: a decision transformer on weights of text.

  python -m experiments.sweep --all \\
      --study=experiments/ablations/language_control.py

LaMo (arXiv 2310.20587) claims that a decision transformer learns more from few
recorded episodes where it begins with the weights of a language model, adapts
them by LoRA, embeds numbers by MLPs and goes on predicting text.

A point mass is pushed to goals on a circle and paid at the end. Recorded are 8
or 64 episodes of a controller that pushes 0 to 1 times as hard as the best one,
with noise. The model, 2 layers of width 32, has read 600 batches of text first,
letters of a Markov chain of order 2. Each policy learns 300 batches of 16
windows of 20 steps. `lamo` is the method; others leave out one part: `linear`
embeddings and answer, `no text` beside control, `all weights` in place of LoRA,
`unread` random weights in place of the model's. `transformer` is the decision
transformer: random weights, all of them learned, linear, no text. Measured: the
return between that of no push, 0, and the best possible, 1, where the best
recorded return is asked for; the error of actions of 256 other episodes; what
text then costs, in nats a letter. Expected: `lamo` first, by more with 8
episodes, and text forgotten by `no text` and `all weights`.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from experiments.ablations.study import Figure, over
from jaxrl_llm import optimizers
from jaxrl_llm.environments.point_mass import PointMass
from jaxrl_llm.policies import acting, decision, protocol
from jaxrl_llm.policies.language import lora, parameters
from jaxrl_llm.policies.language.config import Config

WORLD = PointMass()
LETTERS, PAGE, PAGES = 16, 32, 2048
DECODER = Config(LETTERS, 32, 2, 4, 4, 8, 64)
READING, UPDATES, BATCH, HELD_OUT, ASKED = 600, 300, 16, 256, 64
TEXT_WEIGHT = 0.1
VARIANTS = (
  'lamo',
  *('linear', 'no text', 'all weights', 'unread'),
  'transformer',
)
FIGURE = Figure(
  y='return', x='episodes', series='variant', log='x', title='a point mass'
)


def cells():
  return over(variant=VARIANTS, episodes=[8, 64], seed=range(3))


@dataclasses.dataclass(frozen=True)
class Recorded:
  """A controller whose parameters are how hard each row pushes, f32[N]."""

  noise: float = 0.5

  def act(self, params, observation, legal, keys):
    del legal
    best = WORLD.optimal_action(observation)
    drawn = jax.vmap(lambda key: jax.random.normal(key, (2,)))(keys)
    action = params[:, None] * best + self.noise * drawn
    return action, jnp.zeros(len(params))


def episodes_of(key, count):
  hard, played = jax.random.split(key)
  gains = jax.random.uniform(hard, (count,), minval=0.0, maxval=1.0)
  tasks = jnp.arange(count) % WORLD.goals
  return acting.unroll(Recorded(), WORLD, gains, tasks, jnp.arange(count), key)


def pages(seed, key, count):
  """i32[count, PAGE] of the seed's Markov chain."""
  shape = (LETTERS,) * 3
  logits = 2.5 * jax.random.normal(jax.random.key(seed), shape)

  def page(key):
    def step(last, key):
      letter = jax.random.categorical(key, logits[last])
      return (last[1], letter), letter

    start = jnp.int32(0), jnp.int32(0)
    return jax.lax.scan(step, start, jax.random.split(key, PAGE))[1]

  return jax.vmap(page)(jax.random.split(key, count))


@functools.cache
def optimizer(steps, clip_norm):
  """One for all, so that what it is compiled into is one program."""
  return optimizers.chain(
    learning_rate=3e-3,
    schedule='linear',
    warmup=steps // 10,
    total=steps,
    clip_norm=clip_norm,
    weight_decay=1e-4,
  )


@functools.cache
def read(seed):
  """The text, and a model that has read it."""
  keys = jax.random.split(jax.random.key(seed), 3)
  text, tx = pages(seed, keys[0], PAGES), optimizer(READING, 1.0)

  def update(carry, key):
    params, moments = carry
    page = text[jax.random.randint(key, (BATCH,), 0, PAGES)]
    mask = jnp.ones(page.shape, bool)
    slope = jax.grad(decision.unlikelihood)(params, DECODER, page, mask)
    change, moments = tx.update(slope, moments, params)
    return (jax.tree.map(jnp.add, params, change), moments), None

  params = parameters.init(DECODER, keys[1])
  steps = jax.random.split(keys[2], READING)
  learn = jax.jit(lambda start: jax.lax.scan(update, start, steps)[0][0])
  return text, learn((params, tx.init(params)))


def begun(variant, seed):
  """The policy, its parameters, and the weight of text."""
  plain = variant == 'transformer'
  policy = decision.DecisionTransformer(
    DECODER, 5, 2, WORLD.spec.horizon, hidden=variant != 'linear' and not plain
  )
  first, second = jax.random.split(jax.random.key(100 + seed))
  params = protocol.initial(policy.table(), first)
  if variant not in ('unread', 'transformer'):
    params |= read(seed)[1]
  if variant not in ('all weights', 'transformer'):
    params = lora.add(
      params, DECODER, second, rank=8, alpha=16, targets=('q', 'k', 'v')
    )
  return policy, params, 0.0 if variant == 'no text' or plain else TEXT_WEIGHT


def run(seeds, *, variant, episodes):
  """Returns, errors and what text costs."""
  found = [one(variant, episodes, int(seed)) for seed in seeds]
  return {name: np.array([each[name] for each in found]) for name in found[0]}


def one(variant, episodes, seed):
  """The results of a seed."""
  text, _ = read(seed)
  keys = jax.random.split(jax.random.key(1000 + seed), 5)
  rows = episodes_of(keys[0], episodes)
  scale = float(jnp.mean(jnp.abs(jnp.sum(rows.paid, axis=1))))
  recording = decision.recording(rows, scale=scale)
  policy, params, weight = begun(variant, seed)
  params, _ = decision.fit(
    params,
    policy,
    recording.steps,
    text,
    keys[1],
    tx=optimizer(UPDATES, 0.25),
    updates=UPDATES,
    batch=BATCH,
    language_weight=weight,
  )
  tasks = jnp.arange(ASKED) % WORLD.goals
  wanted = jnp.full(ASKED, jnp.max(jnp.sum(rows.paid, axis=1)))
  got = decision.earned(
    params, policy, WORLD, recording, tasks, keys[2], wanted=wanted
  )
  # Without a push a row stays where it is, up to the noise.
  best, still = np.mean(WORLD.optimal_return), -(WORLD.distance**2)
  other = decision.recording(episodes_of(keys[3], HELD_OUT), scale=scale)
  seen = other.steps.observation * other.spread + other.mean - recording.mean
  steps = other.steps.replace(observation=seen / recording.spread)
  error = jnp.mean((policy.predicted(params, steps) - steps.action) ** 2)
  page = pages(seed, keys[4], HELD_OUT)
  cost = decision.unlikelihood(
    params, DECODER, page, jnp.ones(page.shape, bool)
  )
  return {
    'return': (float(jnp.mean(got)) - still) / (best - still),
    'error': float(error),
    'text': float(cost),
  }
