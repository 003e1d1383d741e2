"""The site. From the root of the repository, without network:

EXTRAS=docs launch/local.sh sphinx -W docs docs/_build/html
"""

import pathlib
import sys

from pygments.lexers import JsonLexer

HERE = pathlib.Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import notebooks  # noqa: E402, found by the line before
import pages  # noqa: E402

project = 'jaxrl_llm'
author = 'The jaxrl_llm authors'
extensions = ['myst_parser']
exclude_patterns = ['_build', 'templates']
html_theme = 'sphinx_book_theme'
html_title = project
html_static_path = ['static']
html_css_files = ['site.css']
html_theme_options = {
  'show_navbar_depth': 1,
  'navigation_depth': 2,
  'navbar_persistent': [],
  'show_toc_level': 2,
  'navigation_with_keys': False,
  'use_download_button': False,
}
html_copy_source = False
highlight_language = 'text'
smartquotes = False
toc_object_entries = False  # sidebars copy every page's entries
add_module_names = False
python_use_unqualified_type_names = True
myst_heading_anchors = 3
myst_enable_extensions = ['attrs_inline']
# References to modules and their members must lead somewhere; the types in a
# signature may be of other packages.
nitpicky = True
nitpick_ignore_regex = [('py:(class|exc|data)', '.*')]


def setup(app):
  app.add_lexer('jsonl', JsonLexer)
  app.connect('builder-inited', lambda _: pages.write(HERE))
  app.connect('builder-inited', lambda _: notebooks.write(HERE))
  app.connect('source-read', _led)


def _led(app, name, source):
  """Leads links of the pages that people write; the others' are led."""
  if '/' not in name:
    page = notebooks.offered(source[0], name)
    source[0] = pages.prose.linked(page, 'docs')
