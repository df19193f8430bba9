"""From an audio frame's payload to samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeAlias

import numpy as np

from edge_alm.bridge import adpcm
from edge_alm.bridge.frame import ProtocolError
from edge_alm.bridge.numbers import FrameType, Status
from edge_alm.types import Samples

_FULL_SCALE = np.float32(1 / 32768)
OPUS_RATES_HZ = (8_000, 12_000, 16_000, 24_000, 48_000)
_LONGEST_OPUS_S = 0.12


class Decoder(Protocol):
    """State of one stream."""

    def decode(self, payload: bytes) -> Samples:
        """The samples of a payload, shape [n], n >= 1.

        Raises:
            ProtocolError: BAD_PAYLOAD.
        """
        ...

    def conceal(self, count: int) -> Samples | None:
        """What the codec makes up for ``count`` lost samples; None: nothing."""
        ...


class Pcm16Decoder:
    """Signed 16-bit samples, little end first."""

    def __init__(self, rate_hz: int) -> None:
        pass

    def decode(self, payload: bytes) -> Samples:
        """See :class:`Decoder`."""
        if not payload or len(payload) % 2:
            raise ProtocolError(Status.BAD_PAYLOAD)
        return np.asarray(np.frombuffer(payload, "<i2") * _FULL_SCALE, np.float32)

    def conceal(self, count: int) -> Samples | None:
        """See :class:`Decoder`."""
        return None


class AdpcmDecoder(Pcm16Decoder):
    """Blocks of IMA ADPCM."""

    def decode(self, payload: bytes) -> Samples:
        """See :class:`Decoder`."""
        return np.asarray(adpcm.decode(payload) * _FULL_SCALE, np.float32)


class OpusDecoder:
    """Opus packets, by libopus, which makes up for lost ones itself.

    Raises:
        ImportError: ``opuslib-next`` or libopus is not installed.
        ValueError: a rate that Opus does not have.
    """

    def __init__(self, rate_hz: int) -> None:
        if rate_hz not in OPUS_RATES_HZ:
            raise ValueError(f"Opus: expected one of {OPUS_RATES_HZ} Hz, got {rate_hz}")
        try:
            import opuslib_next
        except Exception as error:  # it raises a plain Exception where libopus is missing
            raise ImportError(str(error)) from error
        self._decoder: Any = opuslib_next.Decoder(rate_hz, 1)
        # The library's own method makes a list of whole numbers: half of what a packet cost.
        self._decode: Callable[..., int] = opuslib_next.api.decoder.libopus_decode
        self._longest = round(_LONGEST_OPUS_S * rate_hz)
        self._decoded = np.zeros(self._longest, np.int16)
        self._to_decoded = self._decoded.ctypes.data_as(opuslib_next.api.c_int16_pointer)
        self._unit = rate_hz // 400  # 2.5 ms

    def decode(self, payload: bytes) -> Samples:
        """See :class:`Decoder`."""
        if not payload:
            raise ProtocolError(Status.BAD_PAYLOAD)
        return self._run(payload, self._longest)

    def conceal(self, count: int) -> Samples | None:
        """See :class:`Decoder`. Whole multiples of 2.5 ms."""
        if count % self._unit:
            return None
        parts = []
        while count:
            part = min(count, self._longest)
            parts.append(self._run(b"", part))
            count -= part
        return np.concatenate(parts)

    def _run(self, payload: bytes, longest: int) -> Samples:
        count = self._decode(
            self._decoder.decoder_state, payload, len(payload), self._to_decoded, longest, 0
        )
        if count < 0:
            raise ProtocolError(Status.BAD_PAYLOAD)
        return np.asarray(self._decoded[:count] * _FULL_SCALE, np.float32)


Decoders: TypeAlias = Mapping[FrameType, Callable[[int], Decoder]]
DECODERS: Decoders = {
    FrameType.OPUS: OpusDecoder,
    FrameType.ADPCM: AdpcmDecoder,
    FrameType.PCM16: Pcm16Decoder,
}
"""By codec, the most wanted first."""


def make_decoders(offered: int, rate_hz: int, decoders: Decoders) -> dict[FrameType, Decoder]:
    """Decoders of those codecs in a HELLO's bit mask that work here, the most wanted first."""
    made: dict[FrameType, Decoder] = {}
    for codec, make in decoders.items():
        if offered >> codec & 1:
            try:
                made[codec] = make(rate_hz)
            except (ImportError, ValueError):
                continue
    return made
