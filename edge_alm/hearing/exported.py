"""An encoder from ``python -m export encoder``: another network in the place of YAMNet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_alm.errors import ModelBrokenError
from edge_alm.hearing.audioset import read_labels
from edge_alm.hearing.encoder import HOP_SAMPLES, Encoder, WindowEncoder, Yamnet
from edge_alm.hearing.front_end import (
    FrontEnd,
    LogMel,
    SlidingLogMel,
    Waveform,
    read_front_end,
)
from edge_alm.models.bundle import Bundle
from edge_alm.models.manifest import AUDIO_GRAPH, read_manifest
from edge_alm.models.tflite_file import SUFFIX
from edge_alm.models.yamnet import EMBEDDING, SCORES
from edge_alm.types import SAMPLE_RATE_HZ, Samples


class ExportedEncoder:
    """A :class:`~edge_alm.hearing.encoder.WindowEncoder`: the last seconds, at every hop.

    Args:
        folder: with a manifest of the kind ``encoder``, whose files have been held to it
            (:func:`~edge_alm.models.bundle.load_bundle` does).

    Raises:
        ModelMissingError, ModelBrokenError: the folder is damaged.
    """

    def __init__(self, folder: Path) -> None:
        from edge_alm.models.onnx_session import open_session

        manifest = read_manifest(folder)
        graph = manifest.graphs[AUDIO_GRAPH]
        scored = SCORES in graph.outputs
        self.labels = read_labels(folder / manifest.labels) if scored and manifest.labels else ()
        widths = {name: tensor.shape[-1] for name, tensor in graph.outputs.items()}
        embedding_size = widths[EMBEDDING]
        if widths.get(SCORES, 0) != len(self.labels) or not isinstance(embedding_size, int):
            raise ModelBrokenError(
                f"encoder {folder}",
                expected=f"{len(self.labels)} scores and an embedding",
                got=f"{widths}",
                hint="export it again",
            )
        self.embedding_size = embedding_size
        self._rate_hz = manifest.sample_rate_hz or SAMPLE_RATE_HZ
        self._wanted = manifest.window_samples or self._rate_hz
        self.window_samples = -(-self._wanted * SAMPLE_RATE_HZ // self._rate_hz)
        self._activation = manifest.activation
        self._front_end: FrontEnd = _sliding(read_front_end(folder, manifest.front_end))
        self._session = open_session(folder / graph.file)
        (self._input,) = graph.inputs
        self._outputs = [name for name in (EMBEDDING, SCORES) if name in graph.outputs]
        self.hear(np.zeros(self.window_samples, np.float32))

    def hear(self, window: Samples) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """See :class:`~edge_alm.hearing.encoder.WindowEncoder`.

        Raises:
            ModelBrokenError: the network does not take what its front end makes.
        """
        try:
            features = self._front_end(self._resample(window))
            found = self._session.run(self._outputs, {self._input: features})
        except Exception as error:  # onnxruntime's own exceptions share no public base
            raise ModelBrokenError(
                "exported encoder",
                expected=f"a network over {len(window)} samples",
                got=str(error).splitlines()[0],
                hint="export it again",
            ) from error
        embedding = np.asarray(found[0][0], dtype=np.float32)
        logits = found[1][0] if len(found) > 1 else np.zeros(0, np.float32)
        return _probabilities(logits, self._activation), embedding

    def _resample(self, window: Samples) -> Samples:
        if self._rate_hz == SAMPLE_RATE_HZ:
            return window
        import soxr

        samples = soxr.resample(window, SAMPLE_RATE_HZ, self._rate_hz, quality="HQ")
        return np.asarray(samples[: self._wanted], dtype=np.float32)


def make_encoder(bundle: Bundle) -> Encoder | WindowEncoder:
    """The bundle's encoder, ready to run.

    Raises:
        ModelMissingError, ModelBrokenError: its files are damaged or do not fit each other.
        MissingExtraError: what runs it is not installed.
    """
    if bundle.exported is not None:
        return ExportedEncoder(bundle.exported)
    return open_encoder(bundle.encoder, bundle.labels)


def open_encoder(model: Path, class_map: Path) -> Encoder:
    """A network over patches by its file: LiteRT runs a ``.tflite``, ONNX Runtime all else.

    Raises:
        As :func:`make_encoder`.
    """
    if model.suffix == SUFFIX:
        from edge_alm.hearing.tflite import TfliteEncoder

        return TfliteEncoder(model, class_map)
    return Yamnet(model, class_map)


def _sliding(front_end: Waveform | LogMel) -> FrontEnd:
    """What costs less where every window overlaps the one before, if there is such a thing."""
    if isinstance(front_end, LogMel) and SlidingLogMel.fits(front_end.settings, HOP_SAMPLES):
        return SlidingLogMel(front_end, HOP_SAMPLES)
    return front_end


def _probabilities(logits: NDArray[np.float32], activation: str) -> NDArray[np.float32]:
    found: NDArray[np.floating] = logits
    if activation == "sigmoid":
        found = 1.0 / (1.0 + np.exp(-np.clip(logits, -60.0, 60.0)))
    elif activation == "softmax" and len(logits):
        powers = np.exp(logits - logits.max())
        found = powers / powers.sum()
    return np.asarray(found, dtype=np.float32)
