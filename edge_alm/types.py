"""What flows through the runtime: frames in, events out.

There is one clock: an integer sample index at :data:`SAMPLE_RATE_HZ` since the stream
began. Seconds appear only in events, which are the edge of the system; they are rounded
to the millisecond.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeAlias, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Samples: TypeAlias = NDArray[np.float32]
    """Mono audio, float32, nominally within [-1, 1], at :data:`SAMPLE_RATE_HZ`."""
else:
    # Only a name in annotations: importing numpy would take most of `import edge_alm`.
    Samples = Any

SAMPLE_RATE_HZ = 16_000
"""The only rate inside the runtime; sources resample to it."""


def to_seconds(samples: int) -> float:
    """Seconds of a sample index or count, rounded to the millisecond."""
    return round(samples / SAMPLE_RATE_HZ, 3)


@dataclass(frozen=True, slots=True)
class Frame:
    """A run of consecutive samples."""

    start: int
    """Sample index of ``samples[0]`` on the stream's clock."""
    samples: Samples
    """Shape [n], n >= 1; any n."""
    made_up: bool = False
    """They stand in for samples that the ``Lost`` before this frame has told of."""

    @property
    def end(self) -> int:
        """Sample index just after the last sample."""
        return self.start + len(self.samples)


@dataclass(frozen=True, slots=True)
class Sound:
    """A sound that starts or ends. One event of each state per sound."""

    type: ClassVar[str] = "sound"
    label: str
    """AudioSet's display name."""
    start: float
    """Seconds from the stream's start."""
    end: float | None
    """Seconds; None while the sound goes on (state ``start``)."""
    confidence: float
    """0 to 1; the highest score so far."""
    state: Literal["start", "end"]
    at_unix: float | None = None
    """Wall clock of ``start`` in Unix seconds, where the source has one."""


@dataclass(frozen=True, slots=True)
class Speech:
    """Someone said something."""

    type: ClassVar[str] = "speech"
    text: str
    start: float
    end: float
    confidence: float
    """0 to 1; geometric mean probability of the text's tokens."""
    at_unix: float | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a question about what was heard."""

    type: ClassVar[str] = "answer"
    question: str
    text: str
    choice: str | None
    """The chosen option when choices were given."""
    confidence: float
    """0 to 1; probability of the choice among the choices, or geometric mean of the tokens."""
    ttft_ms: float
    """From question to first token (or to the scored choice)."""
    total_ms: float
    at_unix: float | None = None


@dataclass(frozen=True, slots=True)
class Watch:
    """A sound that the user asked to be told of has started."""

    type: ClassVar[str] = "watch"
    query: str
    label: str
    start: float
    confidence: float
    at_unix: float | None = None


@dataclass(frozen=True, slots=True)
class Lost:
    """Samples that never arrived. The clock has advanced by ``samples``."""

    type: ClassVar[str] = "lost"
    samples: int
    at: float
    """Seconds from the stream's start of the first lost sample."""
    reason: str
    at_unix: float | None = None


@dataclass(frozen=True, slots=True)
class Fault:
    """Something is wrong but listening goes on."""

    type: ClassVar[str] = "fault"
    code: str
    message: str
    hint: str
    at_unix: float | None = None


@dataclass(frozen=True, slots=True)
class Guess:
    """Something stood out that no class was sure of. For the scene alone: no event of a stream."""

    labels: tuple[str, ...]
    """What it may have been, likeliest first."""
    start: float
    end: float
    """Seconds."""


Event: TypeAlias = Sound | Speech | Answer | Watch | Lost | Fault
Packet: TypeAlias = Frame | Lost | Fault
"""What a source yields. A ``Lost`` precedes the frame after the gap."""

_EVENT_TYPES: dict[str, type[Event]] = {
    t.type: t for t in (Sound, Speech, Answer, Watch, Lost, Fault)
}


def event_to_dict(event: Event) -> dict[str, Any]:
    """The event as a JSON object; ``at_unix`` is left out where there is none."""
    values = {f.name: getattr(event, f.name) for f in fields(event)}
    if values["at_unix"] is None:
        del values["at_unix"]
    return {"type": event.type, **values}


def event_to_json(event: Event) -> str:
    """One line of JSON, without the newline."""
    return json.dumps(event_to_dict(event), ensure_ascii=False)


def event_from_dict(values: Mapping[str, Any]) -> Event:
    """The inverse of :func:`event_to_dict`.

    Raises:
        ValueError: unknown type, a missing key or an unknown one.
    """
    kind = values.get("type")
    cls = _EVENT_TYPES.get(kind) if isinstance(kind, str) else None
    if cls is None:
        raise ValueError(f"event type: expected one of {', '.join(_EVENT_TYPES)}, got {kind!r}")
    rest = {k: v for k, v in values.items() if k != "type"}
    known = {f.name for f in fields(cls)}
    needed = {f.name for f in fields(cls) if f.default is MISSING}
    if not (needed <= rest.keys() <= known):
        raise ValueError(f"{kind} event: expected keys {sorted(needed)}, got {sorted(rest)}")
    return cls(**rest)


def without_words(event: Event) -> Event:
    """The event with empty texts where it tells what was said, asked or answered."""
    if isinstance(event, Speech):
        return replace(event, text="")
    if isinstance(event, Answer):
        return replace(event, question="", text="", choice=None if event.choice is None else "")
    return event


class Source(Protocol):
    """Where audio comes from. One source is one stream."""

    name: str
    """As a person would call it: a file's name, a device's."""
    live: bool
    """True when audio arrives at its own pace and is lost if it is not read."""

    @property
    def started_unix(self) -> float | None:
        """Wall clock of sample 0, or None (a file). Known once the first packet is out."""
        ...

    def packets(self) -> Iterator[Packet]:
        """Frames in order, gaps announced by ``Lost``; ends at the end of the stream.

        For every frame: ``frame.start == previous.end + samples lost since``. One that is made
        up does not count: it lies within the gap that was just told.
        """
        ...

    def close(self) -> None:
        """Idempotent; callable from any thread; makes :meth:`packets` end soon."""
        ...


@runtime_checkable
class Teller(Protocol):
    """A source at whose other end someone wants to know what was heard."""

    def tell(self, event: Event) -> None:
        """Pass an event on; callable from any thread, never waits."""
        ...
