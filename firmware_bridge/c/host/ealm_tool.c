/* The library on a desk: one command a line on standard input, one line of answer each, bytes in
 * hexadecimal. For the tests of shared vectors and for fuzzing; built with the sanitizers.
 *
 *   pack TYPE FLAGS STREAM SESSION SEQUENCE DUE POSITION PAYLOAD    -> bytes of the frame
 *   unpack BYTES          -> type flags stream session sequence due position payload
 *   cobs BYTES, uncobs BYTES
 *   split VALUE_BYTES FRAME    -> fragments; they are counted on from line to line
 *   join VALUE            "join" alone begins anew -> the frame that is whole with it
 *   adpcm PREDICTOR INDEX SAMPLES    (16-bit, little end first) -> block, predictor, index
 *   unadpcm BLOCK         -> samples
 *   gate SAMPLES          one block; "gate" alone begins anew -> 0 or 1, level in dBFS
 *   device BYTES          a frame for a device that is made at the first such line
 *   fuzz SEED COUNT BYTES COUNT mutations of a frame, into parser and device -> how many passed
 *
 * An error is the answer "error NUMBER". "-" stands for no bytes. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ealm_device.h"
#include "ealm_fragment.h"

#define MOST 8192

static uint8_t in[MOST], out[MOST];
static struct ealm_gate gate = EALM_GATE_INIT;
static unsigned sent, shown;

int32_t ealm_port_send(void *board, const uint8_t *frame, size_t bytes)
{
    (void)board;
    struct ealm_frame check = EALM_FRAME_INIT;
    sent++;
    return ealm_frame_unpack(&check, frame, bytes);
}

uint64_t ealm_port_now_us(void *board)
{
    static uint64_t now;
    (void)board;
    return now += 1000;
}

void ealm_port_show(void *board, uint8_t code, uint8_t confidence, uint64_t position,
                    const char *text, size_t text_bytes)
{
    (void)board, (void)code, (void)confidence, (void)position;
    for (size_t i = 0; i < text_bytes; i++) {
        shown += (uint8_t)text[i];
    }
}

int8_t ealm_port_set_gain(void *board, int8_t gain_db)
{
    (void)board;
    return gain_db;
}

static struct ealm_device *the_device(void)
{
    static struct ealm_device device = EALM_DEVICE_INIT;
    static struct ealm_device_config config = EALM_DEVICE_CONFIG_INIT;
    static struct ealm_gate its_gate = EALM_GATE_INIT;
    static int16_t block[EALM_GATE_BLOCK_SAMPLES];
    static uint8_t frame[EALM_HEADER_BYTES + 640 + EALM_CRC_BYTES];
    if (!config.frame) {
        config.session = 0x12345678;
        config.rate_hz = 16000;
        config.frame_samples = 320;
        config.capabilities = EALM_CAN_TWO_WAY | EALM_CAN_SOUND_GATE | EALM_CAN_SETS_GAIN;
        config.codecs = 1 << EALM_TYPE_PCM16 | 1 << EALM_TYPE_ADPCM;
        config.name = "desk";
        config.frame = frame;
        config.frame_bytes = sizeof(frame);
        config.gate = &its_gate;
        config.block = block;
        if (ealm_device_init(&device, &config) != EALM_OK) {
            abort();
        }
    }
    return &device;
}

static size_t read_hex(const char *text, uint8_t *to)
{
    size_t bytes = 0;
    unsigned byte;
    while (bytes < MOST && sscanf(text, "%2x", &byte) == 1) {
        to[bytes++] = (uint8_t)byte;
        text += 2;
    }
    return bytes;
}

static void print_hex(const uint8_t *data, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        printf("%02x", data[i]);
    }
    puts(bytes ? "" : "-");
}

static void answer(int32_t count, const uint8_t *data, size_t width)
{
    if (count < 0) {
        printf("error %" PRId32 "\n", count);
    } else {
        print_hex(data, (size_t)count * width);
    }
}

static void run_pack(const char *words)
{
    struct ealm_frame frame = EALM_FRAME_INIT;
    unsigned type, flags, stream, session;
    int at = 0;
    if (sscanf(words, "%u %u %u %u %" SCNu32 " %" SCNu32 " %" SCNu64 " %n", &type, &flags, &stream,
               &session, &frame.sequence, &frame.due, &frame.position, &at) != 7) {
        puts("error usage");
        return;
    }
    frame.type = (uint8_t)type;
    frame.flags = (uint8_t)flags;
    frame.stream = (uint8_t)stream;
    frame.session = (uint16_t)session;
    frame.payload_bytes = (uint16_t)read_hex(words + at, in);
    frame.payload = in;
    answer(ealm_frame_pack(&frame, out, sizeof(out)), out, 1);
}

static void run_unpack(size_t bytes)
{
    struct ealm_frame frame = EALM_FRAME_INIT;
    int32_t status = ealm_frame_unpack(&frame, in, bytes);
    if (status < 0) {
        answer(status, out, 1);
        return;
    }
    printf("%u %u %u %u %" PRIu32 " %" PRIu32 " %" PRIu64 " ", frame.type, frame.flags,
           frame.stream, frame.session, frame.sequence, frame.due, frame.position);
    print_hex(frame.payload, frame.payload_bytes);
}

static void run_split(const char *words)
{
    static struct ealm_splitter splitter;
    unsigned value_bytes;
    int at = 0;
    if (sscanf(words, "%u %n", &value_bytes, &at) != 1 || value_bytes > sizeof(out)) {
        puts("error usage");
        return;
    }
    size_t bytes = read_hex(words + at, in);
    int32_t count;
    while ((count = ealm_split(&splitter, in, bytes, out, value_bytes)) > 0) {
        for (int32_t i = 0; i < count; i++) {
            printf("%02x", out[i]);
        }
        putchar(' ');
    }
    puts(count < 0 ? "error" : "-");
}

static void run_join(size_t bytes, int is_new)
{
    static uint8_t buffer[EALM_MAX_FRAME_BYTES];
    static struct ealm_joiner joiner = {.size = sizeof(joiner)};
    if (is_new) {
        answer(ealm_joiner_init(&joiner, buffer, sizeof(buffer)), out, 1);
        return;
    }
    answer(ealm_join(&joiner, in, bytes), buffer, 1);
}

static void run_adpcm(const char *words)
{
    struct ealm_adpcm state = EALM_ADPCM_INIT;
    int16_t samples[MOST / 2];
    int predictor, index, at = 0;
    if (sscanf(words, "%d %d %n", &predictor, &index, &at) != 2) {
        puts("error usage");
        return;
    }
    size_t count = read_hex(words + at, in) / 2;
    for (size_t i = 0; i < count; i++) {
        samples[i] = (int16_t)(uint16_t)ealm_get(in + 2 * i, 2);
    }
    state.predictor = (int16_t)predictor;
    state.index = (uint8_t)index;
    int32_t bytes = ealm_adpcm_encode(&state, samples, count, out, sizeof(out));
    if (bytes < 0) {
        answer(bytes, out, 1);
        return;
    }
    for (int32_t i = 0; i < bytes; i++) {
        printf("%02x", out[i]);
    }
    printf(" %d %d\n", state.predictor, state.index);
}

static void run_unadpcm(size_t bytes)
{
    int16_t samples[MOST];
    int32_t count = ealm_adpcm_decode(in, bytes, samples, MOST);
    for (int32_t i = 0; i < count && i < MOST / 2; i++) {
        ealm_put(out + 2 * i, (uint16_t)samples[i], 2);
    }
    answer(count > MOST / 2 ? MOST / 2 : count, out, 2);
}

static void run_gate(size_t bytes)
{
    int16_t block[EALM_GATE_BLOCK_SAMPLES];
    if (bytes != sizeof(block)) {
        gate = (struct ealm_gate)EALM_GATE_INIT;
        puts("-");
        return;
    }
    for (size_t i = 0; i < EALM_GATE_BLOCK_SAMPLES; i++) {
        block[i] = (int16_t)(uint16_t)ealm_get(in + 2 * i, 2);
    }
    int32_t is_open = ealm_gate_push(&gate, block);
    printf("%" PRId32 " %.6f\n", is_open, gate.level_db / (double)(1 << EALM_GATE_DB_BITS));
}

static uint32_t random32(uint64_t *state)
{
    /* xorshift64* (Vigna 2016) */
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return (uint32_t)(*state * 0x2545f4914f6cdd1dULL >> 32);
}

/* Into buffers of exactly their size on the heap, so that the sanitizer sees a byte too far. */
static int try_bytes(const uint8_t *data, size_t bytes)
{
    struct ealm_frame frame = EALM_FRAME_INIT;
    uint8_t *copy = malloc(bytes ? bytes : 1);
    int16_t samples[64];
    if (!copy) {
        abort();
    }
    memcpy(copy, data, bytes);
    int passed = ealm_frame_unpack(&frame, copy, bytes) == EALM_OK;
    if (passed) {
        size_t before_crc = bytes - EALM_CRC_BYTES;
        if (ealm_crc32(0, copy, before_crc) != ealm_get(copy + before_crc, EALM_CRC_BYTES)) {
            abort();
        }
    }
    (void)ealm_device_receive(the_device(), copy, bytes);
    (void)ealm_adpcm_decode(copy, bytes, samples, 64);
    (void)ealm_cobs_decode(copy, bytes, copy, bytes);
    free(copy);
    return passed;
}

static void run_fuzz(const char *words)
{
    uint64_t seed;
    unsigned long count, passed = 0;
    int at = 0;
    if (sscanf(words, "%" SCNu64 " %lu %n", &seed, &count, &at) != 2 || seed == 0) {
        puts("error usage");
        return;
    }
    size_t bytes = read_hex(words + at, in);
    static uint8_t line[256];
    struct ealm_deframer deframer = {.size = sizeof(deframer)};
    (void)ealm_deframer_init(&deframer, line, sizeof(line));
    for (unsigned long i = 0; i < count; i++) {
        memcpy(out, in, bytes);
        size_t length = bytes;
        for (uint32_t edits = 1 + random32(&seed) % 4; edits; edits--) {
            size_t where = random32(&seed) % (length ? length : 1);
            switch (random32(&seed) % 4) {
            case 0:
                out[where] ^= (uint8_t)(1 << random32(&seed) % 8);
                break;
            case 1:
                out[where] = (uint8_t)random32(&seed);
                break;
            case 2:
                length = where;
                break;
            default:
                if (length < bytes + 16) {
                    out[length++] = (uint8_t)random32(&seed);
                }
            }
        }
        /* Half of them with a right CRC, so that what lies behind it is reached. */
        if (i % 2 && length >= EALM_CRC_BYTES) {
            size_t before_crc = length - EALM_CRC_BYTES;
            ealm_put(out + before_crc, ealm_crc32(0, out, before_crc), EALM_CRC_BYTES);
        }
        passed += (unsigned long)try_bytes(out, length);
        for (size_t b = 0; b < length; b++) {
            (void)ealm_deframer_push(&deframer, out[b]);
        }
    }
    printf("%lu\n", passed);
}

int main(void)
{
    static char line[3 * MOST];
    setvbuf(stdout, NULL, _IOLBF, 0);
    while (fgets(line, sizeof(line), stdin)) {
        char *words = strchr(line, ' ');
        line[strcspn(line, "\n")] = 0;
        words = words ? words + 1 : line + strlen(line);
        size_t verb = strcspn(line, " ");
        if (!strncmp(line, "pack", verb)) {
            run_pack(words);
        } else if (!strncmp(line, "adpcm", verb)) {
            run_adpcm(words);
        } else if (!strncmp(line, "split", verb)) {
            run_split(words);
        } else if (!strncmp(line, "fuzz", verb)) {
            run_fuzz(words);
        } else {
            size_t bytes = read_hex(words, in);
            if (!strncmp(line, "unpack", verb)) {
                run_unpack(bytes);
            } else if (!strncmp(line, "cobs", verb)) {
                answer(ealm_cobs_encode(in, bytes, out, sizeof(out)), out, 1);
            } else if (!strncmp(line, "uncobs", verb)) {
                answer(ealm_cobs_decode(in, bytes, out, sizeof(out)), out, 1);
            } else if (!strncmp(line, "unadpcm", verb)) {
                run_unadpcm(bytes);
            } else if (!strncmp(line, "gate", verb)) {
                run_gate(bytes);
            } else if (!strncmp(line, "join", verb)) {
                run_join(bytes, !*words);
            } else if (!strncmp(line, "device", verb)) {
                answer(ealm_device_receive(the_device(), in, bytes), out, 1);
            } else {
                puts("error usage");
            }
        }
    }
    return 0;
}
