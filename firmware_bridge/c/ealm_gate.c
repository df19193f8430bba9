#define EALM_GATE_TABLES
#include "ealm_gate.h"

#define N EALM_GATE_BLOCK_SAMPLES
#define CLASSES EALM_GATE_CLASSES /* small transforms that make the large one */
#define POINTS (N / CLASSES)      /* of a small one */
#define LEVELS (EALM_GATE_BANDS + 1)

struct complex32 {
    int32_t re, im;
};

/* exp(-2 pi i k / N) */
static struct complex32 rotation(uint32_t k)
{
    struct complex32 w;
    uint32_t at = k % (N / 4);
    int32_t c = ealm_gate_cosines[at], s = ealm_gate_cosines[N / 4 - at];
    switch (k / (N / 4) % 4) {
    case 0:
        w.re = c, w.im = -s;
        break;
    case 1:
        w.re = -s, w.im = -c;
        break;
    case 2:
        w.re = -c, w.im = s;
        break;
    default:
        w.re = s, w.im = c;
        break;
    }
    return w;
}

static int32_t rounded(int64_t value, unsigned bits)
{
    /* Halves up, also below zero: a right shift of a negative number rounds down on every
     * compiler in use. */
    return (int32_t)((value + ((int64_t)1 << (bits - 1))) >> bits);
}

static struct complex32 times(struct complex32 a, struct complex32 w)
{
    struct complex32 product;
    product.re = rounded((int64_t)a.re * w.re - (int64_t)a.im * w.im, EALM_GATE_ROTATION_BITS);
    product.im = rounded((int64_t)a.re * w.im + (int64_t)a.im * w.re, EALM_GATE_ROTATION_BITS);
    return product;
}

/* In place; decimation in frequency, so bin k comes out where k's bits are reversed. */
static void transform(struct complex32 *z)
{
    for (uint32_t half = POINTS / 2; half; half /= 2) {
        for (uint32_t first = 0; first < POINTS; first += 2 * half) {
            for (uint32_t i = first; i < first + half; i++) {
                struct complex32 a = z[i], b = z[i + half], difference;
                difference.re = a.re - b.re;
                difference.im = a.im - b.im;
                z[i].re = a.re + b.re;
                z[i].im = a.im + b.im;
                z[i + half] = times(difference, rotation((i - first) * (N / (2 * half))));
            }
        }
    }
}

static uint32_t reversed(uint32_t k)
{
    uint32_t out = 0;
    for (uint32_t bit = 1; bit < POINTS; bit *= 2) {
        out = out * 2 + (k & bit ? 1 : 0);
    }
    return out;
}

/* Bins c, c + 48, c + 96, ... of the block's spectrum, EALM_GATE_SAMPLE_BITS fraction bits.
 *
 * A transform of 1536 points in place would take 12 KiB. Cut into 48 of 32 points, each made
 * straight from the samples, it takes 256 bytes. */
static void spectrum(const int16_t *block, uint32_t c, struct complex32 *z)
{
    for (uint32_t n = 0; n < POINTS; n++) {
        int32_t middle = block[n + POINTS * (CLASSES / 2)];
        int64_t re = (int64_t)(block[n] + (c & 1 ? -middle : middle)) *
                     ((int64_t)1 << EALM_GATE_ROTATION_BITS);
        int64_t im = 0;
        uint32_t turn = 0;
        for (uint32_t j = 1; j < CLASSES / 2; j++) {
            turn += turn + c < CLASSES ? c : c - CLASSES;
            uint32_t quarter_back = turn + (turn < CLASSES / 4 ? CLASSES : 0) - CLASSES / 4;
            int32_t a = block[n + POINTS * j], b = block[n + POINTS * (CLASSES - j)];
            re += (int64_t)(a + b) * ealm_gate_turns[turn];
            im += (int64_t)(b - a) * ealm_gate_turns[quarter_back];
        }
        struct complex32 sum;
        sum.re = rounded(re, EALM_GATE_ROTATION_BITS - EALM_GATE_SAMPLE_BITS);
        sum.im = rounded(im, EALM_GATE_ROTATION_BITS - EALM_GATE_SAMPLE_BITS);
        z[n] = times(sum, rotation(c * n));
    }
    transform(z);
}

static void add(uint64_t *powers, uint32_t bin, struct complex32 value)
{
    uint64_t power = (uint64_t)((int64_t)value.re * value.re + (int64_t)value.im * value.im);
    for (uint32_t band = 0; band < EALM_GATE_BANDS; band++) {
        if (bin >= ealm_gate_edges[band] && bin < ealm_gate_edges[band + 1]) {
            powers[0] += power;
            powers[band + 1] += power;
        }
    }
}

/* 10 log10(power) in dBFS. */
static int32_t decibels(uint64_t power)
{
    uint32_t octaves = 0;
    for (uint64_t rest = power; rest > 1; rest /= 2) {
        octaves++;
    }
    /* The mantissa in [1, 2) with 31 fraction bits; squaring it gives a bit of the logarithm. */
    uint64_t mantissa = octaves > 31 ? power >> (octaves - 31) : power << (31 - octaves);
    int64_t logarithm = octaves;
    for (int i = 0; i < EALM_GATE_DB_BITS; i++) {
        mantissa = mantissa * mantissa >> 31;
        logarithm *= 2;
        if (mantissa >> 32) {
            mantissa /= 2;
            logarithm++;
        }
    }
    int64_t level = logarithm * EALM_GATE_OCTAVE_DB >> EALM_GATE_OCTAVE_BITS;
    return (int32_t)(level + EALM_GATE_FULL_SCALE_DB);
}

int32_t ealm_gate_push(struct ealm_gate *gate, const int16_t block[EALM_GATE_BLOCK_SAMPLES])
{
    if (gate->size != sizeof(*gate)) {
        return EALM_BAD_STRUCT;
    }
    uint64_t powers[LEVELS];
    for (int i = 0; i < LEVELS; i++) {
        powers[i] = EALM_GATE_LEAST_POWER;
    }
    /* The samples are real: classes 25 to 47 mirror 23 to 1. */
    for (uint32_t c = 0; c <= CLASSES / 2; c++) {
        struct complex32 z[POINTS];
        spectrum(block, c, z);
        int is_own_mirror = c % (CLASSES / 2) == 0;
        for (uint32_t k = 0; k < (is_own_mirror ? POINTS / 2 : POINTS); k++) {
            uint32_t bin = c + CLASSES * k;
            add(powers, bin < N / 2 ? bin : N - bin, z[reversed(k)]);
        }
    }

    int is_loud = 0;
    for (int i = 0; i < LEVELS; i++) {
        int32_t level = decibels(powers[i]);
        if (i == 0) {
            gate->level_db = level;
        }
        if (!gate->started) {
            gate->floor_db[i] = level < EALM_GATE_FLOOR_AT_START_DB ? level
                                                                   : EALM_GATE_FLOOR_AT_START_DB;
        }
        int32_t above = level - gate->floor_db[i];
        if (above > (i ? EALM_GATE_BAND_MARGIN_DB : EALM_GATE_MARGIN_DB)) {
            is_loud = 1;
        }
        gate->floor_db[i] += above < 0 ? rounded((int64_t)above * EALM_GATE_FALL, EALM_GATE_DB_BITS)
                                       : EALM_GATE_RISE_DB;
    }
    gate->started = 1;
    if (is_loud && gate->level_db > EALM_GATE_QUIETEST_DB) {
        gate->hold = EALM_GATE_HANGOVER_BLOCKS;
    } else if (gate->hold) {
        gate->hold--;
    }
    return gate->hold > 0;
}
