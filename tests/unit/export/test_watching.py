"""How often phrases are heard in scenes whose sounds are told apart by one unit."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from phrase_files import write_phrases
from toy import LABELS, WIDTH, make_recording, write_scenes

from edge_alm.hearing.encoder import HOP_SAMPLES
from edge_alm.models.projector_file import HOP_LEVELS
from edge_alm.reasoning.phrases import Phrases
from export.scenes import Placed
from export.watching import SHARES, Tally, read_steps, report

N_IN = WIDTH - HOP_LEVELS
TIMELINE = (Placed("dog", 1.0, 2.0, -20.0), Placed("rain", 4.0, 6.0, -20.0))


def test_a_scene_is_met_hop_by_hop_with_what_the_tracker_told() -> None:
    steps = read_steps(make_recording(np.random.default_rng(0), TIMELINE), {"dog": "Dog"})
    hops = [hop for hop, _ in steps]
    assert all(hop.end - hop.start == HOP_SAMPLES for hop in hops)
    assert all(a.end <= b.start for a, b in pairwise(hops))
    assert all(hop.embedding.shape == (N_IN,) for hop in hops)
    told = [(sound.label, sound.state) for _, sounds in steps for sound in sounds]
    assert told == [("Dog", "start"), ("Dog", "end"), ("rain", "start"), ("rain", "end")]


@pytest.mark.parametrize(
    ("starts_s", "heard", "again", "false"),
    [
        ([], 0, 0, 0),
        ([1.1], 1, 0, 0),
        ([1.1, 1.9], 1, 1, 0),
        ([4.5], 0, 0, 1),
        ([1.1, 9.0], 1, 0, 1),
    ],
)
def test_an_event_is_of_a_sound_or_false(
    starts_s: list[float], heard: int, again: int, false: int
) -> None:
    tally = Tally(phrases=1)
    tally.count("dog", TIMELINE, starts_s)
    assert (tally.there, tally.others) == (1, 1)
    assert (tally.heard, tally.again, tally.false) == (heard, again, false)
    assert f"heard {heard:6.1%} of    1" in tally.line(hours=0.5)


def test_phrases_are_heard_where_their_unit_stands_out(tmp_path: Path) -> None:
    folder = write_scenes(tmp_path / "scenes")
    scale = np.full(len(LABELS), 8 / 127, np.float16)
    table = write_phrases(
        tmp_path / "p.npz",
        pieces=LABELS,
        classes=LABELS,
        n_in=N_IN,
        class_scales=scale,
        class_bias=np.full(len(LABELS), -12.0, np.float32),
        piece_rows=127 * np.eye(len(LABELS), dtype=np.int8),
    )
    lines = list(report(folder, Phrases(table), LABELS))
    watched = [line for line in lines if " phrases 0.75 " in line]
    assert len(lines) == len(watched) * (1 + 2 * len(SHARES))
    assert watched
    for line in watched:
        assert float(line.split("heard")[1].split("%")[0]) > 80.0
        assert float(line.split(",")[-1].split("%")[0]) < 5.0
