"""Bluetooth Low Energy on virtual controllers: the whole way from samples to samples."""

from __future__ import annotations

import asyncio
import json
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from ctypes.util import find_library
from dataclasses import replace
from pathlib import Path
from typing import Any

import bleak
import numpy as np
import pytest
import soundfile
from bleak.exc import BleakError
from boards import Reader, assemble, ramp
from command import DATA, ROOT, edge_alm, environment
from numpy.typing import NDArray
from radio import BumbleClient, Radio, host_of, wait_until

from edge_alm.audio.device import DEVICE_LOST, Device
from edge_alm.audio.memory import MemoryAudio
from edge_alm.audio.source import open_link, open_source
from edge_alm.bridge import ble, omi
from edge_alm.bridge.ble import BleLink
from edge_alm.bridge.codecs import OpusDecoder
from edge_alm.bridge.fragments import Splitter
from edge_alm.bridge.frame import WireFrame, pack
from edge_alm.bridge.messages import Welcome
from edge_alm.bridge.numbers import DOWN_UUID, UP_UUID, Flag, FrameType
from edge_alm.cli.main import make_parser, run
from edge_alm.errors import DeviceError, MissingExtraError
from edge_alm.runtime import load
from edge_alm.types import Event, Frame, Lost, Sound, Speech
from firmware_bridge.ble_board import ADDRESS, BleBoard, OmiBoard, Peripheral
from firmware_bridge.relay import Faults

FULL_SCALE = np.float32(32_768)


@pytest.fixture
def radio() -> Iterator[Radio]:
    made = Radio()
    yield made
    made.close()


@pytest.fixture
def switch_on(radio: Radio) -> Iterator[Callable[[Peripheral], None]]:
    """Switch devices on; they are switched off at the end."""
    offs: list[Callable[[], None]] = []
    yield lambda made: offs.append(radio.add(made))
    for off in offs:
        off()


@pytest.fixture
def host(radio: Radio, tmp_path: Path) -> type[BumbleClient]:
    return host_of(radio, tmp_path / "host.json")


def exact(heard: NDArray[np.float32], first: int = 0) -> bool:
    """Whether all that was heard lies where it belongs in a ramp."""
    expected = ramp(first, len(heard)) / FULL_SCALE
    return bool(np.array_equal(heard[heard != 0], expected[heard != 0]))


def in_process(address: str, host: type[BumbleClient]) -> list[Any]:
    device = Device(BleLink(address, backend=host))
    try:
        return list(device.packets())
    finally:
        device.close()


def test_what_is_taken_before_it_is_rung_for_leaves_nothing_to_poll() -> None:
    came, poll = ble._Came(), select.poll()
    poll.register(came.fileno(), select.POLLIN)
    came.put(b"one")
    came._items.append(b"two")  # and its bell has not rung yet
    assert came.take() == [b"one", b"two"]
    came._bell.ring()
    assert came.take() == []
    assert poll.poll(0) == []


# Our own service


@pytest.mark.parametrize("mtu", [23, 247, 517])
def test_a_device_is_heard_to_the_sample(
    mtu: int, radio: Radio, switch_on: Callable[[Peripheral], None], tmp_path: Path
) -> None:
    switch_on(BleBoard(ramp(0, 32_000)))
    device = Device(BleLink(ADDRESS, backend=host_of(radio, tmp_path / "x.json", mtu=mtu)))
    heard, lost = assemble(list(device.packets()))
    device.close()
    assert lost == 0
    assert np.array_equal(heard, ramp(0, 32_000) / FULL_SCALE)
    assert device.status()["bad_fragments"] == 0


def test_adpcm_and_captions_go_their_ways(
    switch_on: Callable[[Peripheral], None], host: type[BumbleClient]
) -> None:
    made = BleBoard(ramp(0, 16_000), board={"codecs": (FrameType.ADPCM,)})
    made.is_paused = True
    switch_on(made)
    device = Device(BleLink(ADDRESS, backend=host))
    reader = Reader(device)
    wait_until(lambda: device.session.stream is not None)
    device.tell(Sound("Doorbell", 0.0, None, 0.9, "start"))
    device.tell(Speech("turn left, and then right at the second lights", 0.0, 1.0, 0.9))
    wait_until(lambda: len(made.board.shown) == 3)
    assert [told.text for _, told in made.board.shown] == [
        "Doorbell",
        *["turn left, and then right at the second lights"] * 2,
    ]
    assert device.status()["round_trip_ms"] > 0
    made.is_paused = False
    heard, lost = assemble(reader.join())
    assert (len(heard), lost) == (16_000, 0)
    assert device.status()["codec"] == "ADPCM"
    assert made.board.refused == 0
    device.close()


@pytest.mark.parametrize(
    "faults",
    [Faults(loss=0.1), Faults(loss=0.3, burst=6), Faults(duplicated=0.2), Faults(flipped=0.2)],
    ids=str,
)
def test_samples_conserve_where_notifications_are_dropped(
    faults: Faults, switch_on: Callable[[Peripheral], None], host: type[BumbleClient]
) -> None:
    made = BleBoard(ramp(0, 48_000), speed=20.0, faults=faults)
    switch_on(made)
    device = Device(BleLink(ADDRESS, backend=host))
    heard, lost = assemble(Reader(device).join())
    device.close()
    assert len(heard) == made.board.due_since_hello
    assert len(heard) == 48_000 or faults.flipped  # where WELCOME waited for a second HELLO
    assert exact(heard)
    status = device.status()
    assert (status["lost_samples"], status["heard_samples"]) == (lost, len(heard) - lost)
    assert lost > 0
    assert status["bad_fragments"] + sum(status["refused"].values()) > 0


def test_malformed_fragments_are_counted(
    radio: Radio, switch_on: Callable[[Peripheral], None], host: type[BumbleClient]
) -> None:
    made = BleBoard(ramp(0, 16_000))
    made.is_paused = True
    switch_on(made)
    device = Device(BleLink(ADDRESS, backend=host))
    reader = Reader(device)
    wait_until(lambda: made.board.is_welcome)
    noise = [b"\x05abc", b"\x80abc", b"\x02abc", b"\x80" + bytes(100), b"\xc0no frame at all"]
    radio.call(lambda: made.notify(noise))
    # The first three are no frame; the fourth is given up for the fifth, which is none either.
    wait_until(lambda: device.status()["bad_fragments"] == 3)
    made.is_paused = False
    heard, lost = assemble(reader.join())
    assert lost == 0
    assert np.array_equal(heard, ramp(0, 16_000) / FULL_SCALE)
    assert device.status()["refused"] == {"TRUNCATED": 1}
    device.close()


@pytest.mark.usefixtures("models")
def test_what_is_heard_is_what_the_file_gives(
    switch_on: Callable[[Peripheral], None], host: type[BumbleClient]
) -> None:
    samples, _ = soundfile.read(DATA / "doorbell.flac", dtype="int16", always_2d=True)
    sound = np.asarray(samples[: 6 * 16_000, 0], np.int16)
    made = BleBoard(sound)
    switch_on(made)

    def timeless(events: list[Event]) -> set[Event]:
        return {replace(event, at_unix=None) for event in events}

    with load(llm=False) as ears:
        heard = list(ears.listen(Device(BleLink(ADDRESS, backend=host))))
        expected = list(ears.listen(MemoryAudio(sound / FULL_SCALE)))
    assert timeless(heard) == timeless(expected)
    told = {event.label for event in expected if isinstance(event, Sound)}
    assert told
    assert {shown.text for _, shown in made.board.shown} >= told


def test_the_command_shows_what_comes(
    switch_on: Callable[[Peripheral], None],
    host: type[BumbleClient],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """In this process, in which bleak is told to take the virtual controller."""
    monkeypatch.setattr(bleak, "get_platform_client_backend_type", lambda: (host, "bumble"))
    switch_on(BleBoard(ramp(0, 16_000)))
    capture = tmp_path / "x.ealm"
    parse = make_parser().parse_args
    assert run(parse(["bridge", "record", f"ble:{ADDRESS}", str(capture)])) == 0
    assert run(parse(["bridge", "status", f"ble:{ADDRESS}", "--seconds", "1", "--json"])) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["link"] == f"ble:{ADDRESS}"
    replayed = edge_alm("bridge", "replay", capture, "--json", "--no-speech")
    assert replayed.status == 0


# Who is let in


async def listen_unpaired(host: type[BumbleClient], seconds: float) -> list[bytes]:
    """What a client gets that subscribes and bids a device welcome without pairing."""
    came: list[bytes] = []
    async with bleak.BleakClient(ADDRESS, timeout=5, backend=host) as client:
        await client.start_notify(UP_UUID, lambda _, value: came.append(bytes(value)))
        welcome = Welcome(1, FrameType.PCM16).pack()
        frame = pack(WireFrame(FrameType.WELCOME, 1, 0, 0, 0, welcome, flags=Flag.DOWN))
        for fragment in Splitter().split(frame, client.mtu_size - 3):
            await client.write_gatt_char(DOWN_UUID, fragment, response=False)
        await asyncio.sleep(seconds)
        assert client.is_connected
    return came


def test_a_client_that_is_not_paired_gets_no_audio(
    switch_on: Callable[[Peripheral], None], host: type[BumbleClient]
) -> None:
    """The subscription is let through: what keeps the audio back is the device's own code."""
    made = BleBoard(ramp(0, 16_000), asks_to_pair=False)
    switch_on(made)
    assert asyncio.run(listen_unpaired(host, 1.5)) == []
    assert not made.board.is_welcome
    assert made.board.position == made.board.received == 0
    heard, lost = assemble(in_process(ADDRESS, host))
    assert (len(heard), lost) == (16_000, 0)


def test_a_subscription_asks_to_pair(
    switch_on: Callable[[Peripheral], None], host: type[BumbleClient]
) -> None:
    switch_on(BleBoard(ramp(0, 16_000)))
    with pytest.raises(BleakError, match="INSUFFICIENT_ENCRYPTION"):
        asyncio.run(listen_unpaired(host, 0.0))


@pytest.mark.parametrize("less", [{"secure": False}, {"bonding": False}], ids=str)
def test_less_than_secure_connections_with_a_bond_is_refused(
    less: dict[str, bool], radio: Radio, switch_on: Callable[[Peripheral], None], tmp_path: Path
) -> None:
    made = BleBoard(ramp(0, 16_000))
    switch_on(made)
    link = BleLink(ADDRESS, backend=host_of(radio, tmp_path / "x.json", **less))
    with pytest.raises(DeviceError, match=r"expected to pair with it, got .*; let it pair"):
        Device(link)
    assert made.board.position == 0


def test_only_the_owner_lets_a_second_host_in(
    radio: Radio, switch_on: Callable[[Peripheral], None], host: type[BumbleClient], tmp_path: Path
) -> None:
    made = BleBoard(ramp(0, 3_200_000), speed=1.0)
    switch_on(made)
    Device(BleLink(ADDRESS, backend=host)).close()
    other = host_of(radio, tmp_path / "other.json", own_address="F1:00:00:00:00:02")
    wait_until(lambda: made.connection is None)
    with pytest.raises(DeviceError, match="expected to pair with it"):
        Device(BleLink(ADDRESS, backend=other))
    wait_until(lambda: made.connection is None)
    made.is_pairing = True
    device = Device(BleLink(ADDRESS, backend=other))
    reader = Reader(device)
    wait_until(lambda: device.status().get("heard_samples", 0) > 0)
    device.close()
    reader.join()


def test_a_bond_serves_again(
    radio: Radio, switch_on: Callable[[Peripheral], None], tmp_path: Path
) -> None:
    """The device takes no second bond, and still hears a host that has one."""
    bonds = tmp_path / "host.json"
    first = BleBoard(ramp(0, 16_000), bonds=tmp_path / "board.json")
    off = radio.add(first)
    in_process(ADDRESS, host_of(radio, bonds))
    off()
    before = bonds.read_text()
    again = BleBoard(ramp(0, 16_000), bonds=tmp_path / "board.json", board={"session": 2})
    switch_on(again)
    heard, lost = assemble(in_process(ADDRESS, host_of(radio, bonds)))
    assert (len(heard), lost) == (16_000, 0)
    assert bonds.read_text() == before


# Coming back


def test_a_session_goes_on_over_a_new_connection(
    radio: Radio, switch_on: Callable[[Peripheral], None], host: type[BumbleClient]
) -> None:
    made = BleBoard(ramp(0, 64_000), speed=1.0)
    switch_on(made)
    device = Device(BleLink(ADDRESS, backend=host))
    reader = Reader(device)
    wait_until(lambda: device.status().get("heard_samples", 0) > 16_000)
    radio.do(made.connection.disconnect())
    wait_until(lambda: DEVICE_LOST in reader.faults())
    gone_s, before = time.monotonic(), device.status()["heard_samples"]
    wait_until(lambda: device.status()["heard_samples"] > before)
    assert time.monotonic() - gone_s < 2.0
    assert device.reconnects == 1
    heard, lost = assemble(reader.join())
    status = device.status()
    device.close()
    assert len(heard) == made.board.due_since_hello == 64_000
    assert exact(heard)
    assert lost == status["lost_samples"] > 0


class Process:
    """A device in a process of its own, that can be killed."""

    def __init__(self, radio: Radio, folder: Path) -> None:
        command = [sys.executable, "-m", "firmware_bridge.ble_board", radio.controller]
        command += [str(folder / "ramp.wav"), "--bonds", str(folder / "board.json")]
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment()
        )
        assert self._process.stdout is not None
        self._told = self._process.stdout
        assert self._told.readline() == f"ble:{ADDRESS}\n"
        self.up_s = time.monotonic()

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._told.close()

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(10)

    def wait(self) -> int:
        return self._process.wait(10)


def test_a_device_that_is_killed_is_missed_and_taken_back(
    radio: Radio, host: type[BumbleClient], tmp_path: Path
) -> None:
    """Nothing tells the host that it has gone: the watchdog notices."""
    soundfile.write(tmp_path / "ramp.wav", ramp(0, 960_000), 16_000, subtype="PCM_16")
    with Process(radio, tmp_path) as first:
        device = Device(BleLink(ADDRESS, backend=host))
        reader = Reader(device)
        wait_until(lambda: device.status().get("heard_samples", 0) > 8_000)
        first.kill()
    killed_s = time.monotonic()
    wait_until(lambda: DEVICE_LOST in reader.faults())
    assert ble.SILENT_S - 1.2 < time.monotonic() - killed_s < ble.SILENT_S + 1.0
    session = device.status()["session"]
    with Process(radio, tmp_path) as again:
        wait_until(lambda: device.status().get("session") != session)
        wait_until(lambda: device.status()["heard_samples"] > 0)
        # Within 2 s on an idle machine, which this one may not be.
        assert time.monotonic() - again.up_s < 5.0
        wait_until(lambda: device.status()["heard_samples"] > 8_000)
        device.close()
    assert device.reconnects == 1
    assert reader.faults() == [DEVICE_LOST]
    packets = reader.join()
    assert "device began anew" in [p.reason for p in packets if isinstance(p, Lost)]


def test_a_device_whose_controller_is_unplugged_ends(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "ramp.wav", ramp(0, 960_000), 16_000, subtype="PCM_16")
    radio = Radio()
    with Process(radio, tmp_path) as device:
        radio.close()
        assert device.wait() == 0


def test_closing_ends_an_opening(host: type[BumbleClient]) -> None:
    """Nobody is there; an opening would wait for 10 s."""
    link = BleLink(ADDRESS, backend=host)
    caught: list[Exception] = []

    def wait() -> None:
        try:
            link.open()
        except DeviceError as error:
            caught.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.3)
    began_s = time.monotonic()
    link.close()
    thread.join(10)
    assert time.monotonic() - began_s < 3.0
    assert len(caught) == 1


# What cannot be opened


def test_nobody_in_reach(host: type[BumbleClient], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ble, "CONNECT_S", 0.3)
    before = threading.active_count()
    with pytest.raises(DeviceError, match=r"in reach, got none in 0\.3 s; switch it on"):
        Device(BleLink(ADDRESS, backend=host))
    assert threading.active_count() == before


def test_a_device_of_another_kind(
    switch_on: Callable[[Peripheral], None],
    host: type[BumbleClient],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    switch_on(BleBoard(ramp(0, 16_000)))
    monkeypatch.setattr(ble, "SERVICE_UUID", "0000180f-0000-1000-8000-00805f9b34fb")
    with pytest.raises(DeviceError, match="the service of edge-alm or of an Omi, got one with"):
        Device(BleLink(ADDRESS, backend=host))


def test_without_bleak_or_bluetooth_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    if sys.platform == "linux":
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/no/such/bus")
        with pytest.raises(DeviceError) as none:
            open_source(f"ble:{ADDRESS}")
        assert "expected a Bluetooth adapter that is switched on" in str(none.value)
        assert "\n" not in str(none.value)
    monkeypatch.setitem(sys.modules, "bleak", None)  # what an import then finds: nothing
    with pytest.raises(MissingExtraError, match=r"pip install 'edge-alm\[ble\]'"):
        open_link(f"ble:{ADDRESS}")


# An Omi


def omi_until(made: OmiBoard, device: Device, samples: int) -> tuple[NDArray[np.float32], int]:
    """What is heard of a device that goes on for ever, until so much has come or was lost."""

    def account() -> int:
        found = device.status()
        return int(found.get("heard_samples", 0) + found.get("lost_samples", 0))

    reader = Reader(device)
    wait_until(lambda: account() >= samples)
    made.is_paused = True
    before = -1
    while before != account() or device.waiting_s:  # what is on its way, or being made up for
        before = account()
        time.sleep(0.3)
    device.close()
    return assemble(reader.join())


@pytest.mark.parametrize(
    ("mtu", "faults"),
    [
        (23, Faults()),
        (23, Faults(loss=0.01)),  # of 19 pieces of a frame
        (247, Faults(loss=0.1)),
        (247, Faults(loss=0.1, burst=20)),
        (247, Faults(duplicated=0.2)),
    ],
    ids=str,
)
def test_an_omi_is_heard_and_its_losses_are_exact(
    mtu: int,
    faults: Faults,
    radio: Radio,
    switch_on: Callable[[Peripheral], None],
    tmp_path: Path,
) -> None:
    made = OmiBoard(ramp(0, 48_000), 0, speed=10.0, faults=faults)
    switch_on(made)
    device = Device(BleLink(ADDRESS, backend=host_of(radio, tmp_path / "x.json", mtu=mtu)))
    heard, lost = omi_until(made, device, 32_000)
    assert len(heard) >= 32_000
    # Before the first whole frame nothing is known; from then on all is where it belongs.
    first = int(np.rint(heard[heard != 0][0] * FULL_SCALE)) + 32_768
    first -= int(np.flatnonzero(heard)[0])
    assert first % 160 == 0
    assert exact(heard, first)
    assert (lost > 0) == (faults.loss > 0)
    status = device.status()
    assert status["device"] == "Omi"
    assert status["lost_samples"] == lost
    assert (status["missing_packets"] > 0) == (faults.loss > 0)


def test_an_omi_at_8_khz(switch_on: Callable[[Peripheral], None], host: type[BumbleClient]) -> None:
    tone = (8_000 * np.sin(2 * np.pi * 440 * np.arange(24_000) / 8_000)).astype(np.int16)
    made = OmiBoard(tone, 1, speed=10.0)
    switch_on(made)
    device = Device(BleLink(ADDRESS, backend=host))
    heard, lost = omi_until(made, device, 16_000)
    assert lost == 0
    status = device.status()
    assert (status["rate_hz"], status["codec"]) == (8_000, "PCM16")
    spectrum = np.abs(np.fft.rfft(heard[1600:17_600]))
    assert int(spectrum.argmax()) == 440


@pytest.mark.parametrize("codec", [20, 21])
@pytest.mark.parametrize("faults", [Faults(), Faults(loss=0.1)], ids=str)
def test_an_omi_with_opus(
    codec: int,
    faults: Faults,
    switch_on: Callable[[Peripheral], None],
    host: type[BumbleClient],
    require: Callable[[object, str], None],
) -> None:
    require("opuslib_next", "the extra opus")
    require(find_library("opus") is not None, "libopus: scripts/system-deps")
    seconds = np.arange(48_000) / 16_000
    tone = (8_000 * np.sin(2 * np.pi * (300 + 100 * seconds) * seconds)).astype(np.int16)
    made = OmiBoard(tone, codec, speed=10.0, faults=faults)
    switch_on(made)
    device = Device(BleLink(ADDRESS, backend=host))
    heard, lost = omi_until(made, device, 32_000)
    assert device.status()["codec"] == "OPUS"
    assert (lost > 0) == (faults.loss > 0)
    assert lost % made.frame_samples == 0
    if not lost:
        decoder = OpusDecoder(16_000)
        expected = np.concatenate([decoder.decode(packet) for packet in made.encoded])
        assert np.array_equal(heard, expected[: len(heard)])


def test_an_omi_that_is_quiet_is_not_gone(
    switch_on: Callable[[Peripheral], None], host: type[BumbleClient]
) -> None:
    made = OmiBoard(ramp(0, 48_000), 0, speed=10.0)
    made.is_paused = True
    switch_on(made)
    device = Device(BleLink(ADDRESS, backend=host))
    reader = Reader(device)
    time.sleep(ble.SILENT_S + 1.5)
    assert reader.faults() == []
    assert device.reconnects == 0
    made.is_paused = False
    wait_until(lambda: device.status()["heard_samples"] > 16_000)
    device.close()
    heard = [p for p in reader.join() if isinstance(p, Frame)]
    assert heard[0].start == 0


def test_an_omi_with_a_codec_that_nobody_knows(
    switch_on: Callable[[Peripheral], None],
    host: type[BumbleClient],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = OmiBoard(ramp(0, 16_000), 0)
    switch_on(made)
    monkeypatch.setattr(omi, "CODECS", {20: omi.CODECS[20]})
    with pytest.raises(DeviceError, match="expected an Omi with codec 20, got codec 0"):
        Device(BleLink(ADDRESS, backend=host))
