"""Codec, order, clock and what is made up for a gap, each by itself."""

from __future__ import annotations

import sys
from collections.abc import Callable
from ctypes.util import find_library
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_alm.bridge import adpcm
from edge_alm.bridge.clock import DeviceClock
from edge_alm.bridge.codecs import DECODERS, OpusDecoder, Pcm16Decoder, make_decoders
from edge_alm.bridge.conceal import Concealer
from edge_alm.bridge.frame import ProtocolError
from edge_alm.bridge.numbers import FrameType
from edge_alm.bridge.reorder import CAPACITY, ReorderBuffer


@settings(deadline=None)
@given(st.lists(st.integers(-32768, 32767), min_size=1, max_size=500))
def test_adpcm_gives_as_many_samples_as_it_took(samples: list[int]) -> None:
    block = adpcm.AdpcmEncoder().encode(samples)
    assert len(block) == 4 + (len(samples) + 1) // 2
    assert adpcm.count_samples(block) == len(samples) == len(adpcm.decode(block))


@pytest.mark.parametrize("tone_hz", [100, 1000, 3000])
def test_adpcm_is_close(tone_hz: int) -> None:
    at = np.arange(3200) / 16_000
    samples = np.round(8000 * np.sin(2 * np.pi * tone_hz * at)).astype(np.int16)
    encoder = adpcm.AdpcmEncoder()
    blocks = [encoder.encode(samples[i : i + 320].tolist()) for i in range(0, 3200, 320)]
    found = np.concatenate([adpcm.decode(block) for block in blocks])
    noise = (found.astype(float) - samples)[320:]
    assert 20 * np.log10(np.std(samples) / np.std(noise)) > 18


def test_a_lost_block_does_no_harm_to_the_next() -> None:
    encoder = adpcm.AdpcmEncoder()
    rng = np.random.default_rng(0)
    parts = [rng.integers(-9000, 9000, 320).tolist() for _ in range(3)]
    whole = [adpcm.decode(encoder.encode(part)) for part in parts]
    again = adpcm.AdpcmEncoder()
    blocks = [again.encode(part) for part in parts]
    assert np.array_equal(adpcm.decode(blocks[2]), whole[2])


@pytest.mark.parametrize("block", [b"", bytes(4), b"\0\0\x59\0\0", b"\0\0\0\x02\0"])
def test_what_is_no_block_is_refused(block: bytes) -> None:
    with pytest.raises(ProtocolError, match="BAD_PAYLOAD"):
        adpcm.decode(block)


@pytest.mark.parametrize("payload", [b"", b"a", b"abc"])
def test_what_is_no_pcm16_is_refused(payload: bytes) -> None:
    with pytest.raises(ProtocolError, match="BAD_PAYLOAD"):
        Pcm16Decoder(16_000).decode(payload)


def test_of_the_codecs_in_common_those_that_work_are_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert list(make_decoders(0b011, 16_000, DECODERS)) == [FrameType.ADPCM, FrameType.PCM16]
    assert not make_decoders(0b1000, 16_000, DECODERS)
    assert list(make_decoders(0b101, 11_025, DECODERS)) == [FrameType.PCM16]
    monkeypatch.setitem(sys.modules, "opuslib_next", None)  # what an import then finds: nothing
    assert list(make_decoders(0b111, 16_000, DECODERS)) == [FrameType.ADPCM, FrameType.PCM16]


@pytest.fixture
def opus(require: Callable[[object, str], None]) -> Any:
    require("opuslib_next", "the extra opus")
    require(find_library("opus") is not None, "libopus: scripts/system-deps")
    import opuslib_next

    return opuslib_next


@pytest.mark.parametrize("rate_hz", [16_000, 48_000])
def test_opus_is_heard_and_makes_up_for_what_is_lost(opus: Any, rate_hz: int) -> None:
    frame = rate_hz // 50
    at = np.arange(50 * frame) / rate_hz
    tone = np.round(8000 * np.sin(2 * np.pi * 440 * at)).astype(np.int16)
    encoder = opus.Encoder(rate_hz, 1, "audio")
    decoder = OpusDecoder(rate_hz)
    parts = []
    for i in range(0, len(tone), frame):
        packet = encoder.encode(tone[i : i + frame].tobytes(), frame)
        made = decoder.conceal(frame) if i == 20 * frame else None
        parts.append(decoder.decode(packet) if made is None else made)
        assert len(parts[-1]) == frame
    whole = np.concatenate(parts) * 32768
    assert np.std(whole[10 * frame :]) == pytest.approx(np.std(tone), rel=0.15)
    assert np.std(parts[20]) * 32768 > 0.5 * np.std(tone)
    assert decoder.conceal(frame + 1) is None


@pytest.mark.parametrize("payload", [b"", b"\xff\xff\xff", b"\x03"])
def test_what_is_no_opus_is_refused(opus: Any, payload: bytes) -> None:
    with pytest.raises(ProtocolError, match="BAD_PAYLOAD"):
        OpusDecoder(16_000).decode(payload)


@settings(deadline=None)
@given(st.permutations(range(12)), st.sets(st.integers(1, 11)), st.integers(0, 2**32 - 1))
def test_whatever_comes_goes_out_once_and_in_order(
    arrivals: list[int], missing: set[int], first: int
) -> None:
    buffer: ReorderBuffer[int] = ReorderBuffer(1e9)
    given_out = buffer.push(first, 0, 0.0)
    for number in arrivals:
        if number and number not in missing:
            given_out += buffer.push((first + number) % 2**32, number, 0.0)
            given_out += buffer.push((first + number) % 2**32, number, 0.0)
    given_out += buffer.flush()
    assert given_out == sorted(set(range(12)) - missing)
    assert buffer.duplicates + buffer.late == len(set(range(1, 12)) - missing)


def test_a_hole_never_holds_more_than_there_is_room_for() -> None:
    buffer: ReorderBuffer[int] = ReorderBuffer(1e9)
    given_out = buffer.push(0, 0, 0.0)
    for number in range(2, 3 * CAPACITY):
        given_out += buffer.push(number, number, 0.0)
    assert given_out == [0, *range(2, 3 * CAPACITY)]


def test_what_is_given_up_comes_too_late() -> None:
    buffer: ReorderBuffer[str] = ReorderBuffer(0.05)
    assert buffer.push(0, "a", 0.0) == ["a"]
    assert buffer.push(2, "c", 0.01) == []
    assert buffer.deadline_s == pytest.approx(0.06)
    assert buffer.advance(0.059) == []
    assert buffer.advance(0.061) == ["c"]
    assert buffer.push(1, "b", 0.07) == []
    assert (buffer.late, buffer.deadline_s) == (1, None)


@pytest.mark.parametrize("drift", [0.0, 50e-6, -300e-6, 0.01])
def test_offset_and_drift_are_found(drift: float) -> None:
    """With round trips of 2 to 60 ms, of which now one way and now the other takes the most."""
    rng = np.random.default_rng(0)
    clock = DeviceClock(16_000)
    now_s = 1000.0
    for _ in range(64):
        there_s, back_s = 0.001 + rng.exponential(0.01, 2)
        position = round((now_s + there_s - 990.0) * 16_000 * (1 + drift))
        clock.add(now_s, position, 0.0, now_s + there_s + back_s)
        now_s += 2.0
    position = round((now_s - 990.0) * 16_000 * (1 + drift))
    assert clock.host_s(position) == pytest.approx(now_s, abs=0.005)
    assert clock.drift_ppm == pytest.approx(1e6 * drift, abs=100)
    assert clock.round_trip_s is not None
    assert clock.round_trip_s < 0.02


def test_a_clock_that_was_never_asked_is_not_known() -> None:
    assert DeviceClock(16_000).host_s(0) is None


def test_a_tone_goes_on_across_a_gap() -> None:
    at = np.arange(4000) / 16_000
    tone = (0.5 * np.sin(2 * np.pi * 440 * at)).astype(np.float32)
    made = Concealer().fill(tone[1040:2000], tone[2320:2640], 320)
    assert np.std(made - tone[2000:2320]) < 0.4 * np.std(tone)
    assert np.abs(made).max() < 1.1 * 0.5


@pytest.mark.parametrize("gap", [320, 1280])
def test_noise_keeps_its_level_and_colour_across_a_gap(gap: int) -> None:
    rng = np.random.default_rng(1)
    white = rng.standard_normal(100_000).astype(np.float32)
    brown = np.convolve(white, np.ones(8) / 80, "same").astype(np.float32)
    concealer = Concealer()
    made = [concealer.fill(brown[i - 960 : i], brown[i + gap : i + gap + 320], gap)
            for i in range(1000, 90_000, 1000)]  # fmt: skip
    spectra = [np.mean(np.abs(np.fft.rfft(x.reshape(-1, 160))) ** 2, axis=0)
               for x in (np.concatenate(made), brown)]  # fmt: skip
    bands_db = [10 * np.log10(spectrum.reshape(-1, 9).mean(1)) for spectrum in spectra]
    assert np.abs(bands_db[0] - bands_db[1]).max() < 3.0


@settings(deadline=None)
@given(st.integers(0, 960), st.integers(0, 960), st.integers(1, 2000), st.floats(0, 1, width=32))
def test_what_is_made_up_is_as_long_as_wanted_and_not_much_louder(
    before: int, after: int, count: int, level: float
) -> None:
    rng = np.random.default_rng(before)
    around = (level * rng.uniform(-1, 1, before + after)).astype(np.float32)
    made = Concealer().fill(around[:before], around[before:], count)
    assert made.shape == (count,)
    assert made.dtype == np.float32
    assert np.isfinite(made).all()
    if min(before, after) >= 8:
        assert np.abs(made).max() <= 1.5 * level


def test_a_gap_is_filled_alike_every_time() -> None:
    heard = np.random.default_rng(0).standard_normal(960).astype(np.float32)
    first, again = (Concealer().fill(heard, heard, 640) for _ in range(2))
    assert np.array_equal(first, again)
