"""Capture through sounddevice."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import threading
from typing import Any

from edge_alm.audio.capture import BUFFER_S, PORTAUDIO_HINT, Callback, InputDevice
from edge_alm.errors import DeviceError, missing_extra
from edge_alm.types import SAMPLE_RATE_HZ

EXIT_S = 0.5
"""How long the exiting process waits for a thread that is in PortAudio."""

_open_captures: set[int] = set()
# Held for every call into PortAudio. The thread that ends the process keeps it, and so no other
# comes in again; what that thread itself closes after that finds PortAudio ended.
_lock = threading.RLock()


class SoundDeviceBackend:
    """sounddevice's PortAudio, which it initialises once for the whole process.

    Raises:
        MissingExtraError: sounddevice is not installed.
        DeviceError: it is, but not PortAudio; or PortAudio cannot start.
    """

    name = "sounddevice"

    def __init__(self) -> None:
        try:
            import sounddevice
        except ModuleNotFoundError as cause:
            raise missing_extra("mic", "sounddevice", str(cause)) from cause
        except OSError as cause:
            raise DeviceError(
                "sounddevice", expected="PortAudio", got=str(cause), hint=PORTAUDIO_HINT
            ) from cause
        self._sd = sounddevice
        for handler in (sounddevice._exit_handler, _end):
            atexit.unregister(handler)
        atexit.register(_end, sounddevice)

    def inputs(self) -> list[InputDevice]:
        """See :class:`~edge_alm.audio.capture.CaptureBackend`."""
        with _lock:
            try:
                devices = self._sd.query_devices()
            except self._sd.PortAudioError as cause:
                raise DeviceError(
                    "sounddevice", expected="a list of devices", got=str(cause)
                ) from cause
            try:
                default = self._sd.query_devices(kind="input")["index"]
            except (self._sd.PortAudioError, ValueError):
                default = -1
        return [
            InputDevice(
                self.name,
                d["index"],
                d["name"],
                d["max_input_channels"],
                round(d["default_samplerate"]),
                d["index"] == default,
            )
            for d in devices
            if d["max_input_channels"] > 0
        ]

    def rate_hz(self, device: InputDevice) -> int:
        """See :class:`~edge_alm.audio.capture.CaptureBackend`."""
        try:
            with _lock:
                self._sd.check_input_settings(device.index, 1, "float32", samplerate=SAMPLE_RATE_HZ)
        except (self._sd.PortAudioError, ValueError):
            return device.rate_hz
        return SAMPLE_RATE_HZ

    def open(self, device: InputDevice, rate_hz: int, callback: Callback) -> _Capture:
        """See :class:`~edge_alm.audio.capture.CaptureBackend`."""

        def take(block: Any, _frames: int, time: Any, status: Any) -> None:
            callback(
                block[:, 0],
                time.inputBufferAdcTime,
                status.input_overflow,
                status.input_underflow,
            )

        try:
            with _lock:
                stream = self._sd.InputStream(
                    samplerate=rate_hz,
                    device=device.index,
                    channels=1,
                    dtype="float32",
                    latency=BUFFER_S,
                    callback=take,
                )
                _open_captures.add(id(stream))
        except (self._sd.PortAudioError, ValueError) as cause:
            raise _cannot_open(device, rate_hz, cause) from cause
        return _Capture(self._sd, stream, device, rate_hz)

    def refresh(self) -> None:
        """Initialise PortAudio again, unless another microphone is open: that would end it."""
        with _lock:
            if _open_captures:
                return
            with contextlib.suppress(self._sd.PortAudioError):  # a failed last attempt
                self._sd._terminate()
            try:
                self._sd._initialize()
            except self._sd.PortAudioError as cause:
                raise DeviceError("PortAudio", expected="to start", got=str(cause)) from cause

    def close(self) -> None:
        """Nothing to do: PortAudio ends when the process exits."""


class _Capture:
    def __init__(self, sd: Any, stream: Any, device: InputDevice, rate_hz: int) -> None:
        self._sd = sd
        self._stream = stream
        self._device = device
        self._rate_hz = rate_hz

    @property
    def active(self) -> bool:
        if not _lock.acquire(blocking=False):
            # Another microphone opens or closes, which can hang. Blocks that do not come will tell.
            return True
        try:
            return bool(self._stream.active)
        finally:
            _lock.release()

    def start(self) -> None:
        try:
            with _lock:
                self._stream.start()
        except self._sd.PortAudioError as cause:
            raise _cannot_open(self._device, self._rate_hz, cause) from cause

    def close(self) -> None:
        with _lock:
            if id(self._stream) in _open_captures:
                self._stream.close(ignore_errors=True)
                _open_captures.discard(id(self._stream))


def _cannot_open(device: InputDevice, rate_hz: int, cause: Exception) -> DeviceError:
    return DeviceError(
        f"microphone {device.name!r}",
        expected=f"to open at {rate_hz} Hz, mono",
        got=str(cause),
        hint="close other programs that use it, or choose another: `edge-alm devices`",
    )


def _end(sd: Any) -> None:
    """End PortAudio at exit as sounddevice does, but never while another thread is in it.

    sounddevice would close a stream a second time that a thread just closes, and the interpreter
    then unloads PortAudio under that thread's feet: the process hangs or crashes. While a thread
    hangs in it, PortAudio is neither ended nor unloaded, and goes with the process.
    """
    if _lock.acquire(timeout=EXIT_S):
        sd._exit_handler()
    else:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(sd._lib))
