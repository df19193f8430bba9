"""The numbers of the protocol. Written by firmware_bridge/generate.py; do not edit by hand."""

from enum import IntEnum, IntFlag

VERSION = 1
"""Of the protocol."""
HEADER_BYTES = 24
"""Before the payload."""
CRC_BYTES = 4
"""After the payload."""
MAX_PAYLOAD_BYTES = 1024
"""Of one frame; the datagram then fits the smallest MTU of IPv6."""
MAX_NAME_BYTES = 32
"""A device's name, UTF-8."""
MAX_TEXT_BYTES = 200
"""A caption or a label, UTF-8."""
ADPCM_HEADER_BYTES = 4
"""Before the nibbles of a block."""
STREAM_STATE_MS = 1000
"""At least so often a device says where it is."""
SEAL_MAGIC = 225
"""A sealed datagram's first byte."""
SEAL_HEAD_BYTES = 16
"""Before a sealed frame."""
NONCE_BYTES = 12
"""Of a greeting, a reply, a sealed frame."""
TAG_BYTES = 16
"""Behind what is sealed."""
KEY_BYTES = 32
"""That a device and its host share."""
UP_WINDOW = 1024
"""Counters from the highest one down that a host still takes, once each."""
DOWN_WINDOW = 64
"""The same of a device, which hears less and has less room."""
FRAGMENT_FIRST = 128
"""Bit of a BLE fragment's first byte: a frame begins."""
FRAGMENT_LAST = 64
"""Bit of it: a frame ends."""
FRAGMENT_COUNT = 63
"""Bits of it: fragments before this one."""
SERVICE_UUID = "54f70000-1fc9-4f40-9983-53dbbe8c68fb"
"""The GATT service of a device."""
UP_UUID = "54f70001-1fc9-4f40-9983-53dbbe8c68fb"
"""Its characteristic that notifies: from the device."""
DOWN_UUID = "54f70002-1fc9-4f40-9983-53dbbe8c68fb"
"""Written without response: to the device."""


class FrameType(IntEnum):
    """What a frame carries; below 16: audio."""

    PCM16 = 0
    """Audio: signed 16-bit samples."""
    ADPCM = 1
    """Audio: one block of IMA ADPCM."""
    OPUS = 2
    """Audio: one Opus packet."""
    HELLO = 16
    """Device: who I am and what I can."""
    WELCOME = 17
    """Host: send audio."""
    STATS = 18
    """Device: where I am, and counters."""
    SYNC = 19
    """Host: asks for the device's clock."""
    SYNC_REPLY = 20
    """Device: its clock."""
    GAIN = 21
    """Host: amplify so much."""
    MUTE = 22
    """Device: my switch was moved."""
    CAPTION = 23
    """Host: show this text."""
    EVENT = 24
    """Host: this was heard."""
    BYE = 25
    """Device: this was all."""
    AGAIN = 26
    """Host: send these frames again."""


class Datagram(IntEnum):
    """What a sealed datagram is."""

    GREETING = 1
    """Device: is there anybody."""
    REPLY = 2
    """Host: yes, with these keys."""
    UP = 3
    """Device: a frame."""
    DOWN = 4
    """Host: a frame."""


class Flag(IntFlag):
    """Bits of a frame's flags."""

    DOWN = 1
    """From the host to the device."""
    MUTED = 2
    """The device is muted by its switch."""


class Capability(IntFlag):
    """Bits of what a device can do."""

    TWO_WAY = 1
    """Waits for WELCOME before it sends audio, answers SYNC."""
    MUTE_SWITCH = 2
    """Has a switch that cuts the microphone off."""
    SOUND_GATE = 4
    """Can send only what is worth hearing."""
    SETS_GAIN = 8
    """Heeds GAIN."""
    SHOWS_CAPTIONS = 16
    """Heeds CAPTION."""
    FEELS_EVENTS = 32
    """Heeds EVENT."""
    RESENDS = 64
    """Keeps its last frames, heeds AGAIN."""


class Wish(IntFlag):
    """Bits of what a host asks for."""

    GATED = 1
    """Send only what is worth hearing."""


class EventCode(IntEnum):
    """What an EVENT tells of."""

    SOUND_STARTS = 1
    """Text: its label."""
    SOUND_ENDS = 2
    """Text: its label."""
    SPEECH = 3
    """Text: what was said."""
    WATCH = 4
    """Text: the phrase that was watched for."""
    ANSWER = 5
    """Text: the answer."""


class Status(IntEnum):
    """Errors of the parser, the same as in C."""

    TRUNCATED = -1
    """Fewer bytes than a frame of that length has."""
    TOO_LONG = -2
    """More bytes than a frame may have."""
    BAD_VERSION = -3
    """Another version of the protocol."""
    BAD_CRC = -4
    """The CRC-32 does not match."""
    BAD_COBS = -5
    """Not COBS."""
    BAD_TYPE = -6
    """No such type of frame."""
    BAD_PAYLOAD = -7
    """A payload that its type cannot have."""
    NO_SPACE = -8
    """The buffer is too small."""
    BAD_STRUCT = -9
    """A struct of another version of this library."""
    NOT_READY = -10
    """Not before the host's WELCOME."""
    BAD_TAG = -11
    """Not sealed with this key."""
    REPLAYED = -12
    """Seen before, or too old to tell."""
    UNKNOWN_DEVICE = -13
    """A device that is not paired."""
    PORT_FAILED = -14
    """The board's own code failed."""


MEANINGS: dict[Status, str] = {
    Status.TRUNCATED: "fewer bytes than a frame of that length has",
    Status.TOO_LONG: "more bytes than a frame may have",
    Status.BAD_VERSION: "another version of the protocol",
    Status.BAD_CRC: "the CRC-32 does not match",
    Status.BAD_COBS: "not COBS",
    Status.BAD_TYPE: "no such type of frame",
    Status.BAD_PAYLOAD: "a payload that its type cannot have",
    Status.NO_SPACE: "the buffer is too small",
    Status.BAD_STRUCT: "a struct of another version of this library",
    Status.NOT_READY: "not before the host's WELCOME",
    Status.BAD_TAG: "not sealed with this key",
    Status.REPLAYED: "seen before, or too old to tell",
    Status.UNKNOWN_DEVICE: "a device that is not paired",
    Status.PORT_FAILED: "the board's own code failed",
}
