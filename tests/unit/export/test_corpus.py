"""The corpus: nobody is tested on what was trained on, and no two choices name one sound."""

from __future__ import annotations

import itertools
import struct
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_alm.errors import EdgeAlmError, SourceError, UsageError
from export.corpus import (
    PEAK,
    RESERVED,
    Clip,
    main,
    read_corpus,
    read_samples,
    read_table,
    similar,
    source_of,
    spoken_words,
)
from export.instruments import PLAYED_S, PROGRAMS, SLOT_S, VARIATIONS, midi_file, phrase
from export.labels import meaning
from export.packages import check_clips, unpack_resource

ROWS = read_table("debian_sounds.csv")
LABELS = sorted(
    {row["label"].lower() for row in ROWS}
    | {program for program in PROGRAMS if program}
    | {"speech", "dog bark", "rain", "sea waves", "baby cry", "clock tick", "person sneeze"}
    | {"helicopter", "chainsaw", "rooster", "fire crackling"}
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every file of the table, empty, and the instruments': enough for the split."""
    folder = tmp_path_factory.mktemp("corpus")
    paths = [f"{row['package']}/{row['path']}" for row in ROWS]
    paths += [
        f"instruments/{program:03d}-{label.replace(' ', '_')}/{variation}.wav"
        for program, label in enumerate(PROGRAMS)
        if label
        for variation in range(VARIATIONS)
    ]
    for path in paths:
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    return folder


@pytest.fixture(scope="module")
def clips(root: Path) -> list[Clip]:
    return read_corpus(root, root / "no-esc10")


@pytest.fixture
def tone(tmp_path: Path) -> Clip:
    """0.5 s of silence, 1 s of a quiet tone with an offset, 0.5 s of silence, at 22,050 Hz."""
    rate = 22_050
    samples = np.zeros(2 * rate, np.float32)
    samples[rate // 2 : rate // 2 + rate] = 0.1 * np.sin(
        2 * np.pi * 440 * np.arange(rate) / rate, dtype=np.float32
    )
    path = tmp_path / "tone.wav"
    soundfile.write(path, samples + 0.05, rate)
    return clip_of(path)


def clip_of(path: Path) -> Clip:
    return Clip(path, "tone", "signal", "tone", "train", "debian", True)


def by_source(clips: list[Clip]) -> Iterator[list[Clip]]:
    groups = defaultdict(list)
    for clip in clips:
        groups[clip.source].append(clip)
    yield from groups.values()


def test_every_row_of_the_table_is_a_clip(clips: list[Clip]) -> None:
    assert Counter(clip.corpus for clip in clips) == {
        "debian": len(ROWS),
        "instruments": VARIATIONS * sum(1 for label in PROGRAMS if label),
    }


def test_a_split_never_divides_a_source(clips: list[Clip]) -> None:
    for group in by_source(clips):
        assert len({clip.split for clip in group}) == 1, group[0].source


def test_seen_means_that_the_meaning_is_trained_on(clips: list[Clip]) -> None:
    trained = {meaning(clip.label) for clip in clips if clip.split == "train"}
    for clip in clips:
        assert clip.seen == (meaning(clip.label) in trained)
        assert clip.seen or clip.split == "dev"


def test_the_shares_are_about_as_said(clips: list[Clip]) -> None:
    debian = [clip for clip in clips if clip.corpus == "debian"]
    labels = {clip.label for clip in debian}
    unseen = {clip.label for clip in debian if not clip.seen}
    assert 0.10 < len(unseen) / len(labels) < 0.20
    held_out = [clip for clip in debian if clip.seen and clip.split == "dev"]
    assert 0.05 < len(held_out) / len(debian) < 0.25
    assert {clip.family for clip in debian if clip.split == "train"} == {
        clip.family for clip in debian
    }


def test_the_split_does_not_depend_on_what_else_is_there(root: Path, clips: list[Clip]) -> None:
    assert read_corpus(root, root / "no-esc10") == clips


def test_what_esc10_trains_is_never_unseen(root: Path, esc10: Path) -> None:
    clips = read_corpus(root, esc10)
    for clip in clips:
        if meaning(clip.label) in {meaning("dog bark"), meaning("sea waves"), meaning("rooster")}:
            assert clip.seen, clip.label
    folds = {clip.source.split("/")[1][0]: clip.split for clip in clips if clip.corpus == "esc10"}
    assert folds == {"1": "train", "2": "train", "3": "train", "4": "dev"}
    for group in by_source(clips):
        assert len({clip.split for clip in group}) == 1


def test_what_is_reserved_is_never_used() -> None:
    assert {"openttd-opensfx", "scratch", "simutrans-pak64", "timgm6mb-soundfont"} == RESERVED
    named = {row["package"] for row in [*ROWS, *read_table("debian_packages.csv")]}
    assert RESERVED.isdisjoint(named)


def test_an_empty_folder_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        read_corpus(tmp_path, tmp_path)
    assert "python -m export.corpus" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_command_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["--root", str(tmp_path), "--esc10", str(tmp_path)]) == 2
    assert "apt-get" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("kit/HiHatClosed-0.wav", "kit/HiHatClosed-4.wav"),
        ("animals/bird1_00.ogg", "animals/bird1_02.ogg"),
        ("sounds/LRFactory_noise_01_LA.ogg", "sounds/LRFactory_noise_05_LA.ogg"),
        ("sounds/thunder_loud.wav", "sounds/thunder_moderate.wav"),
        ("sounds/spear.ogg", "sounds/spear.wav"),
    ],
)
def test_takes_of_one_sound_are_one_source(a: str, b: str) -> None:
    assert source_of("p", a) == source_of("p", b)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("kit/HiHatClosed-0.wav", "kit/HiHatOpen-0.wav"),
        ("kit/HiHatClosed-0.wav", "other/HiHatClosed-0.wav"),
        ("animals/bird1_00.ogg", "animals/bird2_00.ogg"),
    ],
)
def test_other_sounds_are_other_sources(a: str, b: str) -> None:
    assert source_of("p", a) != source_of("p", b)


def test_all_keys_of_a_keyboard_are_one_source() -> None:
    keys = {source_of(r["package"], r["path"]) for r in ROWS if r["package"] == "bucklespring-data"}
    assert len(keys) == 1


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (" That conference is full.", "that conference is full"),
        (" Call-Forward on No Answer.", "call forward on no answer"),
        (" Waldo's premier provider", "waldo's premier provider"),
        (" [this is a beep tone]", ""),
        (" press 1 to mute", ""),
        (" A", ""),
    ],
)
def test_only_plain_words_are_speech(said: str, words: str) -> None:
    assert spoken_words(said) == words


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("dog bark", "dog barking"),
        ("dog barking", "dog yelping"),
        ("dog bark", "wolf howling"),
        ("bird singing", "birds chirping"),
        ("blackbird singing", "forest birds"),
        ("bell ringing", "gong"),
        ("wind chimes", "glockenspiel"),
        ("explosion", "cannon shot"),
        ("gunshot", "thunder"),
        ("gunshot", "door slam"),
        ("machine gun", "helicopter"),
        ("chainsaw", "vehicle engine"),
        ("helicopter", "propeller aircraft"),
        ("train", "factory machinery"),
        ("vacuum cleaner", "jet engine"),
        ("heavy thud", "punch"),
        ("hammering", "knocking"),
        ("snare drum", "hi-hat cymbal"),
        ("tabla", "bongo drums"),
        ("rain", "sea waves"),
        ("rain", "shower running"),
        ("rain", "applause"),
        ("water splash", "toilet flushing"),
        ("sea waves", "wind"),
        ("whoosh", "desert wind"),
        ("fire crackling", "campfire crackling"),
        ("fire crackling", "vinyl record crackle"),
        ("crowd cheering", "applause"),
        ("market crowd chatter", "speech"),
        ("lion roaring", "monster growl"),
        ("baby cry", "crying"),
        ("baby cry", "cat yowling"),
        ("rooster", "rooster crowing"),
        ("rooster", "chickens clucking"),
        ("clock tick", "typewriter"),
        ("clock tick", "kitchen timer ticking"),
        ("phone ringing", "alarm clock"),
        ("police siren", "air raid siren"),
        ("car horn", "ship horn"),
        ("trumpet", "french horn"),
        ("violin", "cello"),
        ("acoustic guitar", "banjo"),
        ("piano", "harpsichord"),
        ("organ", "accordion"),
        ("flute", "clarinet"),
        ("Bark", "dog bark"),
        ("Animal", "small animal chittering"),
        ("chicken", "Fowl"),
        ("Whoop", "Bellow"),
    ],
)
def test_what_sounds_alike_is_similar(a: str, b: str) -> None:
    assert similar(a, b)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("dog bark", "rain"),
        ("dog bark", "cat meowing"),
        ("dog bark", "rooster"),
        ("rooster", "sea waves"),
        ("helicopter", "baby cry"),
        ("helicopter", "rain"),
        ("chainsaw", "clock tick"),
        ("person sneeze", "clock tick"),
        ("person sneeze", "baby cry"),
        ("fire crackling", "dog bark"),
        ("sea waves", "clock tick"),
        ("cow mooing", "piano"),
        ("violin", "acoustic guitar"),
        ("violin", "piano"),
        ("explosion", "bird singing"),
        ("bell ringing", "dog barking"),
        ("glass breaking", "horse neighing"),
        ("speech", "rain"),
        ("speech", "piano"),
        ("phone ringing", "helicopter"),
        ("frog croaking", "footsteps"),
        ("seagull calling", "deer calling"),
    ],
)
def test_what_anybody_tells_apart_is_not_similar(a: str, b: str) -> None:
    assert not similar(a, b)


def test_similar_is_symmetric_and_reflexive() -> None:
    assert all(similar(a, a) for a in LABELS)
    assert all(similar(a, b) == similar(b, a) for a, b in itertools.combinations(LABELS[::3], 2))


def test_there_are_always_enough_other_labels() -> None:
    """Distractors for a question, and ten kinds for a scene."""
    for label in LABELS:
        assert sum(not similar(label, other) for other in LABELS) > len(LABELS) / 2, label


@given(st.text(max_size=30), st.text(max_size=30))
@settings(deadline=None)
def test_any_label_can_be_compared(a: str, b: str) -> None:
    assert similar(a, b) == similar(b, a)


def test_samples_are_trimmed_centred_and_loud(tone: Clip) -> None:
    samples = read_samples(tone)
    assert samples.dtype == np.float32
    assert abs(len(samples) / 16_000 - 1.0) < 0.05
    assert np.abs(samples).max() == pytest.approx(PEAK, rel=1e-5)
    assert abs(float(samples.mean())) < 0.005


def test_of_a_long_clip_the_loudest_stretch_is_taken(tmp_path: Path) -> None:
    samples = np.random.default_rng(1).normal(0, 0.01, 16_000 * 20).astype(np.float32)
    tone = np.sin(2 * np.pi * 1_000 * np.arange(32_000) / 16_000)
    samples[16_000 * 12 : 16_000 * 14] += 0.1 * tone.astype(np.float32)
    path = tmp_path / "long.wav"
    soundfile.write(path, samples, 16_000)
    heard = read_samples(clip_of(path), longest_s=2.0)
    assert len(heard) == 32_000
    assert abs(np.vdot(heard, tone)) > 0.95 * np.linalg.norm(heard) * np.linalg.norm(tone)


@pytest.mark.parametrize("length", [1, 300, 16_000])
def test_silence_and_clicks_are_refused(tmp_path: Path, length: int) -> None:
    samples = np.zeros(16_000, np.float32)
    samples[:length] = 0.0 if length == 16_000 else 0.5
    path = tmp_path / "short.wav"
    soundfile.write(path, samples, 16_000)
    with pytest.raises(SourceError):
        read_samples(clip_of(path))


def test_samples_are_shared_and_so_cannot_be_written_to(tone: Clip) -> None:
    assert read_samples(tone) is read_samples(tone)
    with pytest.raises(ValueError, match="read-only"):
        read_samples(tone)[0] = 1


def test_samples_of_real_recordings(esc10: Path, tmp_path: Path) -> None:
    for clip in read_corpus(tmp_path, esc10)[::40]:
        samples = read_samples(clip, 3.0)
        assert 800 <= len(samples) <= 48_000
        assert np.abs(samples).max() == pytest.approx(PEAK, rel=1e-5)
        frames = np.abs(samples[: len(samples) // 160 * 160]).reshape(-1, 160).max(axis=1)
        assert min(frames[0], frames[-1]) > PEAK * 0.009


def test_a_changed_clip_is_removed(tmp_path: Path) -> None:
    row = {"package": "p", "path": "a.wav", "sha1": "a9993e364706816aba3e25717850c26c9cd0d89d"}
    (tmp_path / "p").mkdir()
    file = tmp_path / "p" / "a.wav"
    file.write_bytes(b"abc")
    assert check_clips(tmp_path, [row]) == []
    file.write_bytes(b"abd")
    assert check_clips(tmp_path, [row]) == ["p/a.wav"]
    assert not file.exists()
    assert check_clips(tmp_path, [row]) == ["p/a.wav"]


def test_sounds_are_read_from_a_qt_resource_file(tmp_path: Path) -> None:
    """A resource of one folder with a plain file, a compressed one and one that is no sound."""
    contents = {"a.ogg": b"plain", "b.wav": b"zz" * 100, "c.png": b"picture"}
    names, places = bytearray(), {}
    for name in ("sounds", *contents):
        places[name] = len(names)
        names += struct.pack(">HI", len(name), 0) + name.encode("utf-16-be")
    data, nodes = bytearray(), struct.pack(">IHIIQ", 0, 2, 1, 1, 0)
    nodes += struct.pack(">IHIIQ", places["sounds"], 2, 3, 2, 0)
    for name, content in contents.items():
        packed = name == "b.wav"
        nodes += struct.pack(">IHHHIQ", places[name], int(packed), 0, 1, len(data), 0)
        stored = struct.pack(">I", len(content)) + zlib.compress(content) if packed else content
        data += struct.pack(">I", len(stored)) + stored
    header = struct.pack(">4sIIII", b"qres", 2, 20, 20 + len(nodes), 20 + len(nodes) + len(data))
    file = tmp_path / "x.rcc"
    file.write_bytes(header + nodes + data + names)
    unpack_resource(file, tmp_path / "out")
    assert (tmp_path / "out/sounds/a.ogg").read_bytes() == b"plain"
    assert (tmp_path / "out/sounds/b.wav").read_bytes() == b"zz" * 100
    assert not (tmp_path / "out/sounds/c.png").exists()


def test_phrases_stay_within_their_slots_and_the_midi_range() -> None:
    assert len(PROGRAMS) == 128
    for program, label in enumerate(PROGRAMS):
        for variation in range(VARIATIONS if label else 0):
            notes = phrase(program, variation)
            assert notes == phrase(program, variation)
            assert max(at + length for at, length, _, _ in notes) <= PLAYED_S < SLOT_S
            assert all(0 <= pitch < 128 and 0 < velocity < 128 for _, _, pitch, velocity in notes)


def test_the_midi_file_has_the_length_it_announces() -> None:
    data = midi_file([(0, 0), (40, 1)])
    assert data[:4] == b"MThd"
    (length,) = struct.unpack(">I", data[18:22])
    assert len(data) == 22 + length
    assert data.endswith(b"\xff\x2f\x00")


def test_errors_are_one_line(tone: Clip, tmp_path: Path) -> None:
    with pytest.raises(EdgeAlmError) as caught:
        read_samples(replace(tone, path=tmp_path / "none.wav"))
    assert "\n" not in str(caught.value)
