/* The sound gate in fixed point: is there anything worth sending? The decisions are those of
 * edge_alm/hearing/gate.py, which says how it works. For 16 kHz. */
#ifndef EALM_GATE_H
#define EALM_GATE_H

#include <stdint.h>

#include "ealm_numbers.h"
#include "ealm_tables.h"

/* State of one stream. */
struct ealm_gate {
    uint32_t size;
    int32_t level_db;                       /* of the last block; EALM_GATE_DB_BITS fraction bits */
    int32_t floor_db[EALM_GATE_BANDS + 1];  /* of the whole level, then of each band */
    uint8_t started;
    uint8_t hold;
    uint16_t reserved;
};

#define EALM_GATE_INIT {.size = sizeof(struct ealm_gate)}

/* Whether the gate is open after `block`: 1 or 0. About 50,000 multiplications and 400 bytes of
 * stack, 10.4 times a second. */
int32_t ealm_gate_push(struct ealm_gate *gate, const int16_t block[EALM_GATE_BLOCK_SAMPLES]);

#endif
