/* Frames in pieces that fit into a value of a BLE characteristic, and together again. */
#ifndef EALM_FRAGMENT_H
#define EALM_FRAGMENT_H

#include "ealm_frame.h"

/* The fragments of one direction of a connection; all zero when it begins. */
struct ealm_splitter {
    size_t at; /* bytes of the frame that went before */
    uint8_t count;
};

/* The next fragment of a frame in `out`, of at most `value_bytes` (2 or more): its length, 0 when
 * the frame is over. To be called until then, with the same frame. */
int32_t ealm_split(struct ealm_splitter *splitter, const uint8_t *frame, size_t bytes, uint8_t *out,
                   size_t value_bytes);

/* Fragments to candidates for a frame. */
struct ealm_joiner {
    uint32_t size;
    uint8_t *buffer;
    size_t buffer_bytes;
    size_t used;
    uint8_t next;
    uint8_t is_open;
};

/* Also when a connection begins. */
int32_t ealm_joiner_init(struct ealm_joiner *joiner, uint8_t *buffer, size_t buffer_bytes);

/* Take a value in: the length of a candidate that is now in the buffer until the next call, 0 for
 * none, EALM_TRUNCATED where fragments are missing before or in it, EALM_TOO_LONG. */
int32_t ealm_join(struct ealm_joiner *joiner, const uint8_t *value, size_t bytes);

#endif
