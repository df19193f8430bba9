"""From an audio frame's payload to samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from edge_alm.bridge import adpcm
from edge_alm.bridge.frame import ProtocolError
from edge_alm.bridge.numbers import FrameType, Status
from edge_alm.types import Samples

_FULL_SCALE = np.float32(1 / 32768)


def decode_pcm16(payload: bytes) -> Samples:
    """Signed 16-bit samples, little end first.

    Raises:
        ProtocolError: BAD_PAYLOAD.
    """
    if not payload or len(payload) % 2:
        raise ProtocolError(Status.BAD_PAYLOAD)
    return np.asarray(np.frombuffer(payload, "<i2") * _FULL_SCALE, np.float32)


def decode_adpcm(payload: bytes) -> Samples:
    """One block of IMA ADPCM.

    Raises:
        ProtocolError: BAD_PAYLOAD.
    """
    return np.asarray(adpcm.decode(payload) * _FULL_SCALE, np.float32)


DECODERS: dict[FrameType, Callable[[bytes], Samples]] = {
    FrameType.ADPCM: decode_adpcm,
    FrameType.PCM16: decode_pcm16,
}
"""By codec, the most wanted first."""


def choose_codec(offered: int, decoders: Iterable[FrameType]) -> FrameType | None:
    """The first of the decoders in a HELLO's bit mask; None: there is none in common."""
    return next((codec for codec in decoders if offered >> codec & 1), None)
