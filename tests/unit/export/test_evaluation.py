from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_alm.audio.file import AudioFile
from edge_alm.errors import UsageError
from edge_alm.questions import read_questions
from edge_alm.types import Frame, Samples
from export.corpus import Clip
from export.evaluation import (
    PAIR_EVERY,
    QUESTIONS_FILE,
    SETS,
    Case,
    choose_clips,
    make_case,
    make_set,
    write_set,
)
from export.pairs import ATTRIBUTES, KINDS, QUIET_DB, make_pair
from export.scenes import FAR_DB

LABELS = ("dog bark", "rain", "church bell", "chainsaw", "helicopter", "piano", "glass breaking")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Clip]:
    """Tones of 5 s, one pitch a label, two recordings in each split."""
    import soundfile

    folder = tmp_path_factory.mktemp("clips")
    found = []
    time_s = np.arange(5 * 16_000) / 16_000
    for i, label in enumerate(LABELS):
        for take, split in enumerate(("train", "train", "dev", "dev")):
            path = folder / f"{i}-{take}.wav"
            tone = 0.3 * np.sin(2 * np.pi * (200 + 150 * i + 10 * take) * time_s)
            soundfile.write(path, tone.astype(np.float32), 16_000)
            for corpus in ("esc10", "debian"):
                seen = corpus == "esc10" or i < 4
                found.append(Clip(path, label, "kind", f"{i}-{take}", split, corpus, seen))
    return found


def same(a: Case, b: Case) -> bool:
    samples = all(
        np.array_equal(x.samples, y.samples)
        for x, y in zip(a.recordings, b.recordings, strict=True)
    )
    return samples and a.asked == b.asked


@pytest.mark.parametrize("name", [name for name in SETS if name != "long"])
def test_a_case_depends_on_its_seed_and_number_alone(name: str, clips: list[Clip]) -> None:
    chosen = choose_clips(name, clips)
    case = make_case(name, chosen, 3, seed=5)
    assert same(case, make_case(name, chosen, 3, seed=5))
    assert not same(case, make_case(name, chosen, 3, seed=6))
    assert case.asked


@pytest.mark.parametrize("name", SETS)
def test_no_training_recording_is_in_a_set(name: str, clips: list[Clip]) -> None:
    assert {clip.split for clip in choose_clips(name, clips)} == {"dev"}


def test_seen_and_unseen_labels_are_apart(clips: list[Clip]) -> None:
    seen, unseen = (
        {clip.label for clip in choose_clips(f"debian-{kind}", clips)}
        for kind in ("seen", "unseen")
    )
    assert seen.isdisjoint(unseen)
    assert seen | unseen == set(LABELS)


def test_every_eighth_case_has_two_recordings(clips: list[Clip]) -> None:
    cases = list(make_set("esc10", clips, 2 * PAIR_EVERY))
    assert [len(case.recordings) for case in cases] == 2 * ([1] * (PAIR_EVERY - 1) + [2])


def test_empty_recordings_have_nothing_in_them(clips: list[Clip]) -> None:
    cases = list(make_set("empty", clips, 3))
    assert [case.kind for case in cases] == ["silence", "room tone", "white noise"]
    assert not cases[0].recordings[0].samples.any()
    assert all(case.recordings[0].samples.any() for case in cases[1:])
    for case in cases:
        assert case.recordings[0].timeline == ()
        assert {asked.answer for asked in case.asked} <= {"nothing", "no", "0"}
        assert any("nothing" in (asked.choices or ()) for asked in case.asked)


def test_a_set_is_read_as_it_was_made(tmp_path: Path, clips: list[Clip]) -> None:
    cases = list(make_set("esc10", clips, PAIR_EVERY, questions=3))
    n = write_set("esc10", cases, tmp_path)
    questions = read_questions(tmp_path / QUESTIONS_FILE)
    assert len(questions) == n == sum(len(case.asked) for case in cases)
    asked = [one for case in cases for one in case.asked]
    for question, one in zip(questions, asked, strict=True):
        assert (question.question, question.answer) == (one.question, one.answer)
        assert (question.choices, question.skill) == (one.choices, one.skill)
    by_id = {question.id.rsplit("-", 1)[0]: question.audio for question in questions}
    for audio, case in zip(by_id.values(), cases, strict=True):
        for path, scene in zip(audio, case.recordings, strict=True):
            packets = AudioFile(path).packets()
            heard = np.concatenate([p.samples for p in packets if isinstance(p, Frame)])
            np.testing.assert_array_equal(heard, scene.samples)


def test_wrong_sets_are_refused(clips: list[Clip]) -> None:
    with pytest.raises(UsageError, match="one of esc10"):
        choose_clips("esc50", clips)
    with pytest.raises(UsageError, match="clips of its dev split"):
        choose_clips("esc10", [clip for clip in clips if clip.split == "train"])


def levels_db(samples: Samples) -> tuple[float, float]:
    """Before and after the middle: what 70 % of the samples stay under."""
    halves = np.array_split(samples, 2)
    before, after = (20 * float(np.log10(np.quantile(np.abs(half), 0.7))) for half in halves)
    return before, after


@pytest.mark.parametrize("kind", KINDS)
def test_pairs_have_the_same_sounds_in_another_composition(kind: str, clips: list[Clip]) -> None:
    pair = make_pair(np.random.default_rng(1), choose_clips("esc10", clips), kind)
    first, second = (sorted(caption.replace(",", "").split()) for caption in pair.captions)
    assert first == second
    assert pair.captions[0] != pair.captions[1]
    a, b = pair.recordings
    assert max(np.abs(a).max(), np.abs(b).max()) <= 1
    if kind in ATTRIBUTES:
        assert pair.captions[0].startswith(ATTRIBUTES[kind][0])


@pytest.mark.parametrize(
    ("kind", "least_db"), [("loudness", QUIET_DB - 3), ("distance", FAR_DB - 5)]
)
def test_the_louder_one_is_where_the_caption_says(
    kind: str, least_db: float, clips: list[Clip]
) -> None:
    pair = make_pair(np.random.default_rng(2), choose_clips("esc10", clips), kind)
    for recording, sign in zip(pair.recordings, (1, -1), strict=True):
        before, after = levels_db(recording)
        assert sign * (before - after) >= least_db


def test_an_unknown_kind_of_pair_is_refused(clips: list[Clip]) -> None:
    with pytest.raises(UsageError, match="one of order"):
        make_pair(np.random.default_rng(0), clips, "colour")
