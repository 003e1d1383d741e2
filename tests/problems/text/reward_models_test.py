"""Reward models in folders: round trip, ratings, ensembles, verifiers."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import rate
from experiments.configs import default, preference
from jaxrl_llm.plans import recorded
from jaxrl_llm.policies.language import heads, score
from jaxrl_llm.problems.text import assembly, inputs, oracles, reward_models
from jaxrl_llm.tasks import preferences, verify
from tests.end_to_end import tiny

ROWS = [{'prompt': 'sort 31='}, {'prompt': 'sort 3102984=', 'answer': '0'}]
RESPONSES = ['13', '0123489' * 6]


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
  """Two untrained reward models of one architecture."""
  paths = []
  for seed in range(2):
    workdir = tmp_path_factory.mktemp(f'model{seed}')
    config = tiny.get_config('reward_model')
    config.seed = seed
    config.recipe.samples = 2
    config.data.responses = 'recorded'
    config.warm_start.steps = 0
    parts, params = assembly.assemble(config, workdir)
    parts.export(parts.init(params), workdir / 'export')
    parts.close()
    paths.append(str(workdir / 'export'))
  return paths


@pytest.fixture(scope='module')
def labelled(tmp_path_factory):
  """An untrained model of two labels, and what it goes on from."""
  workdir = tmp_path_factory.mktemp('labelled')
  config = tiny.get_config('regression_reward_model')
  config.data.responses = 'recorded'
  config.warm_start.steps = 0
  parts, params = assembly.assemble(config, workdir)
  state = parts.init(params)
  parts.export(state, workdir / 'export')
  parts.close()
  config.model.path, config.seed = str(workdir / 'export'), 1
  parts, params = assembly.assemble(config, workdir / 'second')
  later = parts.init(params).params
  parts.close()
  return str(workdir / 'export'), state.params, later


def test_a_head_goes_on_from_where_it_was(labelled):
  _, before, later = labelled
  for name in ('kernel', 'bias'):
    np.testing.assert_array_equal(
      later['after_head'][name], before['after_head'][name]
    )
  assert later['after_head']['kernel'].shape[1] == 2


def test_models_of_other_numbers_of_labels_are_refused(labelled, folders):
  with pytest.raises(ValueError, match='give other numbers of labels'):
    reward_models.load([folders[0], labelled[0]])


def test_a_model_of_labels_says_their_mean_and_each(labelled, tmp_path):
  folder = labelled[0]
  names = [
    f'reward_model:{folder}',
    *(f'reward_model:{folder}@{k}' for k in '01'),
  ]
  mean, *each = (
    judge(RESPONSES, ROWS) for judge in reward_models.judges(names).values()
  )
  np.testing.assert_allclose(mean, np.mean(each, axis=0), rtol=1e-5)
  assert np.abs(each[0] - each[1]).min() > 1e-4
  with pytest.raises(
    ValueError, match='@2 names no label: there are 2, from 0'
  ):
    reward_models.judges([f'reward_model:{folder}@2'])
  elsewhere = tmp_path / 'run@2'
  elsewhere.symlink_to(pathlib.Path(folder).parent)
  for k, said in zip(('', '@1'), (mean, each[1])):
    [judge] = reward_models.judges(
      [f'reward_model:{elsewhere}/export{k}']
    ).values()
    np.testing.assert_array_equal(judge(RESPONSES, ROWS), said)
  config = preference.get_config()
  config.data.size, config.data.held_out = 8, 6
  [found] = rate.measure([folder], config, 2).values()
  _, held_out = preferences.load(config.data, seed=0, samples=2, labels=2)
  models = reward_models.load([folder])
  prompts = [row['prompt'] for row in held_out.rows for _ in range(2)]
  texts = [text for row in held_out.rows for text in row['responses']]
  truth = np.array([x for row in held_out.rows for x in row['labels']])
  for label, said in enumerate(models.by_label(prompts, texts)[0].T):
    r = np.corrcoef(said, truth[:, label])[0, 1]
    assert found['labels'][str(label)]['r^2'] == pytest.approx(r**2, rel=1e-3)


def alone(folder, prompt, response):
  """One response rated without padding, batch or vmap."""
  models = reward_models.load([folder])
  params = jax.tree.map(lambda x: x[0], models.params)
  ids = [
    *models.tokenizer(response, add_special_tokens=False)['input_ids'],
    models.tokenizer.eos_token_id,
  ]
  asked = jnp.asarray([models.tokenizer(prompt)['input_ids']])
  columns = {
    'recorded': jnp.asarray(ids)[None, None],
    'recorded_mask': jnp.ones((1, 1, len(ids)), bool),
    'recorded_score': jnp.zeros((1, 1)),
    'recorded_cut': jnp.zeros((1, 1), bool),
  }
  zero = jnp.zeros(1, jnp.int32)
  prompts = reward_models.Prompts(
    asked, jnp.ones(asked.shape, bool), zero, zero, columns
  )
  rollouts, _ = recorded.rows(prompts)
  needs = frozenset({'after_values'})
  stats = score.score(params, models.model, rollouts, needs=needs)
  return float(stats.after_values[0, -1])


def test_ratings_of_a_batch_are_those_of_each_text_alone(folders):
  prompts = [row['prompt'] for row in ROWS]
  found = reward_models.load(folders)(prompts, RESPONSES)
  for u, folder in enumerate(folders):
    for n in range(2):
      single = alone(folder, prompts[n], RESPONSES[n])
      np.testing.assert_allclose(found[u, n], single, rtol=1e-3, atol=1e-5)
  assert np.abs(found[0] - found[1]).max() > 1e-3


def test_more_rows_than_one_call_holds_are_rated_alike(folders):
  models = reward_models.load(folders[:1])
  prompts = [ROWS[0]['prompt']] * 70
  responses = [str(i) for i in range(70)]
  whole = models(prompts, responses)
  again = models(prompts[65:], responses[65:])
  assert whole.shape == (1, 70)
  np.testing.assert_allclose(whole[:, 65:], again, rtol=1e-4, atol=1e-6)


def test_a_reward_model_is_a_verifier_beside_others(folders):
  both = ','.join(folders)
  names = (f'reward_model:{folders[0]}', f'w=reward_model_worst:{both}',
           'exact', f'reward_model_uncertain:{both}')  # fmt: skip
  judges = reward_models.judges(names)
  rows = [row | {'answer': '13'} for row in ROWS]
  with verify.Verifiers(names, judges=judges) as verifiers:
    assert verifiers.names == (
      'reward_model', 'w', 'exact', 'reward_model_uncertain'
    )  # fmt: skip
    verdict = verifiers.score(RESPONSES, rows)
  prompts = [row['prompt'] for row in rows]
  each = reward_models.load(folders)(prompts, RESPONSES)
  expected = np.stack(
    [each[0], each.min(0), [1, 0], each.mean(0) - 0.1 * each.var(0, ddof=1)],
    axis=1,
  )
  np.testing.assert_allclose(verdict.components, expected, rtol=1e-4, atol=1e-5)
  assert verdict.ok.all()


def test_chances_of_oracles_come_from_the_models(folders):
  both = ','.join(folders)
  models = reward_models.load(folders)
  rows = [ROWS[0]] * 2
  first, second = ['13', '3'], ['31', '3']
  a, b = (
    models([row['prompt'] for row in rows], said) for said in (first, second)
  )
  rated = oracles.load(f'reward_model:{both}')(first, second, rows)
  expected = np.mean(1 / (1 + np.exp(b - a)), axis=0)
  np.testing.assert_allclose(rated, expected, rtol=1e-5)
  mark = models.tokenizer.eos_token
  ahead, behind = (
    models([ROWS[0]['prompt']], [f'{x}{mark}{y}'])[:, 0]
    for x, y in (('13', '31'), ('31', '13'))
  )
  compared = oracles.load(f'preference_model:{both}')
  found = compared(first, second, rows)
  expected = np.mean(1 / (1 + np.exp(behind - ahead)))
  np.testing.assert_allclose(found[0], expected, rtol=1e-4)
  assert rated[1] == found[1] == 0.5
  other = compared(second, first, rows)
  np.testing.assert_allclose(found + other, 1, rtol=1e-6)


def test_an_oracle_says_the_label_that_is_named_and_its_folder_is_read(
  labelled,
):
  """As a verifier does: a folder of the name with its label is not there."""
  folder = labelled[0]
  spec = f'reward_model:{folder}@1'
  prompts, first, second = ['sort 31='] * 2, ['13', '3'], ['31', '3']
  models = reward_models.load([folder])
  a, b = (models.by_label(prompts, said)[0, :, 1] for said in (first, second))
  assert abs(a[0] - b[0]) > 1e-4  # or any label would do
  rows = [{'prompt': prompt} for prompt in prompts]
  found = oracles.load(spec)(first, second, rows)
  np.testing.assert_allclose(found, 1 / (1 + np.exp(b - a)), rtol=1e-5)
  config = default.get_config('nash_md')
  with config.unlocked():
    config.verify.preference = spec
  read = [*inputs.fingerprints(config)]
  assert f'{folder}/config.json' in read
  with pytest.raises(
    ValueError, match='@2 names no label: there are 2, from 0'
  ):
    oracles.load(f'reward_model:{folder}@2')
  with pytest.raises(ValueError, match='@0 names no label: there are 0'):
    oracles.load(f'preference_model:{folder}@0')


def test_a_policy_discriminator_reads_the_answer_before_the_response(folders):
  (spec,) = names = (f'policy_discriminator:{folders[0]}',)
  rows = [ROWS[1], ROWS[1] | {'answer': ['7', '0']}]
  judge = reward_models.judges(names)[spec]
  model = reward_models.load([folders[0]])
  joined = [f'{a}<|eos|>{said}' for a, said in zip('07', RESPONSES)]
  found = judge(RESPONSES, rows)
  wanted = model([row['prompt'] for row in rows], joined)[0]
  np.testing.assert_allclose(found, wanted, rtol=1e-5)
  with pytest.raises(ValueError, match='policy_discriminator compares'):
    judge(RESPONSES, ROWS)


def test_a_preference_model_is_a_verifier_against_the_records_answer(folders):
  (spec,) = names = (f'preference_model:{folders[0]}',)
  judge = reward_models.judges(names)[spec]
  row = {'prompt': 'sort 31=', 'answer': '13'}
  found = judge(['31', '13'], [row] * 2)
  models = reward_models.load(folders[:1])
  margin = reward_models.margins(models, ['sort 31='], ['31'], ['13'])
  np.testing.assert_allclose(found[0], margin[0, 0], rtol=1e-4, atol=1e-6)
  assert found[1] == 0
  with pytest.raises(ValueError, match="that of 'sort 31=' has none"):
    judge(['31'], ROWS[:1])


def test_a_reaction_model_says_how_probable_it_is_that_one_is_liked(folders):
  (spec,) = names = (f'reaction_model:{",".join(folders)}',)
  found = reward_models.judges(names)[spec](RESPONSES, ROWS)
  prompts = [row['prompt'] for row in ROWS]
  logits = reward_models.load(folders)(prompts, RESPONSES)
  wanted = (1 / (1 + np.exp(-logits))).mean(axis=0)
  np.testing.assert_allclose(found, wanted, rtol=1e-5)
  with pytest.raises(ValueError, match='there are 0, from 0'):
    reward_models.judges([f'{spec}@0'])


def test_a_rating_that_is_not_finite_costs_its_row():
  names = ('reward_model:somewhere',)
  judges = {names[0]: lambda responses, rows: [float('nan'), 1.0]}
  with verify.Verifiers(names, judges=judges) as verifiers:
    verdict = verifiers.score(RESPONSES, ROWS)
  assert verdict.ok.tolist() == [False, True]
  assert verdict.counts['verify/nan'] == 1


def test_a_folder_without_a_head_and_a_name_without_a_folder_are_refused(
  folders, tmp_path
):
  with pytest.raises(ValueError, match='is no reward model'):
    heads.load(tmp_path)
  with pytest.raises(ValueError, match='needs a folder'):
    reward_models.judges(['reward_model'])
  assert reward_models.judges(['exact']) == {}


def test_a_head_that_is_not_finite_is_named(tmp_path):
  (tmp_path / 'config.json').write_text('{}')
  bad = {'after_head': {'kernel': np.array([1, np.nan], np.float32)}}
  heads.save(tmp_path, bad)
  with pytest.raises(ValueError, match='after_head.kernel .* not finite'):
    heads.load(tmp_path)
