"""A device and a host over links of every badness: sent = heard + lost, to the sample."""

from __future__ import annotations

from dataclasses import replace

import pytest
from bad_links import FRAME_SAMPLES, World, ramp
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_alm.bridge.frame import WireFrame, pack, unpack
from edge_alm.bridge.messages import NO_WISH, Again, Hello, Welcome
from edge_alm.bridge.numbers import Capability, EventCode, Flag, FrameType
from edge_alm.bridge.session import HostSession
from edge_alm.bridge.stream import ON_THE_WAY, Begins, Heard, Missing
from edge_alm.types import Fault
from firmware_bridge.board import ALL, Board
from firmware_bridge.relay import BadLink, Faults

BAD = Faults(0.1, 3.0, 0.2, 0.05, 0.1, 0.05)
LINKS = {
    "good": Faults(),
    "loss 1 %": Faults(loss=0.01),
    "loss 10 %": Faults(loss=0.10),
    "loss 40 %": Faults(loss=0.40),
    "bursts": Faults(loss=0.2, burst=8),
    "reordering": Faults(reordered=0.5),
    "reordering beyond the delay": Faults(reordered=0.3, held_s=0.3),
    "duplicates": Faults(duplicated=0.3, reordered=0.1),
    "bit flips": Faults(flipped=0.2),
    "all": BAD,
}


def check(world: World) -> None:
    assert world.host.stream is not None
    account, ledger = world.account, world.host.stream.ledger
    assert world.board.due_since_hello == account.heard + account.lost
    assert (ledger.heard, ledger.lost, ledger.withheld) == (
        account.heard,
        account.lost,
        account.withheld,
    )
    assert account.misplaced == 0


@pytest.mark.parametrize("drift", [0.0, 0.01, -0.01], ids=["", "fast", "slow"])
@pytest.mark.parametrize("link", LINKS)
def test_samples_conserve(link: str, drift: float) -> None:
    world = World(LINKS[link], seed=len(link), drift=drift)
    world.run(20)
    world.end()
    check(world)
    assert world.account.begins == 1
    assert world.account.faults == []
    assert world.account.heard > 16_000
    if link in ("good", "reordering", "duplicates"):
        assert world.account.lost == 0


@settings(deadline=None, max_examples=30)
@given(
    faults=st.builds(
        Faults,
        loss=st.floats(0, 0.4),
        burst=st.floats(1, 10),
        reordered=st.floats(0, 0.5),
        held_s=st.floats(0, 0.4),
        duplicated=st.floats(0, 0.3),
        flipped=st.floats(0, 0.3),
    ),
    seed=st.integers(0, 1000),
    delay_s=st.sampled_from([0.0, 0.06, 0.2]),
    full=st.sets(st.integers(0, 500), max_size=60),
    muted=st.sampled_from([(), (100, 200), (30, 31)]),
)
def test_samples_conserve_whatever_happens(
    faults: Faults, seed: int, delay_s: float, full: set[int], muted: tuple[int, ...]
) -> None:
    world = World(faults, seed=seed, delay_s=delay_s)
    for i in range(500):
        world.has_room = lambda i=i: i not in full  # type: ignore[misc]
        if i in muted:
            world.board.mute(i == muted[0])
        world.step()
    world.has_room = lambda: True
    world.end()
    if world.host.stream is not None:
        check(world)


def test_the_order_of_sound_is_kept_and_what_is_missing_is_told_where_it_was() -> None:
    host = HostSession(0.0)
    hello = Hello(7, 1, 16_000, 320, Capability(0), "x")
    (begins,) = host.receive(pack(WireFrame(FrameType.HELLO, 7, 0, 0, 0, hello.pack())), 0.0)
    assert begins == Begins(hello)
    first = host.receive(pack(WireFrame(FrameType.PCM16, 7, 1, 0, 0, bytes(640))), 0.0)
    assert [type(part) for part in first] == [Heard]
    later = host.receive(pack(WireFrame(FrameType.PCM16, 7, 4, 960, 1000, bytes(640))), 0.0)
    lost, silent, heard = later
    assert isinstance(lost, Missing)
    assert (lost.samples, lost.reason) == (640, ON_THE_WAY)
    assert silent.samples == 40 and not silent.muted  # type: ignore[union-attr]  # noqa: PT018
    assert isinstance(heard, Heard)


def test_a_hole_is_waited_for_as_long_as_stated() -> None:
    world = World(delay_s=0.05)
    world.run(1.0)
    held = world.board.position
    world.down.put = lambda frame, now_s: None  # type: ignore[method-assign]
    world.up.put = lambda frame, now_s: None  # type: ignore[method-assign]
    world.step()
    del world.up.put
    waited = []
    for _ in range(6):
        world.step()
        waited.append(world.account.clock)
    # 60 ms after it came the first frame behind the hole has waited for more than 50.
    assert waited[:3] == [held] * 3
    assert waited[3] == held + 5 * FRAME_SAMPLES
    assert world.account.lost == FRAME_SAMPLES


@pytest.mark.parametrize("loss", [0.05, 0.1, 0.2])
def test_what_is_lost_is_asked_for_again_and_comes(loss: float) -> None:
    worlds = []
    for capabilities in (ALL, ALL & ~Capability.RESENDS):
        world = World(Faults(loss=loss), capabilities=capabilities, step_s=0.005)
        world.run(60)
        world.end()
        check(world)
        worlds.append(world)
    resent, given_up = worlds
    # Both ways lose: each of three or four attempts fails with 1 - (1 - loss)**2.
    assert given_up.account.lost > 0.7 * loss * given_up.board.due_since_hello
    assert resent.account.lost < 0.05 * given_up.account.lost
    assert resent.host.recovered > 0.9 * loss * 60 / 0.02
    assert given_up.host.recovered == 0


def test_what_was_heard_before_a_mute_is_not_sent_after_it() -> None:
    sent: list[WireFrame] = []

    def send(data: bytes) -> bool:
        sent.append(unpack(data))
        return True

    board = Board(send, codecs=(FrameType.PCM16,))
    board.tick(0.0)
    welcome = Welcome(1, FrameType.PCM16, NO_WISH).pack()

    def tell(kind: FrameType, payload: bytes) -> list[WireFrame]:
        sent.clear()
        board.receive(pack(WireFrame(kind, 1, 0, 0, 0, payload, flags=Flag.DOWN)), 0.0)
        return list(sent)

    tell(FrameType.WELCOME, welcome)
    for n in range(20):
        board.capture(ramp(320 * n, 320), 0.0)
    again = tell(FrameType.AGAIN, Again.of([10, 14, 20]).pack())
    assert [frame.sequence for frame in again] == [14, 20]  # of 8 that are kept
    assert again[0].payload == ramp(320 * 13, 320).tobytes()
    board.mute(True)
    # The word of the mute itself is no sample.
    (muted,) = tell(FrameType.AGAIN, Again.of([20, 21]).pack())
    assert muted.type == FrameType.MUTE
    board.mute(False)
    (unmuted,) = tell(FrameType.AGAIN, Again.of([20, 21, 22]).pack())
    assert unmuted.type == FrameType.MUTE


def test_holes_that_no_frame_fits_are_asked_for_33_at_a_time() -> None:
    assert Again.of([2**32 - 1, 2**32 + 1]).sequences == [2**32 - 1, 1]
    assert Again.unpack(Again.of(range(7, 40)).pack()).sequences == list(range(7, 40))
    host, board = HostSession(0.06), Board(lambda _: True)
    frames = [pack(WireFrame(FrameType.PCM16, 1, n, 320 * n, 320 * n, bytes(640))) for n in (1, 90)]
    hello = pack(WireFrame(FrameType.HELLO, 1, 0, 0, 0, board._hello.pack()))
    for now_s, frame in enumerate((hello, *frames)):
        host.receive(frame, now_s / 1000)
    asked = [unpack(frame) for frame in host.take_outbox()]
    (again,) = [frame for frame in asked if frame.type == FrameType.AGAIN]
    assert Again.unpack(again.payload).sequences == list(range(2, 35))
    assert host.next_s() == pytest.approx(0.022)
    assert host.advance(0.0219) == []
    assert host.take_outbox() == []
    host.advance(0.0221)
    assert [unpack(frame).payload for frame in host.take_outbox()] == [again.payload]
    assert host.next_s() == pytest.approx(0.0421)


def test_where_nothing_is_missing_nothing_waits() -> None:
    world = World(delay_s=10.0)
    for _ in range(100):
        world.step()
        assert world.account.clock == world.board.position


def test_what_the_device_drops_is_lost_too_and_told_so() -> None:
    world = World()
    world.run(1.0)
    world.has_room = lambda: False
    world.run(0.2)
    world.has_room = lambda: True
    world.run(1.0)
    world.end()
    check(world)
    assert world.account.reasons == ["dropped by the device"]
    assert world.account.lost == 10 * FRAME_SAMPLES == world.board.dropped


def test_a_mute_is_seen_and_heard_of_and_no_sample_passes() -> None:
    world = World()
    world.run(1.0)
    world.up = BadLink(Faults(loss=0.2), 3)
    before = world.board.due_since_hello
    world.board.mute(True)
    world.run(3.0)
    assert world.host.stream is not None
    assert world.host.stream.is_muted
    assert world.board.due_since_hello == before
    world.board.mute(False)
    world.run(1.0)
    world.end()
    check(world)
    assert world.account.muted == world.account.withheld == 150 * FRAME_SAMPLES
    assert world.account.faults == ["muted"]


def test_a_device_that_begins_anew_is_a_new_stream() -> None:
    world = World()
    world.run(1.0)
    old = world.up.take(world.now_s + 1)
    world.board = Board(world._put, session=2, codecs=(FrameType.PCM16,))
    world.account.clock = 0
    world.run(2.0)
    assert world.account.begins == 2
    stray = pack(WireFrame(FrameType.PCM16, 1, 60, 16_000, 16_000, bytes(640)))
    assert world.host.receive(stray, world.now_s) == []
    again = Hello(1, 1, 16_000, 320, Capability(0), "").pack()
    hello = pack(WireFrame(FrameType.HELLO, 1, 61, 0, 0, again))
    assert world.host.receive(hello, world.now_s) == []
    assert world.host.stream is not None
    assert world.host.stream.hello.session == 2
    assert world.account.misplaced == 0
    assert not old


def test_a_host_that_begins_anew_finds_its_device() -> None:
    world = World()
    world.run(1.0)
    world.host = HostSession(0.06)
    world.account.clock = 0
    for _ in range(10):
        world.step()
    assert world.host.stream is not None
    assert world.host.stream.ledger.heard > 0
    assert world.account.begins == 2


def test_a_host_that_is_away_misses_what_is_told_when_it_is_back() -> None:
    world = World()
    world.run(1.0)
    away = world.host
    for _ in range(1000):  # 20 s: the device gives the host up after 10
        world.now_s += 0.02
        world.board.tick(world.now_s)
        world.capture()
        world.up.take(world.now_s)
    assert not world.board.is_welcome
    world.host = away
    world.run(2.0)
    world.end()
    check(world)
    assert world.account.lost == 1000 * FRAME_SAMPLES


@pytest.mark.parametrize("count", [0x5000, 0x9000])
def test_counts_that_wrap_go_on(count: int) -> None:
    host = HostSession(0.0)
    top = 2**32 - 320 * 3
    hello = Hello(7, 1, 16_000, 320, Capability(0), "x")
    host.receive(pack(WireFrame(FrameType.HELLO, 7, 2**32 - 2, top, 5, hello.pack())), 0.0)
    heard = 0
    for i in range(8):
        frame = WireFrame(FrameType.PCM16, 7, 2**32 - 1 + i, top + 320 * i, 5 + 320 * i, bytes(640))
        assert unpack(pack(frame)).sequence == (2**32 - 1 + i) % 2**32
        heard += sum(isinstance(part, Heard) for part in host.receive(pack(frame), 0.0))
    assert heard == 8
    assert host.stream is not None
    assert host.stream.ledger.lost == 0


@pytest.mark.parametrize(("due", "position"), [(0, 2**40), (2**31, 640), (320, 0), (400, 330)])
def test_counts_that_cannot_be_are_told_and_not_used(due: int, position: int) -> None:
    host = HostSession(0.0)
    hello = Hello(7, 1, 16_000, 320, Capability(0), "x")
    host.receive(pack(WireFrame(FrameType.HELLO, 7, 0, 0, 0, hello.pack())), 0.0)
    host.receive(pack(WireFrame(FrameType.PCM16, 7, 1, 0, 0, bytes(640))), 0.0)
    parts = host.receive(pack(WireFrame(FrameType.PCM16, 7, 2, due, position, bytes(640))), 0.0)
    assert [getattr(part, "code", "") for part in parts] == ["bad-count", ""]
    assert host.stream is not None
    assert host.stream.ledger.lost == 0


def test_a_payload_that_cannot_be_read_is_lost() -> None:
    host = HostSession(0.0)
    hello = Hello(7, 3, 16_000, 320, Capability(0), "x")
    host.receive(pack(WireFrame(FrameType.HELLO, 7, 0, 0, 0, hello.pack())), 0.0)
    assert host.receive(pack(WireFrame(FrameType.ADPCM, 7, 1, 0, 0, b"\0\0\xff\0ab")), 0.0) == []
    parts = host.receive(pack(WireFrame(FrameType.PCM16, 7, 2, 320, 320, bytes(640))), 0.0)
    assert [part.samples for part in parts if isinstance(part, Missing)] == [320]


def test_a_last_word_is_not_taken_back() -> None:
    world = World()
    world.run(0.5)
    world.board.finish()
    world.run(2.0)
    assert world.host.stream is not None
    assert world.host.stream.is_over


def test_an_unfit_device_is_told() -> None:
    host = HostSession(0.0)
    good = Hello(7, 3, 16_000, 320, Capability.TWO_WAY, "x")
    for hello in (replace(good, codecs=1 << 9), replace(good, lowest_version=2, highest_version=3)):
        (fault,) = host.receive(pack(WireFrame(FrameType.HELLO, 7, 0, 0, 0, hello.pack())), 0.0)
        assert isinstance(fault, Fault)
        assert fault.code == "device-unfit"
    assert host.take_outbox() == []


def test_echoes_and_other_streams_are_strangers() -> None:
    host = HostSession(0.0)
    hello = Hello(7, 1, 16_000, 320, Capability(0), "x").pack()
    for frame in (
        WireFrame(FrameType.HELLO, 7, 0, 0, 0, hello, flags=Flag.DOWN),
        WireFrame(FrameType.HELLO, 7, 0, 0, 0, hello, stream=1),
    ):
        assert host.receive(pack(frame), 0.0) == []
    assert host.strangers == 2
    assert host.stream is None


def test_what_was_heard_goes_down_to_those_who_want_it() -> None:
    world = World()
    world.run(0.5)
    world.host.tell(EventCode.SOUND_STARTS, "Doorbell", 0.5, 320)
    world.host.tell(EventCode.SPEECH, "turn left", 1.0, 640)
    world.host.set_gain(-6)
    world.step()
    kinds = [(kind, told.text, told.position) for kind, told in world.board.shown]
    assert kinds == [
        (FrameType.EVENT, "Doorbell", 320),
        (FrameType.EVENT, "turn left", 640),
        (FrameType.CAPTION, "turn left", 640),
    ]
    assert world.board.shown[0][1].confidence == 128
    assert world.board.gain_db == -6


@pytest.mark.parametrize("drift_ppm", [0, 40, -200, 10_000])
def test_the_clock_is_learnt_over_a_bad_link(drift_ppm: int) -> None:
    world = World(Faults(loss=0.1, reordered=0.3, held_s=0.03), drift=drift_ppm * 1e-6)
    world.run(120)
    assert world.host.stream is not None
    clock = world.host.stream.clock
    assert clock.drift_ppm == pytest.approx(drift_ppm, abs=300)
    found_s = clock.host_s(world.board.position)
    assert found_s == pytest.approx(world.now_s, abs=0.02)
