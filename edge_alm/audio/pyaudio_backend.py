"""Capture through PyAudio."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from edge_alm.audio.capture import BUFFER_S, PORTAUDIO_HINT, Callback, InputDevice
from edge_alm.errors import DeviceError, missing_extra
from edge_alm.native import quiet_stderr
from edge_alm.types import SAMPLE_RATE_HZ


class PyAudioBackend:
    """PyAudio, with a PortAudio reference of its own.

    Raises:
        MissingExtraError: PyAudio is not installed.
        DeviceError: it is, but not PortAudio; or PortAudio cannot start.
    """

    name = "pyaudio"

    def __init__(self) -> None:
        try:
            import pyaudio
        except ModuleNotFoundError as cause:
            raise missing_extra("pyaudio", "pyaudio", str(cause)) from cause
        except ImportError as cause:  # its extension cannot find libportaudio.so.2
            raise DeviceError(
                "pyaudio", expected="PortAudio", got=str(cause), hint=PORTAUDIO_HINT
            ) from cause
        self._pyaudio = pyaudio
        self._audio: Any = None
        self.refresh()

    def inputs(self) -> list[InputDevice]:
        """See :class:`~edge_alm.audio.capture.CaptureBackend`."""
        try:
            default = self._audio.get_default_input_device_info()["index"]
        except OSError:
            default = -1
        devices = (
            self._audio.get_device_info_by_index(i) for i in range(self._audio.get_device_count())
        )
        return [
            InputDevice(
                self.name,
                int(d["index"]),
                str(d["name"]),
                int(d["maxInputChannels"]),
                round(d["defaultSampleRate"]),
                d["index"] == default,
            )
            for d in devices
            if d["maxInputChannels"] > 0
        ]

    def rate_hz(self, device: InputDevice) -> int:
        """See :class:`~edge_alm.audio.capture.CaptureBackend`."""
        try:
            with quiet_stderr():
                self._audio.is_format_supported(
                    SAMPLE_RATE_HZ,
                    input_device=device.index,
                    input_channels=1,
                    input_format=self._pyaudio.paFloat32,
                )
        except ValueError:
            return device.rate_hz
        return SAMPLE_RATE_HZ

    def open(self, device: InputDevice, rate_hz: int, callback: Callback) -> _Capture:
        """See :class:`~edge_alm.audio.capture.CaptureBackend`."""
        overflow, underflow = self._pyaudio.paInputOverflow, self._pyaudio.paInputUnderflow
        go_on = (None, self._pyaudio.paContinue)

        def take(data: bytes, _frames: int, time: Mapping[str, float], status: int) -> Any:
            callback(
                np.frombuffer(data, np.float32),
                time["input_buffer_adc_time"],
                bool(status & overflow),
                bool(status & underflow),
            )
            return go_on

        try:
            with quiet_stderr():
                stream = self._audio.open(
                    rate=rate_hz,
                    channels=1,
                    format=self._pyaudio.paFloat32,
                    input=True,
                    input_device_index=device.index,
                    # PyAudio sets no latency; PortAudio's ALSA buffer is four such blocks.
                    frames_per_buffer=round(rate_hz * BUFFER_S / 4),
                    stream_callback=take,
                    start=False,
                )
        except (OSError, ValueError) as cause:
            raise _cannot_open(device, rate_hz, cause) from cause
        return _Capture(stream, device, rate_hz)

    def refresh(self) -> None:
        """Initialise PortAudio again; other references in the process keep its old list."""
        self.close()
        try:
            with quiet_stderr():
                self._audio = self._pyaudio.PyAudio()
        except OSError as cause:
            raise DeviceError("PortAudio", expected="to start", got=str(cause)) from cause

    def close(self) -> None:
        """Give the PortAudio reference back."""
        audio, self._audio = self._audio, None
        if audio is not None:
            audio.terminate()


class _Capture:
    def __init__(self, stream: Any, device: InputDevice, rate_hz: int) -> None:
        self._stream = stream
        self._device = device
        self._rate_hz = rate_hz

    @property
    def active(self) -> bool:
        try:
            return bool(self._stream.is_active())
        except OSError:
            return False

    def start(self) -> None:
        try:
            self._stream.start_stream()
        except OSError as cause:
            raise _cannot_open(self._device, self._rate_hz, cause) from cause

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.close()


def _cannot_open(device: InputDevice, rate_hz: int, cause: Exception) -> DeviceError:
    return DeviceError(
        f"microphone {device.name!r}",
        expected=f"to open at {rate_hz} Hz, mono",
        got=str(cause),
        hint="close other programs that use it, or choose another: `edge-alm devices`",
    )
