"""Which recordings should wake a gate in a quiet home."""

from __future__ import annotations

import pytest

from edge_alm.hearing.audioset import ontology
from edge_alm.hearing.tracker import read_thresholds
from edge_alm.hearing.watch import NameMatcher
from export.gate_classes import GATE, GateClasses
from export.home import MEANT, QUIET, ROOMS, WAKING, kind_of

LABELS = tuple(sorted(ontology().labels() | set(read_thresholds())))
MATCHER, CLASSES = NameMatcher(LABELS), GateClasses(LABELS)


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("speech", "speech"),
        ("police siren", "alarm"),
        ("glass breaking", "impact"),
        ("rain", "other"),
        ("crossbow shot", "other"),
        ("vehicle engine", None),
        ("xyzzy", None),
    ],
)
def test_a_clip_is_of_what_its_words_mean(label: str, expected: str | None) -> None:
    assert kind_of(label, MATCHER, CLASSES) == expected


def test_quiet_sounds_are_of_no_class_that_wakes() -> None:
    for label in QUIET:
        assert label not in MEANT
        assert kind_of(label, MATCHER, CLASSES) not in WAKING
    assert set(MEANT.values()) <= set(GATE)


def test_every_scene_of_the_home_has_one_sound_and_its_noise() -> None:
    assert ROOMS.events[0] == 0.0
    assert sum(ROOMS.events[1:]) == ROOMS.events[1]
    assert ROOMS.noise
