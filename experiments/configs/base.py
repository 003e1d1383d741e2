"""Every setting of a run: its default and what it means.

A config file is a short program: `get_config(recipe)` starts from `base` and
returns a locked `ConfigDict` whose fields are typed flags, as in
`--config.optimizer.learning_rate=1e-4`. The hyper-parameters of the recipe are
the fields of `config.recipe`, with the defaults of its paper.
"""

from __future__ import annotations

from typing import Any

from ml_collections import ConfigDict

from jaxrl_llm import compose, presets, problems, recipes
from jaxrl_llm.catalogue import meanings as meanings_lib
from jaxrl_llm.serving import programs
from jaxrl_llm.tasks import toolbox

_TOOLS, _SERVE = toolbox.Limits(), programs.Limits()
# name: (default, meaning). The type of a setting is that of its default.
SETTINGS = {
  'problem': ('text', f'what the run is about: {", ".join(problems.NAMES)}'),
  'seed': (0, 'all randomness is a function of it'),
  'steps': (
    100,
    'iterations: sample, verify, learn; 0 where data.epochs says how long',
  ),
  'max_bad_steps': (
    5,
    'iterations in a row that teach nothing: no finite gradient, or no '
    'response that could be judged',
  ),
  'max_idle_steps': (
    0,
    'iterations in a row in which no group taught anything, as where all its '
    'rewards are equal, after which the run stops; 0: it only warns',
  ),
  'pipeline': (
    0,
    '1: the responses of the next iteration are sampled before this one '
    'learns, and verified while it does; they are one step old then',
  ),
  'pipeline_cap': (2.0, 'of the importance weight of a token that is old'),
  **{
    f'slots.{slot}': ('', f"{meaning}; empty: the recipe's own")
    for slot, meaning in compose.SLOTS.items()
  },
  'model.path': ('', 'Hugging Face folder or hub name; empty: a fresh model'),
  'model.fresh.layers': (4, "of the model that is made where model.path=''"),
  'model.fresh.width': (128, 'of its residual stream'),
  'model.fresh.heads': (4, 'of its attention'),
  'model.fresh.kv_heads': (2, 'likewise, of keys and values'),
  'model.fresh.mlp_width': (512, 'of its perceptrons'),
  'model.fresh.chat': (
    False,
    'its tokenizer has a chat template, of few letters, that writes tools',
  ),
  'model.dtype': ('float32', 'of the arithmetic; parameters stay float32'),
  'model.attention': (
    'auto',
    'inside sequences: tiles; cudnn on GPUs of NVIDIA; splash on a TPU; auto: '
    "the machine's own where it fits the model, else tiles",
  ),
  'model.replay_routes': (
    False,
    'of experts: a token has the same ones in the learner as in the sampler',
  ),
  'model.remat': (False, 'recompute layers in the backward pass'),
  'model.unroll': (True, 'the layers of the update: faster, longer to compile'),
  'model.chunk': (64, 'response positions whose logits exist at once; 0: all'),
  'model.block': (
    0,
    'vocabulary entries whose logits exist at once, in place of model.chunk; '
    '0: all. Memory then does not grow with the vocabulary',
  ),
  'model.lora_rank': (0, 'rank of trained deltas; 0 trains everything'),
  'model.lora_alpha': (16.0, 'deltas are scaled by alpha / rank'),
  'model.lora_targets': (
    ('q', 'k', 'v', 'o', 'gate', 'up', 'down'),
    'linear maps that get a delta',
  ),
  'model.agents': (
    1,
    'policies that are trained, for as many agents of an environment: each '
    'begins as this model and has an optimizer of its own. 1: one policy is '
    'all agents',
  ),
  'model.frozen': ((), 'numbers of those agents that do not learn, from 0 on'),
  'model.adapter': (
    '',
    'PEFT folder of LoRA deltas of model.path, with which the run begins',
  ),
  'data.path': (
    'chain_sum',
    'a generated task, reasoning_gym:NAME, a file or folder (JSONL, JSON, '
    'CSV, Parquet), or OWNER/NAME of the Hugging Face hub; behind it may stand '
    'keys, as in FILE:prompt=question:rows=500 and '
    'reasoning_gym:chain_sum:min_terms=2; several with commas between them, '
    'drawn by weight in FILE:weight=0.7,FILE:weight=0.3',
  ),
  'data.subset': ('', 'of a dataset of the hub: main of openai/gsm8k'),
  'data.split': (
    '',
    'of a dataset of the hub, or of a folder by the names of its files: train, '
    'validation, test; empty: train where there are several',
  ),
  'data.level': (
    1,
    'difficulty of a generated task; 0: all its levels, each a domain',
  ),
  'data.prompt_field': (
    'prompt',
    'field of a record that has its prompt, text or chat messages',
  ),
  'data.answer_field': ('answer', 'field that has the right answer'),
  'data.responses': (
    'sampled',
    'sampled: the policy draws them; recorded: the data has them, with '
    'preferences; compared: likewise, each followed by its rival; referred: '
    'each after a reference; demonstrated: the data has what to say',
  ),
  'data.epochs': (
    0.0,
    'passes over the records, in place of steps, which must be 0 then; '
    '0: steps says how long',
  ),
  'data.system': (
    '',
    'system message put before every prompt that has none of its own',
  ),
  'data.chat': (
    'auto',
    'prompts in text as the message of a user, through the chat template: '
    'auto, where the tokenizer has one and the text spells none of its control '
    'tokens; always; never',
  ),
  'data.chat_template_kwargs': (
    '{}',
    'what else the chat template reads, as JSON: {"enable_thinking": false}',
  ),
  'data.shots': (
    0,
    'examples put before every question: others of the training part with '
    'their answers, which are not trained on',
  ),
  'data.size': (4096, 'questions of a generated task to train on'),
  'data.held_out': (256, 'questions kept for evaluation'),
  'data.held_out_path': (
    '',
    'where those are, as data.path: openai/gsm8k:subset=main:split=test; '
    'empty: split data.path',
  ),
  'data.too_long': ('stop', 'prompts over sample.max_prompt: stop or drop'),
  'verify.names': (('exact',), 'verifiers; the first says what is correct'),
  'verify.weights': ((1.0,), 'of each verifier in the reward'),
  'verify.preference': (
    '',
    'who says which of two responses is better, in games: '
    'preference_model:FOLDER, reward_model:FOLDER, cycle or '
    'package.module:function; empty: the higher reward wins',
  ),
  'verify.seconds': (5.0, 'time limit of one answer'),
  'verify.workers': (2, 'processes that verify'),
  'environment': (
    '',
    'what answers the turns of recipes for agents: lookup, prices, python, or '
    'package.module:Class, which may be a Toolbox',
  ),
  'environment_seconds': (
    600.0,
    'time limit of its answer to all rows, after which the run ends; inf: '
    'none. A Toolbox has tools.seconds instead',
  ),
  'tools.calls': (
    _TOOLS.calls,
    'calls in an episode, where the environment is a Toolbox; one more ends it',
  ),
  'tools.errors': (
    _TOOLS.errors,
    'turns in a row whose calls all went wrong, which end an episode',
  ),
  'tools.seconds': (
    _TOOLS.seconds,
    'time limit of the calls of a turn; the policy reads that they were late',
  ),
  'tools.episode_seconds': (
    _TOOLS.episode_seconds,
    'time limit of all calls of an episode, which ends it; inf: none',
  ),
  'tools.characters': (
    _TOOLS.characters,
    'most of a result; what is more is left out of its middle',
  ),
  'program': (
    '',
    'what asks the policy over HTTP, in place of one answer to each prompt: '
    'package.module:function of (row, url, key), which returns a reward, or '
    'None',
  ),
  'serve.workers': (
    _SERVE.workers,
    'programs at once, and requests that are answered at once',
  ),
  'serve.seconds': (
    _SERVE.seconds,
    'time limit of an episode; one that takes longer is ended and does not '
    'count',
  ),
  'serve.requests': (_SERVE.requests, 'most in an episode that are answered'),
  'serve.tokens': (
    _SERVE.tokens,
    'drawn in an episode, after which no request is answered',
  ),
  'serve.answer': (
    _SERVE.answer,
    'tokens of an answer; 0: sample.max_response',
  ),
  'serve.bytes': (_SERVE.bytes, 'most of a request'),
  'serve.kept': (
    _SERVE.kept,
    'contexts whose keys and values stay for the requests that go on from '
    'them, those used last; sample.keep=False: every request is read anew',
  ),
  'serve.rows': (
    _SERVE.rows,
    'most that an episode may make, one for each conversation that does not go '
    'on from another; an episode that makes more does not count',
  ),
  'serve.history': (
    _SERVE.history,
    'append: answers stay in sight as they were drawn; template: every request '
    'or turn of an environment reads what the chat template writes of the '
    'messages, which may leave out thoughts and so makes several rows of an '
    'episode, see serve.rows',
  ),
  'teacher.paths': (
    (),
    'Hugging Face folders of the policies that a recipe learns from',
  ),
  'reference.paths': (
    (),
    'Hugging Face folders of policies whose weights, averaged with those of '
    "the policy's start, are the reference that the recipe begins with",
  ),
  'reference.weight': (0.5, 'of the mean of those policies, in [0, 1]'),
  'sample.prompts': (32, 'per iteration, recipe.samples responses to each'),
  'sample.max_prompt': (64, 'tokens of a prompt, see data.too_long'),
  'sample.max_response': (64, 'tokens of a response, after which it is cut'),
  'sample.temperature': (1.0, 'of sampling and learning'),
  'sample.top_k': (0, 'tokens kept; 0: all'),
  'sample.top_p': (1.0, 'probability mass kept'),
  'sample.min_p': (0.0, 'least probability kept, relative to the largest'),
  'sample.support': (
    0,
    'candidates recorded per token, so that ratios under truncation are '
    'exact; 0: none',
  ),
  'sample.unroll': (
    True,
    'the layers of the sampler: faster, longer to compile; False: a loop over '
    'them, for deep models',
  ),
  'sample.slots': (
    0,
    'responses written at once, each in a slot that the next one takes when '
    'it ends; 0: all. Pays where lengths differ',
  ),
  'sample.keep': (
    True,
    'keys and values from turn to turn of an episode, and from request to '
    'request of programs, unless slots are fewer than rows; False: every turn '
    'reads the whole episode again',
  ),
  'sample.widths': (
    1,
    'loops that write a response, each with a cache twice as wide as the one '
    'before. Pays where responses are long and memory is slow',
  ),
  'sample.stop': ((), 'strings and special tokens that end a response'),
  'sample.special': (
    True,
    'special tokens, such as <think>, have their text for all who read a '
    'response: verifiers, environments, people; False: none. Those that end '
    'or pad it have none',
  ),
  'learn.microbatches': (1, 'pieces of an optimizer step; saves memory'),
  'learn.widths': (
    1,
    'programs of a microbatch, each half as wide as the next; it takes the '
    'narrowest that holds its responses. Pays where lengths differ',
  ),
  'learn.packing': (
    False,
    'recorded responses: several short ones in one row of a microbatch, of '
    'which a step then has fewer. Pays wherever most are shorter than '
    'sample.max_prompt + sample.max_response',
  ),
  'optimizer.name': (
    'adamw',
    'adamw, muon, adafactor, sgd, implicit_transport or hessian_aided',
  ),
  'optimizer.learning_rate': (1e-5, 'the peak'),
  'optimizer.schedule': (
    'constant',
    'constant, linear, cosine, rex, inverse or refined',
  ),
  'optimizer.norms': (
    '',
    'folder of an earlier run, whose gradient norms make the schedule refined',
  ),
  'optimizer.warmup': (0, 'optimizer steps in which the rate rises from 0'),
  'optimizer.b1': (0.9, 'decay of the first moment'),
  'optimizer.b2': (0.95, 'of the second'),
  'optimizer.epsilon': (1e-8, 'added to the root of the second moment'),
  'optimizer.moment_dtype': (
    'float32',
    'in which the first moment is kept: float32 or bfloat16',
  ),
  'optimizer.weight_decay': (0.0, 'of kernels'),
  'optimizer.clip_norm': (
    1.0,
    'of the gradient; inf: never clipped, as implicit_transport and '
    'hessian_aided ask',
  ),
  'warm_start.steps': (0, 'supervised steps on demonstrations before RL'),
  'warm_start.batch': (64, 'demonstrations per step'),
  'warm_start.learning_rate': (1e-3, 'decays linearly to 0'),
  'eval.every': (10, 'iterations between held-out evaluations; 0: none'),
  'eval.samples': (8, 'per question, for pass@k before and after training'),
  'eval.prompts': (0, 'questions answered at once; 0: sample.prompts'),
  'eval.temperature': (
    0.0,
    'of those samples; 0: sample.temperature. Greedy answers come beside them',
  ),
  'eval.top_p': (0.0, 'likewise; 0: sample.top_p'),
  'eval.max_response': (0, 'tokens of an answer; 0: sample.max_response'),
  'eval.sets': (
    (),
    'more questions to evaluate on, as eval/NAME/...: NAME=PATH each, where '
    'PATH is as data.path',
  ),
  'eval.saved': (
    16,
    'questions of each evaluation, and of each set, whose answers are kept in '
    'eval_samples.jsonl; -1: all',
  ),
  'checkpoint.every': (20, 'iterations between checkpoints'),
  'checkpoint.keep': (2, 'newest checkpoints that stay'),
  'checkpoint.keep_every': (
    0,
    'iterations whose multiples keep their checkpoint for ever; 0: none',
  ),
  'checkpoint.asynchronous': (
    True,
    'write while training goes on; on a CPU a large state is written first',
  ),
  'mesh.data': (1, 'devices that rows are split over; -1: the rest'),
  'mesh.model': (1, 'devices that a layer is split over; -1: the rest'),
  'mesh.context': (
    1,
    'devices that the tokens of a row are split over while it is learned from',
  ),
  'log.samples': (8, 'responses kept per iteration in samples.jsonl'),
  'log.tokens': (
    True,
    'their tokens too, with log-prob, advantage and what the learner saw',
  ),
  'log.trackers': (
    (),
    'dashboards that get metrics and samples too: wandb, trackio, mlflow',
  ),
  'log.project': ('jaxrl_llm', 'project of the run on these dashboards'),
}


# Of runs on other problems than text: what is theirs alone ...
PURE = {
  'control': {
    'environment.name': (
      'regulator',
      'regulator, point_mass, pendulum, air, ranks, grid, cliff, or of agents '
      'werewolf, research, teams, debate',
    ),
    'policy.widths': ((32, 32), 'hidden layers of policy and critic'),
    'policy.log_std': (-0.5, 'initial log of the spread of an action'),
    'policy.frozen': (
      (),
      'numbers of agents that do not learn, where each is a policy of its own',
    ),
    'policy.space': (
      'flat',
      'of the features that numbers of actions are read off: flat, hyperbolic',
    ),
    'policy.opposite': (
      False,
      'whether rows are drawn in pairs whose actions have opposite noise',
    ),
    'warm_start.steps': (0, 'on the errors of forecasts, before RL, of air'),
    'warm_start.learning_rate': (3e-3, 'decays linearly to 0'),
    'warm_start.least': (
      0.75,
      'what the error of the first step counts, where that of the last is 1',
    ),
  },
  'flow': {
    'flow.places': (8, 'conditions, evenly on a circle'),
    'flow.steps': (10, 'of a walk from noise to a sample'),
    'flow.noise': (0.7, 'spread of the walk; 0 has no densities'),
    'policy.widths': ((64, 64), 'hidden layers of the velocity'),
  },
  'masked': {
    'masked.digits': (3, 'different digits that words are made of'),
    'masked.length': (3, 'digits of a word, tokens of a response'),
    'masked.steps': (2, 'that open the tokens of a response'),
    'masked.order': ('confident', 'of the positions: confident or random'),
    'masked.estimate': (
      'path',
      'what stands for the log-prob of a response: path, that of the steps '
      'which made it; elbo or one_step, from readings of the finished one',
    ),
    'masked.readings': (4, 'of an elbo'),
    'policy.layers': (2, 'of the decoder'),
    'policy.width': (64, 'of its states'),
    'policy.heads': (4, 'of its attention'),
    'policy.mlp_width': (128, 'of its perceptrons'),
    'sample.temperature': SETTINGS['sample.temperature'],
  },
}
# ... and what they share with those on text.
_SHARED = (
  *('problem', 'seed', 'steps', 'max_bad_steps', 'max_idle_steps', 'pipeline'),
  *('sample.prompts', 'slots', 'learn.microbatches', 'optimizer'),
  *('eval.every', 'eval.samples', 'checkpoint', 'mesh.data'),
  *('mesh.model', 'log.samples'),
  *('log.trackers', 'log.project'),
)


def meanings(problem: str, recipe: str) -> dict[str, str]:
  """What the settings of a run mean, by name, in the order of a listing."""
  numbers = meanings_lib.meanings(recipes.get(recipe))
  return {
    'recipe.name': 'see `python -m jaxrl_llm.recipes`',
    **{f'recipe.{name}': meaning for name, meaning in numbers.items()},
    **{name: meaning for name, (_, meaning) in settings_of(problem).items()},
  }


def settings_of(problem: str) -> dict[str, tuple[Any, str]]:
  """The settings of runs on a problem, by name."""
  if problem == 'text':
    return SETTINGS
  shared = {
    name: entry
    for name, entry in SETTINGS.items()
    if name in _SHARED or name.split('.')[0] in _SHARED
  }
  return shared | PURE[problem]


# The fresh model of runs that teach a few words.
SMALLEST = {
  'model.fresh.layers': 2,
  'model.fresh.width': 64,
  'model.fresh.heads': 2,
  'model.fresh.kv_heads': 1,
  'model.fresh.mlp_width': 128,
  'model.chunk': 0,
}


def base(recipe: str, problem: str = 'text') -> ConfigDict:
  """The settings of a run of this recipe, or preset, on a problem.

  A preset leaves its values in `config.recipe` and `config.slots`, where they
  can be overridden.

  Raises:
    KeyError: an unknown recipe; the message suggests a known one.
  """
  preset = presets.find(recipe)
  defaults = recipes.get(preset.recipe).defaults
  config = ConfigDict(
    {'recipe': {'name': preset.recipe, **defaults, **preset.values}}
  )
  for name, (default, _) in settings_of(problem).items():
    *path, leaf = name.split('.')
    section = config
    for part in path:
      if part not in section:
        section[part] = ConfigDict()
      section = section[part]
    section[leaf] = default
  config.problem = problem
  config.slots.update(preset.slots)
  return config
