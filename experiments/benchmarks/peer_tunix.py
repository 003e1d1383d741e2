"""One iteration of Tunix's GRPOLearner, on given weights, prompts and rewards.

Learning is what an iteration does beside generating. Every response has the
whole budget, also where the shape has shorter ones: Tunix samples a batch until
its longest response ends, which with eight long ones in 64 is at the budget,
and pads all responses to the budget to learn from them, so that their lengths
change no time. Tokens that count are those of the shape.
"""

from __future__ import annotations

import itertools

import jax
import optax
import transformers
from flax import nnx
from tunix.models.llama3 import model as llama3
from tunix.models.llama3 import params as llama3_params
from tunix.models.qwen3 import model as qwen3
from tunix.models.qwen3 import params as qwen3_params
from tunix.rl import rl_cluster
from tunix.rl.grpo import grpo_learner
from tunix.rl.rollout import base_rollout

from experiments.benchmarks import cases, protocol, turns

# Of one call, as for the other peers.
_ROWS_GENERATED = 64


def prepare(request):
  """See `protocol`; `microbatch` is the trainer's, in rows."""
  shape = cases.SHAPES[request['shape']]
  sizes = cases.model_of(request['model'])
  mesh = jax.make_mesh(
    (1, 1), ('fsdp', 'tp'), axis_types=(jax.sharding.AxisType.Auto,) * 2
  )
  model = _model(request['model'], sizes, mesh)
  roles = (rl_cluster.Role.ACTOR, rl_cluster.Role.ROLLOUT)
  cluster = rl_cluster.RLCluster(
    actor=model,
    tokenizer=transformers.AutoTokenizer.from_pretrained(request['model']),
    cluster_config=rl_cluster.ClusterConfig(
      role_to_mesh=dict.fromkeys(roles, mesh),
      training_config=_training(shape, request['microbatch']),
      rollout_config=_rollout(shape),
    ),
  )
  taken = turns.Turns()
  expected = cases.tokens(sizes, shape)

  def rewards(prompts, completions, **_):
    del prompts
    taken.count(expected * len(completions) / shape.rows)
    return cases.rewards(completions)

  learner = grpo_learner.GRPOLearner(
    rl_cluster=cluster,
    algo_config=grpo_learner.GRPOConfig(
      num_generations=shape.samples, beta=0.0
    ),
    reward_fns=rewards,
  )
  cluster.generate = taken.sampling(cluster.generate)
  tokens = cases.prompts(sizes, shape)
  # It puts a beginning before every text, which takes the first token's place.
  texts = [' '.join(f't{token}' for token in row[1:]) for row in tokens]

  def batches():
    """Prompts of one iteration after the other; asked for when one is over."""
    for number in itertools.count():
      if number:
        jax.block_until_ready(nnx.state(cluster.actor_trainer.model))
        taken.end()
      taken.begin()
      yield {'prompts': texts}

  return taken.start(lambda: learner.train(batches()))


def _model(folder, sizes, mesh):
  """The decoder of a folder, of the two families that are measured."""
  described = transformers.AutoConfig.from_pretrained(folder)
  fields = {
    'num_layers': sizes.layers,
    'vocab_size': sizes.vocab,
    'embed_dim': sizes.width,
    'hidden_dim': sizes.mlp_width,
    'num_heads': sizes.heads,
    'head_dim': sizes.head_dim,
    'num_kv_heads': sizes.kv_heads,
    'rope_theta': described.rope_parameters['rope_theta'],
    'norm_eps': described.rms_norm_eps,
  }
  tied = described.tie_word_embeddings
  if described.model_type == 'llama':
    config = llama3.ModelConfig(**fields, weight_tying=tied)
    read = llama3_params.create_model_from_safe_tensors
  else:
    config = qwen3.ModelConfig(**fields, use_tied_embedding=tied)
    read = qwen3_params.create_model_from_safe_tensors
  return read(folder, config, mesh)


def _training(shape, microbatch):
  return rl_cluster.RLTrainingConfig(
    actor_optimizer=optax.chain(
      optax.clip_by_global_norm(1.0),
      optax.adamw(1e-6, b2=0.999, weight_decay=0.0),
    ),
    eval_every_n_steps=10**9,
    max_steps=10_000,
    # In prompts, each with all its responses.
    mini_batch_size=shape.prompts,
    train_micro_batch_size=max(microbatch // shape.samples, 1),
    rollout_micro_batch_size=min(
      shape.prompts, _ROWS_GENERATED // shape.samples
    ),
  )


def _rollout(shape):
  return base_rollout.RolloutConfig(
    max_tokens_to_generate=shape.response,
    max_prompt_length=shape.prompt,
    kv_cache_size=shape.prompt + shape.response + 1,
    temperature=1.0,
    # No token has this id: no response ends before it is complete.
    eos_tokens=[-1],
  )


if __name__ == '__main__':
  packages = ('google-tunix', 'jax', 'flax', 'optax', 'transformers')
  protocol.serve(prepare, packages)
