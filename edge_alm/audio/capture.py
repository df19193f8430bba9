"""What a capture library must offer, and which device a name means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from edge_alm.errors import DeviceError
from edge_alm.types import Samples

BUFFER_S = 0.2
"""The driver's buffer: survives a 0.15 s stall of the interpreter, and makes 20 callbacks a
second; a sound event is not timed finer than 0.1 s."""
PORTAUDIO_HINT = "install PortAudio: apt install libportaudio2 (macOS: brew install portaudio)"


@dataclass(frozen=True, slots=True)
class InputDevice:
    """An audio input as its library lists it."""

    backend: str
    index: int
    """The library's own; changes when devices come and go."""
    name: str
    channels: int
    rate_hz: int
    """The rate the device runs at unless asked otherwise."""
    default: bool


class Callback(Protocol):
    """Called on the driver's thread with every block."""

    def __call__(self, samples: Samples, adc_s: float, overrun: bool, underrun: bool) -> None:
        """Take a block.

        Args:
            samples: shape [n], mono; valid only during the call.
            adc_s: when ``samples[0]`` was converted, on the driver's clock; 0 when unknown.
            overrun: samples were dropped before this block.
            underrun: the driver had no data and filled the block with zeros.
        """
        ...


class Capture(Protocol):
    """An opened device."""

    @property
    def active(self) -> bool:
        """Whether the driver still runs it."""
        ...

    def start(self) -> None:
        """Begin to deliver blocks. Raises DeviceError."""
        ...

    def close(self) -> None:
        """Release the device; idempotent, raises nothing."""
        ...


class CaptureBackend(Protocol):
    """A capture library."""

    name: str

    def inputs(self) -> list[InputDevice]:
        """The inputs there are; none is not an error."""
        ...

    def rate_hz(self, device: InputDevice) -> int:
        """16000 where the device offers it, else its own rate."""
        ...

    def open(self, device: InputDevice, rate_hz: int, callback: Callback) -> Capture:
        """Open one channel of a device, not started. Raises DeviceError."""
        ...

    def refresh(self) -> None:
        """Look again which devices there are (PortAudio does so only when told)."""
        ...

    def close(self) -> None:
        """Release the library; idempotent."""
        ...


def choose_input(inputs: Sequence[InputDevice], wanted: str | None) -> InputDevice:
    """The input that ``wanted`` means: an index, a name, or a part of exactly one name.

    Upper and lower case are the same. None is the default input, or the first.

    Raises:
        DeviceError: none fits, or more than one.
    """
    if not inputs:
        raise DeviceError(
            "microphone" if wanted is None else f"microphone {wanted!r}",
            expected="an audio input",
            got="none on this machine",
            hint="plug one in, or start PulseAudio or PipeWire; `edge-alm devices` lists inputs",
        )
    if wanted is None:
        return next((device for device in inputs if device.default), inputs[0])
    name = wanted.casefold()
    for fits in (
        [d for d in inputs if str(d.index) == name],
        [d for d in inputs if d.name.casefold() == name],
        [d for d in inputs if name in d.name.casefold() and not name.isdigit()],
    ):
        if len(fits) == 1:
            return fits[0]
        if fits:
            break
    found = "; ".join(f"{d.index} {d.name}" for d in fits or inputs)
    raise DeviceError(
        f"microphone {wanted!r}",
        expected=f"{'only one' if fits else 'one'} of the inputs {found}",
        got=f"{len(fits)} that fit" if fits else "no such name or index",
        hint="give more of the name, or the index",
    )
