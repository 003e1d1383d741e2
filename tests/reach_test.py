"""What nobody can run: public parts that no entry, setting or study reaches."""

import ast
import collections
import pathlib
import re

ROOT = pathlib.Path(__file__).parents[1]
ENTERED = ('recipes', '__main__')

# Proved by tests, and waiting for an entry or a study. It may only shrink.
UNREACHED = {
  'control': {'AdaptiveKL'},
  'environments.bandit': {'Bernoulli'},
  'learners.bandits': {'BetaThompson', 'GaussianThompson', 'UCB1'},
  'numerics': {'masked_max'},
  'objectives.flows': {'outcome_policy'},
  'problems.text.encoding': {'encode_prompts'},
  'reference': {'Extrapolate'},
  'rewards.learned': {'doubt', 'informed', 'mixture_losses', 'r_squared'},
  'selection.budgets': {'contrast'},
  'selection.curricula': {'each_domain', 'of_bandit'},
  'selection.rejection': {'ranker_reward'},
  'selection.weights': {'best_of_group'},
  'tabular.bilevel': {'hypergradient'},
  'tabular.games': {'best_response', 'equilibrium', 'regret_matching_step'},
  'tabular.information': {'differential'},
  'tabular.mirror': {'cloned', 'soft_mirror_step'},
  'tabular.pareto': {
    *('expected_utility', 'hypervolume', 'least_crowded', 'sparsity'),
  },
  'tabular.regret': {
    *('dynamic_regret', 'regret', 'regret_loss', 'regularised_leader'),
  },
  'tasks.tokens': {'sum_modulo'},
}


def trees():
  """Path and syntax of every file of the package and the experiments."""
  for folder in ('jaxrl_llm', 'experiments'):
    for path in sorted((ROOT / folder).rglob('*.py')):
      yield path, ast.parse(path.read_text(encoding='utf-8'))


def uses():
  """How often each name is read, or ends an import path in a string."""
  count = collections.Counter()
  for _, tree in trees():
    for node in ast.walk(tree):
      if isinstance(node, ast.Name):
        count[node.id] += 1
      elif isinstance(node, ast.Attribute):
        count[node.attr] += 1
      elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        count.update(re.findall(r'[:.](\w+)$', node.value))
  return count


def test_only_what_is_listed_is_reached_by_nobody():
  used, found = uses(), {}
  for path, tree in trees():
    module = path.relative_to(ROOT).with_suffix('').parts
    if module[0] != 'jaxrl_llm' or set(module) & set(ENTERED):
      continue
    for node in tree.body:
      public = isinstance(node, ast.FunctionDef | ast.ClassDef)
      if public and not node.name.startswith('_') and not used[node.name]:
        found.setdefault('.'.join(module[1:]), set()).add(node.name)
  assert found == UNREACHED
