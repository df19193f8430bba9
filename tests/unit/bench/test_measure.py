"""How much is measured, and what a fresh process says when it cannot start."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_alm.bench.compare import LEAST_SAMPLES
from edge_alm.bench.measure import FULL, LONG_S, QUICK, make_plan
from edge_alm.bench.start import StartError, forget, start
from edge_alm.bench.table import duration_to_text


@pytest.mark.parametrize("long", [False, True])
def test_a_quick_plan_is_a_part_of_the_full_one(long: bool) -> None:
    quick, full = make_plan(quick=True, long=long), make_plan(quick=False, long=long)
    assert quick.rounds < full.rounds
    assert quick.listen_s < full.listen_s
    assert set(quick.lengths_s) <= set(full.lengths_s)
    assert (set(LONG_S) <= set(quick.lengths_s)) == long


def test_figures_of_a_full_plan_have_quartiles_that_mean_something() -> None:
    assert FULL.rounds >= 5
    assert QUICK.rounds >= LEAST_SAMPLES, "two quick reports can be compared"


@given(st.integers(1, 59), st.integers(1, 600))
def test_lengths_are_told_apart(seconds: int, minutes: int) -> None:
    assert duration_to_text(seconds) == f"{seconds} s"
    assert duration_to_text(60 * minutes) == f"{minutes} min"
    assert duration_to_text(60 * minutes + seconds) == f"{60 * minutes + seconds} s"


def test_a_process_that_cannot_start_says_why() -> None:
    with pytest.raises(StartError, match="no-such-bundle") as caught:
        start({"bundle": "no-such-bundle"})
    assert "\n" not in str(caught.value)


def test_what_is_forgotten_is_still_there(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    files = tmp_path / "a", tmp_path / "folder" / "b"
    for file in files:
        file.write_bytes(b"model")
    forget([files[0], tmp_path / "folder", tmp_path / "none"])
    assert all(file.read_bytes() == b"model" for file in files)
