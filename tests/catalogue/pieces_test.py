import pathlib

import pytest

from jaxrl_llm import recipes
from jaxrl_llm.catalogue import pieces

ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.parametrize('folder', sorted(pieces.KINDS))
def test_every_room_of_a_kind_is_there_and_names_a_source(folder):
  assert (ROOT / 'jaxrl_llm' / folder).exists()
  room = folder.removesuffix('.py').replace('/', '.')
  assert any(piece.name.startswith(room) for piece in pieces.pieces())


def test_no_piece_has_the_name_of_a_recipe():
  last = {piece.name.rpartition('.')[2] for piece in pieces.pieces()}
  assert not last & set(recipes.names())
