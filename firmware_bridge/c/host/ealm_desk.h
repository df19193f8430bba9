/* A device on a desk for tools and fuzzers: the library with a port that checks what it is given, a
 * seal whose host is here too, and one thing after the other done with bytes of anyone's choice. */
#ifndef EALM_DESK_H
#define EALM_DESK_H

#include "ealm_adpcm.h"
#include "ealm_device.h"
#include "ealm_fragment.h"
#include "ealm_frame.h"
#include "ealm_gate.h"
#include "ealm_seal.h"

#define DESK_DEVICE 9U
#define DESK_COUNTER 100U /* the highest that its seal has taken; all below are taken too */

struct desk {
    struct ealm_device device;
    struct ealm_gate gate;
    struct ealm_seal seal;
    struct ealm_deframer deframer;
    struct ealm_joiner joiner;
};

/* Welcome by nobody yet; its seal is open. Ends the program where the library refuses. One at a time:
 * its buffers are globals, as a sanitizer does not see past one's end into the rest of a struct. */
void desk_init(struct desk *desk);

/* What a byte string may be, each in buffers on the heap of exactly its size, so that a sanitizer
 * sees a byte too far. The program ends where something is taken that its CRC or tag does not fit;
 * else 1 if it was taken, 0 if not. */
int desk_frame(struct desk *desk, const uint8_t *data, size_t bytes);
int desk_datagram(struct desk *desk, const uint8_t *data, size_t bytes);

/* The same with the CRC or the tag made right first, so that what lies behind them is reached. */
int desk_right_frame(struct desk *desk, const uint8_t *data, size_t bytes);
int desk_right_datagram(struct desk *desk, const uint8_t *data, size_t bytes);

/* Bytes of a serial line; a fragment; a block of ADPCM; samples (16-bit, little end first). */
void desk_line(struct desk *desk, const uint8_t *data, size_t bytes);
void desk_fragment(struct desk *desk, const uint8_t *data, size_t bytes);
void desk_block(const uint8_t *data, size_t bytes);
void desk_samples(struct desk *desk, const uint8_t *data, size_t bytes);

#endif
