"""The parser of chunks, and the queue in front of it: nothing goes missing without a word."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_alm.audio.chunks import (
    MISSING,
    QUEUE_S,
    RESTARTED,
    TOO_SLOW,
    Chunk,
    ChunkParser,
    ChunkStream,
)
from edge_alm.audio.resample import resampled_length
from edge_alm.audio.ros import StampedChunks, chunk_from_message
from edge_alm.types import SAMPLE_RATE_HZ, Fault, Frame, Lost, Packet, Samples

STARTED_UNIX = 1_700_000_000.0
RATE_HZ = 16_000


def chunk(
    samples: Samples, first: int = 0, rate_hz: int = RATE_HZ, started: float = STARTED_UNIX
) -> Chunk:
    """Mono float samples, stamped by a clock that began at ``started``."""
    data = samples.astype("<f4").tobytes()
    return Chunk(data, "f32le", rate_hz, 1, first, started + first / rate_hz)


def ramp(first: int, n: int) -> Samples:
    """Samples that tell their own numbers."""
    return ((np.arange(first, first + n) % 4096) / 4096).astype(np.float32)


def parse(chunks: Sequence[Chunk], parser: ChunkParser | None = None) -> list[Packet]:
    parser = parser or ChunkParser()
    packets = [packet for one in chunks for packet in parser.push(one)]
    return packets + parser.finish()


def heard(packets: Sequence[Packet]) -> Samples:
    """The stream's samples with zeros for what is lost; checks the clock on the way."""
    parts: list[Samples] = [np.zeros(0, np.float32)]
    clock = 0
    for packet in packets:
        if isinstance(packet, Frame):
            assert packet.start == clock
            clock = packet.end
            parts.append(packet.samples)
        elif isinstance(packet, Lost):
            assert packet.at == pytest.approx(clock / SAMPLE_RATE_HZ, abs=1e-3)
            clock += packet.samples
            parts.append(np.zeros(packet.samples, np.float32))
    return np.concatenate(parts)


def lost(packets: Sequence[Packet]) -> list[tuple[int, str]]:
    return [(p.samples, p.reason) for p in packets if isinstance(p, Lost)]


def faults(packets: Sequence[Packet]) -> list[str]:
    return [p.code for p in packets if isinstance(p, Fault)]


@given(
    sizes=st.lists(st.integers(1, 700), min_size=1, max_size=12),
    missing=st.sets(st.integers(1, 10)),
    rate_hz=st.sampled_from([8_000, 16_000, 44_100, 48_000]),
)
@settings(max_examples=60, deadline=None)
def test_every_sample_is_heard_or_lost(sizes: list[int], missing: set[int], rate_hz: int) -> None:
    starts = np.cumsum([0, *sizes])
    kept = [i for i in range(len(sizes)) if i not in missing]
    parser = ChunkParser()
    packets = parse(
        [chunk(ramp(starts[i], sizes[i]), int(starts[i]), rate_hz) for i in kept], parser
    )
    end = int(starts[kept[-1] + 1])
    assert len(heard(packets)) == pytest.approx(resampled_length(end, rate_hz), abs=len(kept))
    assert parser.started_unix == STARTED_UNIX
    assert {reason for _, reason in lost(packets)} <= {MISSING}
    if rate_hz == SAMPLE_RATE_HZ:
        expected = ramp(0, end)
        for i in set(range(kept[-1])) & missing:
            expected[starts[i] : starts[i + 1]] = 0
        np.testing.assert_array_equal(heard(packets), expected)


def test_channels_are_mixed_and_integers_scaled() -> None:
    stereo = np.array([[16384, 0], [-32768, 0]], "<i2").tobytes()
    packets = parse([Chunk(stereo, "s16le", RATE_HZ, 2, 0, STARTED_UNIX)])
    np.testing.assert_allclose(heard(packets), [0.25, -0.5])


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"encoding": "mp3"}, "encoding"),
        ({"rate_hz": 0}, "sample rate"),
        ({"rate_hz": 4_000_000_000}, "sample rate"),
        ({"channels": 0}, "channels"),
        ({"channels": 200}, "channels"),
        ({"data": b"123"}, "multiple of 4"),
        ({"data": b""}, "multiple of 4"),
        ({"data": bytes(4 * 16_000 * 11)}, "at most 10 s"),
    ],
)
def test_a_malformed_chunk_is_refused_and_its_time_is_lost(
    change: dict[str, Any], word: str
) -> None:
    good = [chunk(ramp(i * 320, 320), i * 320) for i in range(3)]
    packets = parse([good[0], replace(good[1], **change), good[2]])
    (fault,) = (p for p in packets if isinstance(p, Fault))
    assert fault.code == "bad-chunk"
    assert word in fault.message
    assert lost(packets) == [(320, MISSING)]
    assert len(heard(packets)) == 960


def test_what_is_no_audio_is_heard_as_silence() -> None:
    samples = ramp(0, 320)
    samples[5:8] = [np.nan, np.inf, 1e9]
    packets = parse([chunk(samples), chunk(ramp(320, 320), 320)])
    assert faults(packets) == ["bad-samples"]
    assert not heard(packets)[5:8].any()
    np.testing.assert_array_equal(heard(packets)[320:], ramp(320, 320))


def test_repeats_and_overlaps_are_cut() -> None:
    packets = parse(
        [
            chunk(ramp(0, 320)),
            chunk(ramp(0, 320)),  # the same again
            chunk(ramp(160, 320), 160),  # half of it is new
            chunk(ramp(640, 320), 640),
            chunk(ramp(480, 160), 480),  # too late
        ]
    )
    assert faults(packets) == ["late-chunk"] * 3
    expected = ramp(0, 960)
    expected[480:640] = 0
    np.testing.assert_array_equal(heard(packets), expected)
    assert lost(packets) == [(160, MISSING)]


def test_a_sender_that_begins_anew_is_placed_by_its_stamps() -> None:
    packets = parse(
        [
            chunk(ramp(0, 320)),
            chunk(ramp(320, 320), 320),
            chunk(ramp(0, 320), 0, started=STARTED_UNIX + 2.04),  # 2 s after the end
            chunk(ramp(320, 320), 320, started=STARTED_UNIX + 2.04),
        ]
    )
    assert lost(packets) == [(2 * SAMPLE_RATE_HZ, RESTARTED)]
    assert not faults(packets)
    np.testing.assert_array_equal(heard(packets)[-640:], ramp(0, 640))


def test_without_stamps_a_zero_begins_anew() -> None:
    bare = [replace(chunk(ramp(i, 320), i), stamp_unix=0.0) for i in (0, 320, 0, 320)]
    parser = ChunkParser()
    packets = [p for one in bare for p in parser.push(one, now_unix=STARTED_UNIX)]
    assert parser.started_unix == pytest.approx(STARTED_UNIX - 0.02)
    assert not faults(packets)
    np.testing.assert_array_equal(heard(packets), np.tile(ramp(0, 640), 2))


def test_a_change_of_rate_is_a_new_beginning() -> None:
    packets = parse(
        [chunk(ramp(0, 320)), chunk(ramp(0, 960), 960, rate_hz=48_000, started=STARTED_UNIX)]
    )
    assert not faults(packets)
    assert lost(packets) == []
    assert len(heard(packets)) == 640


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_no_numbers_break_it(data: st.DataObject) -> None:
    """Any order, any stamps: the clock goes on and no packet is empty."""
    parser = ChunkParser()
    chunks = data.draw(
        st.lists(
            st.builds(
                Chunk,
                st.binary(max_size=64),
                st.sampled_from(["s16le", "f32le", "?"]),
                st.sampled_from([0, 8_000, 16_000, 48_000]),
                st.integers(0, 3),
                st.integers(0, 2**64 - 1),
                st.floats(0, 2e9),
            ),
            max_size=12,
        )
    )
    packets = parse(chunks, parser)
    assert all(len(p.samples) for p in packets if isinstance(p, Frame))
    clock = 0
    for packet in packets:
        if isinstance(packet, Frame):
            assert packet.start == clock
            assert np.isfinite(packet.samples).all()
            clock = packet.end
        elif isinstance(packet, Lost):
            assert 0 < packet.samples <= 86_400 * SAMPLE_RATE_HZ + 1
            clock += packet.samples


def test_a_full_queue_loses_and_says_so() -> None:
    stream = ChunkStream("x", queue_s=1.01)
    for i in range(200):  # 4 s; nobody reads
        stream.put(chunk(ramp(i * 320, 320), i * 320))
    assert stream.waiting_s <= 1.01
    packets = stream.packets()
    taken = [next(packets) for _ in range(50)]
    stream.put(chunk(ramp(200 * 320, 320), 200 * 320))
    taken += [next(packets), next(packets)]
    assert lost(taken) == [(150 * 320, TOO_SLOW)]
    assert len(heard(taken)) == 201 * 320
    assert stream.waiting_s == pytest.approx(0.0)


def test_faults_do_not_fill_the_queue() -> None:
    stream = ChunkStream("x")
    for _ in range(1000):
        stream.put(Chunk(b"", "s16le", RATE_HZ, 1, 0, 0.0))
    packets = stream.packets()
    assert isinstance(next(packets), Fault)
    stream.close()
    assert list(packets) == []
    assert QUEUE_S > 1


def test_close_ends_a_reader_that_waits() -> None:
    stream = ChunkStream("x")
    threading.Timer(0.1, stream.close).start()
    began_s = time.monotonic()
    assert list(stream.packets()) == []
    assert time.monotonic() - began_s < 5
    stream.put(chunk(ramp(0, 320)))
    assert stream.waiting_s == 0


def stamp(unix_s: float) -> SimpleNamespace:
    return SimpleNamespace(sec=int(unix_s), nanosec=round(unix_s % 1 * 1e9))


def test_a_message_is_read_by_its_fields() -> None:
    message = SimpleNamespace(
        header=SimpleNamespace(stamp=stamp(12.5)),
        data=np.arange(4, dtype=np.uint8),
        encoding="s16le",
        sample_rate=16_000,
        channels=1,
        first_sample=7,
    )
    assert chunk_from_message(message) == Chunk(b"\0\1\2\3", "s16le", 16_000, 1, 7, 12.5)


def stamped(kind: int, field: str, values: Any, unix_s: float) -> SimpleNamespace:
    """What ``audio_common_msgs/AudioStamped`` carries."""
    info = SimpleNamespace(format=kind, channels=1, rate=16_000, chunk=len(values))
    data = SimpleNamespace(**{field: values})
    return SimpleNamespace(
        header=SimpleNamespace(stamp=stamp(unix_s)),
        audio=SimpleNamespace(info=info, audio_data=data),
    )


def test_stamped_audio_is_numbered_as_it_comes() -> None:
    read = StampedChunks()
    values = [8192] * 160
    messages = [stamped(8, "int16_data", values, STARTED_UNIX + t) for t in (0.0, 0.011, 1.02)]
    packets = parse([read(message) for message in messages])
    assert lost(packets) == [(round(0.999 * 16_000), RESTARTED)]
    assert heard(packets)[0] == 0.25


@pytest.mark.parametrize(
    ("kind", "field", "values", "codes"),
    [
        (1, "float32_data", [0.25] * 8, []),
        (2, "int32_data", [2**29] * 8, []),
        (16, "int8_data", [32] * 8, ["bad-chunk"]),
    ],
)
def test_formats_of_stamped_audio(
    kind: int, field: str, values: list[float], codes: list[str]
) -> None:
    packets = parse([StampedChunks()(stamped(kind, field, values, STARTED_UNIX))])
    assert faults(packets) == codes
    assert heard(packets).tolist() == ([] if codes else [0.25] * 8)
