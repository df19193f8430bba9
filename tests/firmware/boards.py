"""Boards in Python on real links: a pseudo-terminal, and UDP over loopback through a bad relay."""

from __future__ import annotations

import os
import select
import socket
import threading
import time
import tty
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_alm.audio.device import Device
from edge_alm.bridge.frame import Deframer, enclose
from edge_alm.bridge.seal import DeviceSeal
from edge_alm.types import Fault, Frame, Lost, Packet, Samples
from firmware_bridge.board import Board
from firmware_bridge.relay import BadLink, Faults

PATIENCE_S = 20.0


def ramp(first: int, count: int) -> NDArray[np.int16]:
    """Samples that tell their own numbers."""
    return (np.arange(first, first + count) % 65_536 - 32_768).astype(np.int16)


def assemble(packets: list[Packet]) -> tuple[Samples, int]:
    """What was heard, zeros for what was lost, and how much that was; checks the clock."""
    parts, clock, lost = [np.zeros(0, np.float32)], 0, 0
    for packet in packets:
        if isinstance(packet, Frame) and not packet.made_up:
            assert packet.start == clock
            parts.append(packet.samples)
            clock = packet.end
        elif isinstance(packet, Lost):
            parts.append(np.zeros(packet.samples, np.float32))
            clock += packet.samples
            lost += packet.samples
    return np.concatenate(parts), lost


class Reader:
    """Reads a source on a thread."""

    def __init__(self, device: Device) -> None:
        self.packets: list[Packet] = []
        self._thread = threading.Thread(target=self._read, args=(device,), daemon=True)
        self._thread.start()

    def _read(self, device: Device) -> None:
        for packet in device.packets():
            self.packets.append(packet)

    def join(self) -> list[Packet]:
        self._thread.join(30)
        assert not self._thread.is_alive()
        return self.packets

    def faults(self) -> list[str]:
        return [packet.code for packet in self.packets if isinstance(packet, Fault)]


class Running:
    """A board on a thread of its own.

    Args:
        samples: what its microphone takes, at most once.
        speed: times real time; 0: as fast as the link takes it.
    """

    def __init__(self, samples: NDArray[np.int16], speed: float = 0.0, **options: Any) -> None:
        self.board = self.make_board(**options)
        self._samples, self._speed = samples, speed
        self._stopping = threading.Event()
        self.is_paused = threading.Event()
        self.done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def make_board(self, **options: Any) -> Board:
        return Board(self.send, **options)

    def start(self) -> None:
        self._thread.start()

    def hang_up(self) -> None:
        """Say BYE as if the recording was over."""
        self._samples = self._samples[:0]

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(PATIENCE_S)

    def send(self, frame: bytes) -> bool:
        raise NotImplementedError

    def poll(self, wait_s: float) -> None:
        """Take what comes in; wait for it at most so long."""
        raise NotImplementedError

    def wait_until(self, condition: Callable[[], bool]) -> None:
        end_s = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < end_s, "the board has waited too long"
            time.sleep(0.01)

    def _run(self) -> None:
        at, began_s = 0, time.monotonic()
        while not self._stopping.is_set():
            now_s = time.monotonic()
            if at >= len(self._samples):
                self.finish()  # again and again: the last word may be lost like any other
                self.done.set()
                self.poll(0.2)
                continue
            self.board.tick(now_s)
            due_s = began_s + at / 16_000 / self._speed if self._speed else now_s
            if self.board.is_welcome and not self.is_paused.is_set():
                self.poll(max(0.0, due_s - now_s))
                if time.monotonic() >= due_s:
                    self.board.capture(self._samples[at : at + 320], time.monotonic())
                    at += 320
            else:
                self.poll(0.01)
                if not self.board.is_welcome:
                    began_s = time.monotonic() - (at / 16_000 / self._speed if self._speed else 0)

    def finish(self) -> None:
        self.board.finish()


class PtyBoard(Running):
    """On a pseudo-terminal, whose line waits where it is full."""

    def __init__(self, samples: NDArray[np.int16], speed: float = 0.0, **options: Any) -> None:
        super().__init__(samples, speed, **options)
        self._ours, theirs = os.openpty()
        tty.setraw(theirs)
        self._theirs = theirs
        self.path = os.ttyname(theirs)
        self._deframer = Deframer()
        self.start()

    def send(self, frame: bytes) -> bool:
        try:
            os.write(self._ours, enclose(frame))
        except OSError:
            return False
        return True

    def poll(self, wait_s: float) -> None:
        if select.select([self._ours], [], [], wait_s)[0]:
            for data in self._deframer.push(os.read(self._ours, 4096)):
                self.board.receive(data, time.monotonic())

    def close(self) -> None:
        self.stop()
        ours, theirs, self._ours, self._theirs = self._ours, self._theirs, -1, -1
        for fd in (ours, theirs):
            if fd >= 0:
                os.close(fd)


class UdpBoard(Running):
    """On UDP, sealed, with a bad link on the way up."""

    def __init__(
        self,
        samples: NDArray[np.int16],
        port: int,
        device: int,
        key: bytes,
        faults: Faults,
        speed: float = 0.0,
        **options: Any,
    ) -> None:
        self.link = BadLink(faults, 0)
        self.seal = DeviceSeal(device, key)
        super().__init__(samples, speed, **options)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.connect(("127.0.0.1", port))
        self.socket.setblocking(False)
        self._greeted_s = 0.0
        self.sent: list[bytes] = []
        """Every datagram that arrived, for replays."""
        self.start()

    def send(self, frame: bytes) -> bool:
        datagram = self.seal.seal(frame)
        if datagram is None:
            return False
        self.link.put(datagram, time.monotonic())
        self.pass_on(time.monotonic())
        return True

    def poll(self, wait_s: float) -> None:
        now_s = time.monotonic()
        self.greet(now_s)
        self.pass_on(now_s)
        if select.select([self.socket], [], [], wait_s)[0]:
            try:
                datagram = self.socket.recv(2048)
            except OSError:
                return
            self.take(datagram)

    def greet(self, now_s: float) -> None:
        if not self.seal.is_open and now_s - self._greeted_s > 0.1:
            self._greeted_s = now_s
            self._put(self.seal.greeting())

    def take(self, datagram: bytes) -> None:
        frame = self.seal.receive(datagram)
        if frame is not None:
            self.board.receive(frame, time.monotonic())

    def finish(self) -> None:
        self.pass_on(time.monotonic() + 60)
        self.link = BadLink(Faults(), 0)
        super().finish()

    def pass_on(self, now_s: float) -> None:
        for datagram in self.link.take(now_s):
            self._put(datagram)

    def _put(self, datagram: bytes) -> None:
        self.sent.append(datagram)
        with suppress(OSError):
            self.socket.send(datagram)

    def close(self) -> None:
        self.stop()
        self.socket.close()
