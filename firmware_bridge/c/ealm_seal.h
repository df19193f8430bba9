/* Sealed datagrams, the device's side: heard by its host only, hearing its host only, nothing twice.
 * PROTOCOL.md specifies them; the crypto is the board's (ealm_port.h).
 *
 * No socket and no clock: the caller sends and receives, times come with the calls. */
#ifndef EALM_SEAL_H
#define EALM_SEAL_H

#include <stddef.h>
#include <stdint.h>

#include "ealm_numbers.h"
#include "ealm_port.h"

/* Of n bytes of a frame. */
#define EALM_SEALED_BYTES(n) (EALM_SEAL_HEAD_BYTES + (n) + EALM_TAG_BYTES)
#define EALM_GREETING_BYTES (8 + EALM_NONCE_BYTES + EALM_TAG_BYTES)

struct ealm_seal {
    uint32_t size;
    uint32_t device;
    void *board;
    const uint8_t *key;
    uint64_t sent;       /* frames under these keys */
    uint64_t highest;    /* counter that came */
    uint64_t seen;       /* bit n: highest - n came; 0: none did */
    uint64_t greeted_us;
    uint64_t heard_us;
    uint8_t greeting_key[EALM_KEY_BYTES];
    uint8_t up_key[EALM_KEY_BYTES];
    uint8_t down_key[EALM_KEY_BYTES];
    uint8_t nonce[EALM_NONCE_BYTES]; /* of our greeting */
    uint8_t is_greeting;
    uint8_t is_open; /* the host has replied: frames can be sealed */
    uint8_t reserved[2];
};

#define EALM_SEAL_INIT {.size = sizeof(struct ealm_seal)}

/* `device` and `key` (EALM_KEY_BYTES, stays the caller's) are what `edge-alm bridge pair` made. */
int32_t ealm_seal_init(struct ealm_seal *seal, uint32_t device, const uint8_t *key, void *board);

/* To be called at least ten times a second: the bytes of a greeting in `out`, to be sent to the
 * host; 0 where none is due. `random`: EALM_NONCE_BYTES of the board's random numbers, new ones at
 * every call. */
int32_t ealm_seal_greet(struct ealm_seal *seal, uint64_t now_us, const uint8_t *random,
                        uint8_t *out, size_t out_bytes);

/* The bytes of a frame's datagram in `out`; EALM_NOT_READY before the host's reply. The frame may
 * lie in `out` already, EALM_SEAL_HEAD_BYTES from its start, so that no second buffer is needed. */
int32_t ealm_seal_close(struct ealm_seal *seal, const uint8_t *frame, size_t bytes, uint8_t *out,
                        size_t out_bytes);

/* A datagram that came, opened where it lies: the bytes of its frame, which then begins
 * EALM_SEAL_HEAD_BYTES from the start; 0 for the host's reply; or why it was dropped. */
int32_t ealm_seal_open(struct ealm_seal *seal, uint64_t now_us, uint8_t *data, size_t bytes);

#endif
