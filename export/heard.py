"""Scenes as a student meets them: log-mel frames, and what the teacher makes of every patch.

A folder holds parts ``NNNN-frames.npy``, ``-logits.npy``, ``-embeddings.npy`` and, last,
``-hops.npy``. A part that is there is not made again.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge_alm.errors import UsageError
from edge_alm.hearing.encoder import (
    HOP_FRAMES,
    HOP_SAMPLES,
    Encoder,
    HopEncoder,
    WindowEncoder,
    Yamnet,
    cut_patches,
)
from edge_alm.hearing.exported import ExportedEncoder, open_encoder
from edge_alm.hearing.logmel import LogMel
from edge_alm.models import store
from edge_alm.models.manifest import load_manifest
from edge_alm.types import Samples
from export.corpus import Clip
from export.recordings import RECIPES, choose_clips
from export.scenes import compose

Halves: TypeAlias = NDArray[np.float16]

SCENES_PER_PART = 100
RECIPE = "mixed"
"""Of :data:`export.recordings.RECIPES`: rooms, noise, lines, codecs; clean and empty scenes."""
SURE = 1e-7
"""A probability is at most so near to 0 or 1; float32 has no more."""
_FIELDS = ("frames", "logits", "embeddings")


@dataclass(frozen=True, slots=True, eq=False)
class HeardScene:
    """One scene of n hops."""

    frames: Halves
    """Log-mel [48 (n + 1), 64]; patch i is the 96 from frame 48 i on."""
    logits: Halves
    """Of the teacher's classes [n, classes]."""
    embeddings: Halves
    """The teacher's [n, width]; of width 0 where it has none."""

    @property
    def hops(self) -> int:
        """How many."""
        return len(self.logits)


def open_teacher(encoder: str) -> Encoder | WindowEncoder:
    """The encoder that a student learns from.

    Args:
        encoder: the folder of an exported one, or an ONNX or LiteRT file with YAMNet's classes; "":
            YAMNet in float.

    Raises:
        ModelMissingError, ModelBrokenError: it is not there, or damaged.
        MissingExtraError: what runs it is not installed.
    """
    if encoder and Path(encoder).is_dir():
        load_manifest(Path(encoder))
        return ExportedEncoder(Path(encoder))
    folder = store.locate("yamnet")
    class_map = folder / "yamnet_class_map.csv"
    if encoder:
        return open_encoder(Path(encoder), class_map)
    return Yamnet(folder / "yamnet.onnx", class_map)


def hear(teacher: Encoder | WindowEncoder, samples: Samples) -> HeardScene:
    """A recording (float32 at 16 kHz) of at least one sample, filled up to a whole hop."""
    padded = np.pad(samples, (0, -len(samples) % HOP_SAMPLES)).astype(np.float32)
    ear = HopEncoder(teacher, LogMel())
    hops = [ear.push(hop, wanted=True) for hop in padded.reshape(-1, HOP_SAMPLES)]
    scores = np.stack([hop.scores for hop in hops if hop is not None])
    return HeardScene(
        to_frames(padded),
        to_logits(scores).astype(np.float16),
        np.stack([hop.embedding for hop in hops if hop is not None]).astype(np.float16),
    )


def to_frames(samples: Samples) -> Halves:
    """Log-mel [48 (n + 1), 64] of a recording's n hops, as :class:`HeardScene` has it."""
    patches = cut_patches(samples)
    frames = np.concatenate((patches[0, :HOP_FRAMES], *patches[:, HOP_FRAMES:]))
    return frames.astype(np.float16)


def to_logits(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """log(p / (1 - p)), of probabilities no surer than :data:`SURE`."""
    p = np.clip(probabilities.astype(np.float64), SURE, 1.0 - SURE)
    return np.log(p / (1.0 - p)).astype(np.float32)


def make_part(part: Path, seed: Sequence[int], clips: Sequence[Clip], encoder: str) -> int:
    """Compose and hear the scenes of one part; returns its hops.

    Args:
        part: path of the part, without its endings.
        seed: of this part.
        clips: what to compose of.
        encoder: as :func:`open_teacher`.
    """
    rng, teacher = np.random.default_rng(seed), open_teacher(encoder)
    scenes = []
    for _ in range(SCENES_PER_PART):
        chosen = choose_clips(rng, clips)
        scenes.append(hear(teacher, compose(rng, chosen, RECIPES[RECIPE](rng)).samples))
    write_part(part, scenes)
    return sum(scene.hops for scene in scenes)


def write_part(part: Path, scenes: Sequence[HeardScene]) -> None:
    """Write the files of a part, the one that says that it is whole last."""
    for name in _FIELDS:
        np.save(f"{part}-{name}.npy", np.concatenate([getattr(scene, name) for scene in scenes]))
    partial = part.with_name(f"{part.name}.partial.npy")
    np.save(partial, np.array([scene.hops for scene in scenes]))
    partial.replace(f"{part}-hops.npy")


def make_parts(
    folder: Path,
    make: Callable[[Path, Sequence[int]], int],
    scenes: int,
    seed: int,
    workers: int,
    tell: Callable[[str], None] = print,
) -> None:
    """Make the parts of a folder that are not there yet, each in one of ``workers`` processes.

    Args:
        folder: of the parts.
        make: writes the part of a path, without its endings, from its seed and returns its hops;
            other processes must be able to load it, so it is a function of a module, or a
            :class:`functools.partial` of one.
        scenes: at least so many.
        seed: of all parts.
        workers: how many processes.
        tell: is told of every part.
    """
    folder.mkdir(parents=True, exist_ok=True)
    numbers = range(-(-scenes // SCENES_PER_PART))
    missing = [i for i in numbers if not (folder / f"{i:04}-hops.npy").exists()]
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(variable, "1")  # threads of several processes spin for each other
    spawn = multiprocessing.get_context("spawn")  # native threads do not survive a fork
    with ProcessPoolExecutor(workers, mp_context=spawn) as pool:
        work = {pool.submit(make, folder / f"{i:04}", (seed, i)): i for i in missing}
        for done, future in enumerate(as_completed(work), 1):
            tell(f"part {work[future]:04}: {future.result()} hops; {done} of {len(missing)}")


def read_heard(folder: Path) -> list[HeardScene]:
    """All scenes of a folder, in order; they stay on disk until they are used.

    Raises:
        UsageError: none there, or a part is damaged.
    """
    scenes: list[HeardScene] = []
    for path in sorted(folder.glob("*-hops.npy")):
        try:
            scenes += _read_part(str(path).removesuffix("-hops.npy"))
        except (OSError, ValueError, EOFError) as error:
            raise UsageError(
                str(path), expected="a part of heard scenes", got=str(error), hint="delete it"
            ) from error
    if not scenes:
        raise UsageError(str(folder), expected="heard scenes", got="none")
    return scenes


def _read_part(part: str) -> list[HeardScene]:
    arrays: list[NDArray[Any]] = [np.load(f"{part}-{name}.npy", mmap_mode="r") for name in _FIELDS]
    hops = np.load(f"{part}-hops.npy")
    steps = (hops + 1) * HOP_FRAMES, hops, hops
    if any(len(array) != own.sum() for array, own in zip(arrays, steps, strict=True)):
        raise ValueError(f"other lengths than of {hops.sum()} hops")
    cut = [np.split(a, np.cumsum(own)[:-1]) for a, own in zip(arrays, steps, strict=True)]
    return [HeardScene(*parts) for parts in zip(*cut, strict=True)]
