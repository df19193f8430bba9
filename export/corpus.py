"""Labelled recordings to learn from, and their split.

    python -m export.corpus --root build/corpus --esc10 ../shared/data/esc10

fetches the Debian packages of ``export/data``, unpacks them under ``build/corpus``, renders the
instruments, checks every clip and prints what there is. Nothing of it may be published but the
tables: most clips are GPL or CC BY-SA.

Never here, because they are kept for the final evaluation: ESC-10's fold 5 and the packages
:data:`RESERVED`.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import hashlib
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edge_alm.audio.resample import Resampler
from edge_alm.errors import EdgeAlmError, SourceError, UsageError
from edge_alm.types import SAMPLE_RATE_HZ
from export.labels import meaning, similar

if TYPE_CHECKING:
    from edge_alm.types import Samples

__all__ = ["RESERVED", "Clip", "read_corpus", "read_samples", "similar"]

RESERVED = frozenset(("openttd-opensfx", "scratch", "simutrans-pak64", "timgm6mb-soundfont"))
"""Packages kept for the final evaluation."""
TRAIN_FOLDS, DEV_FOLDS = (1, 2, 3), (4,)
UNSEEN_SHARE = 0.15
"""Of the labels, wholly in the dev split."""
UNSEEN_SEED = 244
"""The draw leaves every kind of sound in both splits, and no label of more than 19 clips (the
drums, the keyboard) in dev; most draws take one of those out of training."""
DEV_SHARE = 0.2
"""Of the recordings of a label with :data:`ENOUGH` clips."""
ENOUGH = 4
SPEECH_DEV_SHARE = 0.15
SHORTEST_SPEECH_S, LONGEST_SPEECH_S = 0.6, 6.0
SHORTEST_S = 0.05
"""Of what is left between the silences; a shorter click is not heard as anything."""
FRAME_SAMPLES = SAMPLE_RATE_HZ // 100
SILENCE_DB = 40.0
"""Frames so far under the peak are silence at the ends of a clip."""
PEAK = 10 ** (-3 / 20)
SPEECH_PACKAGES = ("asterisk-core-sounds-en", "asterisk-core-sounds-en-wav")
_SPEECH_SOUNDS = "asterisk-core-sounds-en-wav/usr/share/asterisk/sounds/en_US_f_Allison"
_SPEECH_TEXT = "asterisk-core-sounds-en/usr/share/doc/asterisk-core-sounds-en/core-sounds-en.txt.gz"
ESC10_FAMILY = {
    "dog bark": "animal",
    "rooster": "animal",
    "rain": "nature",
    "sea waves": "nature",
    "fire crackling": "nature",
    "baby cry": "human",
    "person sneeze": "human",
    "clock tick": "signal",
    "helicopter": "vehicle",
    "chainsaw": "vehicle",
}
_LOUDNESS = frozenset(
    ("hard", "soft", "loud", "medium", "moderate", "quiet", "short", "long", "sml", "old", "new")
)


@dataclass(frozen=True, slots=True)
class Clip:
    """One recording and what is heard in it."""

    path: Path
    """Any format that libsndfile reads."""
    label: str
    """In words, lower case ("dog bark"); "speech" for speech."""
    family: str
    """A coarse kind: animal, nature, human, instrument, vehicle, weapon, ..."""
    source: str
    """The recording that it came from; a split never divides one."""
    split: str
    """``train`` or ``dev``."""
    corpus: str
    """``esc10``, ``debian``, ``instruments`` or ``speech``."""
    seen: bool
    """Whether its label, or one that means the same, is in the train split."""
    text: str = ""
    """The words spoken: lower case, without marks."""


def read_table(name: str) -> list[dict[str, str]]:
    """The rows of ``export/data/<name>``."""
    text = (resources.files(__package__) / "data" / name).read_text("utf-8")
    return list(csv.DictReader(text.splitlines()))


def read_corpus(root: Path, esc10: Path) -> list[Clip]:
    """Every clip there is, by corpus and path; the same on every machine that has the same files.

    ESC-10's folds 1 to 3 are train, fold 4 dev. Of the other sounds' labels about
    :data:`UNSEEN_SHARE` are wholly dev, and of the recordings of those with at least
    :data:`ENOUGH` clips about :data:`DEV_SHARE`. Labels that differ only in the form of their
    words, also from ESC-10's, lie on one side. Speech is split by its words.

    Args:
        root: holds ``<package>/usr/share/...``, and ``instruments/`` if they were rendered;
            clips whose file is missing are left out.
        esc10: holds ``clips.csv`` and its clips; may be missing when ``root`` has clips.

    Raises:
        UsageError: nothing at all is there.
    """
    unusable = _read_unusable(root)
    familiar = _esc10_clips(esc10)
    sounds = _split_sounds(
        [*_debian_clips(root, unusable), *_instrument_clips(root, unusable)],
        {meaning(clip.label) for clip in familiar},
    )
    clips = [*familiar, *sounds, *_speech_clips(root)]
    if not clips:
        raise UsageError(
            f"corpus {root}",
            expected="unpacked packages, or ESC-10",
            got="neither there nor in " + str(esc10),
            hint=f"python -m export.corpus --root {root} --esc10 {esc10}",
        )
    trained = {meaning(clip.label) for clip in clips if clip.split == "train"}
    return [replace(clip, seen=meaning(clip.label) in trained) for clip in clips]


@lru_cache(maxsize=300)  # at 6 s each about 110 MB
def read_samples(clip: Clip, longest_s: float = 6.0) -> Samples:
    """What is heard in a clip: float32 at 16 kHz, mono, peak −3 dBFS; not to be written to.

    Silence at both ends is cut off. Of a longer clip the stretch of ``longest_s`` with the most
    energy is taken: ambience and music go on for minutes.

    Raises:
        SourceError: the file cannot be heard, or holds less than :data:`SHORTEST_S` of sound.
    """
    samples = _trim(_loudest(_trim(_decode(clip.path)), round(longest_s * SAMPLE_RATE_HZ)))
    if len(samples) < SHORTEST_S * SAMPLE_RATE_HZ:
        raise SourceError(
            str(clip.path),
            expected=f"at least {SHORTEST_S} s of sound",
            got=f"{len(samples) / SAMPLE_RATE_HZ:.3f} s",
        )
    loud: Samples = samples * np.float32(PEAK / np.abs(samples).max())
    loud.flags.writeable = False  # it is shared by all who ask for this clip
    return loud


def _decode(path: Path) -> Samples:
    """The whole file, without its constant offset.

    One clip in ten has an offset of 1 % of its peak or more, which would pass for sound; it is
    taken off before resampling, which makes a click of its step at either end. Median, because
    the mean of a short knock in silence is not zero.
    """
    import soundfile

    try:
        samples, rate_hz = soundfile.read(str(path), dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise SourceError(str(path), expected="audio", got=error.error_string.strip()) from error
    mono: Samples = np.nan_to_num(samples).mean(axis=1)
    if not len(mono):
        return mono
    resampler = Resampler(rate_hz)
    return np.concatenate((resampler.push(mono - np.median(mono)), resampler.flush()))


def _trim(samples: Samples) -> Samples:
    """Without the frames at both ends that are :data:`SILENCE_DB` under the peak."""
    if not len(samples):
        return samples
    padded = np.pad(np.abs(samples), (0, -len(samples) % FRAME_SAMPLES))
    peaks = padded.reshape(-1, FRAME_SAMPLES).max(axis=1)
    loud = np.flatnonzero(peaks > max(peaks.max() * 10 ** (-SILENCE_DB / 20), 1e-6))
    if not len(loud):
        return samples[:0]
    return samples[loud[0] * FRAME_SAMPLES : (loud[-1] + 1) * FRAME_SAMPLES]


def _loudest(samples: Samples, length: int) -> Samples:
    """The stretch of ``length`` samples with the most energy, to a frame; all if it is shorter."""
    if len(samples) <= length:
        return samples
    energy = np.concatenate(([0.0], np.cumsum(np.square(samples, dtype=np.float64))))
    starts = np.arange(0, len(samples) - length + 1, FRAME_SAMPLES)
    start = starts[np.argmax(energy[starts + length] - energy[starts])]
    return samples[start : start + length]


def _esc10_clips(esc10: Path) -> list[Clip]:
    table = esc10 / "clips.csv"
    if not table.is_file():
        return []
    with table.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if (esc10 / row["path"]).is_file()]
    split = dict.fromkeys(TRAIN_FOLDS, "train") | dict.fromkeys(DEV_FOLDS, "dev")
    return [
        Clip(
            path=esc10 / row["path"],
            label=row["label"],
            family=ESC10_FAMILY.get(row["label"], "nature"),
            # "1-30226-A": fold, recording, part of it.
            source="esc10/" + Path(row["path"]).name.rpartition("-")[0],
            split=split[int(row["fold"])],
            corpus="esc10",
            seen=True,
        )
        for row in rows
        if int(row["fold"]) in split
    ]


def _debian_clips(root: Path, unusable: frozenset[str]) -> list[Clip]:
    clips = []
    for row in read_table("debian_sounds.csv"):
        package, path = row["package"], row["path"]
        file = root / package / path
        if package in RESERVED or f"{package}/{path}" in unusable or not file.is_file():
            continue
        label = row["label"].lower()
        clips.append(
            Clip(file, label, row["category"], source_of(package, path), "", "debian", True)
        )
    return clips


def _instrument_clips(root: Path, unusable: frozenset[str]) -> list[Clip]:
    """``instruments/<program>-<label>/<variation>.wav``."""
    return [
        Clip(
            path=file,
            label=file.parent.name.partition("-")[2].replace("_", " "),
            family="instrument",
            source=f"instruments/{file.parent.name}",
            split="",
            corpus="instruments",
            seen=True,
        )
        for file in sorted((root / "instruments").glob("*-*/*.wav"))
        if file.relative_to(root).as_posix() not in unusable
    ]


def _speech_clips(root: Path) -> list[Clip]:
    import soundfile

    transcripts = root / _SPEECH_TEXT
    if not transcripts.is_file():
        return []
    with gzip.open(transcripts, "rt", encoding="utf-8", errors="replace") as file:
        lines = file.read().splitlines()
    clips = []
    for name, colon, said in (line.partition(":") for line in lines):
        path = root / _SPEECH_SOUNDS / f"{name.strip()}.wav"
        text = spoken_words(said)
        if not (colon and text and path.is_file()):
            continue
        if not SHORTEST_SPEECH_S <= soundfile.info(str(path)).duration <= LONGEST_SPEECH_S:
            continue
        split = "dev" if _chance(f"speech/{text}") < SPEECH_DEV_SHARE else "train"
        clips.append(Clip(path, "speech", "human", f"speech/{text}", split, "speech", True, text))
    return clips


def spoken_words(said: str) -> str:
    """A transcript as plain words in lower case; "" where it has anything else in it."""
    said = re.sub(r"[.,!?;:…\"-]+", " ", said.lower().replace("’", "'")).strip()
    words = said.split()
    plain = all(re.fullmatch(r"[a-z]+(?:'[a-z]+)*", word) for word in words)
    return " ".join(words) if plain and any(len(word) > 1 for word in words) else ""


def source_of(package: str, path: str) -> str:
    """The recording, or series of takes of one sound, that a file belongs to.

    Numbers and words of loudness in its name only count the takes: ``HiHatClosed-3.wav`` is of
    ``HiHatClosed``, ``bird1_02.ogg`` of ``bird1``, every key of a keyboard of the keyboard.
    """
    file = Path(path)
    words = re.split(r"[-_. ]+", file.stem.lower())
    # Bucklespring names its clips by the key's scan code in hexadecimal.
    number = r"[0-9a-f]{2}|\d+" if package == "bucklespring-data" else r"\d+"
    kept = [word for word in words if not re.fullmatch(number, word) and word not in _LOUDNESS]
    if len(kept) == len(words):
        kept[-1] = kept[-1].rstrip("0123456789") or kept[-1]
    return f"{package}/{file.parent.as_posix()}/{'_'.join(kept)}"


def _split_sounds(clips: Sequence[Clip], familiar: Iterable[str]) -> list[Clip]:
    """The clips with their split; ``familiar``: meanings that are in train anyway."""
    by_meaning: dict[str, list[Clip]] = defaultdict(list)
    for clip in clips:
        by_meaning[meaning(clip.label)].append(clip)
    unseen = {
        name
        for name in by_meaning
        if name not in set(familiar) and _chance(f"label/{UNSEEN_SEED}/{name}") < UNSEEN_SHARE
    }
    dev = {clip.source for name in unseen for clip in by_meaning[name]}
    for name, group in by_meaning.items():
        recorded = [clip for clip in group if clip.corpus != "instruments"]
        sources = sorted({clip.source for clip in recorded}, key=_chance)
        if name not in unseen and len(recorded) >= ENOUGH and len(sources) > 1:
            dev.update(sources[: max(1, round(DEV_SHARE * len(sources)))])
    return [replace(clip, split="dev" if clip.source in dev else "train") for clip in clips]


def _chance(name: str) -> float:
    """A number in [0, 1) that depends on nothing but ``name``."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64


def _read_unusable(root: Path) -> frozenset[str]:
    """Paths under ``root`` that :func:`main` found to hold no sound."""
    file = root / "unusable.txt"
    return frozenset(file.read_text("utf-8").splitlines()) if file.is_file() else frozenset()


def find_unusable(clips: Iterable[Clip], root: Path) -> list[str]:
    """Paths under ``root`` of the clips that are silent, too short or not audio."""
    found = []
    for clip in clips:
        try:
            read_samples(clip)
        except SourceError:
            found.append(clip.path.relative_to(root).as_posix())
    return sorted(found)


def summary(clips: Iterable[Clip]) -> str:
    """Clips and labels by corpus and split, a table of plain text."""
    counts: Counter[tuple[str, str, bool]] = Counter()
    labels: Mapping[tuple[str, str, bool], set[str]] = defaultdict(set)
    for clip in clips:
        key = (clip.corpus, clip.split, clip.seen)
        counts[key] += 1
        labels[key].add(clip.label)
    lines = [f"{'corpus':<12} {'split':<6} {'label':<7} {'clips':>6} {'labels':>7}"]
    lines += [
        f"{corpus:<12} {split:<6} {'seen' if seen else 'unseen':<7} {n:>6} "
        f"{len(labels[corpus, split, seen]):>7}"
        for (corpus, split, seen), n in sorted(counts.items(), key=str)
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; 0 done, 2 when something that it needs is missing."""
    from export.instruments import render_instruments
    from export.packages import check_clips, unpack_packages

    parser = argparse.ArgumentParser(
        prog="export.corpus", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--root", type=Path, required=True, help="where to unpack")
    parser.add_argument("--esc10", type=Path, required=True, help="ESC-10's folder")
    args = parser.parse_args(arguments)
    try:
        rows = [row for row in read_table("debian_sounds.csv") if row["package"] not in RESERVED]
        versions = {row["package"]: row["version"] for row in read_table("debian_packages.csv")}
        names = sorted({row["package"] for row in rows})
        unpack_packages(
            args.root, [*names, *SPEECH_PACKAGES, "fluid-soundfont-gm", "wordnet-base"], versions
        )
        render_instruments(args.root)
        wrong = check_clips(args.root, rows)
        for path in wrong:
            print(f"left out: {path} is missing or differs from the table")
        print(f"{len(rows) - len(wrong)} of {len(rows)} clips are there and match the table")
        (args.root / "unusable.txt").unlink(missing_ok=True)
        sounds = [clip for clip in read_corpus(args.root, args.esc10) if clip.corpus != "esc10"]
        unusable = find_unusable(sounds, args.root)
        (args.root / "unusable.txt").write_text("".join(f"{path}\n" for path in unusable), "utf-8")
        print(f"{len(unusable)} clips are silent or under {SHORTEST_S} s and left out")
        print(summary(read_corpus(args.root, args.esc10)))
    except EdgeAlmError as error:
        print(f"export.corpus: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
