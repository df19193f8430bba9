"""Audio that is already in memory."""

from __future__ import annotations

from collections.abc import Iterator

from edge_alm.types import Frame, Packet, Samples


class MemoryAudio:
    """A source of samples at hand.

    Args:
        samples: mono float32 [n] at 16 kHz.
        frame_samples: length of the frames it is handed out in.
        name: what to call it.
    """

    live = False
    started_unix: float | None = None

    def __init__(
        self, samples: Samples, *, frame_samples: int = 16_000, name: str = "memory"
    ) -> None:
        self.name = name
        self.total_samples = len(samples)
        """How long it is, as of :class:`~edge_alm.audio.file.AudioFile`."""
        self._samples = samples
        self._frame_samples = frame_samples
        self._closed = False

    def packets(self) -> Iterator[Packet]:
        """See :class:`~edge_alm.types.Source`."""
        for start in range(0, len(self._samples), self._frame_samples):
            if self._closed:
                return
            yield Frame(start, self._samples[start : start + self._frame_samples])

    def close(self) -> None:
        """See :class:`~edge_alm.types.Source`."""
        self._closed = True
