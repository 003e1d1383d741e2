"""Hugging Face's reward models against torch, live: texts in, scores out."""

import json
import shutil

import numpy as np
import pytest

from jaxrl_llm.policies.language import hf
from jaxrl_llm.problems.text import oracles, reward_models
from jaxrl_llm.tasks import verify
from tests.policies.language import families
from tests.problems.text import templates

torch = pytest.importorskip('torch')
transformers = pytest.importorskip('transformers')

# A family's decoder with a tokenizer in its manner.
PAIRS = {
  'llama3': 'llama3',
  'mistral': 'llama2',
  'qwen2': 'smollm2',
  'qwen3': 'qwen3',
  'qwen3_biases': 'qwen3',
  'gemma2': 'gemma',
  'gemma3': 'gemma',
}
USER = {'role': 'user', 'content': 'One and one?'}
PROMPTS = [
  [USER],
  'The other?',
  [USER, {'role': 'assistant', 'content': 'Two.'}, USER | {'content': 'Why?'}],
  [USER, {'role': 'assistant', 'content': 'It is '}],
]
RESPONSES = ['Two.', '', 'the the the the the the the the', 'two']


def reference(folder, name, style, seed=0, **changes):
  """A random model and its tokenizer, saved as transformers saves them."""
  torch.manual_seed(seed)
  tokenizer = templates.tokenizer(style)
  if changes.pop('untemplated', False):
    tokenizer.chat_template = None
  config = families.hf_config(
    name,
    vocab_size=len(tokenizer),
    num_labels=1,
    max_position_embeddings=512,
    **changes,
  )
  model = transformers.AutoModelForSequenceClassification.from_config(
    config, attn_implementation='eager'
  ).eval()
  for parameter in model.parameters():
    if parameter.ndim == 1:
      parameter.data += 0.3 * torch.randn_like(parameter)
  model.save_pretrained(folder)
  tokenizer.save_pretrained(folder)
  return model, tokenizer


def scores(model, rows):
  """What the model says of rows of tokens, in one batch padded on the right."""
  width, padding = max(map(len, rows)), model.config.pad_token_id
  tokens = torch.tensor([[*r, *[padding] * (width - len(r))] for r in rows])
  mask = torch.tensor([[1] * len(r) + [0] * (width - len(r)) for r in rows])
  with torch.no_grad():
    return model(input_ids=tokens, attention_mask=mask).logits[:, 0].numpy()


def conversations(tokenizer):
  """The whole conversations, as cards of such models write them."""

  def said(text):
    return {'role': 'assistant', 'content': text}

  talks = [
    [*PROMPTS[0], said(RESPONSES[0])],
    [{'role': 'user', 'content': PROMPTS[1]}, said(RESPONSES[1])],
    [*PROMPTS[2], said(RESPONSES[2])],
    [USER, said('It is two')],
  ]
  return [
    tokenizer.apply_chat_template(talk, return_dict=False) for talk in talks
  ]


@pytest.mark.parametrize('name', PAIRS)
def test_scores_of_conversations_equal_torch(name, tmp_path):
  model, tokenizer = reference(tmp_path, name, PAIRS[name])
  expected = scores(model, conversations(tokenizer))
  models = reward_models.load([tmp_path])
  assert models.classifier
  found = models(PROMPTS, RESPONSES)
  print(f'parity {name}: {np.abs(found[0] - expected).max():.1e}')
  np.testing.assert_allclose(found[0], expected, rtol=0, atol=1e-4)
  assert np.ptp(expected) > 0.1


def test_the_score_is_that_of_the_last_token_which_is_no_padding(tmp_path):
  """As of Llama, where people pad with the token that ends a turn."""
  end = templates.tokenizer('llama3').eos_token_id
  model, tokenizer = reference(tmp_path, 'llama3', 'llama3', pad_token_id=end)
  rows = conversations(tokenizer)
  assert all(row[-1] == end for row in rows)
  expected = scores(model, rows)
  model.config.pad_token_id = 0
  assert np.abs(scores(model, rows) - expected).max() > 0.1
  found = reward_models.load([tmp_path])(PROMPTS, RESPONSES)
  np.testing.assert_allclose(found[0], expected, rtol=0, atol=1e-4)


def test_texts_without_a_template_end_with_eos(tmp_path):
  model, tokenizer = reference(
    tmp_path, 'llama3', 'llama3', untemplated=True, pad_token_id=0
  )
  end = tokenizer.eos_token
  rows = [tokenizer(f'One?{said}{end}')['input_ids'] for said in ('1', '')]
  found = reward_models.load([tmp_path])(['One?'] * 3, ['1', '', f'1{end}'])
  expected = scores(model, rows)[[0, 1, 0]]
  np.testing.assert_allclose(found[0], expected, rtol=0, atol=1e-4)
  with pytest.raises(ValueError, match='no chat template'):
    reward_models.load([tmp_path])([[USER]], ['1'])


def test_a_classifier_is_a_verifier_an_ensemble_and_an_oracle(tmp_path):
  made = [
    reference(tmp_path / f'{seed}', 'qwen3', 'qwen3', seed) for seed in range(2)
  ]
  expected = [scores(model, conversations(t)) for model, t in made]
  both = f'{tmp_path / "0"},{tmp_path / "1"}'
  rows = [{'prompt': prompt} for prompt in PROMPTS]
  names = (f'reward_model:{tmp_path / "0"}', f'reward_model_worst:{both}')
  judges = reward_models.judges(names)
  with verify.Verifiers(names, judges=judges) as verifiers:
    verdict = verifiers.score(RESPONSES, rows)
  wanted = np.stack([expected[0], np.min(expected, axis=0)], axis=1)
  np.testing.assert_allclose(verdict.components, wanted, atol=1e-4)
  oracle = oracles.load(f'reward_model:{both}')
  first, second = RESPONSES[:1], ['Three.']
  won = oracle(first, second, rows[:1])
  margins = [
    m[0] - scores(model, [t.apply_chat_template(
      [USER, {'role': 'assistant', 'content': 'Three.'}], return_dict=False
    )])[0]
    for m, (model, t) in zip(expected, made)
  ]  # fmt: skip
  np.testing.assert_allclose(
    won[0], np.mean([1 / (1 + np.exp(-m)) for m in margins]), atol=1e-4
  )
  for load in (
    lambda name: reward_models.judges([name]),
    oracles.load,
  ):
    with pytest.raises(ValueError, match='ask for reward_model:FOLDER'):
      load(f'preference_model:{tmp_path / "0"}')


def test_classifiers_of_other_kinds_are_refused(tmp_path):
  reference(tmp_path / 'one', 'qwen3', 'qwen3')
  with pytest.raises(ValueError, match='score.weight'):
    hf.load(tmp_path / 'one')
  reference(tmp_path / 'other', 'qwen2', 'qwen3')
  paths = [tmp_path / name for name in ('one', 'other')]
  with pytest.raises(ValueError, match='differ in architecture'):
    reward_models.load(paths)
  config = json.loads((tmp_path / 'one' / 'config.json').read_text())
  config['id2label'] = {'0': 'bad', '1': 'good'}
  (tmp_path / 'one' / 'config.json').write_text(json.dumps(config))
  with pytest.raises(ValueError, match=r"labels \['bad', 'good'\]"):
    reward_models.load(paths[:1])
  # One of ours and one of theirs, of one architecture.
  config['id2label'] = {'0': 'good'}
  (tmp_path / 'one' / 'config.json').write_text(json.dumps(config))
  shutil.copytree(tmp_path / 'one', tmp_path / 'ours')
  config['architectures'] = ['Qwen3ForCausalLM']
  (tmp_path / 'ours' / 'config.json').write_text(json.dumps(config))
  with pytest.raises(ValueError, match='differ in architecture'):
    reward_models.load([tmp_path / 'one', tmp_path / 'ours'])


def test_a_text_that_the_model_cannot_read_costs_its_row(tmp_path):
  model, tokenizer = reference(tmp_path, 'qwen3', 'qwen3')
  tokenizer.add_tokens(['<image>'])
  tokenizer.save_pretrained(tmp_path)
  found = reward_models.load([tmp_path])(PROMPTS[:2], ['an <image>', 'two'])
  assert np.isnan(found[0]).tolist() == [True, False]
