"""Telling sounds: a patch of sound, 0.48 s on from the one before, through YAMNet's forms."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.section import Section, Taken, Work
from edge_alm.bench.sounds import make_sounds
from edge_alm.errors import EdgeAlmError
from edge_alm.hearing.encoder import Encoder, cut_patches
from edge_alm.hearing.exported import open_encoder
from edge_alm.models.bundle import Bundle, bundle_encoders
from edge_alm.models.manifest import MANIFEST

SOUNDS_S = 12.0
NO_TFLITE = (
    "LiteRT left out: no wheel carries this network for it; python -m quantize tflite yamnet "
    "--out FILE writes one, --tflite FILE runs it"
)


@dataclass(frozen=True, slots=True)
class Tagger:
    """Tells the sounds of some patches in a round."""

    encoder: Encoder
    patches: NDArray[np.float32]
    """[n, PATCH_FRAMES, MEL_BANDS]"""

    def __call__(self, number: int) -> list[Taken]:
        begun_s = time.perf_counter()
        for patch in self.patches:
            self.encoder.encode(patch)
        return [Taken("", "ms a hop", 1e3 * (time.perf_counter() - begun_s) / len(self.patches))]


def open_sounds(bundle_name: str, bundle: Bundle, tflite: Sequence[Path]) -> Section:
    """The bundle's encoder in all its forms, and LiteRT's models, one thread each.

    Raises:
        EdgeAlmError: one of the bundle's cannot be opened.
    """
    patches = cut_patches(make_sounds(SOUNDS_S))
    notes: list[str] = []
    peers: list[tuple[str, Work]] = []
    for path in bundle_encoders(bundle_name):
        if path.name == MANIFEST:
            notes.append(f"{path.parent.name} left out: it does not hear patches")
            continue
        encoder = open_encoder(path, bundle.labels)
        peers.append((f"onnxruntime, {path.name}", Tagger(encoder, patches)))
    if not tflite:
        notes.append(NO_TFLITE)
    for path in tflite:
        try:
            encoder = open_encoder(path, bundle.labels)
        except EdgeAlmError as error:
            notes.append(f"{path} left out: {error}")
        else:
            peers.append((f"LiteRT, {path.name}", Tagger(encoder, patches)))
    return Section("sounds", peers, notes)
