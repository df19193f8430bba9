/* The numbers of the protocol. Written by firmware_bridge/generate.py; do not edit by hand. */
#ifndef EALM_NUMBERS_H
#define EALM_NUMBERS_H

#define EALM_VERSION 1 /* of the protocol */
#define EALM_HEADER_BYTES 24 /* before the payload */
#define EALM_CRC_BYTES 4 /* after the payload */
#define EALM_MAX_PAYLOAD_BYTES 1024 /* of one frame; the datagram then fits the smallest MTU of IPv6 */
#define EALM_MAX_NAME_BYTES 32 /* a device's name, UTF-8 */
#define EALM_MAX_TEXT_BYTES 200 /* a caption or a label, UTF-8 */
#define EALM_ADPCM_HEADER_BYTES 4 /* before the nibbles of a block */
#define EALM_STREAM_STATE_MS 1000 /* at least so often a device says where it is */
#define EALM_SEAL_MAGIC 225 /* a sealed datagram's first byte */
#define EALM_SEAL_HEAD_BYTES 16 /* before a sealed frame */
#define EALM_NONCE_BYTES 12 /* of a greeting, a reply, a sealed frame */
#define EALM_TAG_BYTES 16 /* behind what is sealed */
#define EALM_KEY_BYTES 32 /* that a device and its host share */
#define EALM_UP_WINDOW 1024 /* counters from the highest one down that a host still takes, once each */
#define EALM_DOWN_WINDOW 64 /* the same of a device, which hears less and has less room */
#define EALM_FRAGMENT_FIRST 128 /* bit of a BLE fragment's first byte: a frame begins */
#define EALM_FRAGMENT_LAST 64 /* bit of it: a frame ends */
#define EALM_FRAGMENT_COUNT 63 /* bits of it: fragments before this one */
#define EALM_UUID_SERVICE 0x54f70000, 0x1fc9, 0x4f40, 0x9983, 0x53dbbe8c68fb /* the GATT service of a device */
#define EALM_UUID_UP 0x54f70001, 0x1fc9, 0x4f40, 0x9983, 0x53dbbe8c68fb /* its characteristic that notifies: from the device */
#define EALM_UUID_DOWN 0x54f70002, 0x1fc9, 0x4f40, 0x9983, 0x53dbbe8c68fb /* written without response: to the device */

/* What a frame carries; below 16: audio. */
enum ealm_types {
    EALM_TYPE_PCM16 = 0, /* audio: signed 16-bit samples */
    EALM_TYPE_ADPCM = 1, /* audio: one block of IMA ADPCM */
    EALM_TYPE_OPUS = 2, /* audio: one Opus packet */
    EALM_TYPE_HELLO = 16, /* device: who I am and what I can */
    EALM_TYPE_WELCOME = 17, /* host: send audio */
    EALM_TYPE_STATS = 18, /* device: where I am, and counters */
    EALM_TYPE_SYNC = 19, /* host: asks for the device's clock */
    EALM_TYPE_SYNC_REPLY = 20, /* device: its clock */
    EALM_TYPE_GAIN = 21, /* host: amplify so much */
    EALM_TYPE_MUTE = 22, /* device: my switch was moved */
    EALM_TYPE_CAPTION = 23, /* host: show this text */
    EALM_TYPE_EVENT = 24, /* host: this was heard */
    EALM_TYPE_BYE = 25, /* device: this was all */
    EALM_TYPE_AGAIN = 26, /* host: send these frames again */
};

/* What a sealed datagram is. */
enum ealm_datagrams {
    EALM_DATAGRAM_GREETING = 1, /* device: is there anybody */
    EALM_DATAGRAM_REPLY = 2, /* host: yes, with these keys */
    EALM_DATAGRAM_UP = 3, /* device: a frame */
    EALM_DATAGRAM_DOWN = 4, /* host: a frame */
};

/* Bits of a frame's flags. */
enum ealm_flags {
    EALM_FLAG_DOWN = 1, /* from the host to the device */
    EALM_FLAG_MUTED = 2, /* the device is muted by its switch */
};

/* Bits of what a device can do. */
enum ealm_capabilities {
    EALM_CAN_TWO_WAY = 1, /* waits for WELCOME before it sends audio, answers SYNC */
    EALM_CAN_MUTE_SWITCH = 2, /* has a switch that cuts the microphone off */
    EALM_CAN_SOUND_GATE = 4, /* can send only what is worth hearing */
    EALM_CAN_SETS_GAIN = 8, /* heeds GAIN */
    EALM_CAN_SHOWS_CAPTIONS = 16, /* heeds CAPTION */
    EALM_CAN_FEELS_EVENTS = 32, /* heeds EVENT */
    EALM_CAN_RESENDS = 64, /* keeps its last frames, heeds AGAIN */
};

/* Bits of what a host asks for. */
enum ealm_wishes {
    EALM_WISH_GATED = 1, /* send only what is worth hearing */
};

/* What an EVENT tells of. */
enum ealm_events {
    EALM_EVENT_SOUND_STARTS = 1, /* text: its label */
    EALM_EVENT_SOUND_ENDS = 2, /* text: its label */
    EALM_EVENT_SPEECH = 3, /* text: what was said */
    EALM_EVENT_WATCH = 4, /* text: the phrase that was watched for */
    EALM_EVENT_ANSWER = 5, /* text: the answer */
};

/* Errors of the parser, the same as in C. */
enum ealm_errors {
    EALM_OK = 0,
    EALM_TRUNCATED = -1, /* fewer bytes than a frame of that length has */
    EALM_TOO_LONG = -2, /* more bytes than a frame may have */
    EALM_BAD_VERSION = -3, /* another version of the protocol */
    EALM_BAD_CRC = -4, /* the CRC-32 does not match */
    EALM_BAD_COBS = -5, /* not COBS */
    EALM_BAD_TYPE = -6, /* no such type of frame */
    EALM_BAD_PAYLOAD = -7, /* a payload that its type cannot have */
    EALM_NO_SPACE = -8, /* the buffer is too small */
    EALM_BAD_STRUCT = -9, /* a struct of another version of this library */
    EALM_NOT_READY = -10, /* not before the host's WELCOME */
    EALM_BAD_TAG = -11, /* not sealed with this key */
    EALM_REPLAYED = -12, /* seen before, or too old to tell */
    EALM_UNKNOWN_DEVICE = -13, /* a device that is not paired */
    EALM_PORT_FAILED = -14, /* the board's own code failed */
};

#endif
