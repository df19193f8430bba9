"""The speech detector: samples in, one probability of speech per chunk out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_alm.errors import ModelBrokenError
from edge_alm.types import Samples

CHUNK_SAMPLES = 512
"""New samples per probability: 32 ms. Fixed by the network."""
_CONTEXT_SAMPLES = 64
"""Samples before the chunk that the network also sees; without them it never fires."""
_BATCH_CHUNKS = 3
"""Chunks per run: 96 ms, a fifth of an encoder hop. 105 us a chunk against 170 us one at a
time and 72 us with 15, on a busy x86 core."""
_SILENCE_PEAK = 3e-4
"""A batch that stays below it (-70 dBFS) is not shown to the network: digital
silence costs 0.006 % of a core instead of 0.3 %. Speech at -55 dBFS is found all the same, the
ends of its segments move in 1 % of the frames."""
_STATE_SHAPE = (1, 1, 128)


class SileroVad:
    """Silero VAD 6, the graph that takes a sequence of chunks. State of one stream.

    The batches lie at fixed places in the stream, so the probabilities are the same bits
    however the samples are cut.

    Args:
        path: ``silero_vad_16k_sequence.onnx``: inputs ``input`` [k, 576], ``h`` and ``c``
            [1, 1, 128]; outputs ``speech_probs`` [k], ``hn``, ``cn``.

    Raises:
        ModelMissingError: no such file.
        ModelBrokenError: damaged, or another network.
    """

    def __init__(self, path: Path) -> None:
        from edge_alm.models.onnx_session import open_session

        self._session = open_session(path)
        names = [v.name for v in (*self._session.get_inputs(), *self._session.get_outputs())]
        expected = ["input", "h", "c", "speech_probs", "hn", "cn"]
        if names != expected:
            raise ModelBrokenError(
                str(path),
                expected=f"inputs and outputs {', '.join(expected)}",
                got=", ".join(names),
                hint="edge-alm models verify",
            )
        self.reset()

    def reset(self) -> None:
        """Begin a new stream, or go on after a gap, where nothing is to be carried over."""
        self._h = np.zeros(_STATE_SHAPE, dtype=np.float32)
        self._c = np.zeros(_STATE_SHAPE, dtype=np.float32)
        self._pending = np.zeros(_CONTEXT_SAMPLES, dtype=np.float32)

    def push(self, samples: Samples) -> NDArray[np.float32]:
        """Probabilities [m], m >= 0, of the chunks that are now complete.

        They come in batches of 96 ms; the rest is kept for the next call.
        """
        self._pending = np.concatenate((self._pending, samples))
        batch_samples = _BATCH_CHUNKS * CHUNK_SAMPLES
        batches = (len(self._pending) - _CONTEXT_SAMPLES) // batch_samples
        found = [self._run(i * batch_samples, _BATCH_CHUNKS) for i in range(batches)]
        self._pending = self._pending[batches * batch_samples :]
        return np.concatenate(found) if found else np.zeros(0, dtype=np.float32)

    def flush(self) -> NDArray[np.float32]:
        """Probabilities [m] of what is kept, the last chunk filled up with zeros; then reset."""
        chunks = -(-(len(self._pending) - _CONTEXT_SAMPLES) // CHUNK_SAMPLES)
        padding = _CONTEXT_SAMPLES + chunks * CHUNK_SAMPLES - len(self._pending)
        self._pending = np.pad(self._pending, (0, padding))
        found = self._run(0, chunks) if chunks else np.zeros(0, dtype=np.float32)
        self.reset()
        return found

    def _run(self, start: int, chunks: int) -> NDArray[np.float32]:
        """Probabilities [chunks] of the pending samples from ``start`` (of the context) on."""
        window = _CONTEXT_SAMPLES + CHUNK_SAMPLES
        audible = self._pending[start : start + _CONTEXT_SAMPLES + chunks * CHUNK_SAMPLES]
        if np.abs(audible).max() < _SILENCE_PEAK:
            return np.zeros(chunks, dtype=np.float32)
        rows = np.lib.stride_tricks.sliding_window_view(self._pending[start:], window)
        rows = np.ascontiguousarray(rows[: chunks * CHUNK_SAMPLES : CHUNK_SAMPLES])
        probabilities, self._h, self._c = self._session.run(
            None, {"input": rows, "h": self._h, "c": self._c}
        )
        return np.asarray(probabilities, dtype=np.float32)
