import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_alm.errors import UsageError
from edge_alm.reasoning.llama import TextDecoder, default_threads
from edge_alm.reasoning.reasoner import batches, check_question, log_softmax, pick


@given(st.permutations(["Dog", "Bell", "Glass", "Dog"]))
def test_choices_get_an_order_of_their_own(choices: list[str]) -> None:
    assert check_question("Which?", choices) == ["Bell", "Dog", "Glass"]


@pytest.mark.parametrize(
    ("question", "choices"),
    [(" ", None), ("?", []), ("?", ["a"]), ("?", ["a", "a"]), ("?", ["a", " "])],
)
def test_refuses_a_question_without_text_or_a_choice(
    question: str, choices: list[str] | None
) -> None:
    with pytest.raises(UsageError):
        check_question(question, choices)


@given(st.lists(st.floats(-1e4, 1e4), min_size=2, max_size=9))
def test_confidence_is_the_share_of_the_best(scores: list[float]) -> None:
    options = [str(i) for i in range(len(scores))]
    best, share = pick(options, scores)
    assert scores[int(best)] == max(scores)
    assert 1 / len(scores) - 1e-9 <= share <= 1.0 + 1e-9


def test_log_softmax_sums_to_one_in_each_row() -> None:
    x = np.random.default_rng(0).normal(size=(3, 50), scale=100.0).astype(np.float32)
    np.testing.assert_allclose(np.exp(log_softmax(x)).sum(axis=-1), 1.0, rtol=1e-12)


@given(
    st.lists(st.integers(1, 10), min_size=1, max_size=30), st.integers(10, 30), st.integers(1, 5)
)
def test_batches_keep_order_and_bounds(sizes: list[int], max_tokens: int, max_items: int) -> None:
    items = [[i] * size for i, size in enumerate(sizes)]
    groups = list(batches(items, max_tokens, max_items))
    assert list(itertools.chain(*groups)) == items
    for group in groups:
        assert 1 <= len(group) <= max_items
        assert sum(map(len, group)) <= max_tokens


@given(st.text(), st.integers(1, 4))
def test_characters_split_over_pieces_come_out_whole(text: str, step: int) -> None:
    raw = text.encode("utf-8", "replace")
    decoder = TextDecoder()
    pieces = [decoder.feed(raw[i : i + step]) for i in range(0, len(raw), step)]
    assert "".join(pieces) + decoder.finish() == raw.decode()


def test_a_broken_character_is_replaced() -> None:
    decoder = TextDecoder()
    assert decoder.feed("é".encode()[:1]) == ""
    assert decoder.finish() == "\ufffd"


def test_threads_leave_room_for_listening() -> None:
    assert 1 <= default_threads() <= 4
