"""A run on text: what its loop asks of it, and what it shows."""

from __future__ import annotations

import dataclasses
import functools
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_llm.policies import agents
from jaxrl_llm.policies.language import caches as caches_lib
from jaxrl_llm.policies.language import heads, hf, lora
from jaxrl_llm.policies.language.config import Config
from jaxrl_llm.problems.text import encoding as text
from jaxrl_llm.problems.text import (
  examinations,
  games,
  guests,
  inspection,
  oracles,
  policy,
  recordings,
  transcripts,
)
from jaxrl_llm.problems.text import questions as questions_lib
from jaxrl_llm.problems.text.answering import Answering
from jaxrl_llm.problems.text.questions import Questions
from jaxrl_llm.problems.text.tools import Tools
from jaxrl_llm.tasks import verifiers as verifiers_lib
from jaxrl_llm.tasks.environments import STOPS
from jaxrl_llm.training import (
  diagnostics,
  hosts,
  shard,
  step,
)
from jaxrl_llm.training.keys import Purpose, key_for
from jaxrl_llm.training.session import Session, spread
from jaxrl_llm.types import PyTree, Rollouts, TrainState


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class TextSession(Session):
  """A run on questions in text.

  Attributes:
    mesh: of all devices. model: the decoder. tokenizer: of the model.
    source: the Hugging Face folder the parameters came from.
    train, held_out: encoded questions. sets: more of them, by name.
    answering: sampling and verification.
    scorer: the policy as objectives see it, row by row.
    teachers: other policies, each a scorer, parameters and configuration.
    sampler: the program that moves the policy where its plan asks for it.
    rater: that of a second policy, which learns beside the first.
  """

  mesh: jax.sharding.Mesh
  model: Config
  tokenizer: Any
  source: pathlib.Path
  train: Questions
  held_out: Questions
  answering: Answering
  scorer: step.Scorer
  sets: Mapping[str, Questions] = dataclasses.field(default_factory=dict)
  teachers: tuple[tuple[step.Scorer, PyTree, Config], ...] = ()
  sampler: tuple[step.Program, step.Compiled] | None = None
  rater: tuple[step.Program, step.Compiled] | None = None

  @property
  def counts(self):
    return self.train.counts

  @property
  def trained(self):
    source = self.config.model.path or 'a fresh one'
    adapter = self.config.model.adapter
    source += f' with {adapter}' if adapter else ''
    return f'model from {source}: {self.model}'

  @property
  def example(self):
    first = self.train.tokens[0][self.train.mask[0]]
    return self.tokenizer.decode(first.tolist())

  @property
  def remarks(self):
    chats, lines = self.answering.chats, []
    if self.train.in_messages:
      report = inspection.inspect(chats.templated)
      lines += [f'chat template: {line}' for line in report.lines()]
    if chats.tools:
      lines += [f'tool: {json.dumps(tool)}' for tool in chats.tools]
      lines.append(f'a call: {chats.example(self.train.asked(0).prompt)!r}')
    return lines

  @property
  def judged(self):
    return self.answering.oracle is not None

  def working_memory(self):
    """Keys and values of an iteration's prompts and of its responses.

    Of programs, of the contexts that stay and of those that are at work.
    """
    spec, dtype = self.spec, jnp.dtype(self.config.model.dtype)
    rows = self.config.sample.prompts, spec.rows
    lengths = spec.prompt_length, spec.response_length
    if self.config.program:
      serve, whole = self.config.serve, sum(lengths)
      rows, lengths = (serve.kept, serve.workers), (whole, whole)
    axes: dict[tuple[str, ...], tuple[str | None, ...]] = {
      # Of layers with other sizes, too: what does not divide is whole.
      ('k',): ('rows', 'kv_heads', 'head_dim', None),
      ('v',): ('rows', 'kv_heads', None, 'head_dim'),
      ('past_q',): ('rows', None, 'delta_key_heads', None),
      ('past_k',): ('rows', None, 'delta_key_heads', None),
      ('past_v',): ('rows', None, 'delta_heads', None),
      ('state',): ('rows', 'delta_heads', None, None),
    }
    caches = jax.eval_shape(
      lambda: [
        caches_lib.empty_cache(self.model, n, length, dtype)
        for n, length in zip(rows, lengths)
        for _ in range(self.config.model.agents)
      ]
    )
    layout = shard.Layout(self.layout.mesh, axes)
    return {'KV cache': layout.abstract(caches)}

  def init(self, trainable):
    state = super().init(trainable)
    if self.config.reference.paths:
      start = guests.souped(self.config, self.model, self.mesh, trainable)
      held = self.recipe.reference.init(start, self.spec)
      state = state.replace(reference=self.layout.kept(held))
    if self.rater is None:
      return state
    start = jax.tree.map(jnp.copy, trainable)
    second = self.layout.kept(self.rater[0].init(start, self.spec))
    return state.replace(method=state.method | {'rater': second})

  def sample(self, params, key):
    prompts = self.train.prompts(np.zeros(self.config.sample.prompts, int))
    first = agents.own(params, 0)
    return self.answering.generate(first, prompts, key, self.spec.samples)

  def lend(self, state, key, meanwhile=lambda: None):
    return Tools(self, state, key, meanwhile)

  @property
  def asked(self):
    return len(self.held_out)

  @functools.cached_property
  def examining(self) -> Answering:
    """How questions are answered in evaluation."""
    return examinations.answering(self.answering, self.config.eval)

  def measure(
    self,
    params,
    key,
    *,
    samples,
    record=lambda rows: None,
    sets=None,
    waiting=None,
  ):
    """As the base class says, of held-out questions and of all sets.

    Args:
      sets: questions by name, in place of those held out and of all sets.
      waiting: how often the end of a thought is taken back, or None.
    """
    if sets is None:
      sets = {'': self.held_out, **self.sets}
    examining = self.examining
    if waiting is not None:
      examining = dataclasses.replace(examining, waiting=waiting)
    params = self._merged(params)
    metrics: dict[str, float] = {}

    def told(rows, name):
      record([{'set': name or 'held_out', **row} for row in rows])

    for name, questions in sets.items():
      found = examining.evaluate(
        params,
        questions,
        examinations.key_of(name, key) if name else key,
        samples=samples,
        record=functools.partial(told, name=name),
      )
      before = f'{name}/' if name else ''
      metrics |= {f'{before}{k}': value for k, value in found.items()}
    return metrics

  def encoded(self, sets: Sequence[str]) -> dict[str, Questions]:
    """Questions of evaluation sets, by name, see `examinations.load`."""
    found = examinations.load(sets, self.config, self.tokenizer, self.train)
    parts = (self.train, *found.values())
    questions_lib.check(parts, self.tokenizer, self.model.vocab)
    return found

  def evaluate(self, state, step, record=lambda rows: None):
    """Greedy accuracy on held-out questions, and pass@k at the run's end.

    Where the run learns from recorded responses, also how it rates those held
    out, and in a game how the policy stands in it; without verifiers, that
    alone.
    """
    config = self.config
    ends, most = step in (0, config.steps), config.eval.saved

    def kept(rows):
      record([row for row in rows if most < 0 or row['question'] < most])

    metrics: dict[str, float] = {}
    if self.answering.verifiers.names:
      metrics |= self.measure(
        state.params,
        key_for(config.seed, step, Purpose.EVAL),
        samples=config.eval.samples if ends else 0,
        record=kept,
      )
    if recordings.used(config):
      metrics |= self.rated(state)
    if self.judged and config.eval.samples > 1:
      key = key_for(config.seed, step, Purpose.GAME)
      metrics |= games.evaluate(
        self.answering,
        self.held_out,
        (self.sampling_params(state), self.start_params),
        key,
        samples=config.eval.samples,
        size=config.sample.prompts,
      )
    return metrics

  def rated(self, state):
    """How the held-out responses are rated, see `recordings.evaluate`.

    Demonstrations are not, but known more or less, see `transcripts.evaluate`.
    """
    if self.config.data.responses == 'demonstrated':
      return transcripts.evaluate(
        self.held_out,
        functools.partial(self._known, state, self.fixed),
        size=self.config.sample.prompts,
      )
    return recordings.evaluate(
      self.held_out,
      functools.partial(self.compiled.rate, state, self.fixed),
      samples=recordings.count(self.recipe),
      size=self.config.sample.prompts,
      calibrated='after_values' in self.recipe.statistics,
    )

  @property
  def fixed(self) -> PyTree:
    """What the compiled programs read of a policy beside what is trained.

    The frozen parameters and, traced, the temperature at which it samples: a
    session of another temperature shares all programs with this one.
    """
    return self.frozen | {'temperature': self.answering.temperature}

  @functools.cached_property
  def _known(self):
    return jax.jit(self.program.know)

  def sampling_params(self, state: TrainState) -> PyTree:
    """The whole policy as ordinary parameters, LoRA products merged."""
    return self._merged(state.params)

  def reference_params(self, state: TrainState) -> PyTree:
    """Likewise, of the recipe's reference."""
    return self._merged(self.recipe.reference.params(state.reference))

  def opponent_params(self, state: TrainState) -> PyTree:
    """Likewise, of whom the reference names as the policy's opponent."""
    return self._merged(self.recipe.reference.opponent(state.reference))

  @functools.cached_property
  def start_params(self) -> PyTree:
    """The decoder's parameters before the run, whatever it resumed from."""
    whole, _ = policy.parameters(
      self.config, self.recipe, self.source, self.model, self.mesh, False
    )
    return self.layout.gathered(lora.merge(whole))

  def _merged(self, trainable: PyTree) -> PyTree:
    # Gathered once, where every sampled token would do it again.
    if self.frozen:
      return policy.merged(self.layout, trainable, self.frozen)
    return self.layout.gathered(trainable)

  def whole(self, trainable: PyTree) -> PyTree:
    """The decoder's parameters alone: LoRA merged, heads left out."""
    params = lora.merge(lora.join(trainable, self.frozen))
    return {k: v for k, v in params.items() if k not in heads.NAMES.values()}

  def export(self, state, folder, *, dtype=None, stochastic=False, card=''):
    """Writes the policy as a Hugging Face folder, its heads beside it.

    Each of several agents in a folder of its own, by its name. Where the model
    came without generation settings, they are those with which it was trained.
    """
    how = {'dtype': dtype, 'stochastic': stochastic}
    count = self.config.model.agents
    if count == 1:
      return self._written(state.params, folder, card=card, **how)
    found = {
      name: self._written(
        state.params[name], pathlib.Path(folder) / name, card=card, **how
      )
      for name in agents.names(count)
    }
    return ', '.join(f'{name}: {written}' for name, written in found.items())

  def _written(self, params, folder, *, card, **how):
    """Writes one policy; all processes take part."""
    params = self.layout.everywhere(params)
    whole = self.layout.everywhere(self.whole(params))
    generation = json.dumps(self._generation, indent=2, sort_keys=True)
    beside = {'generation_config.json': f'{generation}\n'}
    beside |= {'README.md': card} if card else {}

    def save():
      written = hf.save(
        folder,
        self.model,
        whole,
        source=self.source,
        tokenizer=self.tokenizer,
        beside=beside,
        **how,
      )
      heads.save(folder, params)
      return written

    return hosts.on_first(save)

  def export_adapter(self, state, folder, *, card=''):
    """Writes the LoRA deltas as a folder of PEFT, heads beside them."""
    if not self.frozen:
      return super().export_adapter(state, folder)
    params = self.layout.everywhere(lora.join(state.params, self.frozen))

    def save():
      written = hf.adapters.save(
        folder,
        self.model,
        params,
        family=hf.description_of(self.source)['model_type'],
        base=self.base,
        beside={'README.md': card} if card else {},
      )
      heads.save(folder, params)
      return written

    return hosts.on_first(save)

  @property
  def base(self) -> str:
    given = self.config.model.path
    made = (
      not given or self.config.warm_start.steps or pathlib.Path(given).is_dir()
    )
    return str(self.source.absolute()) if made else given

  @property
  def _generation(self) -> dict[str, Any]:
    """Sampling as it was trained, for `generate` of transformers."""
    ends, settings = self.answering.sampler.stop_tokens, self.config.sample
    found = {
      'do_sample': True,
      'temperature': settings.temperature,
      'top_k': settings.top_k,
      'top_p': settings.top_p,
      'eos_token_id': ends[0] if len(ends) == 1 else list(ends),
      'pad_token_id': self.tokenizer.pad_token_id,
      'bos_token_id': self.tokenizer.bos_token_id,
    }
    return {name: value for name, value in found.items() if value is not None}

  def try_out(self) -> None:
    """Asks verifiers, environment and oracle about a few questions each."""
    for questions in (self.train, *self.sets.values()):
      self._try_out(questions)

  def _try_out(self, questions: Questions) -> None:
    last = len(questions) - 1
    places = sorted({0, last // 2, last})
    rows = [dict(questions.rows[place]) for place in places]
    answering = self.answering
    if answering.environment is not None:
      answering.environment.try_out(rows)
    if answering.environment is not None or answering.program is not None:
      rows = [{**row, 'return': 0.0} for row in rows]
    said = [str(row.get('answer', '')) for row in rows]
    answering.verifiers.try_out(said, rows)
    preference = self.config.verify.preference
    if answering.oracle is not None and not verifiers_lib.is_model(preference):
      oracles.chances(answering.oracle, said, said, rows)

  def close(self) -> None:
    """Ends the processes that verify, and those of tools."""
    self.answering.verifiers.close()
    for guest in self.answering.environment, self.answering.program:
      if guest is not None:
        guest.close()

  def of_sources(self, rollouts: Rollouts, credit) -> dict[str, float]:
    if len(self.train.domains) < 2 or recordings.used(self.config):
      return {}
    return diagnostics.of_sources(
      self.train.domains,
      np.asarray(rollouts.domain),
      np.asarray(credit.components),
      np.asarray(self.answering.verifiers.weights, np.float32),
      np.asarray(rollouts.valid),
    )

  def marked(self, rollouts):
    if not self.program.shown:
      return rollouts
    chosen = spread(np.asarray(rollouts.group), self.program.shown)
    shown = np.full(rollouts.group.shape, -1, np.int32)
    shown[chosen] = np.arange(len(chosen))
    marks = {'shown': self.layout.everywhere(jnp.asarray(shown))}
    return rollouts.replace(extras={**rollouts.extras, **marks})

  def examples(self, rollouts: Rollouts, credit, seen=None):
    """Responses of an iteration to as many prompts as it shows."""
    settings = self.config.log
    chosen = spread(np.asarray(rollouts.group), settings.samples)
    seen = None if seen is None else np.asarray(seen)
    first, extras = (
      jax.tree.map(lambda x: np.asarray(x[chosen]), tree)
      for tree in (
        rollouts.replace(extras={}),
        {k: x for k, x in rollouts.extras.items() if k == 'stop'},
      )
    )
    # A stop string ends a turn, which need not be the last of its row.
    whole = self.answering.turns > 0
    texts = self.answering.texts(first, whole=whole)
    rewards, components, advantages = (
      np.asarray(x)[chosen]
      for x in (credit.rewards, credit.components, credit.advantages)
    )
    return [
      {
        'prompt': self.train.rows[first.task[i]]['prompt'],
        'response': texts[i],
        'answer': self.train.rows[first.task[i]].get('answer'),
        'reward': rewards[i],
        'scores': components[i],
        'length': int(first.response_mask[i].sum()),
        'truncated': bool(first.truncated[i]),
        'valid': bool(first.valid[i]),
        **(self._episode(first, extras, i) if whole else {}),
        **(self._tokens(first, advantages, seen, i) if settings.tokens else {}),
      }
      for i in range(len(chosen))
    ]

  def _tokens(self, rollouts, advantages, seen, row: int) -> dict[str, Any]:
    """The tokens of a response with what is known of each.

    Those that the policy did not choose have no number, and those that nothing
    was learned from none of the learner's, but their weight, 0.
    """
    mask = rollouts.response_mask[row]
    own = rollouts.action_mask[row][mask]

    def numbers(values, known=own):
      rounded = np.round(values[mask].astype(float), 4)
      return [float(x) if there else None for x, there in zip(rounded, known)]

    told = {
      'tokens': text.spelled(
        self.tokenizer, rollouts.content.response[row][mask]
      ),
      'logp': numbers(rollouts.logp[row]),
      'advantage': numbers(advantages[row]),
    }
    if seen is None:
      return told
    learner = dict(zip(diagnostics.SEEN, np.moveaxis(seen[row], -1, 0)))
    told['weight'] = numbers(learner['weight'])
    counted = own & (learner['weight'][mask] != 0)
    told |= {k: numbers(learner[k], counted) for k in ('entropy', 'ratio')}
    # Nobody knows how recorded responses were sampled.
    if recordings.used(self.config):
      told['logp'] = numbers(learner['logp'], counted)
    return told

  def _episode(self, rollouts: Rollouts, extras, row: int) -> dict[str, Any]:
    """Who said what in a row of an episode, and why that ended.

    Of a row that is one turn, `before` is what came between its question and
    it. Control tokens are shown.
    """
    content, mask = rollouts.content, rollouts.response_mask[row]
    prompt = content.prompt[row][content.prompt_mask[row]]
    before = prompt[self.train.mask[rollouts.task[row]].sum() :]
    runs = text.runs(
      content.response[row][mask], rollouts.action_mask[row][mask]
    )
    turns = [('before', before)] * bool(len(before)) + [
      ('said' if own else 'told', ids) for own, ids in runs
    ]
    shown = [{name: self.tokenizer.decode(ids)} for name, ids in turns]
    stop = {'stop': STOPS[extras['stop'][row]]} if 'stop' in extras else {}
    return {'turns': shown, **stop}
