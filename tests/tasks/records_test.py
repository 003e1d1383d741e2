"""Records of every kind of file, of folders, and of datasets of the hub."""

import itertools
import json
import os
import sys

import pytest

from jaxrl_llm import hub as hub_lib
from jaxrl_llm.tasks import data, records

TABLE = [
  {'prompt': 'One, or two?', 'answer': '2'},
  {'prompt': 'b', 'answer': '3'},
]


def jsonl(path, *rows):
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(''.join(json.dumps(row) + '\n' for row in rows))
  return path


def parquet(path, rows):
  pyarrow = pytest.importorskip('pyarrow')
  from pyarrow import parquet

  parquet.write_table(pyarrow.Table.from_pylist(rows), path)
  return path


def read(path, **which):
  return [record for _, _, record in records.read(path, **which)]


def places(path):
  return [place for place, _, _ in records.read(path)]


def test_a_list_in_json_and_an_object_a_line_are_alike(tmp_path):
  lists, lines = tmp_path / 'a.json', jsonl(tmp_path / 'b.json', *TABLE)
  lists.write_text(json.dumps(TABLE, indent=2))
  assert read(lists) == read(lines) == TABLE
  assert places(lists)[1] == f'{lists}, record 1'
  assert places(lines)[1] == f'{lines}:2'


def test_cells_of_csv_are_texts_with_commas_and_lines(tmp_path):
  file = tmp_path / 'a.csv'
  file.write_text('\ufeffprompt,answer\n"One, or\ntwo?",2\n\nb,"3"\n')
  assert read(file) == [
    {'prompt': 'One, or\ntwo?', 'answer': '2'},
    {'prompt': 'b', 'answer': '3'},
  ]
  assert places(file) == [f'{file}:3', f'{file}:5']
  file.write_text(f'prompt\n{"x" * 200_000}\n')
  assert len(read(file)[0]['prompt']) == 200_000


def test_rows_of_parquet_keep_lists_and_lose_nulls(tmp_path):
  chat = [{'role': 'user', 'content': 'Hi', 'name': None}]
  rows = [
    {'prompt': chat, 'answer': 2, 'hint': None},
    {'prompt': [], 'answer': 3, 'hint': 'x'},
  ]
  file = parquet(tmp_path / 'a.parquet', rows)
  found = read(file)
  assert found[0] == {
    'prompt': [{'role': 'user', 'content': 'Hi'}],
    'answer': 2,
  }
  assert found[1]['hint'] == 'x'
  assert places(file) == [f'{file}, row 0', f'{file}, row 1']
  [first] = data.load_records(file, rows=1).rows
  assert first['answer'] == '2'


@pytest.mark.parametrize(
  ('name', 'text', 'words'),
  [
    ('a.json', '{\n "data": []\n}', r"one dict with \['data'\]"),
    ('a.json', '[1]', 'record 0: a JSON object is needed, this is a int'),
    ('a.json', '[1', r'a\.json: no JSON: '),
    ('a.csv', 'p,p\n1,2\n', r"names \['p', 'p'\] are not all different"),
    ('a.csv', 'p,q\n1\n', r'a\.csv:2: 1 cells under the 2 names'),
    ('a.csv', 'p;q\n1;2\n', "'p;q' has a ';', and cells are parted by"),
    ('a.csv', 'p\n"1" 2\n', r'a\.csv:3: no CSV in UTF-8: '),
    ('a.parquet', 'p', 'is no Parquet file: '),
    ('a.arrow', 'p', 'is no Arrow stream: '),
    ('a.xlsx', 'p', r'a\.xlsx is of a kind that is not read; give one of'),
  ],
)
def test_what_cannot_be_read_is_named(tmp_path, name, text, words):
  (tmp_path / name).write_text(text)
  with pytest.raises(ValueError, match=words):
    read(tmp_path / name)


@pytest.mark.parametrize('name', ['a.jsonl', 'a.json', 'a.csv'])
def test_a_file_without_records_is_named(tmp_path, name):
  (tmp_path / name).write_text('[]' if name == 'a.json' else '')
  with pytest.raises(ValueError, match=f'{name} is empty: it holds no record'):
    data.load_records(tmp_path / name)


def test_a_column_that_is_not_there_is_told_with_those_that_are(tmp_path):
  file = tmp_path / 'a.csv'
  file.write_text('question,answer\na,b\n')
  words = r"a\.csv:2: no field 'prompt'; .* \['answer', 'question'\]"
  with pytest.raises(ValueError, match=words):
    data.load_records(file)


def test_files_of_two_splits_are_never_read_as_one(tmp_path, caplog):
  for name in ('train-00000-of-00002', 'train-00001-of-00002', 'dev'):
    jsonl(tmp_path / f'{name}.jsonl', {'prompt': name})
  with caplog.at_level('WARNING', logger='absl'):
    found = list(records.read(tmp_path))
  assert [source for _, source, _ in found] == ['train', 'train']
  [said] = caplog.messages
  assert 'holds the splits train, validation: train is read' in said
  assert f'data.held_out_path={tmp_path}:split=validation' in said
  assert read(tmp_path, split='validation') == [{'prompt': 'dev'}]
  with pytest.raises(ValueError, match="no files of the split 'test', but"):
    read(tmp_path, split='test')
  jsonl(tmp_path / 'more.jsonl', {'prompt': 'c'})
  with pytest.raises(ValueError, match='never read as one .*more.jsonl'):
    read(tmp_path)
  assert len(read(tmp_path, split='train')) == 2


def test_a_folder_that_names_no_split_has_none(tmp_path):
  jsonl(tmp_path / 'a.jsonl', *TABLE)
  with pytest.raises(ValueError, match="split 'train', but none of any"):
    read(tmp_path, split='train')
  with pytest.raises(ValueError, match="is no folder, and has no split 'x'"):
    read(tmp_path / 'a.jsonl', split='x')
  with pytest.raises(ValueError, match="has no subset 'main'"):
    read(tmp_path, subset='main')


def test_a_folder_of_two_kinds_is_refused_but_for_descriptions(tmp_path):
  jsonl(tmp_path / 'a.jsonl', *TABLE)
  (tmp_path / 'dataset_info.json').write_text('{}')
  assert read(tmp_path) == TABLE
  (tmp_path / 'a.csv').write_text('prompt\nx\n')
  with pytest.raises(ValueError, match=r'several kinds \(.csv, .jsonl\)'):
    read(tmp_path)


def test_a_dataset_that_was_saved_is_read_by_its_splits(tmp_path, caplog):
  datasets = pytest.importorskip('datasets')
  parts = {
    name: datasets.Dataset.from_list([{'prompt': name}, {'prompt': 'x'}])
    for name in ('train', 'test')
  }
  parts['train'].filter(lambda row: row['prompt'] == 'x').save_to_disk(
    str(tmp_path / 'one')
  )
  assert read(tmp_path / 'one') == [{'prompt': 'x'}]
  datasets.DatasetDict(parts).save_to_disk(str(tmp_path / 'both'))
  with caplog.at_level('WARNING', logger='absl'):
    assert read(tmp_path / 'both')[0] == {'prompt': 'train'}
  assert 'both:split=test' in caplog.text
  assert read(tmp_path / 'both', split='test')[0] == {'prompt': 'test'}
  with pytest.raises(ValueError, match='splits test, train; say which with'):
    read(tmp_path / 'both', split='validation')


def test_a_folder_of_folders_says_which_to_name(tmp_path):
  jsonl(tmp_path / 'main' / 'a.jsonl', *TABLE)
  with pytest.raises(ValueError, match=r'holds no .*; .*main does'):
    read(tmp_path)


@pytest.mark.parametrize('package', ['datasets', 'pyarrow'])
def test_a_missing_package_names_the_extra(tmp_path, monkeypatch, package):
  monkeypatch.setitem(sys.modules, package, None)
  (tmp_path / 'a.parquet').write_text('')
  path = 'owner/name' if package == 'datasets' else tmp_path / 'a.parquet'
  with pytest.raises(ModuleNotFoundError, match=r"jaxrl_llm\[data\]'"):
    read(path)


@pytest.fixture
def hub(tmp_path, monkeypatch):
  """A dataset that the library reads as it reads one of the hub, at rest."""
  datasets = pytest.importorskip('datasets')
  folder = tmp_path / 'some'
  for split, subset in itertools.product(('train', 'test'), ('main', 'other')):
    rows = [{'question': f'{subset} {split} {i}'} for i in range(3)]
    jsonl(folder / subset / f'{split}.jsonl', *rows)
  listed = ''.join(
    f'- config_name: {name}\n  data_files:\n'
    f'  - {{split: train, path: {name}/train.jsonl}}\n'
    f'  - {{split: test, path: {name}/test.jsonl}}\n'
    for name in ('main', 'other')
  )
  (folder / 'README.md').write_text(f'---\nconfigs:\n{listed}---\n')
  load = datasets.load_dataset

  def at_rest(name, *args, **kwargs):
    if name != 'owner/name':
      raise ConnectionError(f"Couldn't reach {name!r} on the Hub")
    cache = str(tmp_path / 'cache')
    return load(str(folder), *args, cache_dir=cache, **kwargs)

  monkeypatch.setattr(datasets, 'load_dataset', at_rest)
  monkeypatch.setattr(hub_lib, 'absence', lambda: '')
  yield 'owner/name'
  records._hub.cache_clear()
  records._streamed.cache_clear()


def test_a_dataset_of_the_hub_is_read_by_subset_and_split(hub):
  found = list(records.read(hub, subset='main', split='test', rows=2))
  assert found == [
    (f'{hub}, row {i}', 'name', {'question': f'main test {i}'})
    for i in range(2)
  ]
  assert len(read(hub, subset='other')) == 3
  assert read(hub, subset='main', split='train[1:2]')[0] == {
    'question': 'main train 1'
  }
  prints = {
    records.fingerprint(hub, subset=subset, split=split)
    for subset in ('main', 'other')
    for split in ('train', 'test')
  }
  assert len(prints) == 4
  for which, words in [
    ({}, r"pick one among .*\['main', 'other'\] \(data.subset=nothing"),
    ({'subset': 'x'}, r"'x' not found. Available: \['main', 'other'\]"),
    ({'subset': 'main', 'split': 'dev'}, r"of \['train', 'test'\]"),
  ]:
    with pytest.raises(ValueError, match=words) as refused:
      read(hub, **which)
    assert '\n' not in str(refused.value)
  with pytest.raises(ValueError, match='no/network is not on this machine'):
    read('no/network')


def test_of_a_streamed_dataset_some_rows_are_read_and_none_are_kept(
  hub, tmp_path
):
  jsonl(
    tmp_path / 'some' / 'main' / 'train.jsonl',
    *({'question': str(i)} for i in range(100)),
  )
  whole = {'subset': 'main', 'rows': 9}
  first = [row['question'] for row in read(hub, **whole, stream=1)]
  assert first == [str(i) for i in range(9)]
  drawn = [row['question'] for row in read(hub, **whole, stream=20)]
  # A row can be drawn once it is in the buffer.
  assert len({*drawn}) == 9 and drawn != first
  assert all(int(row) < 20 + i for i, row in enumerate(drawn))
  assert not [*tmp_path.rglob('*.arrow')]
  prints = [
    records.fingerprint(hub, **whole, stream=20, seed=seed) for seed in (0, 1)
  ]
  assert prints[0] != prints[1]
  # Another process draws the same.
  records._streamed.cache_clear()
  assert [row['question'] for row in read(hub, **whole, stream=20)] == drawn
  assert records.fingerprint(hub, **whole, stream=20) == prints[0]
  with pytest.raises(ValueError, match='stream=5 does not say .* say rows='):
    read(hub, subset='main', stream=5)
  with pytest.raises(ValueError, match='a.jsonl:stream=5 would do nothing'):
    read('a.jsonl', rows=3, stream=5)


def test_without_the_hub_a_dataset_is_refused_at_once(monkeypatch):
  datasets = pytest.importorskip('datasets')
  monkeypatch.setattr(hub_lib, 'absence', lambda: 'it gave no answer')
  with pytest.raises(ValueError, match='it gave no answer; call datasets.load'):
    read('owner/nobody-has-this')
  assert not datasets.config.HF_HUB_OFFLINE  # As others found it.


def test_what_looks_like_a_dataset_and_is_there_is_a_folder(
  tmp_path, monkeypatch
):
  monkeypatch.chdir(tmp_path)
  assert records.on_hub('owner/name') and not records.on_hub('owner/a.csv')
  assert not records.on_hub('/owner/name') and not records.on_hub('sort')
  os.makedirs('owner/name')
  assert not records.on_hub('owner/name')
