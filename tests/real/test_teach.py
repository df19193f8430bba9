"""A sound of one's own, taught and heard again by the models that ship."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pytest
import soundfile
from command import DATA, Done, edge_alm

from edge_alm.types import SAMPLE_RATE_HZ, Sound, Watch

HOME = DATA / "home.flac"
"""A doorbell at 2 s, glass at 10.5 s, a toilet at 17 s; speech between."""
NAME = "our doorbell"


Run: TypeAlias = Callable[..., Done]


@pytest.fixture
def run(models: Path, tmp_path: Path) -> Run:
    """The command, with a store in which nothing was taught."""
    for folder in models.iterdir():
        if folder.name != "taught":
            (tmp_path / folder.name).symlink_to(folder)

    return partial(edge_alm, EDGE_ALM_HOME=str(tmp_path))


def test_it_is_taught_heard_found_and_forgotten(run: Run) -> None:
    assert run("teach", NAME, DATA / "doorbell.flac").out == f"{NAME}: 1 recording\n"
    assert run("teach", "--list", "--json").objects == [
        {"name": NAME, "examples": 1, "usable": True}
    ]

    events = run("listen", HOME, "--json", "--no-speech", "--watch", NAME).events
    sounds = [e for e in events if isinstance(e, Sound) and e.label == NAME]
    assert [s.state for s in sounds] == ["start", "end"]
    assert sounds[0].start == pytest.approx(2.0, abs=0.5)
    (watch,) = [e for e in events if isinstance(e, Watch)]
    assert (watch.query, watch.label, watch.start) == (NAME, NAME, sounds[0].start)
    others = [e.label for e in events if isinstance(e, Sound)]
    assert {"Doorbell", "Toilet flush"} <= set(others)

    (found,) = run("find", HOME, f"{NAME}, then breaking glass", "--json").objects
    assert found["start"] == pytest.approx(2.0, abs=0.5)
    labelled = run("label", HOME, "--labels", f"{NAME},toilet,glass", "--json").objects
    best = [max(each["labels"], key=each["labels"].__getitem__) for each in labelled]
    assert best[0] == NAME
    assert {"toilet", "glass"} <= set(best)

    assert run("teach", "--forget", "Our Doorbell").status == 0
    assert "nothing was taught" in run("teach", "--list").err
    events = run("listen", HOME, "--json", "--no-speech").events
    assert NAME not in {e.label for e in events if isinstance(e, Sound)}


def test_a_bad_recording_is_one_line_and_changes_nothing(run: Run, tmp_path: Path) -> None:
    good = DATA / "doorbell.flac"
    assert run("teach", NAME, good).status == 0
    before = run("teach", "--list").out
    silence, short, text = (tmp_path / name for name in ("silence.wav", "short.wav", "text.wav"))
    soundfile.write(silence, np.zeros(2 * SAMPLE_RATE_HZ, np.float32), SAMPLE_RATE_HZ)
    soundfile.write(short, np.full(80, 0.5, np.float32), SAMPLE_RATE_HZ)
    text.write_text("no audio")
    for bad, told in (
        (silence, "nothing that stands out"),
        (short, "short.wav"),
        (text, "text.wav"),
        (tmp_path / "missing.wav", "missing.wav"),
    ):
        line = run("teach", "our kettle", good, bad).mistake()
        assert told in line
    assert "a new name" in run("teach", NAME, good).mistake()
    assert "1 to 20" in run("teach", "our kettle").mistake()
    assert "1 to 20" in run("teach", "our kettle", *[good] * 21).mistake()
    assert "without a comma" in run("teach", "kettle, tea", good).mistake()
    assert "not one of them" in run("teach").mistake()
    assert "one of: our doorbell" in run("teach", "--forget", "our kettle").mistake()
    assert run("teach", "--list").out == before
