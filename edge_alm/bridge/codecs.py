"""From an audio frame's payload to samples, and what stands in for samples that were lost."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from edge_alm.bridge import adpcm
from edge_alm.bridge.frame import ProtocolError
from edge_alm.bridge.numbers import FrameType, Status
from edge_alm.types import Samples

_FULL_SCALE = np.float32(1 / 32768)

FADE_S = 0.06
"""What is made up fades to silence within this time, as in ITU-T G.711 Appendix I."""
MATCH_S = 0.02
PERIOD_S = (0.0025, 0.015)
"""Pitch periods that are looked for: 66 to 400 Hz."""
CONTEXT_S = MATCH_S + PERIOD_S[1]
"""As much as is looked at of what was heard before."""


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


def conceal(before: Samples, count: int, rate_hz: int) -> Samples:
    """What may have followed ``before``: its last period again and again, fading to silence.

    Args:
        before: what was heard last, :data:`CONTEXT_S` of it; shorter: silence is made up.
        count: how many samples to make up.
        rate_hz: of both.

    Returns:
        Shape [count].
    """
    match = round(MATCH_S * rate_hz)
    shortest, longest = (round(period * rate_hz) for period in PERIOD_S)
    made = np.zeros(count, np.float32)
    fade = min(count, round(FADE_S * rate_hz))
    if len(before) < match + longest or not fade:
        return made
    tail = before[-match:]
    windows = np.lib.stride_tricks.sliding_window_view(before[-(match + longest) :], match)
    earlier = windows[: longest - shortest + 1]  # begins longest ... shortest samples before tail
    energy = np.einsum("ij,ij->i", earlier, earlier) + 1e-9
    likeness = (earlier @ tail) / np.sqrt(energy)
    period = longest - int(likeness.argmax())
    repeated = np.resize(before[-period:], fade)
    made[:fade] = repeated * np.linspace(1.0, 0.0, fade, endpoint=False, dtype=np.float32)
    return made
