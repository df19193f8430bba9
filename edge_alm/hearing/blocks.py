"""Cut a stream into blocks of one size, and keep the last of them, or of its samples."""

from __future__ import annotations

import threading
from collections import deque

import numpy as np

from edge_alm.types import Frame, Samples

REMEMBERED_GAPS = 1024
"""At a loss of 10 % of frames of 20 ms the last three minutes of them."""


class BlockCutter:
    """Frames of any length in, blocks of ``block_samples`` out. State of one stream.

    Args:
        block_samples: length of a block.
        longest_gap_samples: a gap up to this is filled with silence; a longer one
            :meth:`breaks` the stream.
    """

    def __init__(self, block_samples: int, longest_gap_samples: int) -> None:
        self._block_samples = block_samples
        self._longest_gap_samples = longest_gap_samples
        self.reset(0)

    def reset(self, start: int) -> None:
        """Begin anew at sample index ``start``."""
        self._parts: list[Samples] = []
        self._waiting = 0
        self.end = start
        """Sample index just after the last sample that was pushed."""
        self._missing: deque[tuple[int, int]] = deque(maxlen=REMEMBERED_GAPS)

    def breaks(self, frame: Frame) -> bool:
        """Whether ``frame`` lies beyond a gap too long to fill."""
        return frame.start - self.end > self._longest_gap_samples

    def push(self, frame: Frame) -> list[Samples]:
        """The blocks [block_samples] that are complete with this frame.

        Raises:
            ValueError: the frame begins before the last one ended.
        """
        gap = frame.start - self.end
        if gap < 0:
            raise ValueError(f"frame at {frame.start} begins before {self.end}")
        if gap:
            self._parts.append(np.zeros(gap, dtype=np.float32))
            self._missing.append((self.end, frame.start))
        if frame.made_up:
            self._missing.append((frame.start, frame.end))
        self._parts.append(frame.samples)
        self._waiting += gap + len(frame.samples)
        self.end = frame.end
        if self._waiting < self._block_samples:
            return []
        samples = np.concatenate(self._parts)
        whole = len(samples) - len(samples) % self._block_samples
        self._parts = [samples[whole:]]
        self._waiting = len(samples) - whole
        return list(samples[:whole].reshape(-1, self._block_samples))

    def missing_share(self, start: int, end: int) -> float:
        """Which share of [start, end) was silence in a gap, or made up."""
        missing = sum(max(0, min(end, last) - max(start, first)) for first, last in self._missing)
        return missing / max(1, end - start)

    def flush(self) -> list[Samples]:
        """The last block, filled up with silence; none if nothing waits."""
        if not self._waiting:
            return []
        samples = np.concatenate(self._parts)
        self._parts, self._waiting = [], 0
        return [np.pad(samples, (0, self._block_samples - len(samples)))]


class History:
    """The last blocks of a stream, by sample index."""

    def __init__(self, blocks: int) -> None:
        self._blocks: deque[Samples] = deque(maxlen=blocks)
        self._end = 0

    def reset(self, start: int) -> None:
        """Begin anew at sample index ``start``."""
        self._blocks.clear()
        self._end = start

    def push(self, block: Samples) -> None:
        """Append a block; the oldest is forgotten."""
        self._blocks.append(block)
        self._end += len(block)

    def read(self, start: int, end: int) -> Samples:
        """Samples of [start, end), as far as they are remembered."""
        begin = self._end - sum(len(block) for block in self._blocks)
        kept: list[Samples] = []
        for block in self._blocks:
            first, last = max(start - begin, 0), min(end - begin, len(block))
            if first < last:
                kept.append(block[first:last])
            begin += len(block)
        return np.concatenate(kept) if kept else np.zeros(0, dtype=np.float32)


class RecentAudio:
    """The last samples of a stream, for whoever wants to hear them again. Thread-safe.

    Args:
        samples: how many are kept at least; at most a frame more.
    """

    def __init__(self, samples: int) -> None:
        self._samples = samples
        self._lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        """Forget everything: another stream begins."""
        with self._lock:
            self._frames: deque[Frame] = deque()
            self._held = 0

    def push(self, frame: Frame) -> None:
        """The next frame."""
        with self._lock:
            self._frames.append(frame)
            self._held += len(frame.samples)
            while self._held - len(self._frames[0].samples) >= self._samples:
                self._held -= len(self._frames.popleft().samples)

    def read(self, since: int = 0) -> Samples:
        """At most the last ``samples`` from sample index ``since`` on; gaps are silence."""
        with self._lock:
            frames = list(self._frames)
        if not frames:
            return np.zeros(0, dtype=np.float32)
        end = frames[-1].end
        start = max(since, frames[0].start, end - self._samples)
        found = np.zeros(max(0, end - start), dtype=np.float32)
        for frame in frames:
            skipped = max(0, start - frame.start)
            kept = frame.samples[skipped:]
            if len(kept):
                at = frame.start + skipped - start
                found[at : at + len(kept)] = kept
        return found
