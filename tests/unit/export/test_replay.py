"""A recorded scene compared with phrases as the runtime compares it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from phrase_files import write_phrases

from edge_alm.models.projector_file import HOP_LEVELS
from edge_alm.reasoning.loudness import SoundLevels
from edge_alm.reasoning.phrases import Phrases
from edge_alm.reasoning.stretches import Stretches
from edge_alm.types import Guess, Sound, Speech
from export.recordings import Recorder
from export.replay import HOP_S, heard_in, replay
from export.scenes import Placed

CHOICES = "rain", "dog", "bell"


@pytest.fixture(scope="module")
def phrases(tmp_path_factory: pytest.TempPathFactory) -> Phrases:
    folder: Path = tmp_path_factory.mktemp("phrases")
    return Phrases(write_phrases(folder / "phrases.npz"))


@settings(deadline=None, max_examples=40)
@given(
    sounds=st.lists(
        st.tuples(st.integers(0, 2), st.integers(1, 6), st.integers(0, 30), st.booleans()),
        max_size=8,
    )
)
def test_what_was_written_down_compares_as_what_was_heard(
    phrases: Phrases, sounds: list[tuple[int, int, int, bool]]
) -> None:
    recorder, direct, levels = Recorder(), Stretches(phrases), SoundLevels()
    at = 0
    for unit, hops, pause, sure in sounds:
        at += pause
        start_s, end_s = at * HOP_S, (at + hops) * HOP_S
        features = np.zeros((hops, 3 + HOP_LEVELS), np.float32)
        features[:, unit], features[:, 3:] = 1.0, unit / 3
        for row, i in zip(features, range(at, at + hops), strict=True):
            recorder.append_embeddings(row[None], i * HOP_S, (i + 1) * HOP_S)
            direct.put(row[None], i * HOP_S, (i + 1) * HOP_S)
            levels.put(row[None], i * HOP_S, (i + 1) * HOP_S)
        heard = Sound("Bell", start_s, end_s, 0.9, "end")
        if sure:
            recorder.append_event(heard)
        else:
            recorder.append_guess(Guess(("Bell", "Rain"), start_s, end_s))
        direct.tell(start_s, end_s, levels.step(heard))
        at += hops
    recorder.append_event(Speech("dog", at * HOP_S, (at + 2) * HOP_S, 0.9))
    replayed = Stretches(phrases)
    replay(recorder.items(), replayed)
    for question in ("Which came first?", "Was the loudest one the longest?"):
        assert replayed.lines(question, CHOICES) == direct.lines(question, CHOICES)


def test_a_span_belongs_to_what_fills_it() -> None:
    dog, rain = Placed("dog", 1.0, 2.0, -20.0), Placed("rain", 2.5, 6.0, -20.0)
    assert heard_in(1.1, 2.2, [dog, rain]) is dog
    assert heard_in(2.0, 4.0, [dog, rain]) is rain
    assert heard_in(1.8, 3.0, [dog, rain]) is None
    assert heard_in(7.0, 8.0, [dog, rain]) is None
    assert heard_in(7.0, 8.0, []) is None
