"""The C library as a sealed device, against the host's own link over real UDP."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from boards import Reader, assemble, ramp
from desk import make

from edge_alm.audio.device import Device
from edge_alm.bridge.frame import WireFrame, pack, unpack
from edge_alm.bridge.messages import NO_WISH, Again, Hello, Welcome
from edge_alm.bridge.numbers import Capability, Flag, FrameType
from edge_alm.bridge.seal import HostSeal
from edge_alm.bridge.session import HostSession
from edge_alm.bridge.stream import Heard, Missing
from edge_alm.bridge.udp import UdpLink
from edge_alm.types import Sound
from firmware_bridge.relay import Faults

pytest.importorskip("cryptography")
from cboard import CBoard, CUdpBoard

KEY = bytes(range(32))
DEVICE = 0xC0FFEE


@pytest.fixture(scope="module")
def library(
    tmp_path_factory: pytest.TempPathFactory, require: Callable[[object, str], None]
) -> Path:
    require(bool(shutil.which("make") and shutil.which("cc")), "a C compiler: scripts/system-deps")
    folder = tmp_path_factory.mktemp("library")
    make("library", folder)
    return folder / "libealm.so"


@pytest.fixture
def link() -> Iterator[UdpLink]:
    made = UdpLink("0", {DEVICE: KEY})
    yield made
    made.close()


@pytest.mark.parametrize(
    "faults",
    [
        Faults(),
        Faults(duplicated=0.5),
        Faults(flipped=0.2),
        Faults(0.1, 3, 0.2, 0.1, 0.2, 0.1),
    ],
    ids=str,
)
def test_samples_conserve(library: Path, link: UdpLink, faults: Faults) -> None:
    device = Device(link)
    board = CUdpBoard(library, ramp(0, 48_000), link.port, DEVICE, KEY, faults, 4.0)
    heard, lost = assemble(Reader(device).join())
    refused, due = board.board.refused, board.board.due_since_hello
    board.close()
    assert len(heard) == due == 48_000
    there = heard != 0
    assert np.array_equal(heard[there], ramp(0, 48_000)[there] / np.float32(32_768))
    assert lost == 0 or faults.loss or faults.flipped or faults.reordered
    counts = link.counts()
    assert (counts.get("bad_tag", 0) + counts.get("replayed", 0) > 0) == (
        faults.duplicated > 0 or faults.flipped > 0
    )
    # Down came the reply, WELCOME and a few SYNC: with half of them twice, surely one.
    if faults.duplicated in (0.0, 0.5):
        assert (refused["REPLAYED"] > 0) == (faults.duplicated > 0)


def test_what_is_lost_is_sent_again(library: Path, link: UdpLink) -> None:
    device = Device(link)
    board = CUdpBoard(library, ramp(0, 80_000), link.port, DEVICE, KEY, Faults(loss=0.1), 1.0)
    heard, lost = assemble(Reader(device).join())
    board.close()
    assert len(heard) == 80_000
    assert device.status()["recovered"] >= 10
    assert lost <= 5 * 320  # of some 25 frames that were lost at first
    there = heard != 0
    assert np.array_equal(heard[there], ramp(0, 80_000)[there] / np.float32(32_768))


def test_what_was_heard_is_shown_and_nobody_else_is(library: Path, link: UdpLink) -> None:
    device = Device(link)
    reader = Reader(device)
    board = CUdpBoard(library, ramp(0, 320_000), link.port, DEVICE, KEY, Faults(), 1.0)
    board.wait_until(lambda: device.status().get("heard_samples", 0) > 1600)
    recorded, ours = list(board.sent), board.socket.getsockname()
    attacker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for datagram in recorded:
        attacker.sendto(datagram, ("127.0.0.1", link.port))
    device.tell(Sound("Doorbell", 0.0, None, 0.9, "start"))
    board.wait_until(lambda: len(board.board.shown) == 1)
    heard_samples = device.status()["heard_samples"]
    board.wait_until(lambda: device.status()["heard_samples"] > heard_samples + 3200)
    board.hang_up()
    _, lost = assemble(reader.join())
    assert lost == 0
    assert board.board.shown == [(1, "Doorbell")]
    assert link._seal.address == ours
    board.close()
    attacker.close()


def test_a_host_that_begins_anew_is_greeted_anew(library: Path) -> None:
    """On a made-up clock: ten seconds without a word, a new greeting, and every sample told."""
    now_s = 0.0
    up: list[bytes] = []

    def send(datagram: bytes) -> bool:
        up.append(datagram)
        return True

    board = CBoard(library, send, DEVICE, KEY, codecs=(FrameType.PCM16,), now_s=lambda: now_s)
    hosts = [(HostSeal({DEVICE: KEY}), HostSession(0.0)) for _ in range(2)]
    heard, lost, greetings = [0, 0], [0, 0], set[bytes]()
    captured_of_second = 0
    for step in range(2_000):
        number = int(step >= 500)
        seal, session = hosts[number]
        now_s = step * 0.02
        board.tick(now_s)
        was_known = session.stream is not None
        board.capture(ramp(320 * step, 320), now_s)
        while up:
            datagram = up.pop(0)
            if datagram[1] == 1:
                greetings.add(datagram)
            frame, reply = seal.receive(datagram, ("127.0.0.1", 1), now_s)
            if reply is not None:
                board.receive(reply)
            for part in session.receive(frame, now_s) if frame is not None else []:
                heard[number] += len(part.samples) if isinstance(part, Heard) else 0
                lost[number] += part.samples if isinstance(part, Missing) else 0
        session.advance(now_s)
        for frame in session.take_outbox():
            sealed = seal.seal(frame)
            assert sealed is not None
            board.receive(sealed)
        captured_of_second += 320 if was_known and number else 0
    board.close()
    assert len(greetings) == 2
    assert hosts[1][0].dropped["no session"] > 400  # for ten seconds, what is under the old keys
    assert heard[0] + lost[0] > 159_000
    assert (heard[1], lost[1]) == (captured_of_second, 320)  # a frame between HELLO and WELCOME
    assert captured_of_second > 300_000


def test_what_is_kept_is_what_was_sent_and_goes_at_a_mute(library: Path) -> None:
    up: list[bytes] = []
    seal = HostSeal({DEVICE: KEY})

    def send(datagram: bytes) -> bool:
        if len(up) == 8:
            up.append(b"no room")
            return False
        up.append(datagram)
        return True

    def came() -> list[WireFrame]:
        opened = [seal.receive(datagram, ("127.0.0.1", 1), 0.0) for datagram in up]
        up.clear()
        for _, reply in opened:
            if reply is not None:
                board.receive(reply)
        return [unpack(frame) for frame, _ in opened if frame is not None]

    def tell(kind: FrameType, payload: bytes) -> list[WireFrame]:
        sealed = seal.seal(pack(WireFrame(kind, 1, 0, 0, 0, payload, flags=Flag.DOWN)))
        assert sealed is not None
        board.receive(sealed)
        return came()

    board = CBoard(library, send, DEVICE, KEY, codecs=(FrameType.ADPCM,), now_s=lambda: 0.0)
    board.tick(0.0)
    came()
    board.tick(0.0)
    (hello,) = came()
    assert Capability.RESENDS in Hello.unpack(hello.payload).capabilities
    tell(FrameType.WELCOME, Welcome(1, FrameType.ADPCM, NO_WISH).pack())
    for n in range(9):
        board.capture(ramp(320 * n, 320), 0.0)
    # The ninth found no room: it has no number, and what was kept of it is not sent.
    frames = {frame.sequence: frame for frame in came()}
    last = max(frames)
    assert len(frames) == 8
    again = tell(FrameType.AGAIN, Again.of([last - 8, last - 6, last - 3, last, last + 1]).pack())
    assert again == [frames[last - 6], frames[last - 3], frames[last]]
    for muted in (True, False):
        board.mute(muted)
        (told,) = came()
        (kept,) = tell(FrameType.AGAIN, Again.of(range(last - 7, last + 3)).pack())
        assert kept.type == told.type == FrameType.MUTE
    assert tell(FrameType.AGAIN, b"short") == []
    board.close()
