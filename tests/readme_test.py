"""The example of the README is what a newcomer tries first."""

import pathlib
import re

import jax.numpy as jnp
import numpy as np

from jaxrl_llm import recipe, recipes, registry

README = pathlib.Path(__file__).parent.parent / 'README.md'


def test_objective_of_the_readme_is_a_config_with_its_recipe(monkeypatch):
  recipes.names()  # registers the real ones; the example's goes to a copy
  monkeypatch.setattr(registry, 'ENTRIES', dict(registry.ENTRIES))
  code = re.search(r'```python\n(.*?)```', README.read_text(), re.DOTALL)
  names = {}
  exec(code.group(1), names)  # noqa: S102, our own file
  config = names['get_config']()
  assert config.recipe.bound == 2.0
  built = recipes.build('mine', bound=1.5)
  recipe.check(built, rows=32, microbatches=2)
  ones, zeros = jnp.ones((1, 2)), jnp.zeros((1, 2))
  loss = built.objective.surrogate(3 * ones, zeros, ones, ones > 0)
  np.testing.assert_allclose(loss, -1.5)


def test_every_file_the_readme_links_exists():
  links = re.findall(r'\]\(([^)#]*)(?:#([^)]*))?\)', README.read_text())
  assert links
  for path, place in links:
    page = README.parent / path if path else README
    assert page.exists(), path
    if place:
      heads = re.findall(r'^#+ (.*)$', page.read_text(), re.MULTILINE)
      plain = [re.sub(r'[^\w -]', '', head.lower()) for head in heads]
      assert place in [head.replace(' ', '-') for head in plain], place
