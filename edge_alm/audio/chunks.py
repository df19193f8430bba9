"""Audio that arrives in numbered chunks, from whatever carries them.

The first sample's number tells gaps, repeats and a sender that began anew; the stamps tell how
long it was away. Nothing is dropped without a word: what is not heard is a ``Lost`` or a ``Fault``.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from edge_alm.audio.file import MAX_CHANNELS, MAX_MAGNITUDE, to_mono, zero_bad_samples
from edge_alm.audio.resample import MAX_RATE_HZ, MIN_RATE_HZ
from edge_alm.audio.timeline import Timeline
from edge_alm.types import SAMPLE_RATE_HZ, Fault, Packet, Samples

ENCODINGS: dict[str, str] = {"s16le": "<i2", "f32le": "<f4"}
"""Names of encodings, and how numpy calls them."""
MAX_CHUNK_S = 10.0
"""A longer chunk is no live audio."""
MAX_GAP_S = 86_400.0
"""A jump of more than a day is a wrong number, not a gap."""
QUEUE_S = 10.0
MISSING = "chunks missing"
TOO_SLOW = "reader too slow"
RESTARTED = "sender began anew"


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive samples as they arrive."""

    data: bytes
    """Interleaved samples."""
    encoding: str
    """One of :data:`ENCODINGS`."""
    rate_hz: int
    channels: int
    first_sample: int
    """Samples of a channel between the sender's start and this chunk's first one."""
    stamp_unix: float
    """Wall clock of the first sample; 0: unknown."""

    @property
    def sample_bytes(self) -> int:
        """Bytes of one sample of all channels."""
        return np.dtype(ENCODINGS[self.encoding]).itemsize * self.channels

    @property
    def duration_s(self) -> float:
        """How long it is."""
        return len(self.data) / (self.sample_bytes * self.rate_hz)


def refusal(chunk: Chunk) -> Fault | None:
    """The fault ``bad-chunk`` of one that is malformed."""
    if chunk.encoding not in ENCODINGS:
        what, expected, got = "encoding", " or ".join(ENCODINGS), repr(chunk.encoding[:40])
    elif not MIN_RATE_HZ <= chunk.rate_hz <= MAX_RATE_HZ:
        what, expected = "sample rate", f"{MIN_RATE_HZ} to {MAX_RATE_HZ} Hz"
        got = f"{chunk.rate_hz}"
    elif not 1 <= chunk.channels <= MAX_CHANNELS:
        what, expected, got = "channels", f"1 to {MAX_CHANNELS}", f"{chunk.channels}"
    elif not chunk.data or len(chunk.data) % chunk.sample_bytes:
        what, expected = "data", f"a multiple of {chunk.sample_bytes} bytes"
        got = f"{len(chunk.data)}"
    elif chunk.duration_s > MAX_CHUNK_S:
        what, expected, got = "data", f"at most {MAX_CHUNK_S:g} s", f"{chunk.duration_s:.1f} s"
    else:
        return None
    return Fault(
        "bad-chunk",
        f"audio chunk, {what}: expected {expected}, got {got}",
        "send what AudioChunk.msg describes; what such chunks hold is lost",
    )


class ChunkParser:
    """Chunks in, packets out. State of one stream; no clock, no thread.

    The mean of a chunk's channels is heard, resampled to 16 kHz. What is malformed is refused with
    a fault ``bad-chunk``; its samples then count as lost, as the next chunk's number tells. A
    chunk that was there already or comes too late (its time is lost by then) is left out with a
    fault ``late-chunk``. Samples that are no audio are heard as 0, with a fault ``bad-samples``.
    Where the sender begins anew (a smaller number with a later stamp, or another rate) the stamps
    tell what is lost.
    """

    def __init__(self) -> None:
        self.started_unix: float | None = None
        """Wall clock of sample 0 by the first good chunk's stamp; None before it."""
        self._timeline = Timeline()
        self._next = 0
        """The sender's number that should come next."""
        self._last: Chunk | None = None

    def push(self, chunk: Chunk, *, missing: str = MISSING, now_unix: float = 0.0) -> list[Packet]:
        """What a chunk brings.

        Args:
            chunk: as it came.
            missing: the reason to give should it not follow the last one.
            now_unix: wall clock of its last sample where it has no stamp.
        """
        refused = refusal(chunk)
        if refused is not None:
            return [refused]
        last = self._last
        if last is None:
            stamp_unix = chunk.stamp_unix or now_unix - chunk.duration_s
            self.started_unix = stamp_unix
            packets = self._begin_part(chunk, 0)
        elif chunk.rate_hz != self._timeline.rate_hz or self._has_restarted(chunk, last):
            packets = self._begin_part(chunk, self._absence(chunk, last))
        else:
            packets = []
        return packets + self._follow(chunk, missing)

    def finish(self) -> list[Packet]:
        """What the resampler still holds; the stream is over."""
        return self._timeline.finish()

    def _has_restarted(self, chunk: Chunk, last: Chunk) -> bool:
        if chunk.first_sample > last.first_sample:
            return (chunk.first_sample - self._next) / chunk.rate_hz > MAX_GAP_S
        if chunk.stamp_unix and last.stamp_unix:
            return chunk.stamp_unix > last.stamp_unix
        return chunk.first_sample == 0

    def _absence(self, chunk: Chunk, last: Chunk) -> int:
        """Samples at 16 kHz between the end of one and the start of the other, by their stamps."""
        if not (chunk.stamp_unix and last.stamp_unix):
            return 0
        away_s = chunk.stamp_unix - (last.stamp_unix + last.duration_s)
        return round(away_s * SAMPLE_RATE_HZ) if 0 < away_s < MAX_GAP_S else 0

    def _begin_part(self, chunk: Chunk, absence: int) -> list[Packet]:
        self._next = chunk.first_sample
        return self._timeline.begin(chunk.rate_hz, absence, RESTARTED)

    def _follow(self, chunk: Chunk, missing: str) -> list[Packet]:
        """A good chunk of the part under way."""
        skip = self._next - chunk.first_sample
        mono, bad = _decode(chunk)
        packets: list[Packet] = []
        if bad:
            packets.append(
                Fault(
                    "bad-samples",
                    f"audio chunks: samples are NaN, infinite or beyond ±{MAX_MAGNITUDE:g}; "
                    "heard as silence",
                    "send samples within ±1",
                )
            )
        if skip > 0:
            packets.append(
                Fault(
                    "late-chunk",
                    "audio chunks come twice, overlap or are out of order; "
                    "what came late is left out",
                    "let one node publish on the topic",
                )
            )
            mono = mono[skip:]
        elif skip < 0:
            packets += self._timeline.miss(-skip, missing)
            self._next = chunk.first_sample
        if len(mono):
            self._last = chunk
            self._next += len(mono)
            packets += self._timeline.hear(mono)
        return packets


class ChunkStream:
    """A source of chunks that another thread puts in: a live source that ends when it is closed.

    At most ``queue_s`` of audio waits for its reader. What does not fit is not taken in, and the
    next chunk's number makes it a ``Lost``.
    """

    live = True

    def __init__(self, name: str, queue_s: float = QUEUE_S) -> None:
        self.name = name
        self._queue_s = queue_s
        self._parser = ChunkParser()
        self._waiting: deque[tuple[Chunk, str, float] | Fault] = deque()
        self._waiting_s = 0.0
        self._dropped = False
        self._closed = False
        self._changed = threading.Condition()

    @property
    def started_unix(self) -> float | None:
        """See :class:`~edge_alm.types.Source`. By the first chunk's stamp, or its arrival."""
        return self._parser.started_unix

    @property
    def waiting_s(self) -> float:
        """Audio that waits for its reader."""
        return self._waiting_s

    def put(self, chunk: Chunk) -> None:
        """Take a chunk in; never waits."""
        refused = refusal(chunk)
        if refused is not None:
            self.put_fault(refused)
            return
        with self._changed:
            if self._closed:
                return
            if self._waiting and self._waiting_s + chunk.duration_s > self._queue_s:
                self._dropped = True
                return
            reason = TOO_SLOW if self._dropped else MISSING
            self._dropped = False
            self._waiting.append((chunk, reason, time.time()))
            self._waiting_s += chunk.duration_s
            self._changed.notify()

    def put_fault(self, fault: Fault) -> None:
        """Tell the reader of a fault; one that waits already is not told again."""
        with self._changed:
            if not self._closed and fault not in self._waiting:
                self._waiting.append(fault)
                self._changed.notify()

    def packets(self) -> Iterator[Packet]:
        """See :class:`~edge_alm.types.Source`."""
        while (entry := self._take()) is not None:
            if isinstance(entry, Fault):
                yield entry
            else:
                chunk, missing, now_unix = entry
                yield from self._parser.push(chunk, missing=missing, now_unix=now_unix)
        yield from self._parser.finish()

    def _take(self) -> tuple[Chunk, str, float] | Fault | None:
        """The next entry, once there is one; None when closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or bool(self._waiting))
            if self._closed:
                return None
            entry = self._waiting.popleft()
            if not isinstance(entry, Fault):
                self._waiting_s = max(0.0, self._waiting_s - entry[0].duration_s)
            return entry

    def close(self) -> None:
        """See :class:`~edge_alm.types.Source`. What waits is given up."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._changed.notify_all()


def _decode(chunk: Chunk) -> tuple[Samples, int]:
    """The mean of a good chunk's channels, shape [n]; and how many samples were no audio."""
    samples = np.frombuffer(chunk.data, ENCODINGS[chunk.encoding]).reshape(-1, chunk.channels)
    block = samples.astype(np.float32)
    if samples.dtype.kind == "i":
        block /= np.float32(32768)
        return to_mono(block), 0
    bad = zero_bad_samples(block)
    return to_mono(block), bad
