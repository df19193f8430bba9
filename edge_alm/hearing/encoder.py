"""The sound encoder: audio in hops of 0.48 s in, class scores and embeddings out."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from edge_alm.errors import ModelBrokenError
from edge_alm.hearing.audioset import read_labels
from edge_alm.hearing.logmel import HOP_SAMPLES as FRAME_HOP_SAMPLES
from edge_alm.hearing.logmel import LOG_OFFSET, MEL_BANDS, WINDOW_SAMPLES, LogMel
from edge_alm.models.projector_file import HOP_LEVELS, LEVEL_MIDDLE_DB, LEVEL_SCALE_DB
from edge_alm.types import Samples

HOP_FRAMES = 48
PATCH_FRAMES = 2 * HOP_FRAMES
HOP_SAMPLES = HOP_FRAMES * FRAME_HOP_SAMPLES
"""7,680 samples: one set of scores every 0.48 s."""
OVERLAP_SAMPLES = WINDOW_SAMPLES - FRAME_HOP_SAMPLES
"""240 samples by which a hop's last window reaches beyond it; here: before its start."""
PATCH_SAMPLES = 2 * HOP_SAMPLES + OVERLAP_SAMPLES
"""15,600 samples, 0.975 s: what the encoder sees at once."""

NOISE_RATIO = (0.86, 1.14)
"""Bounds of :func:`noise_ratio` within which half a patch is plain noise: white, pink and
brown noise from -70 to -3 dBFS lie within them for 99.9 % of half patches."""


class Encoder(Protocol):
    """Any network over log-mel patches."""

    labels: tuple[str, ...]
    """Names of the scores, in order."""
    embedding_size: int

    def encode(self, patch: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Probabilities [len(labels)] and embedding [embedding_size] of one patch.

        ``patch`` is log-mel [PATCH_FRAMES, MEL_BANDS].
        """
        ...


@runtime_checkable
class WindowEncoder(Protocol):
    """Any network over the last seconds of audio, with a front end of its own."""

    labels: tuple[str, ...]
    """Names of the scores, in order; empty for a network that gives none."""
    embedding_size: int
    window_samples: int
    """How much it looks at, up to the hop's end; before the stream there is silence."""

    def hear(self, window: Samples) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Probabilities [len(labels)] and embedding [embedding_size] of [window_samples]."""
        ...


class Yamnet:
    """YAMNet: AudioSet's 521 classes, and the embedding before the classifier, 1024-d as published.

    Args:
        model: ONNX file with input [n, 1, 96, 64] and outputs ``class_scores`` (logits) and
            ``embedding``, of any width.
        class_map: CSV of the class names.

    Raises:
        ModelBrokenError: the file is damaged or has other shapes.
    """

    def __init__(self, model: Path, class_map: Path) -> None:
        from edge_alm.models.onnx_session import open_session

        self.labels = read_labels(class_map)
        self._session = open_session(model)
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        widths = tuple(output.shape[-1] for output in outputs)
        if (
            len(inputs) != 1
            or len(outputs) != 2
            or widths[0] != len(self.labels)
            or not isinstance(widths[1], int)
        ):
            raise ModelBrokenError(
                f"encoder {model.name}",
                expected=f"{len(self.labels)} scores and an embedding",
                got=str(widths),
                hint="edge-alm models pull yamnet",
            )
        self.embedding_size = widths[1]
        self._input = inputs[0].name
        self._outputs = [output.name for output in outputs]

    def encode(self, patch: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """See :class:`Encoder`."""
        logits, embedding = self._session.run(self._outputs, {self._input: patch[None, None]})
        probabilities = 1.0 / (1.0 + np.exp(-np.clip(logits[0], -60.0, 60.0)))
        return probabilities.astype(np.float32), np.asarray(embedding[0], dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Hop:
    """What the encoder made of the patch that ends with this hop."""

    start: int
    """Sample index of the hop's first sample; the patch begins one hop (and
    :data:`OVERLAP_SAMPLES`) earlier."""
    end: int
    scores: NDArray[np.float32]
    """Probabilities [n classes]."""
    embedding: NDArray[np.float32]
    levels_db: NDArray[np.float32]
    """Level of each frame of the patch [PATCH_FRAMES], relative."""
    is_noise: bool
    """The newer half of the patch is stationary noise with nothing in it."""

    @property
    def features(self) -> NDArray[np.float32]:
        """What a soft token is made from: embedding and levels, [n + HOP_LEVELS]."""
        power = 10.0 ** (self.levels_db[HOP_FRAMES:].reshape(HOP_LEVELS, -1) / 10.0)
        levels_db = 10.0 * np.log10(power.mean(axis=1))
        scaled = (levels_db - LEVEL_MIDDLE_DB) / LEVEL_SCALE_DB
        return np.concatenate((self.embedding, scaled), dtype=np.float32)


def noise_ratio(mel: NDArray[np.float32]) -> float:
    """How much the bands of ``mel`` [frames, MEL_BANDS] fluctuate, against Gaussian noise.

    The variance over time of a band's log magnitude does not depend on the level or the
    colour of stationary Gaussian noise, only on the bandwidth. 1 is plain noise; tones give
    less, events more. ESC-10's recordings of rain, the nearest real sound, have a 5 %
    quantile of 1.07 and a median of 1.27 over whole patches.
    """
    variance = np.log(mel + 1e-7).var(axis=0)
    return float(np.mean(variance / _noise_variance()))


class HopEncoder:
    """Cuts a stream into hops and encodes those that are wanted. State of one stream.

    A patch is the hop, the hop before it and 240 samples more, so that it is complete at
    the hop's own end; before the stream there is silence. Levels and noise are those of the
    patch, whatever the encoder looks at.
    """

    def __init__(self, encoder: Encoder | WindowEncoder, log_mel: LogMel) -> None:
        self._encoder = encoder
        self._log_mel = log_mel
        window = encoder.window_samples if isinstance(encoder, WindowEncoder) else 0
        self._kept_samples = max(PATCH_SAMPLES, window)
        self.reset()

    def reset(self, start: int = 0) -> None:
        """Begin anew at sample index ``start``."""
        self._start = start
        self._audio = np.zeros(self._kept_samples, dtype=np.float32)
        self._previous: NDArray[np.float32] | None = None

    def push(self, samples: Samples, *, wanted: bool) -> Hop | None:
        """The next hop [HOP_SAMPLES]; None when it isn't wanted."""
        self._audio = np.concatenate((self._audio[HOP_SAMPLES:], samples))
        start, self._start = self._start, self._start + HOP_SAMPLES
        if not wanted:
            self._previous = None
            return None
        audio = self._audio[-PATCH_SAMPLES:]
        if self._previous is None:
            self._previous = self._log_mel(audio[: HOP_SAMPLES + OVERLAP_SAMPLES])
        newest = self._log_mel(audio[HOP_SAMPLES:])
        patch = np.concatenate((self._previous, newest))
        self._previous = newest
        if isinstance(self._encoder, WindowEncoder):
            scores, embedding = self._encoder.hear(self._audio[-self._encoder.window_samples :])
        else:
            scores, embedding = self._encoder.encode(patch)
        mel = np.maximum(np.exp(patch) - LOG_OFFSET, 0.0)
        levels_db = 10.0 * np.log10(np.sum(mel * mel, axis=1) + 1e-9)
        low, high = NOISE_RATIO
        return Hop(
            start=start,
            end=start + HOP_SAMPLES,
            scores=scores,
            embedding=embedding,
            levels_db=levels_db.astype(np.float32),
            is_noise=low < noise_ratio(mel[HOP_FRAMES:]) < high,
        )


def cut_patches(samples: Samples) -> NDArray[np.float32]:
    """Every patch [n, PATCH_FRAMES, MEL_BANDS] that :class:`HopEncoder` makes of a whole stream."""
    before, after = HOP_SAMPLES + OVERLAP_SAMPLES, -len(samples) % HOP_SAMPLES
    audio = np.pad(np.asarray(samples, dtype=np.float32), (before, after))
    log_mel = LogMel()
    windows = np.lib.stride_tricks.sliding_window_view(audio, PATCH_SAMPLES)[::HOP_SAMPLES]
    return np.stack([log_mel(window) for window in windows])


@cache
def _noise_variance() -> NDArray[np.float32]:
    """Variance over time of each band's log magnitude for white noise [MEL_BANDS]."""
    noise = np.random.default_rng(0).standard_normal(20 * PATCH_SAMPLES).astype(np.float32)
    mel = np.exp(LogMel()(noise)) - LOG_OFFSET
    halves = np.log(mel[: len(mel) // HOP_FRAMES * HOP_FRAMES] + 1e-7)
    variance = halves.reshape(-1, HOP_FRAMES, MEL_BANDS).var(axis=1).mean(axis=0)
    return np.asarray(variance, dtype=np.float32)
