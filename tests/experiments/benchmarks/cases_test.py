import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend import core

from experiments.benchmarks import cases
from jaxrl_llm.policies.language import hf, parameters, score
from jaxrl_llm.types import Rollouts, Tokens
from tests.policies.language import families


def _products(jaxpr) -> int:
  """Operations of all matrix products, those of loops as often as they run."""
  total = 0
  for equation in jaxpr.eqns:
    if equation.primitive.name == 'dot_general':
      (contracted, _), _ = equation.params['dimension_numbers']
      left = equation.invars[0].aval.shape
      inner = np.prod([left[i] for i in contracted])
      total += 2 * int(inner * np.prod(equation.outvars[0].aval.shape))
    times = equation.params.get('length', 1)
    for inner in core.jaxprs_in_params(equation.params):
      total += times * _products(inner)
  return total


def _sizes(config):
  return cases.Model(
    config.layers,
    config.width,
    config.heads,
    config.kv_heads,
    config.head_dim,
    config.mlp_width,
    config.vocab,
  )


@pytest.mark.parametrize('p, t', [(1, 1), (5, 3)])
def test_operations_are_the_products_of_a_scored_batch(p, t):
  config = hf.config_of(families.hf_config('qwen3'))
  params = jax.eval_shape(lambda: parameters.init(config, jax.random.key(0)))
  n = 4
  prompt, response = jnp.zeros((n, p), jnp.int32), jnp.zeros((n, t), jnp.int32)
  there = jnp.ones((n, t), bool)
  rollouts = Rollouts(
    Tokens(prompt, jnp.ones((n, p), bool), response),
    there, there, *(jnp.zeros((n, t)),) * 2,
    *(jnp.zeros(n, jnp.int32),) * 3, *(jnp.ones(n, bool),) * 2,
  )  # fmt: skip

  def logp(params):
    return score.score(params, config, rollouts, chunk=0).logp

  model, shape = _sizes(config), cases.Shape(2, 2, p, t)
  s = p + t
  # The scorer multiplies both halves of the triangle of attention.
  unseen = n * (s * s - s * (s + 1) // 2) * model.pair
  counted = _products(jax.make_jaxpr(logp)(params).jaxpr)
  assert counted - unseen == cases.forward(model, shape)


def test_shared_work_reads_each_prompt_once_a_group():
  model = cases.MODELS['tiny']
  shape = cases.Shape(prompts=3, samples=4, prompt=6, response=2)
  alone = cases.Shape(prompts=3, samples=1, prompt=6, response=0)
  saved = cases.forward(model, shape) - cases.shared(model, shape)
  assert saved == 3 * cases.forward(model, alone)
  one = cases.Shape(3, 1, 6, 2)
  assert cases.shared(model, one) == cases.forward(model, one)


def test_names_of_models_say_how_many_parameters_they_have():
  counts = {name: m.parameters for name, m in cases.MODELS.items()}
  assert counts == {'tiny': 3_670_016, 'small': 29_360_128}


def test_traffic_counts_parameters_once_a_token():
  model = cases.MODELS['tiny']
  one = cases.Shape(prompts=1, samples=1, prompt=0, response=1)
  assert cases.traffic(model, one) == 4 * model.parameters


def test_lengths_have_a_heavy_tail_between_their_bounds():
  lengths = np.array(cases.heavy_tail(4000, 8, 512))
  assert lengths.min() == 8 and lengths.max() == 512
  for bound in (16, 32, 128, 511):
    # Four standard errors of a share of 4000.
    assert abs(np.mean(lengths > bound) - (8 / bound) ** 0.5) < 0.035
  assert cases.heavy_tail(9, 8, 512) == cases.heavy_tail(9, 8, 512)


def test_lengths_of_a_shape_are_fixed_unless_it_has_a_least():
  assert cases.Shape(2, 2, 3, 4).lengths(3) == (4, 4, 4)
  ragged = cases.Shape(2, 2, 3, 40, least=5)
  assert ragged.lengths(9) == cases.heavy_tail(9, 5, 40)


def test_counts_of_ragged_shapes_are_means_over_first_tokens(monkeypatch):
  monkeypatch.setattr(cases, 'heavy_tail', lambda *_: (1, 3))
  model = cases.Model(1, 16, 2, 1, 8, 16, vocab=2)
  ragged = cases.Shape(2, 2, 3, 3, least=1)
  of = [cases.forward(model, cases.Shape(2, 2, 3, t)) for t in (1, 3)]
  assert cases.forward(model, ragged) == sum(of) / 2
  assert cases.tokens(model, ragged) == 8


def test_operations_of_a_row_by_hand():
  # Width 4, one head of 2 for queries and keys, mlp 3, vocabulary 5: a token
  # takes 2 * (4*2 + 4*2 + 4*2 + 2*4 + 3*4*3) = 136, a pair 2 * (2 + 2) = 8,
  # logits 2 * 4 * 5 = 40. Prompt 2 and response 1 make 3 tokens and 6 pairs.
  model = cases.Model(1, 4, 1, 1, 2, 3, 5)
  one = cases.Shape(prompts=1, samples=1, prompt=2, response=1)
  assert cases.forward(model, one) == 3 * 136 + 6 * 8 + 40


def test_verifier_of_everybody_depends_on_the_text_alone():
  first, again, other = cases.rewards(['t8 t9', 't8 t9', 't9'])
  assert first == again != other
  assert 0 <= first < 1 and 0 <= other < 1
