"""Which capture libraries there are, and which one to use."""

from __future__ import annotations

from edge_alm.audio.capture import CaptureBackend
from edge_alm.errors import DeviceError, MissingExtraError, UsageError

BACKENDS = ("sounddevice", "pyaudio")


def load_backend(name: str) -> CaptureBackend:
    """The capture library ``name``, or with "auto" the first that works.

    Raises:
        UsageError: no such backend.
        MissingExtraError: it is not installed.
        DeviceError: it is, but PortAudio, which it needs, is not.
    """
    if name == "sounddevice":
        from edge_alm.audio.sounddevice_backend import SoundDeviceBackend

        return SoundDeviceBackend()
    if name == "pyaudio":
        from edge_alm.audio.pyaudio_backend import PyAudioBackend

        return PyAudioBackend()
    if name == "auto":
        try:
            return load_backend("sounddevice")
        except (MissingExtraError, DeviceError) as first:
            try:
                return load_backend("pyaudio")
            except (MissingExtraError, DeviceError):
                raise first from None
    raise UsageError(
        "microphone backend", expected=f"auto, {' or '.join(BACKENDS)}", got=repr(name)
    )
