"""Random iterations that entries and their oracles are tried on.

Small, and with whatever a mask or a count may get wrong: rows of several
lengths, tokens that a tool wrote, rows without any token of the policy's, rows
whose verifier failed, a group that is padding, groups whose rewards are equal,
and rows that tie. The policy that learns has moved away from the old one, on
some tokens far, so that clips bind on both sides for advantages of both signs.
"""

from __future__ import annotations

import dataclasses
import functools
import types
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxrl_llm import digests, reads
from jaxrl_llm.recipe import Recipe
from jaxrl_llm.training.step import Program
from jaxrl_llm.types import Rollouts, Scores, Spec, Stats, Tokens, TrainState
from tests.oracles.parts import Case, Policy

LENGTH, VOCAB, PROMPT, TASKS, DOMAINS = 5, 4, 3, 4, 2
STEP, PAST = 400, 7
MEASURED = {
  'policy/entropy': 0.9,
  'policy/kl': 0.03,
  'reference/kl': 0.05,
  'loss/variance': 0.04,
}
# Sums of these are exact in float32: what ties here ties there.
WEIGHTS = (1.0, 0.5, 0.25)


# Of those tried, by the rows of a group: tokens of either sign are past either
# side of a clip, near and far, and weigh about alike.
_SEEDS = {1: 299, 2: 759, 4: 279, 5: 1096, 8: 343}


def groups_of(samples: int) -> int:
  """Groups of a case, the last of them padding."""
  return {1: 16, 2: 10}.get(samples, 8)


def _single(x):
  """Numbers that float32 holds exactly, so that both sides see the same."""
  return np.asarray(x, np.float32).astype(np.float64)


def _policy(rng, shape, critic, base=None) -> Policy:
  """What a policy says; that of `base`, moved, where there is one."""
  answers = *shape, *critic

  def near(x, scale):
    far = rng.choice([0.0, -2.2, 2.2], x.shape, p=[0.82, 0.09, 0.09])
    return x + scale * rng.standard_normal(x.shape) + far

  if base is None:
    logp = -0.2 - rng.exponential(1.2, shape)
    entropy = rng.exponential(0.6, shape)
    values, after = rng.standard_normal((2, *answers))
    logits = rng.standard_normal((*shape, VOCAB))
  else:
    logp = np.minimum(near(base.logp, 0.3), -0.01)
    entropy = base.entropy * np.exp(0.2 * rng.standard_normal(shape))
    values = base.values + 0.3 * rng.standard_normal(answers)
    after = base.after_values + 0.3 * rng.standard_normal(answers)
    logits = base.log_probs + 0.4 * rng.standard_normal(base.log_probs.shape)
  log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
  return Policy(*map(_single, (logp, entropy, values, after, log_probs)))


def _lengths(rng, samples, groups):
  """Tokens that exist, and those that the policy chose: bool[N, T] each."""
  ends = rng.integers(2, LENGTH + 1, groups * samples)
  ends[[3, -1]] = 1, 0
  ends[-samples:] = 0
  exists = np.arange(LENGTH) < ends[:, None]
  chosen = exists.copy()
  chosen[::3, 1] = False
  # A row that a tool wrote, in a group that has others.
  chosen[2 * samples] = False
  return exists, chosen


def _scores(rng, samples, groups, components):
  """f64[N, K]: two rows tie; groups are all right, or all wrong.

  Which of two rows is better depends on how their scores are added up.
  """
  rows = groups * samples
  scores = [
    rng.integers(0, 2, rows),
    rng.integers(0, 5, rows) / 4,
    rng.integers(0, 9, rows) / 8,
  ]
  scores = np.stack(scores[:components], axis=1)
  scores[2 * samples + min(1, samples - 1)] = scores[3 * samples - 1]
  if samples > 1:
    scores[4 * samples] = np.eye(components)[0]
    scores[4 * samples + 1] = 1 - np.eye(components)[0]
  scores[samples : 2 * samples] = 1.0
  scores[-2 * samples : -samples] = 0.0
  return scores


def _preference(rng, samples, groups):
  """f64[N, G]: chances to win of which each pair's add up to 1."""
  chances = rng.integers(0, 17, (groups, samples, samples)) / 16
  upper = np.triu(chances, 1)
  lower = np.tril(1 - upper.swapaxes(1, 2), -1)
  return (upper + lower + np.eye(samples) / 2).reshape(-1, samples)


@functools.lru_cache(maxsize=64)
def case_of(
  samples: int,
  *,
  components: int = 3,
  judged: bool = False,
  answers: tuple[int, ...] = (),
  extras: frozenset[str] = frozenset(),
) -> Case:
  """An iteration of groups of so many rows, see the module.

  Args:
    components: K. judged: whether preferences of an oracle are given.
    answers: the shape of what a critic answers to one state.
    extras: what the plan provides, by name.
  """

  def rng(name):
    seed = _SEEDS.get(samples, 0)
    return np.random.default_rng([seed, zlib.crc32(name.encode())])

  groups = groups_of(samples)
  group = np.repeat(np.arange(groups), samples)
  exists, chosen = _lengths(rng('lengths'), samples, groups)
  valid = group < groups - 1
  valid[[1, samples * 3]] = False
  old = _policy(rng('old'), exists.shape, answers)

  def moved(name):
    return _policy(rng(name), exists.shape, answers, old)

  past = np.stack([moved(f'past {i}').logp for i in range(PAST)])
  tokens = rng('response').integers(0, VOCAB, exists.shape)
  response = np.where(exists, tokens, 0)
  scores = _scores(rng('scores'), samples, groups, components)
  preference = _preference(rng('preference'), samples, groups)
  case = Case(
    samples=samples,
    group=group,
    task=group % TASKS,
    domain=group % DOMAINS,
    valid=valid,
    truncated=exists[:, -1],
    response=response,
    response_mask=exists,
    mask=chosen & valid[:, None],
    components=scores,
    weights=np.array(WEIGHTS[:components]),
    preference=preference if judged else None,
    sampler_logp=moved('sampler').logp,
    teacher_logp=moved('teacher').logp,
    past=past,
    ref_logp=past[0],
    old=old,
    now=moved('now'),
    extras=_extras(extras, group, response),
    step=STEP,
    measured=MEASURED,
  )
  earlier = np.roll(scores, samples, axis=0)
  return dataclasses.replace(
    case, before=dataclasses.replace(case, components=earlier)
  )


def _extras(names, group, response):
  content = types.SimpleNamespace(
    response=response, prompt=np.zeros((len(group), PROMPT))
  )
  rollouts = types.SimpleNamespace(group=group, content=content)
  extras = {}
  for name in sorted(names):
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    x = reads.find(name).example(rng, rollouts)
    extras[name] = x.astype(np.float64) if x.dtype.kind == 'f' else x
  return extras


# The same for the package.


def _arrays(tree):
  """Arrays of the package's types: float32 and int32."""
  kinds = {'f': jnp.float32, 'i': jnp.int32, 'b': bool}
  return jax.tree.map(lambda x: jnp.asarray(x, kinds[x.dtype.kind]), tree)


def rollouts_of(case: Case) -> Rollouts:
  rows = len(case.group)
  chosen = case.mask | (case.response_mask & ~case.valid[:, None])
  return _arrays(
    Rollouts(
      content=Tokens(
        prompt=np.zeros((rows, PROMPT), int),
        prompt_mask=np.ones((rows, PROMPT), bool),
        response=case.response,
      ),
      response_mask=case.response_mask,
      action_mask=chosen,
      logp=np.where(chosen, case.sampler_logp, 0.0),
      paid=np.zeros(chosen.shape),
      group=case.group,
      task=case.task,
      domain=case.domain,
      valid=case.valid,
      truncated=case.truncated,
      extras={**case.extras, 'teacher_logp': case.teacher_logp},
    )
  )


def scores_of(case: Case) -> Scores:
  return _arrays(Scores(case.components, case.weights, case.preference))


def spec_of(case: Case) -> Spec:
  return Spec(
    len(case.group),
    case.samples,
    PROMPT,
    LENGTH,
    tasks=TASKS,
    domains=DOMAINS,
    task_domains=tuple(task % DOMAINS for task in range(TASKS)),
    task_lengths=tuple(range(1, TASKS + 1)),
    component_names=('correct', 'form', 'style')[: len(case.weights)],
  )


def params_of(policy: Policy):
  """What the policy says as parameters: the scorer only hands them on."""
  return _arrays(dataclasses.asdict(policy))


def scorer(params, rollouts, needs) -> Stats:
  optional = {n: params[n] for n in ('values', 'after_values', 'log_probs')}
  seen = digests.seen(rollouts, rollouts.content.response)
  return Stats(
    logp=params['logp'],
    entropy=params['entropy'],
    **{name: x for name, x in optional.items() if name in needs},
    digests=digests.made(needs, params['log_probs'], seen),
  )


def program_of(recipe: Recipe) -> Program:
  """With a second pass, so that old log-probs are always given."""
  twice = dataclasses.replace(recipe, epochs=2, minibatches=1)
  return Program(twice, scorer, optax.sgd(1.0))


def referred(recipe: Recipe, case: Case):
  """The state of the recipe's reference after the iterations of the past."""
  policies = [
    params_of(dataclasses.replace(case.old, logp=logp)) for logp in case.past
  ]
  state = recipe.reference.init(policies[0], spec_of(case))
  for step, policy in enumerate(policies[1:], start=1):
    state = recipe.reference.update(state, policy, step)
  return state


def scored(recipe: Recipe, case: Case, reference) -> Rollouts:
  """The rollouts with the passes that the recipe asks for."""
  state = TrainState(params_of(case.old), (), reference, {}, case.step)
  return program_of(recipe).score(state, {}, rollouts_of(case))


def coefficients(recipe: Recipe, case: Case):
  """Those of costs after one iteration that measured `case.measured`."""
  found = {}
  for name, controller in recipe.objective.controllers.items():
    state = controller.update(controller.init(), case.measured)
    found[name] = controller.value(state, case.step)
  return found
