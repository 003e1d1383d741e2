"""What nobody can run: public parts that no entry, setting or study reaches."""

import ast
import pathlib
import re

from jaxrl_llm import compose, parts, problems

ROOT = pathlib.Path(__file__).parents[1]
ENTERED = ('recipes', '__main__')
# What plans, verifiers and learners of one's own call, as their pages say, and
# what agents of one's own are made of.
OFFERED = {
  'jaxrl_llm.reads.declare',
  'jaxrl_llm.tasks.verifiers.batched',
  'jaxrl_llm.tasks.toolbox.final',
}


def trees():
  """Dotted name and syntax of every file of the package and experiments."""
  for folder in ('jaxrl_llm', 'experiments'):
    for path in sorted((ROOT / folder).rglob('*.py')):
      names = path.relative_to(ROOT).with_suffix('').parts
      module = '.'.join(names).removesuffix('.__init__')
      yield module, ast.parse(path.read_text(encoding='utf-8'))


def bindings(module, tree):
  """Name in a file -> what it stands for: an import, or its own definition."""
  bound = {
    node.name: f'{module}.{node.name}'
    for node in tree.body
    if isinstance(node, ast.FunctionDef | ast.ClassDef)
  }
  for node in ast.walk(tree):
    if isinstance(node, ast.Import):
      for found in node.names:
        name = found.asname or found.name.split('.')[0]
        bound[name] = found.name if found.asname else name
    elif isinstance(node, ast.ImportFrom):
      for found in node.names:
        bound[found.asname or found.name] = f'{node.module}.{found.name}'
  return bound


def read(tree, bound):
  """Dotted names that a file reads, or writes out in a string."""
  found = set()
  for node in ast.walk(tree):
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
      found.update(re.findall(r'^([\w.]+[:.]\w+)$', node.value))
      continue
    names = []
    while isinstance(node, ast.Attribute):
      names.append(node.attr)
      node = node.value
    if isinstance(node, ast.Name) and node.id in bound:
      found.add('.'.join([bound[node.id], *reversed(names)]))
  return {name.replace(':', '.') for name in found}


def unreached(known):
  """Public definitions of the package, by dotted name, that nothing reads.

  Args:
    known: module -> its syntax.
  """
  names = {module: bindings(module, tree) for module, tree in known.items()}

  def origin(name):
    # What a module hands on is what it imported.
    module, _, last = name.rpartition('.')
    target = names.get(module, {}).get(last, name)
    return name if target == name else origin(target)

  reached = set()
  for module, tree in known.items():
    reached |= set(map(origin, read(tree, names[module])))
  for slot in (*compose.SLOTS, 'controller'):
    fitting = parts.fitting(slot).values()
    reached |= {f'{part.__module__}.{part.__name__}' for part in fitting}
  for module in problems.NAMES.values():
    reached |= {origin(f'{module}.{name}') for name in vars(problems)}
  return {
    f'{module}.{node.name}'
    for module, tree in known.items()
    if module.startswith('jaxrl_llm')
    and not set(module.split('.')) & set(ENTERED)
    for node in tree.body
    if isinstance(node, ast.FunctionDef | ast.ClassDef)
    and not node.name.startswith('_')
    and f'{module}.{node.name}' not in reached
  }


def test_everything_public_is_reached():
  assert unreached(dict(trees())) == OFFERED


def test_a_name_is_reached_through_its_own_module_alone():
  sources = {
    'jaxrl_llm.a': 'def f(): g()\ndef g(): pass\ndef h(): pass\ndef k(): pass',
    'jaxrl_llm.b': 'from jaxrl_llm.a import h\ndef f(): pass',
    'experiments.c': 'from jaxrl_llm import b as a\na.h(a.f, a.k)',
    'experiments.d': 'other.f(f)',
  }
  known = {module: ast.parse(source) for module, source in sources.items()}
  assert unreached(known) == {'jaxrl_llm.a.f', 'jaxrl_llm.a.k'}
