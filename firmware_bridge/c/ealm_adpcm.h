/* IMA ADPCM: 4 bits a sample. A block carries the state before its first sample. */
#ifndef EALM_ADPCM_H
#define EALM_ADPCM_H

#include <stddef.h>
#include <stdint.h>

#include "ealm_numbers.h"

/* Of a block of n samples. */
#define EALM_ADPCM_BYTES(n) (EALM_ADPCM_HEADER_BYTES + ((n) + 1) / 2)

/* State of one stream, from one block to the next. */
struct ealm_adpcm {
    uint32_t size;
    int16_t predictor;
    uint8_t index;
    uint8_t reserved;
};

#define EALM_ADPCM_INIT {.size = sizeof(struct ealm_adpcm)}

/* A block of `count` >= 1 samples in `out`; its bytes. */
int32_t ealm_adpcm_encode(struct ealm_adpcm *state, const int16_t *samples, size_t count,
                          uint8_t *out, size_t out_bytes);

/* The samples of a block in `out`; how many. */
int32_t ealm_adpcm_decode(const uint8_t *block, size_t bytes, int16_t *out, size_t out_count);

#endif
