"""What the firmware bridge costs and loses: samples, sounds, time, CPU.

    python -m benchmarks.bridge [--minutes 10] [--seconds 20] [--only NAME]...

Conservation and the sounds that are left are reckoned on a made-up clock, through the protocol as
it is, over a link that takes 5 ms there and back. Sounds are heard by the runtime in scenes
composed of ESC-10's clips (in the repository's recordings where ESC-10 is not there); one is left
when a sound of the same label starts within a second of it. Times and CPU are of real sockets and
pseudo-terminals, the devices in a process of their own.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import select
import socket
import sys
import tempfile
import threading
import time
import tty
from collections.abc import Callable, Iterator
from itertools import cycle
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from edge_alm.audio.device import Device, DeviceParser
from edge_alm.bridge.adpcm import AdpcmEncoder
from edge_alm.bridge.conceal import CONTEXT_S, Concealer
from edge_alm.bridge.frame import Deframer, enclose
from edge_alm.bridge.numbers import Capability, FrameType
from edge_alm.bridge.seal import DeviceSeal
from edge_alm.bridge.serial import SerialLink
from edge_alm.bridge.session import HostSession
from edge_alm.bridge.udp import UdpLink
from edge_alm.types import SAMPLE_RATE_HZ, Event, Frame, Lost, Packet, Samples, Sound
from firmware_bridge.board import ALL, Board
from firmware_bridge.relay import BadLink, Faults

ROOT = Path(__file__).parent.parent
ESC10 = ROOT.parent / "shared" / "data" / "esc10"
FRAME_SAMPLES, FRAME_S = 320, 0.02
STEP_S = 0.005
"""From one end of a made-up link to the other and back."""
KEY = bytes(range(32))
SAME_S = 1.0
LINKS = {
    "loss 10 %": (Faults(loss=0.1), 0.0),
    "loss 40 %": (Faults(loss=0.4), 0.0),
    "bursts": (Faults(loss=0.2, burst=8), 0.0),
    "reordering": (Faults(reordered=0.5, held_s=0.2), 0.0),
    "duplicates": (Faults(duplicated=0.3), 0.0),
    "bit flips": (Faults(flipped=0.2), 0.0),
    "drift 1 %": (Faults(), 0.01),
    "all": (Faults(0.1, 3, 0.2, 0.2, 0.1, 0.1), 0.01),
}
Codecs = tuple[FrameType, ...]
Start = tuple[str, float]
"""Label and seconds."""


class LossySource:
    """Samples as a board sends them over a link that is bad both ways, on a made-up clock.

    Args:
        samples: [n] at 16 kHz.
        faults: of the link.
        seed: of what it does.
        drift: by how much the board's clock is fast.
        codecs: of the board.
        resends: whether the board sends again what the host asks for.
    """

    live = False
    name = "lossy"
    started_unix = None

    def __init__(
        self,
        samples: NDArray[np.int16],
        faults: Faults,
        *,
        seed: int = 0,
        drift: float = 0.0,
        codecs: Codecs = (FrameType.PCM16,),
        resends: bool = True,
    ) -> None:
        self._samples, self._drift = samples, drift
        self._up, self._down = BadLink(faults, seed), BadLink(faults, ~seed % 2**32)
        self._now_s = 0.0
        can = ALL if resends else ALL & ~Capability.RESENDS
        self.board = Board(self._send, codecs=codecs, capabilities=can)
        self.host = HostSession(UdpLink.delay_s)

    def _send(self, frame: bytes) -> bool:
        self._up.put(frame, self._now_s)
        return True

    def packets(self) -> Iterator[Packet]:
        parser = DeviceParser()
        at = 0
        while at < len(self._samples):
            self.board.tick(self._now_s)
            if self.board.is_welcome:
                self.board.capture(self._samples[at : at + FRAME_SAMPLES], self._now_s)
                at += FRAME_SAMPLES
            yield from self._wait(FRAME_S, parser)
        yield from self._wait(1.0, parser)
        self._up = BadLink(Faults(), 0)
        self.board.finish()
        yield from self._deliver(parser)
        for part in self.host.finish():
            yield from parser.push(part, self._now_s)
        yield from parser.finish()

    def _wait(self, seconds: float, parser: DeviceParser) -> Iterator[Packet]:
        for _ in range(round(seconds / STEP_S)):
            self._now_s += STEP_S / (1 + self._drift)
            yield from self._deliver(parser)

    def _deliver(self, parser: DeviceParser) -> Iterator[Packet]:
        for frame in self._up.take(self._now_s):
            for part in self.host.receive(frame, self._now_s):
                yield from parser.push(part, self._now_s)
        for part in self.host.advance(self._now_s):
            yield from parser.push(part, self._now_s)
        for frame in self.host.take_outbox():
            self._down.put(frame, self._now_s)
        for frame in self._down.take(self._now_s):
            self.board.receive(frame, self._now_s)

    @property
    def lost(self) -> int:
        """Samples."""
        return self.host.stream.ledger.lost if self.host.stream else 0

    def close(self) -> None:
        pass


def read_scenes(minutes: float) -> NDArray[np.int16]:
    """Scenes of one to four of ESC-10's sounds in mild noise, one after the other."""
    wanted, parts, have = int(minutes * 60 * SAMPLE_RATE_HZ), list[NDArray[np.int16]](), 0
    for samples in _compose() if (ESC10 / "clips.csv").is_file() else _recorded():
        parts.append(samples)
        have += len(samples)
        if have >= wanted:
            break
    return np.concatenate(parts)[: wanted // FRAME_SAMPLES * FRAME_SAMPLES]


def _compose() -> Iterator[NDArray[np.int16]]:
    from export.corpus import read_corpus
    from export.scenes import Recipe, compose

    corpus = read_corpus(ROOT / "build" / "corpus", ESC10)
    clips = [clip for clip in corpus if clip.corpus == "esc10"]
    rng = np.random.default_rng(0)
    while True:
        yield _to_16_bits(compose(rng, clips, Recipe.clean()).samples)


def _recorded() -> Iterator[NDArray[np.int16]]:
    yield from map(_read_16k, cycle(sorted((ROOT / "tests" / "data").glob("*.flac"))))


def _read_16k(path: Path) -> NDArray[np.int16]:
    import soxr

    samples, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    mono = soxr.resample(samples.mean(1), rate_hz, SAMPLE_RATE_HZ)
    return _to_16_bits(mono)


def _to_16_bits(samples: NDArray[np.float32]) -> NDArray[np.int16]:
    return np.asarray(np.clip(np.round(samples * 32768), -32768, 32767), np.int16)


def conservation(minutes: float, seconds: float) -> dict[str, Any]:
    """Sent less heard and lost, by link; 0 is exact."""
    samples = np.zeros(int(seconds * 50) * FRAME_SAMPLES, np.int16) + 1000
    found = {}
    for name, (faults, drift) in LINKS.items():
        source = LossySource(samples, faults, drift=drift)
        clock = lost = heard = 0
        for packet in source.packets():
            if isinstance(packet, Frame) and not packet.made_up:
                heard += len(packet.samples)
                clock = packet.end
            elif isinstance(packet, Lost):
                lost += packet.samples
                clock += packet.samples
        if clock != heard + lost:
            raise SystemExit(f"{name}: the clock is at {clock}, not at {heard + lost}")
        found[name] = source.board.due_since_hello - heard - lost
    return {"unaccounted_samples": found}


def kept(minutes: float, seconds: float) -> dict[str, Any]:
    """Share of the sounds' starts that 10 % loss leaves, two seeds; and what is invented."""
    from edge_alm.runtime import load

    samples = read_scenes(minutes)
    found: dict[str, Any] = {}
    with load(llm=False, transcribe=False) as ears:

        def starts(source: LossySource) -> list[Start]:
            return _starts(ears.listen(source))

        adpcm: Codecs = (FrameType.ADPCM,)
        whole = starts(LossySource(samples, Faults()))
        whole_adpcm = starts(LossySource(samples, Faults(), codecs=adpcm))
        found["adpcm_no_loss"] = _kept(whole, [whole_adpcm])
        for name, loss, options, of in (
            ("loss_1", 0.01, {}, whole),
            ("loss_10", 0.1, {}, whole),
            ("loss_10_adpcm", 0.1, {"codecs": adpcm}, whole_adpcm),
            ("loss_10_not_resent", 0.1, {"resends": False}, whole),
        ):
            sources = [
                LossySource(samples, Faults(loss=loss), seed=seed, **options) for seed in (1, 2)
            ]
            found[name] = _kept(of, [starts(source) for source in sources])
            found[name]["lost"] = round(sum(s.lost for s in sources) / 2 / len(samples), 5)
    return {"sounds": len(whole), **found}


def _kept(whole: list[Start], runs: list[list[Start]]) -> dict[str, float]:
    return {
        "kept": round(float(np.mean([_share(whole, run) for run in runs])), 3),
        "invented": round(float(np.mean([1 - _share(run, whole) for run in runs])), 3),
    }


class HoledSource:
    """Samples with holes, and what stands in for them.

    Args:
        samples: [n], float, at 16 kHz; n is a multiple of a frame's.
        is_lost: by frame; the last one is not.
        concealer: None: silence.
    """

    live = False
    name = "holed"
    started_unix = None

    def __init__(
        self, samples: Samples, is_lost: NDArray[np.bool_], concealer: Concealer | None
    ) -> None:
        self._frames = samples.reshape(-1, FRAME_SAMPLES)
        self._is_lost, self._concealer = is_lost, concealer
        self._context = round(CONTEXT_S * SAMPLE_RATE_HZ)

    def packets(self) -> Iterator[Packet]:
        heard, hole = np.zeros(0, np.float32), 0
        for number, frame in enumerate(self._frames):
            if self._is_lost[number]:
                hole += FRAME_SAMPLES
                continue
            if hole:
                made = np.zeros(hole, np.float32)
                if self._concealer is not None:
                    made = self._concealer.fill(heard, frame, hole)
                start = number * FRAME_SAMPLES - hole
                yield Lost(hole, start / SAMPLE_RATE_HZ, "holed")
                yield Frame(start, made, made_up=True)
                hole = 0
            heard = np.concatenate((heard, frame))[-self._context :]
            yield Frame(number * FRAME_SAMPLES, frame)

    def close(self) -> None:
        pass


def concealed(minutes: float, seconds: float) -> dict[str, Any]:
    """What is left where nothing is sent again, 10 % of frames being lost one by one or in runs of
    six, of silence and of what is made up.
    """
    from edge_alm.runtime import load

    samples = (read_scenes(minutes) / np.float32(32_768)).astype(np.float32)
    frames = len(samples) // FRAME_SAMPLES
    rng = np.random.default_rng(0)
    masks = {"": rng.random(frames) < 0.1, "_runs": np.repeat(rng.random(frames // 6 + 1) < 0.1, 6)}
    makers: dict[str, Callable[[], Concealer | None]] = {
        "silence": lambda: None,
        "as_it_is": Concealer,
    }
    found = {}
    with load(llm=False, transcribe=False) as ears:

        def starts(is_lost: NDArray[np.bool_], concealer: Concealer | None) -> list[Start]:
            is_lost = is_lost[:frames].copy()
            is_lost[-1] = False
            return _starts(ears.listen(HoledSource(samples, is_lost, concealer)))

        whole = starts(np.zeros(frames, bool), None)
        for runs, mask in masks.items():
            for name, make in makers.items():
                found[f"concealed_{name}{runs}"] = _kept(whole, [starts(mask, make())])
    return found


def _starts(events: Iterator[Event]) -> list[Start]:
    return [(e.label, e.start) for e in events if isinstance(e, Sound) and e.state == "start"]


def _share(of: list[Start], among: list[Start]) -> float:
    same = sum(any(a == b and abs(s - t) <= SAME_S for b, t in among) for a, s in of)
    return same / max(1, len(of))


# Devices in a process of their own


class EncodedBoard(Board):
    """Sends payloads that are there already, again and again: its own work is none."""

    payloads: list[bytes]
    _next = 0

    def encode(self, samples: NDArray[np.int16]) -> bytes:
        self._next += 1
        return self.payloads[self._next % len(self.payloads)]


def payloads(codec: FrameType) -> list[bytes]:
    """A few seconds of speech in frames of 20 ms; Opus as a device would send it, 24 kbit/s."""
    samples = _read_16k(ROOT / "tests" / "data" / "speech_hold.flac")
    frames = samples[: len(samples) // FRAME_SAMPLES * FRAME_SAMPLES].reshape(-1, FRAME_SAMPLES)
    if codec == FrameType.OPUS:
        import opuslib_next

        opus = opuslib_next.Encoder(SAMPLE_RATE_HZ, 1, opuslib_next.APPLICATION_VOIP)
        opus.bitrate = 24_000
        return [opus.encode(frame.tobytes(), FRAME_SAMPLES) for frame in frames]
    adpcm = AdpcmEncoder()
    return [adpcm.encode(frame.tolist()) for frame in frames]


def play_udp(ports: list[int], seconds: float, codec: FrameType, report: Connection) -> None:
    """A device a port in real time; reports when the first one's frames were handed over."""
    EncodedBoard.payloads = payloads(codec)
    samples = np.zeros(FRAME_SAMPLES, np.int16)
    lines = []
    for number, port in enumerate(ports):
        line = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        line.connect(("127.0.0.1", port))
        line.setblocking(False)
        seal = DeviceSeal(1 + number, KEY)

        def send(frame: bytes, seal: DeviceSeal = seal, line: socket.socket = line) -> bool:
            datagram = seal.seal(frame)
            with contextlib.suppress(OSError):
                return datagram is not None and line.send(datagram) > 0
            return False

        board = EncodedBoard(send, session=number + 1, codecs=(codec,))
        lines.append((line, seal, board))
        line.send(seal.greeting())
    frames, began_s, sent = 0, time.monotonic(), list[float]()
    while frames < seconds / FRAME_S:
        now_s = time.monotonic()
        for line, seal, board in lines:
            with contextlib.suppress(OSError):
                while True:
                    if (frame := seal.receive(line.recv(2048))) is not None:
                        board.receive(frame, now_s)
            board.tick(now_s)
        if not all(board.is_welcome for _, _, board in lines):
            time.sleep(0.005)
            began_s = time.monotonic()
            continue
        wait_s = began_s + frames * FRAME_S - time.monotonic()
        if wait_s > 0:
            time.sleep(wait_s)
        for number, (_, _, board) in enumerate(lines):
            if number == 0:
                sent.append(time.monotonic())
            board.capture(samples, time.monotonic())
        frames += 1
    for _, _, board in lines:
        board.finish()
    report.send(sent)


def _hear(device: Device, times: list[float]) -> None:
    for packet in device.packets():
        if isinstance(packet, Frame) and not packet.made_up:
            times.append(time.monotonic())


def streams(count: int, seconds: float, codec: FrameType) -> tuple[float, list[float]]:
    """Share of a core for so many streams; milliseconds from a frame's sending to its reading."""
    links = [UdpLink("0", {1 + number: KEY}) for number in range(count)]
    devices = [Device(link) for link in links]
    times: list[list[float]] = [[] for _ in links]
    readers = [
        threading.Thread(target=_hear, args=pair, daemon=True)
        for pair in zip(devices, times, strict=True)
    ]
    for reader in readers:
        reader.start()
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    ports = [link.port for link in links]
    player = context.Process(target=play_udp, args=(ports, seconds, codec, theirs))
    player.start()
    while not all(times):
        time.sleep(0.01)
    cpu_s, wall_s = time.process_time(), time.monotonic()
    sent = ours.recv()
    spent = (time.process_time() - cpu_s) / (time.monotonic() - wall_s)
    for reader in readers:
        reader.join(60)
    player.join()
    latencies = [1000 * (b - a) for a, b in zip(sent, times[0], strict=False)]
    for device in devices:
        device.close()
    return spent, latencies


def cost(minutes: float, seconds: float) -> dict[str, Any]:
    """CPU of an Opus stream, of 1 and of 16 ADPCM streams over sealed UDP, in turns, three times;
    and what the bridge adds to the time."""
    runs = ((1, FrameType.OPUS), (1, FrameType.ADPCM), (16, FrameType.ADPCM))
    spent: dict[tuple[int, FrameType], list[float]] = {run: [] for run in runs}
    latencies: list[float] = []
    for _ in range(3):
        for count, codec in runs:
            share, took = streams(count, seconds / 3, codec)
            spent[count, codec].append(share)
            latencies += took if count == 1 else []
    return {
        **{
            f"cpu_{count}_{codec.name.lower()}": round(float(np.median(shares)), 4)
            for (count, codec), shares in spent.items()
        },
        "latency_p50_ms": round(float(np.percentile(latencies, 50)), 2),
        "latency_p95_ms": round(float(np.percentile(latencies, 95)), 2),
    }


class _PtyBoard:
    """A board on a pseudo-terminal behind a Unix socket, so that its plug can be pulled."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "line"
        self._listen()
        self.line: socket.socket | None = None
        self.board = Board(self._send, codecs=(FrameType.ADPCM,))
        self._deframer = Deframer()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(self.path))
        self._listening.listen()

    def plug(self) -> None:
        if not self.path.exists():
            self._listen()
        line, _ = self._listening.accept()
        line.setblocking(False)
        self.line = line

    def pull(self) -> None:
        line, self.line = self.line, None
        if line is not None:
            line.close()
        # Else a host could connect before anyone is there.
        self._listening.close()
        self.path.unlink()

    def _send(self, frame: bytes) -> bool:
        line = self.line
        if line is None:
            return False
        with contextlib.suppress(OSError):
            return line.send(enclose(frame)) > 0
        return False

    def _run(self) -> None:
        began_s, frames = time.monotonic(), 0
        samples = np.zeros(FRAME_SAMPLES, np.int16)
        while not self._stopping.is_set():
            now_s = time.monotonic()
            self.board.tick(now_s)
            line = self.line
            if line is not None:
                with contextlib.suppress(OSError, ValueError):
                    if select.select([line], [], [], 0.005)[0]:
                        for data in self._deframer.push(line.recv(4096)):
                            self.board.receive(data, time.monotonic())
            else:
                time.sleep(0.005)
            while began_s + frames * FRAME_S < time.monotonic():
                self.board.capture(samples, time.monotonic())
                frames += 1

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def close(self) -> None:
        self.pull()


def reconnect(minutes: float, seconds: float) -> dict[str, Any]:
    """Seconds from the return of a line to the first new audio; five times."""
    took: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        far = _PtyBoard(Path(folder))
        plug = threading.Thread(target=far.plug)
        plug.start()
        device = Device(SerialLink(str(far.path)))
        plug.join()
        times: list[float] = []
        threading.Thread(target=_hear, args=(device, times), daemon=True).start()
        for away_s in (0.2, 1.0, 2.5, 0.7, 1.5):
            time.sleep(0.5)
            far.pull()
            time.sleep(away_s)
            back_s = time.monotonic()
            far.plug()
            while not times or times[-1] < back_s:
                time.sleep(0.005)
            took.append(times[-1] - back_s)
        far.stop()
        far.board.finish()
        time.sleep(0.2)
        device.close()
        ledger = device.session.stream.ledger if device.session.stream else None
        accounted = ledger is not None and ledger.sent == far.board.due_since_hello
        far.close()
    return {
        "reconnect_max_s": round(max(took), 2),
        "reconnect_s": [round(t, 2) for t in took],
        "counts_right": accounted,
    }


def downlink(minutes: float, seconds: float) -> dict[str, Any]:
    """Milliseconds from an event to its bytes at the other end, on a pseudo-terminal and on UDP."""
    return {
        "downlink_serial_p95_ms": _p95(_tell_over_pty),
        "downlink_udp_p95_ms": _p95(_tell_over_udp),
    }


def _p95(measure: Callable[[int], list[float]]) -> float:
    return round(float(np.percentile(measure(200), 95)), 2)


def _timed(device: Device, wait: Callable[[], None], count: int) -> list[float]:
    took = []
    for number in range(count):
        began_s = time.monotonic()
        device.tell(Sound(f"sound {number}", 0.0, None, 0.9, "start"))
        wait()
        took.append(1000 * (time.monotonic() - began_s))
        time.sleep(0.01)
    device.close()
    return took


def _tell_over_pty(count: int) -> list[float]:
    ours, theirs = os.openpty()
    tty.setraw(theirs)

    def write(frame: bytes) -> bool:
        return os.write(ours, enclose(frame)) > 0

    board, deframer = Board(write), Deframer()

    def wait_until(condition: Callable[[], bool]) -> None:
        while not condition():
            board.tick(time.monotonic())
            if select.select([ours], [], [], 0.05)[0]:
                for data in deframer.push(os.read(ours, 4096)):
                    board.receive(data, time.monotonic())

    device = Device(SerialLink(os.ttyname(theirs)))
    wait_until(lambda: board.is_welcome)
    seen = iter(range(1, count + 1))

    def one_more() -> None:
        number = next(seen)
        wait_until(lambda: len(board.shown) >= number)

    return _timed(device, one_more, count)


def _tell_over_udp(count: int) -> list[float]:
    link = UdpLink("0", {1: KEY})
    device = Device(link)
    line = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    line.connect(("127.0.0.1", link.port))
    seal = DeviceSeal(1, KEY)

    def write(frame: bytes) -> bool:
        datagram = seal.seal(frame)
        return datagram is not None and line.send(datagram) > 0

    board = Board(write)
    line.send(seal.greeting())
    seal.receive(line.recv(2048))

    def wait_until(condition: Callable[[], bool]) -> None:
        while not condition():
            board.tick(time.monotonic())
            ready = select.select([line], [], [], 0.05)[0]
            if ready and (frame := seal.receive(line.recv(2048))) is not None:
                board.receive(frame, time.monotonic())

    wait_until(lambda: board.is_welcome)
    seen = iter(range(1, count + 1))

    def one_more() -> None:
        number = next(seen)
        wait_until(lambda: len(board.shown) >= number)

    return _timed(device, one_more, count)


PARTS = {f.__name__: f for f in (conservation, kept, concealed, cost, reconnect, downlink)}


def main() -> None:
    parser = argparse.ArgumentParser(description="What the firmware bridge costs and loses.")
    parser.add_argument("--minutes", type=float, default=10.0, help="of scenes (default 10)")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each run (default 20)")
    parser.add_argument("--only", action="append", choices=PARTS, help="a part of it")
    args = parser.parse_args()
    result: dict[str, Any] = {}
    for name in args.only or PARTS:
        found = PARTS[name](args.minutes, args.seconds)
        result |= found
        for key, value in found.items():
            print(f"{key:<26} {value}")
        sys.stdout.flush()
    print(json.dumps(result))


if __name__ == "__main__":
    main()
