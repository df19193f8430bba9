"""Words in pieces."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge_alm.reasoning.wordpiece import WordPiece

PIECES = ("dog", "do", "##g", "##s", "bark", "cafe", ",", "[UNK]")


def test_the_longest_beginning_counts_and_case_and_accents_do_not() -> None:
    split = WordPiece(PIECES)
    assert split("Dogs bark, café") == [0, 3, 4, 6, 5]


def test_a_word_that_is_not_made_of_pieces_is_unknown_or_left_out() -> None:
    assert WordPiece(PIECES)("dog xylophone bark") == [0, 4]
    assert WordPiece(PIECES, "[UNK]")("dog xylophone bark") == [0, 7, 4]


@given(text=st.text(max_size=300))
def test_any_text_has_pieces_that_exist(text: str) -> None:
    numbers = WordPiece(PIECES)(text)
    assert all(0 <= n < len(PIECES) for n in numbers)
