"""A device behind the firmware bridge as a source: glasses, a robot's head."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import numpy as np

from edge_alm.audio.packet_queue import PacketQueue
from edge_alm.audio.timeline import Timeline
from edge_alm.bridge.capture import read_capture, read_delay_s
from edge_alm.bridge.links import Link, LinkLostError
from edge_alm.bridge.messages import NO_WISH
from edge_alm.bridge.numbers import EventCode, Wish
from edge_alm.bridge.reading import READING
from edge_alm.bridge.session import HostSession
from edge_alm.bridge.stream import Begins, Heard, Missing, Part, Withheld
from edge_alm.errors import DeviceError
from edge_alm.types import (
    SAMPLE_RATE_HZ,
    Answer,
    Event,
    Fault,
    Packet,
    Sound,
    Speech,
    Watch,
)

QUEUE_S = 10.0
RETRY_S = (0.1, 0.25, 0.5, 1.0)
"""Waits between attempts to open a link that was lost; the last one repeats."""
SILENT_S = 3.0
"""A device says where it is every second; one that is silent for this long has gone."""
LONGEST_SILENCE_S = 5.0
"""What a shut gate withholds is heard as silence. A device tells of it every second; where it
could not, more than this is a gap."""
_POLL_S = 0.1

DEVICE_LOST = "device-lost"
MUTED = "muted"
RESTARTED = "device began anew"
WITHHELD = "withheld by the device"


class DeviceParser:
    """Parts of a device's sessions in, packets out. State of one stream; no link, no thread."""

    def __init__(self) -> None:
        self._timeline = Timeline()
        self._muted = 0
        self._began_s: float | None = None

    @property
    def clock(self) -> int:
        """Samples at 16 kHz given out or lost so far."""
        return self._timeline.clock

    @property
    def rate_hz(self) -> int:
        """The device's."""
        return self._timeline.rate_hz

    def push(self, part: Part, now_s: float) -> Iterator[Packet]:
        """What a part that came at ``now_s`` brings."""
        if isinstance(part, Fault):
            yield part
            return
        if isinstance(part, Withheld) and part.muted:
            self._muted += part.samples
            return
        if self._muted:
            muted, self._muted = self._muted, 0
            yield from self._timeline.miss(muted, MUTED)
        if isinstance(part, Begins):
            absence = 0
            if self._began_s is None:
                self._began_s = now_s
            else:
                # Nobody knows what the last session still took; the host's clock goes on.
                absence = round((now_s - self._began_s) * SAMPLE_RATE_HZ) - self.clock
            yield from self._timeline.begin(part.hello.rate_hz, absence, RESTARTED)
        elif isinstance(part, Heard):
            yield from self._timeline.hear(part.samples)
        elif isinstance(part, Missing):
            yield from self._timeline.miss(part.samples, part.reason, part.fill)
        elif part.samples <= LONGEST_SILENCE_S * self.rate_hz:
            yield from self._timeline.hear(np.zeros(part.samples, np.float32))
        else:
            yield from self._timeline.miss(part.samples, WITHHELD)

    def finish(self) -> Iterator[Packet]:
        """What is still held; the stream is over."""
        if self._muted:
            muted, self._muted = self._muted, 0
            yield from self._timeline.miss(muted, MUTED)
        yield from self._timeline.finish()


class Device:
    """A device at the other end of a link: a live source that can be told what was heard.

    The link is opened at once. When it is lost there is a fault ``device-lost``, then an attempt
    to open it again after 0.1, 0.25, 0.5 and every 1 s. A device that goes on with its session
    goes on in this stream, and a ``Lost`` tells what was missed; a device's BYE ends it.

    Args:
        link: to the device; closed with the source.
        wishes: what the device is asked for.
        queue_s: seconds of audio that may wait for the reader.
        on_frame: called on the links' thread with all that the link gives, and when it came.

    Raises:
        DeviceError: the link cannot be opened.
    """

    live = True

    def __init__(
        self,
        link: Link,
        *,
        wishes: Wish = NO_WISH,
        queue_s: float = QUEUE_S,
        on_frame: Callable[[bytes, float], None] | None = None,
    ) -> None:
        self.name = link.name
        self.link = link
        self._on_frame = on_frame
        self.session = HostSession(link.delay_s, wishes)
        self._parser = DeviceParser()
        self._queue = PacketQueue(round(queue_s * SAMPLE_RATE_HZ))
        self._lock = threading.Lock()  # the session, and writing
        self._closed = threading.Event()
        self._started_unix: float | None = None
        self._error: Exception | None = None
        self._heard_s = clock_s()
        self._is_silent = False
        self._opener: threading.Thread | None = None
        self.reconnects = 0
        try:
            link.open()
        except BaseException:
            link.close()
            raise
        READING.add(self)

    @property
    def started_unix(self) -> float | None:
        """See :class:`~edge_alm.types.Source`. Follows the device's clock, so that a sample's
        time is right at the time it is heard, however much the device's crystal is off.
        """
        return self._started_unix

    @property
    def waiting_s(self) -> float:
        """Audio that waits for its reader."""
        return self._queue.waiting_s

    def packets(self) -> Iterator[Packet]:
        """See :class:`~edge_alm.types.Source`. Ends with the device's BYE."""
        yield from self._queue
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """See :class:`~edge_alm.types.Source`."""
        self._closed.set()
        self._queue.end(drop=True)
        READING.remove(self)
        opener = self._opener
        if opener is not None and opener is not threading.current_thread():
            opener.join(1.0)
        with self._lock:
            self.link.close()

    def tell(self, event: Event) -> None:
        """Send an event down to the device, where it is one for a display or a motor."""
        told = _as_told(event)
        if told is None:
            return
        code, text, confidence, start_s = told
        with self._lock:
            stream = self.session.stream
            if stream is None:
                return
            ago = self._parser.clock - round(start_s * SAMPLE_RATE_HZ)
            position = stream.ledger.position - ago * self._parser.rate_hz // SAMPLE_RATE_HZ
            self.session.tell(code, text, confidence, position)
            try:
                self._send()
            except LinkLostError:
                return  # the reading thread sees it too, and tells

    def status(self) -> dict[str, Any]:
        """What is known of the device and the link, for people and as JSON."""
        with self._lock:
            session, stream = self.session, self.session.stream
            found: dict[str, Any] = {
                "link": self.name,
                "frames": session.frames,
                "refused": dict(session.refused + (stream.refused if stream else session.refused)),
                "strangers": session.strangers,
                "duplicates": session.duplicates,
                "late": session.late,
                "recovered": session.recovered,
                "reconnects": self.reconnects,
                **self.link.counts(),
            }
            if stream is None:
                return found
            hello, ledger, clock, stats = stream.hello, stream.ledger, stream.clock, stream.stats
            rate_hz = hello.rate_hz
            found |= {
                "device": hello.name,
                "session": f"{hello.session:08x}",
                "can": [can.name for can in type(hello.capabilities) if can in hello.capabilities],
                "rate_hz": rate_hz,
                "codec": stream.codec.name if stream.codec is not None else None,
                "muted": stream.is_muted,
                "heard_samples": ledger.heard,
                "lost_samples": ledger.lost,
                "withheld_samples": ledger.withheld,
                "drift_ppm": round(clock.drift_ppm, 1) if clock.is_known else None,
                "round_trip_ms": _ms(clock.round_trip_s),
            }
            if stats is not None:
                found |= {
                    "dropped_by_device_samples": stats.samples_dropped,
                    "gain_db": stats.gain_db,
                    "battery_percent": None
                    if stats.battery_percent > 100
                    else stats.battery_percent,
                }
            return found

    # The links' thread

    def take(self, frames: list[bytes]) -> float | None:
        """See :class:`~edge_alm.bridge.reading.Listener`."""
        now_s = clock_s()
        with self._lock:
            if self._closed.is_set():
                return None
            known, parts = self.session.frames, list[Part]()
            for frame in frames:
                if self._on_frame is not None:
                    self._on_frame(frame, now_s)
                parts += self.session.receive(frame, now_s)
            parts += self.session.advance(now_s)
            self._take_parts(parts, now_s)
            self._send()  # last: it may raise, and what came is not lost with the link
            stream = self.session.stream
            if stream is not None and stream.is_over:
                # The link stays open until the source is closed: a device that has said BYE is
                # still told what is made of its last words.
                for packet in self._parser.finish():
                    self._queue.put(packet)
                self._queue.end()
                return None
        if self.session.frames > known:
            self._heard_s, self._is_silent = now_s, False
        elif not self._is_silent and now_s - self._heard_s > SILENT_S:
            self._is_silent = True
            self._queue.put(self._lost_fault("silence") if stream else self._nobody())
        next_s = self.session.next_s()
        return now_s + _POLL_S if next_s is None else min(now_s + _POLL_S, next_s)

    def pass_on(self) -> None:
        """See :class:`~edge_alm.bridge.reading.Listener`."""
        self._queue.pass_on()

    def lose(self, error: Exception) -> None:
        """See :class:`~edge_alm.bridge.reading.Listener`."""
        if not isinstance(error, LinkLostError):  # of who is called with every frame
            self._error = error
            self._queue.end()
        elif not self._closed.is_set():
            self._queue.put(self._lost_fault(error.got))
            # On a thread of its own: some links take seconds to open.
            self._opener = threading.Thread(target=self._reopen, name="reopening", daemon=True)
            self._opener.start()

    def _take_parts(self, parts: list[Part], now_s: float) -> None:
        for part in parts:
            for packet in self._parser.push(part, now_s):
                self._queue.put(packet)
        stream = self.session.stream
        if stream is None or not parts:
            return
        taken_s = stream.clock.host_s(stream.ledger.position)
        if taken_s is not None or self._started_unix is None:
            at_s = now_s if taken_s is None else taken_s
            unix = time.time() - clock_s() + at_s
            self._started_unix = unix - self._parser.clock / SAMPLE_RATE_HZ

    def _send(self) -> None:
        for frame in self.session.take_outbox():
            self.link.write(frame)

    def _reopen(self) -> None:
        with self._lock:
            self._take_parts(self.session.finish(), clock_s())
        self.pass_on()
        try:
            for wait_s in chain(RETRY_S, repeat(RETRY_S[-1])):
                if self._closed.wait(wait_s):
                    return
                with suppress(DeviceError):
                    self.link.open()
                    break
        except Exception as error:
            self.lose(error)
            return
        self.reconnects += 1
        self._heard_s, self._is_silent = clock_s(), False
        READING.add(self)

    def _nobody(self) -> Fault:
        counts = {**self.session.refused, **self.link.counts()}
        told = ", ".join(f"{n} {reason}" for reason, n in counts.items() if n)
        return Fault(
            "no-device",
            f"{self.name}: no device has said HELLO yet ({told or 'nothing came'})",
            "switch it on; edge-alm bridge status shows what comes",
        )

    def _lost_fault(self, got: str) -> Fault:
        return Fault(
            DEVICE_LOST,
            f"{self.name}: the device is gone ({got})",
            "connect it again; listening goes on when it is back",
            at_unix=time.time(),
        )


class Replay:
    """A capture as a source: the packets that the device gave, bit by bit, as fast as is wanted.

    Args:
        path: of the capture.

    Raises:
        SourceError: not a capture.
    """

    live = False

    def __init__(self, path: Path) -> None:
        self.name = path.name
        self._path = path
        self._session = HostSession(read_delay_s(path))
        self._closed = False

    @property
    def started_unix(self) -> float | None:
        """None: a capture is heard anew."""
        return None

    def packets(self) -> Iterator[Packet]:
        """See :class:`~edge_alm.types.Source`.

        Raises:
            SourceError: not a capture, or cut off.
        """
        parser, session = DeviceParser(), self._session
        for data, at_s in read_capture(self._path):
            while (due_s := session.next_s()) is not None and due_s < at_s:
                for part in session.advance(due_s):
                    yield from parser.push(part, due_s)
            for part in session.receive(data, at_s):
                yield from parser.push(part, at_s)
            session.take_outbox()
            if self._closed or (session.stream and session.stream.is_over):
                break
        for part in session.finish():
            yield from parser.push(part, 0.0)
        yield from parser.finish()

    def close(self) -> None:
        """See :class:`~edge_alm.types.Source`."""
        self._closed = True


def _as_told(event: Event) -> tuple[EventCode, str, float, float] | None:
    """Code, text, confidence and start in seconds; None for what no device shows."""
    if isinstance(event, Sound):
        starts = event.state == "start"
        code = EventCode.SOUND_STARTS if starts else EventCode.SOUND_ENDS
        return code, event.label, event.confidence, event.start
    if isinstance(event, Speech):
        return EventCode.SPEECH, event.text, event.confidence, event.start
    if isinstance(event, Watch):
        return EventCode.WATCH, event.query, event.confidence, event.start
    if isinstance(event, Answer):
        return EventCode.ANSWER, event.text, event.confidence, 0.0
    return None


def clock_s() -> float:
    """The host's clock, in whole microseconds as a capture keeps it."""
    return (time.monotonic_ns() // 1000) / 1e6


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(1000 * seconds, 2)
