"""Devices with Bluetooth Low Energy in Python, by bumble: one of ours, and one like an Omi.

    python -m firmware_bridge.ble_board CONTROLLER RECORDING [--bonds FILE] [--omi CODEC]

CONTROLLER is one by bumble's name for it: ``usb:0``, ``serial:/dev/ttyACM0``,
``tcp-client:127.0.0.1:PORT``. For tests and as a reference; bumble wants Python 3.11.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import struct
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
from bumble import att, gatt, hci, keys, pairing, smp, transport
from bumble.core import AdvertisingData
from bumble.device import Connection, Device, DeviceConfiguration
from numpy.typing import NDArray

from edge_alm.bridge import omi
from edge_alm.bridge.fragments import Joiner, Splitter
from edge_alm.bridge.numbers import DOWN_UUID, SERVICE_UUID, UP_UUID, FrameType
from edge_alm.types import SAMPLE_RATE_HZ
from firmware_bridge.board import Board
from firmware_bridge.relay import BadLink, Faults

ADDRESS = "C0:98:E5:49:00:01"
ADVERTISE_MS = 100.0
STEP_S = 0.005
MAX_PENDING = 400
"""Packets of 27 bytes that may wait for the radio: 100 ms of PCM16 and more is no room."""
KEY_BYTES = 16
NO_FAULTS = Faults()
_Properties = gatt.Characteristic.Properties


class Session(smp.Session):
    """A pairing that is LE Secure Connections with bonding and a whole key, or is refused.

    bumble, like most stacks, does with less where the other side asks for less.
    """

    def on_smp_pairing_request_command(self, command: smp.SMP_Pairing_Request_Command) -> None:
        """Look at what the host asks for first."""
        needed = smp.AuthReq.SC | smp.AuthReq.BONDING
        if command.auth_req & needed != needed or command.maximum_encryption_key_size < KEY_BYTES:
            self.send_pairing_failed(smp.ErrorCode.AUTHENTICATION_REQUIREMENTS)
            return
        super().on_smp_pairing_request_command(command)


class Owner(pairing.PairingDelegate):
    """Lets a host pair or not: without a display or a button anyone in reach could."""

    def __init__(self, may_pair: Callable[[], Awaitable[bool]]) -> None:
        super().__init__()
        self._may_pair = may_pair

    async def accept(self) -> bool:
        """Before each pairing."""
        return await self._may_pair()


class Peripheral:
    """What both kinds of device have: a connection, a characteristic that notifies.

    Args:
        samples: what the microphone takes, once.
        service: its UUID.
        speed: times real time; 0: as fast as the link takes it.
        faults: of what is notified.
    """

    rate_hz = SAMPLE_RATE_HZ
    needs_bond = False

    def __init__(
        self,
        samples: NDArray[np.int16],
        service: str,
        characteristics: list[gatt.Characteristic[bytes]],
        *,
        address: str = ADDRESS,
        name: str = "board",
        bonds: Path | None = None,
        speed: float = 0.0,
        faults: Faults = NO_FAULTS,
        asks_to_pair: bool = False,
    ) -> None:
        self._samples = samples
        self._asks_to_pair = asks_to_pair
        self._service = gatt.Service(service, characteristics)
        self._sends = characteristics[0]
        self.address, self._name, self._bonds = address, name, bonds
        self._speed = speed
        self._bad_link = BadLink(faults, 0)
        self._subscribed = False
        self._trusted: Connection | None = None
        self._at, self._began_s = 0, time.monotonic()
        self.device: Any = None
        self.connection: Any = None
        self.is_pairing = False
        """Whether the owner lets a further host pair; the first one may without asking."""
        self.is_paused = False
        self.is_advertising = False

    @property
    def is_open(self) -> bool:
        """Whether somebody may hear us, and wants to."""
        connection = self.connection
        if connection is None or not self._subscribed:
            return False
        if not self.needs_bond:
            return True
        return bool(connection.is_encrypted) and connection is self._trusted

    @property
    def is_done(self) -> bool:
        """Whether all samples have been taken."""
        return self._at >= len(self._samples)

    async def serve(self, source: Any, sink: Any, until: Callable[[], bool]) -> None:
        """Be there, at a controller's source and sink, until ``until``."""
        config = DeviceConfiguration(
            name=self._name,
            address=hci.Address(self.address),
            irk=secrets.token_bytes(KEY_BYTES),
            advertising_interval_min=ADVERTISE_MS,
            advertising_interval_max=ADVERTISE_MS,
            advertising_data=bytes(
                AdvertisingData(
                    [
                        (AdvertisingData.FLAGS, b"\x06"),
                        (
                            AdvertisingData.COMPLETE_LIST_OF_128_BIT_SERVICE_CLASS_UUIDS,
                            bytes(self._service.uuid),
                        ),
                    ]
                )
            ),
        )
        self.device = device = Device.from_config_with_hci(config, source, sink)
        device.keystore = (
            keys.JsonKeyStore(self.address, str(self._bonds))
            if self._bonds is not None
            else keys.MemoryKeyStore()
        )

        async def may_pair() -> bool:
            return self.is_pairing or not await device.keystore.get_all()

        device.smp_manager.session_proxy = Session
        device.pairing_config_factory = lambda _: pairing.PairingConfig(
            sc=True,
            mitm=False,
            bonding=True,
            delegate=Owner(may_pair),
            # Else the host stores the bond under an address that it never sees again.
            identity_address_type=pairing.PairingConfig.AddressType.RANDOM,
        )
        if self._asks_to_pair:
            # macOS and Windows pair when they are told to, and not before.
            self._sends.descriptors = [
                gatt.Descriptor(
                    gatt.GATT_CLIENT_CHARACTERISTIC_CONFIGURATION_DESCRIPTOR,
                    att.Attribute.READABLE
                    | att.Attribute.WRITEABLE
                    | att.Attribute.WRITE_REQUIRES_ENCRYPTION,
                    device.gatt_server.make_descriptor_value(self._sends),
                )
            ]
        device.add_service(self._service)
        self._sends.on(self._sends.EVENT_SUBSCRIPTION, self._on_subscription)
        device.on(device.EVENT_CONNECTION, self._on_connection)
        await device.power_on()
        await device.start_advertising(auto_restart=True)
        self.is_advertising = True
        while not until():
            self._step(time.monotonic())
            await asyncio.sleep(STEP_S)
        if self.connection is not None:
            await self.connection.disconnect()
        await device.power_off()

    def _on_connection(self, connection: Connection) -> None:
        self.connection, self._subscribed, self._trusted = connection, False, None

        def on_disconnection(_: int) -> None:
            self.connection, self._subscribed, self._trusted = None, False, None

        def on_pairing(bond: keys.PairingKeys) -> None:
            if bond.ltk is not None:  # of LE Secure Connections; others have two
                self._trusted = connection

        def on_encryption() -> None:
            # By the key of a bond; while a pairing is under way its end decides.
            if connection.handle not in self.device.smp_manager.sessions:
                self._trusted = connection

        connection.on(connection.EVENT_DISCONNECTION, on_disconnection)
        connection.on(connection.EVENT_PAIRING, on_pairing)
        connection.on(connection.EVENT_CONNECTION_ENCRYPTION_CHANGE, on_encryption)
        self.begin()

    def _on_subscription(self, _: object, notify: bool, __: bool) -> None:
        self._subscribed = notify

    @property
    def _value_bytes(self) -> int:
        return self.connection.att_mtu - 3 if self.connection is not None else 0

    @property
    def has_room(self) -> bool:
        """Whether the radio keeps up."""
        queue = self.connection.data_packet_queue if self.connection is not None else None
        return queue is not None and queue.pending < MAX_PENDING

    def notify(self, values: list[bytes]) -> None:
        """Send values that somebody is there for."""
        now_s = time.monotonic()
        for value in values:
            self._bad_link.put(value, now_s)
        for value in self._bad_link.take(now_s):
            notification = att.ATT_Handle_Value_Notification(
                attribute_handle=self._sends.handle, attribute_value=value
            )
            self.device.gatt_server.send_gatt_pdu(self.connection, bytes(notification))

    def _step(self, now_s: float) -> None:
        self.tick(now_s)
        if self.is_paused or not self.is_listened_to():
            self._began_s = now_s - self._at / self.rate_hz / (self._speed or 1.0)
            return
        count = self.frame_samples
        while not self.is_done and (
            self.has_room
            if not self._speed
            else now_s >= self._began_s + self._at / self.rate_hz / self._speed
        ):
            self.capture(self._samples[self._at : self._at + count], now_s)
            self._at += count
        if self.is_done:
            self.finish()

    frame_samples = 320

    def is_listened_to(self) -> bool:
        """Whether the microphone's samples are wanted."""
        raise NotImplementedError

    def begin(self) -> None:
        """A host has connected."""
        raise NotImplementedError

    def tick(self, now_s: float) -> None:
        """Every 5 ms."""
        raise NotImplementedError

    def capture(self, samples: NDArray[np.int16], now_s: float) -> None:
        """The next samples, at most a frame's."""
        raise NotImplementedError

    def finish(self) -> None:
        """All samples have been taken; called again and again."""
        raise NotImplementedError


class BleBoard(Peripheral):
    """A device of ours. No audio, and no word at all, before the host is bonded.

    Args:
        samples: at 16 kHz.
        asks_to_pair: refuse a subscription before that too, so that hosts pair by themselves.
        board: options of :class:`~firmware_bridge.board.Board`.
    """

    needs_bond = True

    def __init__(
        self,
        samples: NDArray[np.int16],
        *,
        asks_to_pair: bool = True,
        board: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:
        up = gatt.Characteristic[bytes](UP_UUID, _Properties.NOTIFY, gatt.Characteristic.READABLE)
        down = gatt.Characteristic[bytes](
            DOWN_UUID,
            _Properties.WRITE_WITHOUT_RESPONSE,
            gatt.Characteristic.WRITEABLE,
            gatt.CharacteristicValue(write=self._on_down),
        )
        super().__init__(samples, SERVICE_UUID, [up, down], asks_to_pair=asks_to_pair, **options)
        self.board = Board(self._send, **{"codecs": (FrameType.PCM16,), **(board or {})})
        self._splitter, self._joiner = Splitter(), Joiner()
        self._finished_s = 0.0

    def begin(self) -> None:
        """Fragments are numbered anew."""
        self._splitter, self._joiner = Splitter(), Joiner()

    def is_listened_to(self) -> bool:
        """While the host has bidden us welcome."""
        return self.board.is_welcome

    def tick(self, now_s: float) -> None:
        """Where we are, once a second."""
        self.board.tick(now_s)

    def capture(self, samples: NDArray[np.int16], now_s: float) -> None:
        """A frame."""
        self.board.capture(samples, now_s)

    def finish(self) -> None:
        """The last word may be lost like any other."""
        now_s = time.monotonic()
        if now_s - self._finished_s > 0.2:
            self._finished_s = now_s
            self.board.finish()

    def _send(self, frame: bytes) -> bool:
        if not self.is_open or not self.has_room:
            return False
        self.notify(self._splitter.split(frame, self._value_bytes))
        return True

    def _on_down(self, _: object, value: bytes) -> None:
        frame = self._joiner.push(value) if self.is_open else None
        if frame is not None:
            self.board.receive(frame, time.monotonic())


class OmiBoard(Peripheral):
    """Something like an Omi: no pairing, and numbers only.

    Args:
        samples: at the codec's rate.
        codec: its number.
        piece_bytes: of the largest piece of a frame; 0: what fits.
    """

    def __init__(
        self, samples: NDArray[np.int16], codec: int, *, piece_bytes: int = 0, **options: Any
    ) -> None:
        audio = gatt.Characteristic[bytes](
            omi.AUDIO, _Properties.NOTIFY | _Properties.READ, gatt.Characteristic.READABLE
        )
        kind = gatt.Characteristic[bytes](
            omi.CODEC, _Properties.READ, gatt.Characteristic.READABLE, bytes([codec])
        )
        super().__init__(samples, omi.SERVICE, [audio, kind], **options)
        self._codec = omi.CODECS[codec]
        self.rate_hz, self.frame_samples = self._codec.rate_hz, self._codec.frame_samples
        self._piece_bytes = piece_bytes
        self._number = 0
        self._encoder: Any = None
        self.encoded: list[bytes] = []
        """Packets of Opus that were sent."""
        if self._codec.codec == FrameType.OPUS:
            import opuslib_next

            self._encoder = opuslib_next.Encoder(self.rate_hz, 1, "audio")

    def begin(self) -> None:
        """Nothing; numbers go on."""

    def is_listened_to(self) -> bool:
        """While somebody has subscribed."""
        return self.is_open

    def tick(self, now_s: float) -> None:
        """Nothing."""

    def capture(self, samples: NDArray[np.int16], now_s: float) -> None:
        """A frame, in as many pieces as it takes."""
        payload = samples.astype("<i2").tobytes()
        if self._encoder is not None:
            if len(samples) < self.frame_samples:
                return
            payload = self._encoder.encode(payload, self.frame_samples)
            self.encoded.append(payload)
        room = self._piece_bytes or self._value_bytes - 3
        values = []
        for index, start in enumerate(range(0, len(payload), room)):
            head = struct.pack("<HB", self._number % 65_536, index)
            values.append(head + payload[start : start + room])
            self._number += 1
        self.notify(values)

    def finish(self) -> None:
        """Nothing: an Omi goes on for ever."""


def main() -> None:
    """Be a device."""
    parser = argparse.ArgumentParser(description="A device with Bluetooth Low Energy.")
    parser.add_argument("controller", help="as bumble names it: usb:0")
    parser.add_argument("recording", help="at the codec's rate: 16 kHz but for Omi's codec 1")
    parser.add_argument("--address", default=ADDRESS, help="a static random one")
    parser.add_argument("--bonds", type=Path, help="a file that keeps the hosts that are paired")
    parser.add_argument("--omi", type=int, choices=omi.CODECS, help="be an Omi with that codec")
    args = parser.parse_args()
    import soundfile

    samples, rate_hz = soundfile.read(args.recording, dtype="int16", always_2d=True)
    options = {"address": args.address, "bonds": args.bonds, "speed": 1.0}
    made: Peripheral
    if args.omi is None:
        made = BleBoard(samples[:, 0], board={"session": secrets.randbits(32)}, **options)
    else:
        made = OmiBoard(samples[:, 0], args.omi, **options)
    if rate_hz != made.rate_hz:
        parser.error(f"{args.recording}: expected {made.rate_hz} Hz, got {rate_hz}")
    asyncio.run(_serve(made, args.controller))


async def _serve(made: Peripheral, controller: str) -> None:
    told = False

    def is_over() -> bool:
        nonlocal told
        if made.is_advertising and not told:
            told = True
            print(f"ble:{made.address}", flush=True)
        return made.is_done and made.connection is None

    async with await transport.open_transport(controller) as (source, sink):
        serving = asyncio.create_task(made.serve(source, sink, is_over))
        # A controller that is unplugged ends it, too.
        unplugged = asyncio.create_task(source.wait_for_termination())
        await asyncio.wait({serving, unplugged}, return_when=asyncio.FIRST_COMPLETED)
        unplugged.cancel()
        if not serving.cancel():
            serving.result()


if __name__ == "__main__":
    main()
