/* Frames of the edge-alm bridge, COBS and CRC-32. PROTOCOL.md is the specification.
 *
 * Nothing here keeps memory of its own, calls the heap, or more of libc than memcpy, memmove and
 * memset. Functions return a count >= 0 or one of the errors of ealm_numbers.h. */
#ifndef EALM_FRAME_H
#define EALM_FRAME_H

#include <stddef.h>
#include <stdint.h>

#include "ealm_numbers.h"

#define EALM_MAX_FRAME_BYTES (EALM_HEADER_BYTES + EALM_MAX_PAYLOAD_BYTES + EALM_CRC_BYTES)
/* Of n bytes between zero bytes on a serial line. */
#define EALM_COBS_BYTES(n) ((n) + (n) / 254 + 1)

struct ealm_frame {
    uint32_t size; /* sizeof(struct ealm_frame), so that another version is noticed */
    uint8_t type;
    uint8_t flags;
    uint8_t stream;
    uint8_t reserved;
    uint16_t session;
    uint16_t payload_bytes;
    uint32_t sequence;
    uint32_t due;
    uint64_t position;
    const uint8_t *payload;
};

#define EALM_FRAME_INIT {.size = sizeof(struct ealm_frame)}

/* Continue a CRC-32 (IEEE 802.3, as zlib's) that begins with 0. */
uint32_t ealm_crc32(uint32_t crc, const uint8_t *data, size_t bytes);

/* The bytes of a frame in `out`; how many. The payload may lie in `out` already, behind the
 * header. */
int32_t ealm_frame_pack(const struct ealm_frame *frame, uint8_t *out, size_t out_bytes);

/* The frame that `data` is, exactly; its payload points into `data`. */
int32_t ealm_frame_unpack(struct ealm_frame *frame, const uint8_t *data, size_t bytes);

/* COBS, without the zero bytes around it. */
int32_t ealm_cobs_encode(const uint8_t *data, size_t bytes, uint8_t *out, size_t out_bytes);

/* `out` may be `data`. */
int32_t ealm_cobs_decode(const uint8_t *data, size_t bytes, uint8_t *out, size_t out_bytes);

/* Bytes of a serial line to candidates for a frame. */
struct ealm_deframer {
    uint32_t size;
    uint8_t *buffer;
    size_t buffer_bytes;
    size_t used;
    uint8_t skipping;
};

int32_t ealm_deframer_init(struct ealm_deframer *deframer, uint8_t *buffer, size_t buffer_bytes);

/* Take a byte in: the length of a candidate that is now in the buffer until the next call, 0 for
 * none, or why a piece of the line was dropped. */
int32_t ealm_deframer_push(struct ealm_deframer *deframer, uint8_t byte);

/* Numbers as they go over the wire: little end first. */
void ealm_put(uint8_t *out, uint64_t value, size_t bytes);
uint64_t ealm_get(const uint8_t *data, size_t bytes);

#endif
