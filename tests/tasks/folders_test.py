"""Folders of documents."""

import pytest

from jaxrl_llm.tasks import folders, toolboxes


def test_blank_lines_part_passages(tmp_path):
  (tmp_path / 'b.txt').write_text('One.\n\n \nTwo\nthree.\n')
  (tmp_path / 'a').mkdir()
  (tmp_path / 'a' / 'c.md').write_text('Four.')
  (tmp_path / 'no.py').write_text('x = 1')
  assert folders.passages(str(tmp_path)) == (
    ('a/c.md', 'Four.'),
    ('b.txt', 'One.'),
    ('b.txt', 'Two\nthree.'),
  )


@pytest.mark.parametrize(
  ('name', 'content', 'error', 'words'),
  [
    ('', b'', FileNotFoundError, "documents='.*'; set it to a folder with"),
    ('a.txt', b' \n', FileNotFoundError, 'set it to a folder with some'),
    ('a.txt', b'caf\xe9', ValueError, 'a.txt is no text in UTF-8: .* byte 3'),
    ('b.md', b'PK\0\0', ValueError, 'b.md is no text, it holds zeros'),
  ],
)
def test_what_is_no_folder_of_documents_is_refused(
  tmp_path, name, content, error, words
):
  if name:
    (tmp_path / name).write_bytes(content)
  with pytest.raises(error, match=words):
    folders.passages(str(tmp_path))


def test_a_folder_that_is_not_there_is_named():
  with pytest.raises(FileNotFoundError, match="='missing', which is no folder"):
    folders.passages('missing')


def test_a_record_says_what_is_searched(tmp_path):
  (tmp_path / 'a.txt').write_text('Pears cost 3.')
  box = toolboxes.Search()
  box.reset({'documents': str(tmp_path)})
  assert box.search('pears') == 'a.txt: Pears cost 3.'
