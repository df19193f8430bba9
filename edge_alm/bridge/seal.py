"""Sealed datagrams: who may speak, to whom only we speak, and nothing twice.

ChaCha20-Poly1305 (RFC 8439) with keys by HKDF-SHA256 (RFC 5869), by the package ``cryptography``.
No socket and no clock: datagrams and times come with the calls. PROTOCOL.md specifies it.
"""

from __future__ import annotations

import os
import struct
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from edge_alm.bridge.frame import MAX_FRAME_BYTES
from edge_alm.bridge.numbers import (
    DOWN_WINDOW,
    KEY_BYTES,
    NONCE_BYTES,
    SEAL_HEAD_BYTES,
    SEAL_MAGIC,
    TAG_BYTES,
    UP_WINDOW,
    Datagram,
)
from edge_alm.errors import missing_extra

Address: TypeAlias = tuple[str, int]

# As plain numbers: a member of an IntEnum costs a look-up at every datagram.
_GREETING, _REPLY, _UP, _DOWN = map(int, Datagram)
_HEAD = struct.Struct("<BBHI")
_COUNTER = struct.Struct("<Q")
_ZEROS = bytes(4)
"""Before a counter in a nonce."""
_GREETING_BYTES = _HEAD.size + NONCE_BYTES + TAG_BYTES
_DATA_BYTES = SEAL_HEAD_BYTES + TAG_BYTES
MAX_DATAGRAM_BYTES = _DATA_BYTES + MAX_FRAME_BYTES
TRIES_A_SECOND = 20
"""Datagrams from elsewhere than the session's address that are opened to see whether they are
good. One costs 5 us, whatever it holds: a frame at most."""
PENDING = 4
"""Greetings that were answered and whose keys no datagram has used yet."""
TAKEOVER_S = 5.0
"""A device that has been silent for so long may be followed by another one."""


def _hkdf(key: bytes, salt: bytes, purpose: str) -> bytes:
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    info = f"edge-alm bridge 1 {purpose}".encode()
    return HKDF(SHA256(), KEY_BYTES, salt or None, info).derive(key)


def _aead(key: bytes) -> Any:
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    return ChaCha20Poly1305(key)


class ReplayWindow:
    """Which counters have come (RFC 6479's idea: a bit map that slides).

    Args:
        size: counters from the highest one down that may still come, once each.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._mask = (1 << size) - 1
        self._highest = -1
        self._seen = 0

    def is_fresh(self, counter: int) -> bool:
        """Whether it may come."""
        behind = self._highest - counter
        return behind < 0 or (behind < self._size and not self._seen >> behind & 1)

    def add(self, counter: int) -> None:
        """It came, and is authentic."""
        if counter > self._highest:
            self._seen = self._seen << min(counter - self._highest, self._size) & self._mask
            self._highest = counter
        self._seen |= 1 << (self._highest - counter)


@dataclass(slots=True)
class _Keys:
    """Of one session."""

    device: int
    up: Any
    down: Any
    reply: bytes
    window: ReplayWindow = field(default_factory=lambda: ReplayWindow(UP_WINDOW))
    sent: int = 0


def _session_keys(key: bytes, device: int, nonces: bytes, reply: bytes) -> _Keys:
    up, down = (_aead(_hkdf(key, nonces, purpose)) for purpose in ("up", "down"))
    return _Keys(device, up, down, reply)


class HostSeal:
    """The host's side: one device at a time, of those that are paired.

    Args:
        devices: key by device id.
        random_bytes: where nonces come from; so many bytes that nobody can foretell.

    Raises:
        MissingExtraError: the package ``cryptography`` is not installed.
    """

    def __init__(
        self, devices: Mapping[int, bytes], random_bytes: Callable[[int], bytes] = os.urandom
    ) -> None:
        try:
            self._greetings = {
                device: (key, _aead(_hkdf(key, b"", "greeting"))) for device, key in devices.items()
            }
        except ImportError as error:
            raise missing_extra("bridge", "cryptography", str(error)) from error
        self._random_bytes = random_bytes
        self._active: _Keys | None = None
        self._heard_s = 0.0
        self._pending: OrderedDict[bytes, _Keys] = OrderedDict()
        self._tries = 0
        self._second = 0
        self.address: Address | None = None
        """Where the session's device is."""
        self.dropped: Counter[str] = Counter()
        """Datagrams that were not taken, by reason."""

    def receive(
        self, datagram: bytes, address: Address, now_s: float
    ) -> tuple[bytes | None, bytes | None]:
        """A datagram; the frame that it holds, and what is to be sent back."""
        size = len(datagram)
        if not _DATA_BYTES <= size <= MAX_DATAGRAM_BYTES:
            return self._drop("size")
        magic, kind, _, device = _HEAD.unpack_from(datagram)
        if magic != SEAL_MAGIC or kind not in (_GREETING, _UP):
            return self._drop("not ours")
        if device not in self._greetings:
            return self._drop("unknown device")
        active = self._active
        counter = _COUNTER.unpack_from(datagram, _HEAD.size)[0]
        if kind == _GREETING:
            if size != _GREETING_BYTES:
                return self._drop("size")
            if active and device != active.device and now_s - self._heard_s < TAKEOVER_S:
                return self._drop("another device is heard")
        elif active and device == active.device and not active.window.is_fresh(counter):
            # Under keys that wait for their first datagram it may be fresh all the same.
            if not self._pending:
                return self._drop("replayed")
        elif not active and not self._pending:
            return self._drop("no session")
        if address != self.address and not self._may_try(now_s):
            return self._drop("too many")
        if kind == _GREETING:
            return None, self._greet(datagram, device)
        return self._open(datagram, device, counter, address, now_s), None

    def seal(self, frame: bytes) -> bytes | None:
        """The datagram of a packed frame for the session's device; None: there is none yet."""
        keys = self._active
        if keys is None:
            return None
        counter = _COUNTER.pack(keys.sent)
        keys.sent += 1
        head = _HEAD.pack(SEAL_MAGIC, _DOWN, 0, keys.device) + counter
        sealed: bytes = keys.down.encrypt(_ZEROS + counter, frame, head)
        return head + sealed

    def _greet(self, datagram: bytes, device: int) -> bytes | None:
        head = datagram[: _HEAD.size + NONCE_BYTES]
        theirs = head[_HEAD.size :]
        # The whole of it: another one with this nonce has a wrong tag.
        if (known := self._pending.get(datagram)) is not None:
            return known.reply
        aead: Any
        key, aead = self._greetings[device]
        if not _opens(aead, theirs, datagram[len(head) :], head):
            self.dropped["bad tag"] += 1
            return None
        ours = self._random_bytes(NONCE_BYTES)
        reply_head = _HEAD.pack(SEAL_MAGIC, _REPLY, 0, device) + ours
        reply: bytes = reply_head + aead.encrypt(ours, b"", reply_head + theirs)
        self._pending[datagram] = _session_keys(key, device, theirs + ours, reply)
        while len(self._pending) > PENDING:
            self._pending.popitem(last=False)
        return reply

    def _open(
        self, datagram: bytes, device: int, counter: int, address: Address, now_s: float
    ) -> bytes | None:
        head, sealed = datagram[:SEAL_HEAD_BYTES], datagram[SEAL_HEAD_BYTES:]
        nonce = _ZEROS + head[_HEAD.size :]
        for keys in (self._active, *reversed(self._pending.values())):
            if keys is None or keys.device != device or not keys.window.is_fresh(counter):
                continue
            frame = _decrypt(keys.up, nonce, sealed, head)
            if frame is None:
                continue
            keys.window.add(counter)
            if keys is not self._active:
                self._active = keys
                self._pending.clear()
            self.address, self._heard_s = address, now_s
            return frame
        self.dropped["bad tag"] += 1
        return None

    def _may_try(self, now_s: float) -> bool:
        if int(now_s) != self._second:
            self._second, self._tries = int(now_s), 0
        self._tries += 1
        return self._tries <= TRIES_A_SECOND

    def _drop(self, reason: str) -> tuple[None, None]:
        self.dropped[reason] += 1
        return None, None


class DeviceSeal:
    """The device's side, for tests and boards that run Python. See :class:`HostSeal`."""

    def __init__(
        self, device: int, key: bytes, random_bytes: Callable[[int], bytes] = os.urandom
    ) -> None:
        self._device, self._key = device, key
        self._static = _aead(_hkdf(key, b"", "greeting"))
        self._window = ReplayWindow(DOWN_WINDOW)
        self._keys: _Keys | None = None
        self._nonce = random_bytes(NONCE_BYTES)

    @property
    def is_open(self) -> bool:
        """Whether the host has replied."""
        return self._keys is not None

    def greeting(self) -> bytes:
        """To be sent every second until there is a reply."""
        head = _HEAD.pack(SEAL_MAGIC, _GREETING, 0, self._device) + self._nonce
        sealed: bytes = self._static.encrypt(self._nonce, b"", head)
        return head + sealed

    def seal(self, frame: bytes) -> bytes | None:
        """The datagram of a packed frame; None: the host has not replied."""
        if self._keys is None:
            return None
        counter = _COUNTER.pack(self._keys.sent)
        self._keys.sent += 1
        head = _HEAD.pack(SEAL_MAGIC, _UP, 0, self._device) + counter
        sealed: bytes = self._keys.up.encrypt(_ZEROS + counter, frame, head)
        return head + sealed

    def receive(self, datagram: bytes) -> bytes | None:
        """The frame in a datagram; None: a reply, or nothing of the host's."""
        size = len(datagram)
        if not _DATA_BYTES <= size <= MAX_DATAGRAM_BYTES or datagram[0] != SEAL_MAGIC:
            return None
        if datagram[1] == _REPLY and size == _GREETING_BYTES:
            head = datagram[: _HEAD.size + NONCE_BYTES]
            ours = head[_HEAD.size :]
            if self._keys is None and _opens(
                self._static, ours, datagram[len(head) :], head + self._nonce
            ):
                self._keys = _session_keys(self._key, self._device, self._nonce + ours, b"")
            return None
        counter = _COUNTER.unpack_from(datagram, _HEAD.size)[0]
        if datagram[1] != _DOWN or self._keys is None or not self._window.is_fresh(counter):
            return None
        head = datagram[: _HEAD.size + 8]
        frame = _decrypt(self._keys.down, _ZEROS + head[_HEAD.size :], datagram[len(head) :], head)
        if frame is not None:
            self._window.add(counter)
        return frame


def _opens(aead: Any, nonce: bytes, sealed: bytes, head: bytes) -> bool:
    return _decrypt(aead, nonce, sealed, head) is not None


def _decrypt(aead: Any, nonce: bytes, sealed: bytes, head: bytes) -> bytes | None:
    try:
        plain: bytes = aead.decrypt(nonce, sealed, head)
    except Exception as error:
        from cryptography.exceptions import InvalidTag  # here: not at every good datagram

        if isinstance(error, InvalidTag):
            return None
        raise
    return plain
