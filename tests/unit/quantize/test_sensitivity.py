from __future__ import annotations

from collections.abc import Collection

from hypothesis import given
from hypothesis import strategies as st

from quantize.sensitivity import find_sensitive

COSTS = st.dictionaries(st.text("abc", min_size=1, max_size=3), st.floats(0.0, 1.0), max_size=8)


@given(COSTS, st.floats(0.0, 2.0))
def test_the_rest_is_good_enough_and_nothing_is_left_out_in_vain(
    costs: dict[str, float], most: float
) -> None:
    def loss_of(chosen: Collection[str]) -> float:
        return sum(costs[name] for name in chosen)

    found = find_sensitive(list(costs), loss_of, most)
    rest = [name for name in costs if name not in found.left_out]
    assert found.loss == loss_of(rest) <= most or not rest
    assert list(found.left_out) == sorted(found.left_out, key=lambda name: -costs[name])
    if found.left_out:
        assert loss_of([*rest, found.left_out[-1]]) > most
        assert found.alone == costs


def test_what_is_good_enough_at_once_is_not_taken_apart() -> None:
    asked: list[list[str]] = []

    def loss_of(chosen: Collection[str]) -> float:
        asked.append(sorted(chosen))
        return 0.0

    assert find_sensitive(["a", "b"], loss_of, 0.1).left_out == ()
    assert asked == [["a", "b"]]
