"""Real audio as an encoder gets it: to calibrate on, to compare on, to be right about.

An encoder of YAMNet's form gets patches of log-mel, cut as the runtime cuts them; an exported one
gets what its own front end makes of windows as long as it looks at.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import soxr
from numpy.typing import NDArray

from edge_alm.audio.source import open_source
from edge_alm.errors import UsageError
from edge_alm.hearing.encoder import cut_patches
from edge_alm.hearing.front_end import read_front_end
from edge_alm.models.manifest import Manifest
from edge_alm.types import SAMPLE_RATE_HZ, Frame, Samples

SUFFIXES = frozenset((".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".au"))
Cut: TypeAlias = Callable[[Samples], NDArray[np.float32]]
"""A recording at 16 kHz to an encoder's inputs [n, ...], without their batch axis."""
FOLDS = range(1, 5)
"""Of ESC-10; the fifth is kept for whoever trains."""
QUIETEST_DB = -80.0
"""dBFS of a recording's peak: what is quieter calibrates nothing."""


@dataclass(frozen=True, slots=True)
class Clip:
    """A recording of one kind of sound."""

    path: Path
    label: str


def find_recordings(folder: Path) -> list[Path]:
    """Every audio file below ``folder``, or the file itself.

    Raises:
        UsageError: there is none.
    """
    if folder.is_file():
        return [folder]
    found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
    if not found:
        got = "none" if folder.is_dir() else "no such folder"
        raise UsageError(str(folder), expected="recordings", got=got)
    return found


def read_clips(esc10: Path) -> list[Clip]:
    """ESC-10's clips, folds 1 to 4; none where it is not on this machine."""
    try:
        with (esc10 / "clips.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except FileNotFoundError:
        return []
    return [Clip(esc10 / r["path"], r["label"]) for r in rows if int(r["fold"]) in FOLDS]


def read_samples(path: Path) -> Samples:
    """A recording at 16 kHz.

    Raises:
        SourceError: it cannot be read.
    """
    packets = open_source(str(path)).packets()
    return np.concatenate([p.samples for p in packets if isinstance(p, Frame)])


def yamnet_patches(samples: Samples) -> NDArray[np.float32]:
    """What YAMNet gets of a whole recording: [n, 1, 96, 64]."""
    return cut_patches(samples)[:, None]


def choose_patches(folder: Path, most: int, cut: Cut = yamnet_patches) -> NDArray[np.float32]:
    """At most ``most`` patches [n, ...], spread evenly over all recordings of a folder.

    Args:
        folder: with recordings, or one of them.
        most: how many.
        cut: what makes an encoder's inputs of a recording.

    Raises:
        UsageError: no recordings, or none in which anything is heard.
        SourceError: a recording cannot be read.
    """
    paths = find_recordings(folder)
    recordings = map(read_samples, paths[:: max(1, -(-len(paths) // most))])
    heard = [cut(samples) for samples in recordings if _is_audible(samples)]
    if not heard:
        raise UsageError(
            str(folder),
            expected="recordings in which something is heard",
            got=f"{len(paths)} that stay under {QUIETEST_DB:g} dBFS",
            hint="calibrate on recordings like those that will be heard",
        )
    patches = np.concatenate(heard)
    return patches[evenly(len(patches), most)]


def evenly(n: int, most: int) -> list[int]:
    """At most ``most`` of the indices below ``n``, evenly spread."""
    return [int(i) for i in np.linspace(0, n - 1, min(most, n)).round()]


def exported_windows(folder: Path, manifest: Manifest) -> Cut:
    """What cuts recordings for an exported encoder: windows that do not overlap.

    Raises:
        ModelBrokenError: the manifest's front end is not one that this version knows.
    """
    front_end = read_front_end(folder, manifest.front_end)
    rate_hz = manifest.sample_rate_hz or SAMPLE_RATE_HZ
    window = manifest.window_samples or rate_hz

    def cut(samples: Samples) -> NDArray[np.float32]:
        if rate_hz != SAMPLE_RATE_HZ:
            samples = soxr.resample(samples, SAMPLE_RATE_HZ, rate_hz, quality="HQ")
        padded = np.pad(samples, (0, -len(samples) % window)).astype(np.float32)
        return np.concatenate([front_end(part) for part in padded.reshape(-1, window)])

    return cut


def read_all(
    clips: Sequence[Clip], cut: Cut = yamnet_patches
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """All clips' patches [n, ...], and of which clip each is [n]."""
    patches = [cut(read_samples(clip.path)) for clip in clips]
    owners = np.repeat(np.arange(len(clips)), [len(part) for part in patches])
    return np.concatenate(patches), owners


def noises(seconds: float = 30.0) -> Iterator[tuple[str, Samples]]:
    """Recordings in which nothing happens: silence, and noise of three colours at two levels."""
    n = int(seconds * 16_000)
    yield "silence", np.zeros(n, np.float32)
    rng = np.random.default_rng(0)
    for name, slope in (("white", 0.0), ("pink", 0.5), ("brown", 1.0)):
        spectrum = np.fft.rfft(rng.standard_normal(n))
        bins = np.maximum(np.arange(len(spectrum)), n // 800)  # flat below 20 Hz
        noise = np.fft.irfft(spectrum / bins**slope, n)
        noise /= np.sqrt(np.mean(noise**2))
        for level_db in (-50, -26):
            yield f"{name} {level_db} dBFS", np.asarray(noise * 10 ** (level_db / 20), np.float32)


def _is_audible(samples: Samples) -> bool:
    return float(np.abs(samples).max(initial=0.0)) > 10 ** (QUIETEST_DB / 20)
