"""The microphone with a capture library whose device does as a test says."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_alm.audio import capture, microphone
from edge_alm.audio.microphone import Microphone, Tap
from edge_alm.audio.resample import resampled_length
from edge_alm.audio.ring import Gap, Ring
from edge_alm.errors import DeviceError
from edge_alm.types import Fault, Frame, Lost, Packet, Samples

RATE_HZ = 48_000


@dataclass(frozen=True)
class Block:
    """What the driver hands to the callback."""

    samples: Samples
    adc_s: float = 0.0
    overrun: bool = False
    underrun: bool = False


Deliver = Callable[[capture.Callback, threading.Event], None]
"""Calls the callback; the event is set when the device is closed."""


@dataclass
class ScriptedCapture:
    callback: capture.Callback
    deliver: Deliver | None
    active: bool = True
    thread: threading.Thread | None = None
    closed: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        if self.deliver is None:
            raise DeviceError("scripted device", got="a failure to start")
        self.thread = threading.Thread(target=self._run, args=(self.deliver,))
        self.thread.start()

    def _run(self, deliver: Deliver) -> None:
        deliver(self.callback, self.closed)
        self.active = False

    def close(self) -> None:
        self.closed.set()
        if self.thread:
            self.thread.join()


@dataclass
class ScriptedBackend:
    """Every opening of its only device plays the next script; None fails to start."""

    scripts: list[Deliver | None]
    rate: int = 16_000
    present: bool = True
    name: str = "scripted"
    closed: bool = False
    opened: list[float] = field(default_factory=list)

    def inputs(self) -> list[capture.InputDevice]:
        device = capture.InputDevice(self.name, 0, "scripted device", 1, self.rate, True)
        return [device] if self.present else []

    def rate_hz(self, device: capture.InputDevice) -> int:
        return self.rate

    def open(
        self, device: capture.InputDevice, rate_hz: int, callback: capture.Callback
    ) -> ScriptedCapture:
        self.opened.append(time.monotonic())
        return ScriptedCapture(callback, self.scripts.pop(0))

    def refresh(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True


def blocks(items: Sequence[Block]) -> Deliver:
    def deliver(callback: capture.Callback, closed: threading.Event) -> None:
        for block in items:
            callback(block.samples, block.adc_s, block.overrun, block.underrun)

    return deliver


def noise(n: int, seed: int = 0) -> Samples:
    return np.random.default_rng(seed).normal(0, 0.1, n).astype(np.float32)


def checked(packets: Iterator[Packet]) -> Iterator[Packet]:
    """The packets, with the clock's rule held to them."""
    clock = 0
    for packet in packets:
        if isinstance(packet, Frame):
            assert packet.start == clock
            clock = packet.end
        elif isinstance(packet, Lost):
            assert packet.at == pytest.approx(clock / 16_000, abs=0.0006)
            assert packet.samples > 0
            clock += packet.samples
        yield packet


def until_fault(mic: Microphone) -> list[Packet]:
    """What it gives up to the loss of its device."""
    packets: list[Packet] = []
    for packet in checked(mic.packets()):
        if isinstance(packet, Fault):
            break
        packets.append(packet)
    mic.close()
    return packets


def samples_of(packets: list[Packet]) -> Samples:
    parts = [packet.samples for packet in packets if isinstance(packet, Frame)]
    return np.concatenate([np.zeros(0, np.float32), *parts])


def tapped(rate_hz: int = 16_000) -> tuple[Tap, Ring]:
    ring = Ring(1_000_000)
    return Tap(rate_hz, ring), ring


def drain(ring: Ring) -> list[Samples | Gap]:
    items: list[Samples | Gap] = []
    while (item := ring.read(0)) is not None:
        items.append(item)
    return items


def test_blocks_pass_through_at_16_khz() -> None:
    sound = noise(5_000)
    backend = ScriptedBackend([blocks([Block(part) for part in np.split(sound, [100, 2_500])])])
    packets = until_fault(Microphone(backend))
    np.testing.assert_array_equal(samples_of(packets), sound)
    assert backend.closed


def test_another_rate_is_resampled_to_the_exact_length() -> None:
    backend = ScriptedBackend([blocks([Block(noise(1_000))] * 97)], rate=44_100)
    packets = until_fault(Microphone(backend))
    assert len(samples_of(packets)) == resampled_length(97_000, 44_100)


@settings(deadline=None, max_examples=40)
@given(
    steps=st.lists(st.tuples(st.integers(1, 3_000), st.integers(0, 2_000)), min_size=1, max_size=8),
    rate_hz=st.sampled_from([16_000, 44_100, 48_000]),
)
def test_gaps_keep_the_clock_right_at_any_rate(steps: list[tuple[int, int]], rate_hz: int) -> None:
    """The clock after every gap is that of an unbroken stream."""
    script, adc_s = [], 1.0
    for n, missing in steps:
        # Blocks after a gap are flagged and the driver's clock shows the gap.
        adc_s += missing / rate_hz
        script.append(Block(noise(n), adc_s, overrun=missing > 0))
        adc_s += n / rate_hz
    backend = ScriptedBackend([blocks(script)], rate=rate_hz)
    packets = until_fault(Microphone(backend))
    total = sum(n for n, _ in steps) + sum(missing for _, missing in steps[1:])
    clock = sum(len(p.samples) if isinstance(p, Frame) else 0 for p in packets)
    clock += sum(p.samples for p in packets if isinstance(p, Lost))
    assert abs(clock - resampled_length(total, rate_hz)) <= 1
    assert all(p.reason == microphone.OVERRUN for p in packets if isinstance(p, Lost))


def test_zeros_made_up_by_the_driver_are_lost_not_heard() -> None:
    zeros = np.zeros(800, np.float32)
    script = [Block(noise(800)), Block(zeros, underrun=True), Block(noise(800))]
    packets = until_fault(Microphone(ScriptedBackend([blocks(script)])))
    kinds = [(type(p), len(p.samples) if isinstance(p, Frame) else p) for p in packets]
    assert kinds[0] == (Frame, 800)
    assert isinstance(packets[1], Lost)
    assert (packets[1].samples, packets[1].reason) == (800, microphone.UNDERRUN)
    assert packets[1].at == 0.05
    assert kinds[2] == (Frame, 800)


def test_an_overrun_is_counted_by_the_drivers_clock() -> None:
    tap, ring = tapped()
    tap.take(noise(800), 10.0, False, False, 50.0)
    tap.take(noise(800), 10.25, True, False, 50.06)  # 0.2 s later than it should start
    first, gap, second = drain(ring)
    assert gap == Gap(3_200, microphone.OVERRUN)
    assert len(first) == len(second) == 800  # type: ignore[arg-type]


def test_without_a_drivers_clock_an_overrun_is_counted_by_arrival_and_says_so() -> None:
    tap, ring = tapped()
    tap.take(noise(800), 0.0, False, False, 50.0)
    tap.take(noise(800), 0.0, True, False, 50.25)
    assert drain(ring)[1] == Gap(3_200, microphone.OVERRUN_BY_CLOCK)


def test_an_overrun_that_lost_nothing_is_no_gap() -> None:
    tap, ring = tapped()
    tap.take(noise(800), 10.0, False, False, 50.0)
    tap.take(noise(800), 10.05, True, False, 50.3)
    assert [len(item) for item in drain(ring) if not isinstance(item, Gap)] == [1_600]


def test_late_blocks_without_a_drivers_clock_are_only_late() -> None:
    tap, ring = tapped()
    tap.take(noise(800), 0.0, False, False, 50.0)
    tap.take(noise(800), 0.0, False, False, 53.0)
    assert not any(isinstance(item, Gap) for item in drain(ring))


@pytest.mark.parametrize(
    ("adc_s", "now_s", "lost"),
    [
        (10.05, 53.0, 0),  # the interpreter stalled; the driver buffered everything
        (12.05, 50.05, 0),  # the driver's clock jumped; PulseAudio's does at the start
        (3_610.05, 3_650.05, 3_600 * 16_000),  # the machine slept for an hour
    ],
)
def test_only_two_clocks_together_tell_of_sleep(adc_s: float, now_s: float, lost: int) -> None:
    tap, ring = tapped()
    tap.take(noise(800), 10.0, False, False, 50.0)
    tap.take(noise(800), adc_s, False, False, now_s)
    assert sum(item.samples for item in drain(ring) if isinstance(item, Gap)) == lost


def test_a_slow_reader_loses_what_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(microphone, "RING_S", 0.1)
    sound = noise(16_000)
    done = threading.Event()

    def deliver(callback: capture.Callback, closed: threading.Event) -> None:
        for part in np.split(sound, 20):
            callback(part, 0.0, False, False)
        done.set()

    mic = Microphone(ScriptedBackend([deliver]))
    packets = checked(mic.packets())
    first = next(packets)
    done.wait(5)
    rest = []
    for packet in packets:
        if isinstance(packet, Fault):
            break
        rest.append(packet)
    mic.close()
    gaps = [packet for packet in rest if isinstance(packet, Lost)]
    assert {gap.reason for gap in gaps} == {Ring.FULL}
    heard = len(samples_of([first, *rest]))
    assert heard + sum(gap.samples for gap in gaps) == 16_000


def test_a_lost_device_is_a_fault_and_its_return_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(microphone, "RETRY_S", (0.05, 0.1))

    def come_back(callback: capture.Callback, closed: threading.Event) -> None:
        callback(noise(1_600), 0.0, False, False)
        closed.wait(10)

    backend = ScriptedBackend([blocks([Block(noise(1_600))]), None, None, come_back])
    mic = Microphone(backend)
    seen: list[Packet] = []
    times: list[float] = []
    for packet in checked(mic.packets()):
        seen.append(packet)
        times.append(time.time())
        if isinstance(packet, Frame) and any(isinstance(p, Lost) for p in seen):
            break
    mic.close()
    faults = [packet for packet in seen if isinstance(packet, Fault)]
    assert [fault.code for fault in faults] == ["device-lost"]
    (lost,) = [packet for packet in seen if isinstance(packet, Lost)]
    assert lost.reason == "device-lost"
    assert mic.started_unix is not None
    last = seen[-1]
    assert isinstance(last, Frame)
    # The clock and the wall agree, within a poll and a slow machine's delay.
    assert last.end / 16_000 == pytest.approx(times[-1] - mic.started_unix, abs=0.15)
    assert lost.samples / 16_000 > 0.05 + 0.1 + 0.1 - 0.1 - 0.01  # the waits, less a block
    waits = np.diff(backend.opened[1:])
    np.testing.assert_array_less(0.09, waits)  # the last wait repeats


def test_a_device_that_stalls_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(microphone, "STALL_S", 0.2)

    def stall(callback: capture.Callback, closed: threading.Event) -> None:
        callback(noise(800), 0.0, False, False)
        closed.wait(10)

    mic = Microphone(ScriptedBackend([stall]))
    kinds = []
    start_s = time.monotonic()
    for packet in mic.packets():
        kinds.append(type(packet))
        if isinstance(packet, Fault):
            break
    waited_s = time.monotonic() - start_s
    mic.close()
    assert kinds == [Frame, Fault]
    assert 0.15 < waited_s < 2


def test_a_device_that_never_speaks_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(microphone, "START_S", 0.2)

    def say_nothing(callback: capture.Callback, closed: threading.Event) -> None:
        closed.wait(10)

    mic = Microphone(ScriptedBackend([say_nothing]))
    first = next(iter(mic.packets()))
    mic.close()
    assert isinstance(first, Fault)
    assert mic.started_unix is None


@pytest.mark.parametrize("when", ["listening", "retrying"])
def test_close_ends_it_at_once(when: str) -> None:
    def deliver(callback: capture.Callback, closed: threading.Event) -> None:
        callback(noise(800), 0.0, False, False)
        if when == "listening":
            closed.wait(10)

    backend = ScriptedBackend([deliver, None, None])
    mic = Microphone(backend)
    timer = threading.Timer(0.4, mic.close)
    timer.start()
    start_s = time.monotonic()
    packets = list(mic.packets())
    assert time.monotonic() - start_s < 1.5
    timer.join()
    assert [type(p) for p in packets] == [Frame] + [Fault] * (when == "retrying")
    mic.close()
    assert backend.closed


def test_a_failed_opening_leaves_nothing_open() -> None:
    backend = ScriptedBackend([], present=False)
    with pytest.raises(DeviceError):
        Microphone(backend)
    assert backend.closed


def test_a_failed_start_is_an_error() -> None:
    backend = ScriptedBackend([None])
    with pytest.raises(DeviceError, match="a failure to start"):
        list(Microphone(backend).packets())
    assert backend.closed
