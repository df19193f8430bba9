#include "ealm_adpcm.h"

#define EALM_ADPCM_TABLES
#include "ealm_tables.h"

static int32_t clamp(int32_t value, int32_t low, int32_t high)
{
    return value < low ? low : value > high ? high : value;
}

/* The decoder's step, which the encoder takes too. */
static void advance(int32_t *predictor, int32_t *index, unsigned nibble)
{
    int32_t step = ealm_adpcm_steps[*index];
    int32_t difference = step >> 3;
    if (nibble & 4) {
        difference += step;
    }
    if (nibble & 2) {
        difference += step >> 1;
    }
    if (nibble & 1) {
        difference += step >> 2;
    }
    *predictor = clamp(*predictor + (nibble & 8 ? -difference : difference), -32768, 32767);
    *index = clamp(*index + ealm_adpcm_moves[nibble & 7], 0, 88);
}

static unsigned quantise(int32_t delta, int32_t step)
{
    unsigned nibble = 0;
    if (delta < 0) {
        nibble = 8;
        delta = -delta;
    }
    if (delta >= step) {
        nibble |= 4;
        delta -= step;
    }
    if (delta >= step >> 1) {
        nibble |= 2;
        delta -= step >> 1;
    }
    if (delta >= step >> 2) {
        nibble |= 1;
    }
    return nibble;
}

int32_t ealm_adpcm_encode(struct ealm_adpcm *state, const int16_t *samples, size_t count,
                          uint8_t *out, size_t out_bytes)
{
    if (state->size != sizeof(*state) || state->index > 88) {
        return EALM_BAD_STRUCT;
    }
    if (count == 0 || out_bytes < EALM_ADPCM_BYTES(count)) {
        return EALM_NO_SPACE;
    }
    out[0] = (uint8_t)(uint16_t)state->predictor;
    out[1] = (uint8_t)((uint16_t)state->predictor >> 8);
    out[2] = state->index;
    out[3] = (uint8_t)(count & 1);
    uint8_t *body = out + EALM_ADPCM_HEADER_BYTES;
    int32_t predictor = state->predictor, index = state->index;
    for (size_t i = 0; i < count; i++) {
        unsigned nibble = quantise(samples[i] - predictor, ealm_adpcm_steps[index]);
        advance(&predictor, &index, nibble);
        if (i & 1) {
            body[i / 2] |= (uint8_t)(nibble << 4);
        } else {
            body[i / 2] = (uint8_t)nibble;
        }
    }
    state->predictor = (int16_t)predictor;
    state->index = (uint8_t)index;
    return (int32_t)EALM_ADPCM_BYTES(count);
}

int32_t ealm_adpcm_decode(const uint8_t *block, size_t bytes, int16_t *out, size_t out_count)
{
    if (bytes <= EALM_ADPCM_HEADER_BYTES || block[2] > 88 || block[3] > 1) {
        return EALM_BAD_PAYLOAD;
    }
    size_t count = 2 * (bytes - EALM_ADPCM_HEADER_BYTES) - block[3];
    if (count > out_count) {
        return EALM_NO_SPACE;
    }
    int32_t predictor = block[0] | block[1] << 8;
    predictor = predictor > 32767 ? predictor - 65536 : predictor;
    int32_t index = block[2];
    for (size_t i = 0; i < count; i++) {
        unsigned byte = block[EALM_ADPCM_HEADER_BYTES + i / 2];
        advance(&predictor, &index, i & 1 ? byte >> 4 : byte & 15);
        out[i] = (int16_t)predictor;
    }
    return (int32_t)count;
}
