"""Questions about a folder of somebody's documents, asked and answered."""

import contextlib
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.configs import two_models
from jaxrl_llm.plans import given, proposed
from jaxrl_llm.problems.text import assembly
from jaxrl_llm.problems.text.speaker import Speaker

DOCUMENTS = {
  'pears.txt': 'Pears are from Rye.',
  'rye.md': 'Rye lies in Kent.',
  'plums.md': 'Plums are from Ely.\n\nElderly plums are prunes.',
  'ely.txt': 'Ely lies in the fens.',
}
SEARCH = '[search {"query":"Rye"}]'
QUESTION = 'Where is it that pears are from?'
PROPOSAL = f'<question>{QUESTION}</question><answer>Kent</answer>'


class Actors(Speaker):
  """A proposer who searches before it asks, and a solver who does or guesses.

  Attributes:
    heard: by agent, what was read before each turn. notes: metrics.
  """

  def __init__(self, parts):
    answering = dataclasses.replace(parts.answering, keep=False)
    super().__init__(answering, {}, parts.train)
    self.heard, self.notes = {0: [], 1: []}, {}

  def generate(self, prompts, key, samples, *, most=0, uids=None, agents=0):
    del key, uids
    assert samples == 1
    tokenizer, said = self._answering.tokenizer, []
    for row, agent in enumerate(np.asarray(agents)):
      ids = np.asarray(prompts.tokens)[row][np.asarray(prompts.mask)[row]]
      text = tokenizer.decode(ids.tolist())
      self.heard[int(agent)].append(text)
      guesses = agent == 0 and row % 2
      told = 'rye.md: Rye' in text or guesses
      words = (PROPOSAL if agent else 'Ely' if guesses else 'Kent').strip()
      ids = self.encode([words if told else SEARCH])[0]
      said.append([*ids, tokenizer.eos_token_id])
    blank = given.written(given.blank(prompts, samples, most), said)
    return blank.replace(action_mask=blank.response_mask)

  def note(self, name, value):
    self.notes[name] = value


@pytest.fixture
def run(tmp_path):
  folder = tmp_path / 'mine'
  folder.mkdir()
  for name, text in DOCUMENTS.items():
    (folder / name).write_text(text)
  config = two_models.get_config('dr_zero').unlock()
  config.update_from_flattened_dict(
    {
      'data.path': f'document:folder={folder}:rows=6',
      'data.level': 1,
      'data.held_out': 4,
      'recipe.parse': 'jaxrl_llm.plans.proposals:tagged',
      'sample.max_prompt': 500,
      'sample.max_response': 360,
      'warm_start.steps': 0,
    }
  )
  parts, _ = assembly.assemble(config, tmp_path, abstract=True)
  with contextlib.closing(parts):
    yield parts


@pytest.mark.slow
def test_a_question_about_somebodys_documents_is_searched_for(run):
  """The tool finds in both turns what it says; chat and tool are the run's."""
  tools = Actors(run)
  plan = proposed.Proposed(4, phase=0, turns=3)
  prompts = run.train.prompts(np.arange(2))
  rows, scores, _ = plan.collect(
    tools, prompts, jnp.int32(0), jax.random.key(0)
  )
  texts = tools.decode(rows)
  assert texts[0].startswith(SEARCH) and PROPOSAL in texts[0]
  assert 'rye.md: Rye lies in Kent.' in texts[0]
  # Who answers reads the question, and not the document that it is about.
  assert all(QUESTION in text for text in tools.heard[0])
  assert not any('Document' in text for text in tools.heard[0])
  assert all('Document' in text for text in tools.heard[1])
  np.testing.assert_array_equal(
    scores.components[:, 0].reshape(2, 5), [[0.5, 1, 0, 1, 0]] * 2
  )
  hops = np.asarray(prompts.extras['hops'])
  form = np.asarray(rows.extras['form']).reshape(2, 5)
  wanted = (2 + np.minimum(2 / hops, 1)) / 3
  np.testing.assert_allclose(form[:, 0], wanted, rtol=1e-6)
  assert np.asarray(rows.valid).all()
  assert tools.notes['stop/said'] == 1
  # What the tool said is read and not learned.
  learned = tools.decode(rows.replace(response_mask=rows.action_mask))
  assert learned[0].count('Rye') == 1 and 'lies in' not in learned[0]
