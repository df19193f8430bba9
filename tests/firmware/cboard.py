"""The C library as a sealed device in this process: crypto, link and clock are Python's."""

from __future__ import annotations

import ctypes
import hashlib
import hmac
import os
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from boards import UdpBoard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from numpy.typing import NDArray

from edge_alm.bridge.numbers import KEY_BYTES, NONCE_BYTES, TAG_BYTES, FrameType, Status
from firmware_bridge.relay import BadLink, Faults

P, SIZE = ctypes.c_void_p, ctypes.c_size_t
SEND = ctypes.CFUNCTYPE(ctypes.c_int32, P, SIZE)
NOW = ctypes.CFUNCTYPE(ctypes.c_uint64)
SHOW = ctypes.CFUNCTYPE(None, ctypes.c_uint8, P, SIZE)
AEAD = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_int, P, P, P, SIZE, P, SIZE)
HMAC = ctypes.CFUNCTYPE(ctypes.c_int32, P, SIZE, P, SIZE, P)


class Calls(ctypes.Structure):
    """``struct board_calls`` of host/ealm_board.c."""

    _fields_ = [("send", SEND), ("now_us", NOW), ("show", SHOW), ("aead", AEAD), ("hmac", HMAC)]


def _aead(
    is_opening: int, key: int, nonce: int, head: int, head_bytes: int, text: int, size: int
) -> int:
    aead = ChaCha20Poly1305(ctypes.string_at(key, KEY_BYTES))
    told = (ctypes.string_at(nonce, NONCE_BYTES), ctypes.string_at(head, head_bytes))
    try:
        if is_opening:
            made = aead.decrypt(told[0], ctypes.string_at(text, size + TAG_BYTES), told[1])
        else:
            made = aead.encrypt(told[0], ctypes.string_at(text, size), told[1])
    except InvalidTag:
        return Status.BAD_TAG
    ctypes.memmove(text, made, len(made))
    return 0


def _hmac(key: int, key_bytes: int, data: int, data_bytes: int, out: int) -> int:
    told = ctypes.string_at(data, data_bytes)
    made = hmac.new(ctypes.string_at(key, key_bytes), told, hashlib.sha256).digest()
    ctypes.memmove(out, made, len(made))
    return 0


class CBoard:
    """What :class:`firmware_bridge.board.Board` is, in C, and with its seal.

    Args:
        library: ``libealm.so``.
        send: takes a datagram; False: there was no room for it.
        device: its id.
        key: what it shares with its host.
        now_s: its clock.
    """

    def __init__(
        self,
        library: Path,
        send: Callable[[bytes], bool],
        device: int,
        key: bytes,
        *,
        session: int = 1,
        codecs: tuple[FrameType, ...] = (FrameType.PCM16,),
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.shown: list[tuple[int, str]] = []
        self.refused: Counter[str] = Counter()
        """What came and was not taken, by the name of the status."""

        def put(data: int, size: int) -> int:
            return 0 if send(ctypes.string_at(data, size)) else Status.NO_SPACE

        def show(code: int, text: int, size: int) -> None:
            self.shown.append((code, ctypes.string_at(text, size).decode()))

        # Kept: a callback that Python has thrown away ends the process.
        self._calls = Calls(
            SEND(put), NOW(lambda: round(now_s() * 1e6)), SHOW(show), AEAD(_aead), HMAC(_hmac)
        )
        self._c: Any = ctypes.CDLL(str(library))
        self._c.board_new.restype = P
        mask = sum(1 << codec for codec in codecs)
        made = self._c.board_new(ctypes.byref(self._calls), session, mask, device, key)
        assert made
        self._board = P(made)

    def tick(self, now_s: float) -> None:
        self._c.board_tick(self._board, os.urandom(NONCE_BYTES))

    def capture(self, samples: NDArray[np.int16], now_s: float) -> None:
        self._c.board_capture(self._board, samples.astype("<i2").tobytes(), SIZE(len(samples)))

    def receive(self, datagram: bytes) -> None:
        status = self._c.board_receive(self._board, datagram, SIZE(len(datagram)))
        if status < 0:
            self.refused[Status(status).name] += 1

    def mute(self, muted: bool) -> None:
        self._c.board_mute(self._board, int(muted))

    def finish(self) -> None:
        self._c.board_finish(self._board)

    @property
    def is_open(self) -> bool:
        return bool(self._c.board_is_open(self._board))

    @property
    def is_welcome(self) -> bool:
        return bool(self._c.board_is_welcome(self._board))

    @property
    def due_since_hello(self) -> int:
        self._c.board_due.restype = ctypes.c_uint32
        return int(self._c.board_due(self._board))

    def close(self) -> None:
        self._c.board_free(self._board)


class CUdpBoard(UdpBoard):
    """On UDP, with a bad link on the way up and on the way down; greetings take it too."""

    board: CBoard  # type: ignore[assignment]

    def __init__(
        self,
        library: Path,
        samples: NDArray[np.int16],
        port: int,
        device: int,
        key: bytes,
        faults: Faults,
        speed: float = 0.0,
    ) -> None:
        self._identity = library, device, key
        self._down = BadLink(faults, 1)
        super().__init__(samples, port, device, key, faults, speed)

    def make_board(self, **options: Any) -> CBoard:  # type: ignore[override]
        library, device, key = self._identity
        return CBoard(library, self.send, device, key, **options)

    def send(self, frame: bytes) -> bool:
        now_s = time.monotonic()
        self.link.put(frame, now_s)
        self.pass_on(now_s)
        return True

    def greet(self, now_s: float) -> None:
        """Its tick does."""

    def take(self, datagram: bytes) -> None:
        now_s = time.monotonic()
        self._down.put(datagram, now_s)
        for arrived in self._down.take(now_s):
            self.board.receive(arrived)

    def finish(self) -> None:
        self._down = BadLink(Faults(), 1)
        super().finish()

    def close(self) -> None:
        super().close()
        self.board.close()
