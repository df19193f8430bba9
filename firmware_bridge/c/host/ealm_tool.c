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
 *   device BYTES          a frame for a device that lives as long as the tool
 *   share DEVICE KEY      a seal: what it shares with its host
 *   greet NOW RANDOM      -> a greeting, where one is due
 *   close FRAME           -> its datagram
 *   open NOW BYTES        -> the frame in a datagram
 *   fuzz SEED COUNT BYTES COUNT mutations of a frame or a datagram -> how many were taken
 *
 * An error is the answer "error NUMBER". "-" stands for no bytes. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/ealm_desk.h"

#define MOST 8192

static uint8_t in[MOST], out[MOST];
static struct ealm_gate gate = EALM_GATE_INIT;
static struct desk desk;
static struct ealm_seal seal = EALM_SEAL_INIT;

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

static void run_share(const char *words)
{
    static uint8_t key[EALM_KEY_BYTES];
    uint32_t device;
    int at = 0;
    if (sscanf(words, "%" SCNu32 " %n", &device, &at) != 1 ||
        read_hex(words + at, in) != sizeof(key)) {
        puts("error usage");
        return;
    }
    memcpy(key, in, sizeof(key));
    answer(ealm_seal_init(&seal, device, key, 0), out, 1);
}

/* "NOW BYTES": greet, or open in a buffer of just its size. */
static void run_at(const char *words, int is_opening)
{
    uint64_t now_us;
    int at = 0;
    if (sscanf(words, "%" SCNu64 " %n", &now_us, &at) != 1) {
        puts("error usage");
        return;
    }
    size_t bytes = read_hex(words + at, in);
    if (!is_opening) {
        answer(ealm_seal_greet(&seal, now_us, in, out, EALM_GREETING_BYTES), out, 1);
        return;
    }
    uint8_t *copy = malloc(bytes ? bytes : 1);
    if (!copy) {
        abort();
    }
    memcpy(copy, in, bytes);
    int32_t count = ealm_seal_open(&seal, now_us, copy, bytes);
    answer(count, copy + EALM_SEAL_HEAD_BYTES, 1);
    free(copy);
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
        /* Half of them with a right CRC or tag, so that what lies behind it is reached. */
        if (in[0] == EALM_SEAL_MAGIC) {
            desk.seal.highest = DESK_COUNTER;
            desk.seal.seen = UINT64_MAX;
            passed += (unsigned long)(i % 2 ? desk_right_datagram(&desk, out, length)
                                            : desk_datagram(&desk, out, length));
        } else {
            passed += (unsigned long)(i % 2 ? desk_right_frame(&desk, out, length)
                                            : desk_frame(&desk, out, length));
        }
        desk_line(&desk, out, length);
        desk_fragment(&desk, out, length);
        desk_block(out, length);
    }
    printf("%lu\n", passed);
}

int main(void)
{
    static char line[3 * MOST];
    desk_init(&desk);
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
        } else if (!strncmp(line, "share", verb)) {
            run_share(words);
        } else if (!strncmp(line, "greet", verb)) {
            run_at(words, 0);
        } else if (!strncmp(line, "open", verb)) {
            run_at(words, 1);
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
                answer(ealm_device_receive(&desk.device, in, bytes), out, 1);
            } else if (!strncmp(line, "close", verb)) {
                answer(ealm_seal_close(&seal, in, bytes, out, EALM_SEALED_BYTES(bytes)), out, 1);
            } else {
                puts("error usage");
            }
        }
    }
    return 0;
}
