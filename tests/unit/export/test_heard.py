"""What a student learns from: heard as the runtime hears, written, read back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from edge_alm.errors import UsageError
from edge_alm.hearing.audioset import ontology
from edge_alm.hearing.encoder import HOP_FRAMES, HOP_SAMPLES, PATCH_FRAMES
from export.gate_classes import GATE, GateClasses
from export.heard import HeardScene, hear, read_heard, to_logits, write_part
from export.thresholds import NOT_EVENTS


class Means:
    """An encoder that tells of a patch what can be computed again."""

    labels: tuple[str, ...] = ("low", "high")
    embedding_size = 3

    def encode(self, patch: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        scores = np.clip([patch[:, :32].mean(), patch[:, 32:].mean()], -6, 6)
        found = 1.0 / (1.0 + np.exp(-scores))
        return found.astype(np.float32), np.array([patch.max(), patch[0, 0], 1.0], np.float32)


def make_scene(hops: int, seed: int = 0) -> HeardScene:
    rng = np.random.default_rng(seed)
    shapes = ((hops + 1) * HOP_FRAMES, 64), (hops, 2), (hops, 3)
    return HeardScene(*(rng.standard_normal(shape).astype(np.float16) for shape in shapes))


@settings(deadline=None, max_examples=30)
@given(samples=st.integers(1, 5 * HOP_SAMPLES))
def test_every_patch_is_what_the_teacher_heard(samples: int) -> None:
    rng = np.random.default_rng(samples)
    scene = hear(Means(), (0.1 * rng.standard_normal(samples)).astype(np.float32))
    assert scene.hops == -(-samples // HOP_SAMPLES)
    for i in range(scene.hops):
        patch = scene.frames[i * HOP_FRAMES :][:PATCH_FRAMES].astype(np.float32)
        scores, embedding = Means().encode(patch)
        np.testing.assert_allclose(scene.logits[i], to_logits(scores), atol=0.02)
        np.testing.assert_allclose(scene.embeddings[i], embedding, atol=0.02)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    scenes = [make_scene(hops, hops) for hops in (3, 1, 7, 2)]
    write_part(tmp_path / "0000", scenes[:3])
    write_part(tmp_path / "0001", scenes[3:])
    found = read_heard(tmp_path)
    assert [scene.hops for scene in found] == [3, 1, 7, 2]
    for got, expected in zip(found, scenes, strict=True):
        for name in ("frames", "logits", "embeddings"):
            np.testing.assert_array_equal(getattr(got, name), getattr(expected, name))


def test_a_damaged_part_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="heard scenes"):
        read_heard(tmp_path)
    write_part(tmp_path / "0000", [make_scene(3)])
    np.save(tmp_path / "0000-logits.npy", np.zeros((2, 2), np.float16))
    with pytest.raises(UsageError, match=r"0000-hops\.npy.*delete it"):
        read_heard(tmp_path)


@given(hnp.arrays(np.float32, 5, elements=st.floats(-12, 12, width=32)))
def test_logits_are_those_of_the_probabilities(logits: NDArray[np.float32]) -> None:
    probabilities = (1.0 / (1.0 + np.exp(-logits.astype(np.float64)))).astype(np.float32)
    np.testing.assert_allclose(to_logits(probabilities), logits, atol=0.05)


LABELS = tuple(sorted(ontology().labels() | NOT_EVENTS))
GATE_OF = GateClasses(LABELS)


@given(st.integers(0, 2**32 - 1))
def test_a_gate_has_the_highest_of_its_classes(seed: int) -> None:
    probabilities = np.random.default_rng(seed).random((3, len(LABELS)), dtype=np.float32)
    found = GATE_OF(probabilities)
    assert found.shape == (3, len(GATE))
    np.testing.assert_allclose(found[:, 0], 1.0 - found[:, 1:].max(axis=1), atol=1e-6)


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("Speech", "speech"),
        ("Shout", "speech"),
        ("Siren", "alarm"),
        ("Smoke detector, smoke alarm", "alarm"),
        ("Gunshot, gunfire", "impact"),
        ("Shatter", "impact"),
        ("Dog", "other"),
        ("Silence", "nothing"),
    ],
)
def test_a_class_means_what_the_gate_calls_it(label: str, expected: str) -> None:
    probabilities = np.zeros(len(LABELS), np.float32)
    probabilities[LABELS.index(label)] = 0.9
    assert GATE[int(GATE_OF(probabilities).argmax())] == expected
    alone = None if expected == "nothing" else expected
    assert GATE_OF.of({label}) == alone
    assert GATE_OF.of({label, "Silence", "Noise"}) == alone


def test_what_is_called_by_several_classes_is_of_none() -> None:
    assert GATE_OF.of({"Siren", "Dog"}) is None
    assert GATE_OF.of(()) is None


def test_a_teacher_without_alarms_is_no_teacher_of_a_gate() -> None:
    with pytest.raises(UsageError, match="classes of"):
        GateClasses(("Dog", "Speech"))
