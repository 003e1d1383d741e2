"""What a folder of the package holds."""

import importlib
import inspect
import pkgutil


def classes(package, method):
  """Concrete classes with that method, of the modules right in a package."""
  modules = [
    importlib.import_module(f'{package.__name__}.{found.name}')
    for found in pkgutil.iter_modules(package.__path__)
    if not found.ispkg
  ]
  return {
    each
    for module in modules
    for each in vars(module).values()
    if inspect.isclass(each)
    and each.__module__ == module.__name__
    and hasattr(each, method)
    and not inspect.isabstract(each)
    and not getattr(each, '_is_protocol', False)
  }
