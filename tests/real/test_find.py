"""Sounds found by words that are no class of the encoder, with the models as they ship."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.usefixtures("models")
HOME = Path(__file__).parent.parent / "data" / "home.flac"
"""A doorbell at 2 s, glass at 10.5 s, a toilet at 17 s; speech between."""


def edge_alm(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edge_alm", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize(
    ("text", "start_s"),
    [
        ("a window pane shatters", 10.5),
        ("somebody at the front door", 2.0),
        ("flushing the lavatory", 17.0),
    ],
)
def test_it_is_found_where_it_is(text: str, start_s: float) -> None:
    done = edge_alm("find", HOME, text, "--json", "--at-least", "0")
    assert done.returncode == 0, done.stderr
    best = json.loads(done.stdout.splitlines()[0])
    assert best["start"] == pytest.approx(start_s, abs=0.6)
    assert 0.0 <= best["score"] <= 1.0


def test_sounds_in_order_are_found_as_one_and_not_the_other_way_round() -> None:
    done = edge_alm("find", HOME, "a doorbell, then breaking glass", "--json")
    (found,) = map(json.loads, done.stdout.splitlines())
    assert (found["start"], found["end"]) == (pytest.approx(2.0, abs=0.6), pytest.approx(11, abs=1))
    done = edge_alm("find", HOME, "breaking glass, then a doorbell")
    assert (done.returncode, done.stdout) == (0, "")
    assert "not heard" in done.stderr


def test_each_sound_has_the_label_that_fits() -> None:
    labels = "door bell,shattered glass,toilet,helicopter,cat"
    done = edge_alm("label", HOME, "--labels", labels, "--json")
    told = [json.loads(line) for line in done.stdout.splitlines()]
    best = {max(t["labels"], key=t["labels"].__getitem__): t["start"] for t in told[::-1]}
    for label, start_s in (("door bell", 2.0), ("shattered glass", 10.5), ("toilet", 17.0)):
        assert best[label] == pytest.approx(start_s, abs=0.6)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["find", HOME, " "], "what to find: expected the name of a sound"),
        (["find", HOME, "glass", "--at-least", "2"], "expected a number from 0 to 1"),
        (["label", HOME, "--labels", ","], "labels: expected at least one"),
        (["find", "nowhere.wav", "glass"], "nowhere.wav"),
    ],
)
def test_a_mistake_is_told_in_a_line(arguments: list[str | Path], told: str) -> None:
    done = edge_alm(*arguments)
    assert done.returncode == 2
    assert told in done.stderr
    assert done.stderr.count("\n") == 1
