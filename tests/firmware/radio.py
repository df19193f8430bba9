"""Bluetooth without a radio: bumble's virtual controllers on TCP ports, and bleak driving one.

Every connection to the port is a controller of its own, in reach of all others. One whose host
ends without a word is gone from the air without a word, as a device that is switched off.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from bleak.backends.characteristic import BleakGATTCharacteristic
from bleak.backends.client import BaseBleakClient
from bleak.backends.service import BleakGATTService, BleakGATTServiceCollection
from bleak.exc import BleakDeviceNotFoundError, BleakError
from bumble import controller, hci, keys, link, pairing, transport
from bumble.device import Device, DeviceConfiguration, Peer
from bumble.transport.common import StreamPacketSink, StreamPacketSource

from firmware_bridge.ble_board import Peripheral

PATIENCE_S = 20.0
HOST_ADDRESS = "F1:00:00:00:00:01"
MTU = 247


class Radio:
    """The air, on a thread of its own; devices of this process live there, too."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._air = self.do(self._make_air())
        self._server = self.do(self._listen())
        self.port: int = self._server.sockets[0].getsockname()[1]

    @property
    def controller(self) -> str:
        return f"tcp-client:127.0.0.1:{self.port}"

    def add(self, made: Peripheral) -> Callable[[], None]:
        """Switch a device on; what switches it off."""
        over = threading.Event()

        async def serve() -> None:
            async with await transport.open_transport(self.controller) as (source, sink):
                await made.serve(source, sink, over.is_set)

        future = asyncio.run_coroutine_threadsafe(serve(), self._loop)
        wait_until(lambda: made.is_advertising or future.done())

        def switch_off() -> None:
            over.set()
            future.result(PATIENCE_S)

        if future.done():
            switch_off()
        return switch_off

    def call(self, function: Callable[[], None]) -> None:
        self._loop.call_soon_threadsafe(function)

    def close(self) -> None:
        self.do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_S)
        self._loop.close()

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE_S)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    async def _make_air(self) -> link.LocalLink:
        return link.LocalLink()

    async def _listen(self) -> asyncio.Server:
        return await self._loop.create_server(lambda: _Chip(self._air), "127.0.0.1", 0)

    async def _end(self) -> None:
        self._server.close()
        for chip in list(self._air.controllers):
            chip.host.close()
        await asyncio.sleep(0)
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Chip(StreamPacketSource):
    """A controller for as long as its host is connected."""

    def __init__(self, air: link.LocalLink) -> None:
        super().__init__()
        self._air = air

    def connection_made(self, line: Any) -> None:
        self._chip = controller.Controller(
            "chip", host_source=self, host_sink=StreamPacketSink(line), link=self._air
        )

    def connection_lost(self, error: Exception | None) -> None:
        self._chip.le_legacy_advertiser.stop()
        for advertising in self._chip.advertising_sets.values():
            advertising.stop()
        self._chip.host = None
        self._air.remove_controller(self._chip)


class BumbleClient(BaseBleakClient):
    """What bleak needs of a Bluetooth stack. A host with one bond store, as a machine has."""

    controller = ""
    bonds: Path
    own_address = HOST_ADDRESS
    secure = bonding = True
    mtu = MTU

    def __init__(self, address: Any, **options: Any) -> None:
        options.pop("services", None)
        super().__init__(address, **options)
        self._line: Any = None
        self._device: Any = None
        self._connection: Any = None
        self._peer: Any = None

    @property
    def name(self) -> str:
        return self.address

    @property
    def mtu_size(self) -> int:
        return int(self._connection.att_mtu)

    @property
    def is_connected(self) -> bool:
        return self._connection is not None

    async def connect(self, pair: bool, **_: Any) -> None:
        self._line = await transport.open_transport(self.controller)
        config = DeviceConfiguration(name="host", address=hci.Address(self.own_address))
        device = Device.from_config_with_hci(config, self._line.source, self._line.sink)
        self._device = device
        device.keystore = keys.JsonKeyStore(self.own_address, str(self.bonds))
        device.pairing_config_factory = lambda _: pairing.PairingConfig(
            sc=self.secure,
            mitm=False,
            bonding=self.bonding,
            identity_address_type=pairing.PairingConfig.AddressType.RANDOM,
        )
        await device.power_on()
        try:
            connection = await asyncio.wait_for(
                device.connect(hci.Address(self.address), timeout=None), self._timeout
            )
        except asyncio.TimeoutError as error:
            await self._hang_up()
            raise BleakDeviceNotFoundError(self.address, "not found") from error
        self._connection = connection
        connection.on(connection.EVENT_DISCONNECTION, self._on_disconnection)
        # As BlueZ does with a device that it has a bond with.
        if await device.keystore.get(str(connection.peer_address)) is not None:
            await self._encrypt()
        self._peer = peer = Peer(connection)
        await peer.request_mtu(self.mtu)
        await peer.discover_services()
        self.services = BleakGATTServiceCollection()
        for found in peer.services:
            service = BleakGATTService(found, found.handle, _dashed(found.uuid))
            self.services.add_service(service)
            for one in await found.discover_characteristics():
                names = [name for bit, name in PROPERTIES.items() if int(one.properties) & bit]
                self.services.add_characteristic(
                    BleakGATTCharacteristic(
                        one,
                        one.handle,
                        _dashed(one.uuid),
                        names,  # type: ignore[arg-type]
                        lambda: self.mtu_size - 3,
                        service,
                    )
                )

    async def disconnect(self) -> None:
        connection = self._connection
        try:
            if connection is not None:
                await connection.disconnect()
        finally:  # cancelled, too: the other side may not answer any more
            await self._hang_up()

    async def pair(self, *_: Any, **__: Any) -> None:
        if self._connection.is_encrypted:
            return
        try:
            await self._connection.pair()
        except Exception as error:
            raise BleakError(f"pairing failed: {error}") from error

    async def unpair(self) -> None:
        raise NotImplementedError

    async def read_gatt_char(self, characteristic: Any, **_: Any) -> bytearray:
        return bytearray(await self._peer.read_value(characteristic.obj))

    async def read_gatt_descriptor(self, descriptor: Any, **_: Any) -> bytearray:
        raise NotImplementedError

    async def write_gatt_char(self, characteristic: Any, data: Any, response: bool) -> None:
        await self._peer.write_value(characteristic.obj, bytes(data), response)

    async def write_gatt_descriptor(self, descriptor: Any, data: Any) -> None:
        raise NotImplementedError

    async def start_notify(
        self, characteristic: Any, callback: Callable[[bytearray], None], **_: Any
    ) -> None:
        try:
            await self._peer.subscribe(characteristic.obj, lambda value: callback(bytearray(value)))
        except Exception as error:
            raise BleakError(f"subscribing failed: {error}") from error

    async def stop_notify(self, characteristic: Any) -> None:
        await self._peer.unsubscribe(characteristic.obj)

    async def _encrypt(self) -> None:
        try:
            await asyncio.wait_for(self._connection.encrypt(), 2.0)
        except Exception as error:
            await self.disconnect()
            raise BleakError(f"no encryption: {error}") from error

    def _on_disconnection(self, _: int) -> None:
        self._connection = None
        if self._disconnected_callback is not None:
            self._disconnected_callback()

    async def _hang_up(self) -> None:
        line, self._line, self._connection = self._line, None, None
        if line is not None:
            await line.close()


PROPERTIES = {0x02: "read", 0x04: "write-without-response", 0x08: "write", 0x10: "notify"}


def _dashed(uuid: Any) -> str:
    text = uuid.to_hex_str("-").lower()
    return text if len(text) > 8 else f"0000{text}-0000-1000-8000-00805f9b34fb"


def host_of(radio: Radio, bonds: Path, **options: Any) -> type[BumbleClient]:
    """A host's Bluetooth, with the bonds of a file."""
    return type("Host", (BumbleClient,), {"controller": radio.controller, "bonds": bonds} | options)


def wait_until(condition: Callable[[], bool], patience_s: float = PATIENCE_S) -> None:
    end_s = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < end_s, "waited too long"
        time.sleep(0.01)
