"""Bluetooth Low Energy, by bleak: a device of our own protocol, or an Omi."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import suppress
from typing import Any, TypeVar

from edge_alm.bridge import omi
from edge_alm.bridge.fragments import LEAST_VALUE_BYTES, Joiner, Splitter
from edge_alm.bridge.links import LinkLostError
from edge_alm.bridge.numbers import DOWN_UUID, SERVICE_UUID, UP_UUID
from edge_alm.bridge.reading import Bell
from edge_alm.errors import DeviceError, UsageError, missing_extra

CONNECT_S = 10.0
"""A device that is on advertises ten times a second."""
OPEN_S = 30.0
"""With pairing, which may ask a person."""
SILENT_S = 2.5
"""A device says where it is every second. One that was cut off gives no sign of it before the
supervision of the link ends, after up to 32 s, and none at all where the adapter hangs."""
HANG_UP_S = 2.0
PENDING_BYTES = 16_384
"""As much may wait to be sent; what is more is dropped and counted."""

T = TypeVar("T")
_ADDRESS = re.compile(r"[0-9A-F]{2}(:[0-9A-F]{2}){5}|[0-9A-F]{8}(-[0-9A-F]{4}){3}-[0-9A-F]{12}")
_GONE = "a device at its other end"


class BleLink:
    """A device in reach, found by its address.

    bleak runs on a thread of its own from :meth:`open` to :meth:`close`.

    Args:
        address: ``AA:BB:CC:DD:EE:FF``; on macOS the UUID that stands for it there.
        backend: bleak's class for the Bluetooth at hand; None: that of this machine.

    Raises:
        UsageError: not such an address.
        MissingExtraError: the package ``bleak`` is not installed.
    """

    delay_s = 0.0
    """The link layer repeats what is lost, in order; what is missing will not come."""
    gather_s = 0.0
    is_behind = False

    def __init__(self, address: str, *, backend: type[Any] | None = None) -> None:
        if not _ADDRESS.fullmatch(address.upper()):
            raise UsageError(
                f"source ble:{address}",
                expected="ble:ADDRESS such as ble:C0:98:E5:49:00:01",
                got=repr(address),
                hint="`bluetoothctl scan le` tells the addresses of devices in reach",
            )
        try:
            import bleak
        except ImportError as error:
            raise missing_extra("ble", "bleak", str(error)) from error
        self.name = f"ble:{address}"
        self._new_client: Callable[[Callable[[object], None]], Any] = lambda disconnected: (
            bleak.BleakClient(
                address, disconnected_callback=disconnected, timeout=CONNECT_S, backend=backend
            )
        )
        self._radio: _LoopThread | None = None
        self._connection: _Connection | None = None
        self._counts: Counter[str] = Counter()

    def open(self) -> None:
        """See :class:`~edge_alm.bridge.links.Link`."""
        radio = self._radio
        if radio is None:
            radio = self._radio = _LoopThread(self.name)
        old, self._connection = self._connection, None
        try:
            if old is not None:
                radio.run(old.hang_up(), OPEN_S)
            connection = _Connection(self.name, self._new_client, self._counts)
            radio.run(connection.open(), OPEN_S + HANG_UP_S)
        except DeviceError:
            raise
        except (CancelledError, FutureTimeoutError) as error:
            raise DeviceError(self.name, expected="it to answer", got="no answer") from error
        except BaseException:
            self.close()
            raise
        self._connection = connection

    def fileno(self) -> int:
        """See :class:`~edge_alm.bridge.links.Link`."""
        connection = self._connection
        return -1 if connection is None else connection.came.fileno()

    def read(self) -> list[bytes]:
        """See :class:`~edge_alm.bridge.links.Link`."""
        connection = self._connection
        if connection is None:
            raise LinkLostError(self.name, expected=_GONE, got="a closed link")
        return connection.take()

    def write(self, frame: bytes) -> None:
        """See :class:`~edge_alm.bridge.links.Link`."""
        radio, connection = self._radio, self._connection
        if radio is None or connection is None or not connection.accepts(frame):
            self._counts["not_sent"] += 1
            return
        radio.call(connection.send, frame)

    def counts(self) -> dict[str, int]:
        """See :class:`~edge_alm.bridge.links.Link`."""
        return {"not_sent": 0, **self._counts}

    def close(self) -> None:
        """See :class:`~edge_alm.bridge.links.Link`."""
        radio, self._radio = self._radio, None
        connection, self._connection = self._connection, None
        if radio is None:
            return
        if connection is not None:
            with suppress(CancelledError, FutureTimeoutError):
                radio.run(connection.hang_up(), HANG_UP_S)
        radio.stop()


class _LoopThread:
    """An event loop on a thread."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._stopped = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T], timeout_s: float) -> T:
        """What ``work`` returns.

        Raises:
            CancelledError: the loop was stopped meanwhile.
            FutureTimeoutError: it took longer.
        """
        try:
            future: Future[T] = asyncio.run_coroutine_threadsafe(work, self._loop)
        except RuntimeError as error:
            work.close()
            raise CancelledError from error
        try:
            return future.result(timeout_s)
        finally:
            future.cancel()

    def call(self, function: Callable[[T], None], argument: T) -> None:
        """Soon, and without an answer."""
        with suppress(RuntimeError):  # it has been stopped
            self._loop.call_soon_threadsafe(function, argument)

    def stop(self) -> None:
        """Cancel all that runs."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._stopped.set)
        if threading.current_thread() is not self._thread:
            self._thread.join(HANG_UP_S)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._stopped.wait())
            tasks = asyncio.all_tasks(self._loop)
            for task in tasks:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        finally:
            self._loop.close()


class _Came:
    """What has come, from the event loop's thread to the one that reads."""

    def __init__(self) -> None:
        self._items: deque[bytes | LinkLostError] = deque()
        self._bell = Bell()

    def fileno(self) -> int:
        """To be polled."""
        return self._bell.fileno()

    def put(self, item: bytes | LinkLostError) -> None:
        """Never waits."""
        self._items.append(item)
        self._bell.ring()

    def take(self) -> list[bytes | LinkLostError]:
        """All there is."""
        # Also where nothing is: what was taken before it rang would else be polled for ever.
        self._bell.silence()
        return [self._items.popleft() for _ in range(len(self._items))]


class _Connection:
    """One connection, from its opening to its loss. All but ``take`` and ``accepts`` is called on
    the loop's thread.
    """

    def __init__(
        self,
        name: str,
        new_client: Callable[[Callable[[object], None]], Any],
        counts: Counter[str],
    ) -> None:
        self._name = name
        self._new_client = new_client
        self._client: Any = None
        self._counts = counts
        self.came = _Came()
        self._lost: LinkLostError | None = None
        self._heard_s = 0.0
        self._tasks: list[asyncio.Task[None]] = []
        self._down: Any = None
        self._outgoing: asyncio.Queue[bytes] = asyncio.Queue()
        self._pending_bytes = 0

    def take(self) -> list[bytes]:
        """What came.

        Raises:
            LinkLostError: the connection is gone.
        """
        if self._lost is not None:
            raise self._lost
        items = self.came.take()
        frames = [item for item in items if isinstance(item, bytes)]
        self._lost = next((item for item in items if not isinstance(item, bytes)), None)
        if self._lost is not None and not frames:
            raise self._lost
        return frames

    def accepts(self, frame: bytes) -> bool:
        """Whether there is somewhere to send it, and room for it to wait."""
        return self._down is not None and self._pending_bytes + len(frame) <= PENDING_BYTES

    async def open(self) -> None:
        """Connect, pair where the device is one of ours, and listen.

        Raises:
            DeviceError: the device is not there, is another one, or does not let us in.
        """
        try:
            await asyncio.wait_for(self._open(), OPEN_S)
        except BaseException as error:
            await self.hang_up()
            if isinstance(error, DeviceError) or not isinstance(error, Exception):
                raise
            raise self._not_opened(error) from error

    async def hang_up(self) -> None:
        """Idempotent."""
        for task in self._tasks:
            task.cancel()
        self._tasks.clear()
        client, self._client = self._client, None
        if client is not None:
            # What is lost anyway may be lost in any way that a Bluetooth stack knows.
            with suppress(Exception):
                await asyncio.wait_for(client.disconnect(), HANG_UP_S)

    def send(self, frame: bytes) -> None:
        """Send a frame as soon as those before it are sent."""
        self._pending_bytes += len(frame)
        self._outgoing.put_nowait(frame)

    async def _open(self) -> None:
        self._client = self._new_client(lambda _: self._lose("disconnected"))
        await self._client.connect()
        services = self._client.services
        if services.get_service(SERVICE_UUID) is not None:
            await self._open_bridge()
        elif services.get_service(omi.SERVICE) is not None:
            await self._open_omi()
        else:
            raise DeviceError(
                self._name,
                expected="a device with the service of edge-alm or of an Omi",
                got="one with neither",
            )

    async def _open_bridge(self) -> None:
        # macOS has no such call: it pairs when a characteristic wants it.
        with suppress(NotImplementedError):
            try:
                await self._client.pair()
            except Exception as error:
                raise DeviceError(
                    self._name,
                    expected="to pair with it",
                    got=_said(error),
                    hint="let it pair (a button, as a rule); if it has forgotten this host, "
                    "`bluetoothctl remove ADDRESS` and try again",
                ) from error
        down = self._client.services.get_characteristic(DOWN_UUID)
        joiner = Joiner()

        def on_value(_: object, value: bytearray) -> None:
            self._heard_s = time.monotonic()
            bad = joiner.bad
            frame = joiner.push(bytes(value))
            self._counts["bad_fragments"] += joiner.bad - bad
            if frame is not None:
                self.came.put(frame)

        await self._start(UP_UUID, on_value)
        self._down = down
        self._tasks += [
            asyncio.create_task(self._write(down)),
            asyncio.create_task(self._watch(None)),
        ]

    async def _open_omi(self) -> None:
        number = bytes(await self._client.read_gatt_char(omi.CODEC))
        codec = omi.CODECS.get(number[0]) if number else None
        if codec is None:
            raise DeviceError(
                self._name,
                expected="an Omi with codec " + ", ".join(map(str, omi.CODECS)),
                got=f"codec {number[0] if number else 'none'}",
                hint="update its firmware",
            )
        stream = omi.OmiStream(codec, "Omi", self._counts)

        def on_value(_: object, value: bytearray) -> None:
            self._heard_s = time.monotonic()
            frame = stream.push(bytes(value))
            if frame is not None:
                self.came.put(frame)

        async def probe() -> None:
            await self._client.read_gatt_char(omi.CODEC)
            self.came.put(stream.alive())

        self.came.put(stream.begin())
        await self._start(omi.AUDIO, on_value)
        self._tasks.append(asyncio.create_task(self._watch(probe)))

    async def _start(self, uuid: str, on_value: Callable[[object, bytearray], None]) -> None:
        self._heard_s = time.monotonic()
        await self._client.start_notify(uuid, on_value)

    async def _write(self, down: Any) -> None:
        splitter = Splitter()
        try:
            while True:
                frame = await self._outgoing.get()
                room = max(LEAST_VALUE_BYTES, down.max_write_without_response_size)
                for fragment in splitter.split(frame, room):
                    await self._client.write_gatt_char(down, fragment, response=False)
                self._pending_bytes -= len(frame)
        except Exception as error:  # of whatever Bluetooth stack there is
            self._lose(_said(error))

    async def _watch(self, probe: Callable[[], Coroutine[Any, Any, None]] | None) -> None:
        """Notice a device that has gone without a word.

        Args:
            probe: asks one that need not send whether it is there; None: silence tells.
        """
        while True:
            quiet_s = time.monotonic() - self._heard_s
            if quiet_s < SILENT_S:
                await asyncio.sleep(SILENT_S - quiet_s)
                continue
            try:
                if probe is None:
                    break
                await asyncio.wait_for(probe(), SILENT_S)
            except Exception:
                break
            self._heard_s = time.monotonic()
        self._lose(f"silence for {SILENT_S:g} s")

    def _lose(self, got: str) -> None:
        self._down = None
        self.came.put(LinkLostError(self._name, expected=_GONE, got=got))

    def _not_opened(self, error: Exception) -> DeviceError:
        from bleak.exc import BleakBluetoothNotAvailableError, BleakDeviceNotFoundError

        if isinstance(error, (BleakDeviceNotFoundError, TimeoutError, asyncio.TimeoutError)):
            return DeviceError(
                self._name,
                expected="a device of that address in reach",
                got=f"none in {CONNECT_S:g} s",
                hint="switch it on; a device that is connected elsewhere is not seen",
            )
        if isinstance(error, (BleakBluetoothNotAvailableError, OSError)):
            return DeviceError(
                self._name,
                expected="a Bluetooth adapter that is switched on",
                got=_said(error),
                hint="`bluetoothctl power on`; on Linux BlueZ must run (bluetoothd, D-Bus)",
            )
        return DeviceError(self._name, expected="to connect to it", got=_said(error))


def _said(error: Exception) -> str:
    """What an error says, or at least its kind."""
    words = [word for word in error.args if isinstance(word, str)]
    return " ".join(words) or str(error) or type(error).__name__
