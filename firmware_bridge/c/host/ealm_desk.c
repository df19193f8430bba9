#include "ealm_desk.h"

#include <stdlib.h>
#include <string.h>

static int16_t block[EALM_GATE_BLOCK_SAMPLES];
static uint8_t packing[EALM_HEADER_BYTES + 640 + EALM_CRC_BYTES];
static uint8_t kept[EALM_KEPT_BYTES(4, sizeof(packing))];
static uint8_t line[256];
static uint8_t joined[256];

static void must(int is_right)
{
    if (!is_right) {
        abort();
    }
}

/* The port: what the library sends has to be a frame, what it shows has to be readable. */

int32_t ealm_port_send(void *board, const uint8_t *frame, size_t bytes)
{
    (void)board;
    struct ealm_frame check = EALM_FRAME_INIT;
    must(ealm_frame_unpack(&check, frame, bytes) == EALM_OK);
    return EALM_OK;
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
    static volatile unsigned shown;
    (void)board, (void)code, (void)confidence, (void)position;
    for (size_t i = 0; i < text_bytes; i++) {
        shown = shown + (uint8_t)text[i];
    }
}

int8_t ealm_port_set_gain(void *board, int8_t gain_db)
{
    (void)board;
    return gain_db;
}

/* The host's side of the seal */

static void open_seal(struct ealm_seal *seal)
{
    static const uint8_t key[EALM_KEY_BYTES] = {1, 2, 3}, random[EALM_NONCE_BYTES] = {4, 5, 6};
    uint8_t greeting[EALM_GREETING_BYTES], head[32], reply[EALM_GREETING_BYTES] = {0};
    *seal = (struct ealm_seal)EALM_SEAL_INIT;
    must(ealm_seal_init(seal, DESK_DEVICE, key, 0) == EALM_OK);
    must(ealm_seal_greet(seal, 0, random, greeting, sizeof(greeting)) == EALM_GREETING_BYTES);
    reply[0] = EALM_SEAL_MAGIC;
    reply[1] = EALM_DATAGRAM_REPLY;
    ealm_put(reply + 4, DESK_DEVICE, 4);
    memcpy(head, reply, 20);
    memcpy(head + 20, random, EALM_NONCE_BYTES);
    must(ealm_port_aead(0, 0, seal->greeting_key, reply + 8, head, sizeof(head), reply + 20, 0) ==
         EALM_OK);
    must(ealm_seal_open(seal, 0, reply, sizeof(reply)) == 0 && seal->is_open);
    seal->highest = DESK_COUNTER;
    seal->seen = UINT64_MAX;
}

/* Encrypts what lies behind a datagram's head, as the host would. */
static void put_tag(const struct ealm_seal *seal, uint8_t *datagram, size_t bytes)
{
    uint8_t nonce[EALM_NONCE_BYTES] = {0};
    memcpy(nonce + 4, datagram + 8, 8);
    must(ealm_port_aead(0, 0, seal->down_key, nonce, datagram, EALM_SEAL_HEAD_BYTES,
                        datagram + EALM_SEAL_HEAD_BYTES, bytes - EALM_SEALED_BYTES(0)) == EALM_OK);
}

static uint8_t *copied(const uint8_t *data, size_t bytes)
{
    uint8_t *copy = malloc(bytes ? bytes : 1);
    must(copy != 0);
    if (bytes) {
        memcpy(copy, data, bytes);
    }
    return copy;
}

void desk_init(struct desk *desk)
{
    struct ealm_device_config config = EALM_DEVICE_CONFIG_INIT;
    *desk = (struct desk){.device = EALM_DEVICE_INIT,
                          .gate = EALM_GATE_INIT,
                          .deframer = {.size = sizeof(struct ealm_deframer)},
                          .joiner = {.size = sizeof(struct ealm_joiner)}};
    config.session = 0x12345678;
    config.rate_hz = 16000;
    config.frame_samples = 320;
    config.capabilities = EALM_CAN_TWO_WAY | EALM_CAN_SOUND_GATE | EALM_CAN_SETS_GAIN |
                          EALM_CAN_RESENDS;
    config.codecs = 1 << EALM_TYPE_PCM16 | 1 << EALM_TYPE_ADPCM;
    config.name = "desk";
    config.frame = packing;
    config.frame_bytes = sizeof(packing);
    config.gate = &desk->gate;
    config.block = block;
    config.kept = kept;
    config.kept_bytes = sizeof(kept);
    must(ealm_device_init(&desk->device, &config) == EALM_OK);
    must(ealm_deframer_init(&desk->deframer, line, sizeof(line)) == EALM_OK);
    must(ealm_joiner_init(&desk->joiner, joined, sizeof(joined)) == EALM_OK);
    /* Deriving keys takes longer than most inputs. */
    static struct ealm_seal seal;
    if (!seal.is_open) {
        open_seal(&seal);
    }
    desk->seal = seal;
}

int desk_frame(struct desk *desk, const uint8_t *data, size_t bytes)
{
    struct ealm_frame frame = EALM_FRAME_INIT;
    uint8_t *copy = copied(data, bytes);
    int is_taken = ealm_frame_unpack(&frame, copy, bytes) == EALM_OK;
    if (is_taken) {
        size_t before_crc = bytes - EALM_CRC_BYTES;
        must(ealm_crc32(0, copy, before_crc) == ealm_get(copy + before_crc, EALM_CRC_BYTES));
    }
    (void)ealm_device_receive(&desk->device, copy, bytes);
    free(copy);
    return is_taken;
}

int desk_right_frame(struct desk *desk, const uint8_t *data, size_t bytes)
{
    if (bytes < EALM_CRC_BYTES) {
        return desk_frame(desk, data, bytes);
    }
    uint8_t *copy = copied(data, bytes);
    size_t before_crc = bytes - EALM_CRC_BYTES;
    ealm_put(copy + before_crc, ealm_crc32(0, copy, before_crc), EALM_CRC_BYTES);
    int is_taken = desk_frame(desk, copy, bytes);
    free(copy);
    return is_taken;
}

int desk_datagram(struct desk *desk, const uint8_t *data, size_t bytes)
{
    uint8_t *copy = copied(data, bytes);
    uint64_t now_us = ealm_port_now_us(0);
    int32_t frame_bytes = ealm_seal_open(&desk->seal, now_us, copy, bytes);
    if (frame_bytes >= 0) {
        /* Taken: then sealing what came out has to give what came in. */
        uint8_t *again = copied(copy, bytes);
        must(copy[1] == EALM_DATAGRAM_DOWN);
        must((size_t)frame_bytes == bytes - EALM_SEALED_BYTES(0));
        put_tag(&desk->seal, again, bytes);
        must(memcmp(again, data, bytes) == 0);
        free(again);
        (void)desk_frame(desk, copy + EALM_SEAL_HEAD_BYTES, (size_t)frame_bytes);
        /* And it is taken once. */
        memcpy(copy, data, bytes);
        must(ealm_seal_open(&desk->seal, now_us, copy, bytes) == EALM_REPLAYED);
    }
    free(copy);
    return frame_bytes >= 0;
}

int desk_right_datagram(struct desk *desk, const uint8_t *data, size_t bytes)
{
    if (bytes < EALM_SEALED_BYTES(0)) {
        return desk_datagram(desk, data, bytes);
    }
    uint8_t *copy = copied(data, bytes);
    put_tag(&desk->seal, copy, bytes);
    int is_taken = desk_datagram(desk, copy, bytes);
    free(copy);
    return is_taken;
}

void desk_line(struct desk *desk, const uint8_t *data, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        int32_t size = ealm_deframer_push(&desk->deframer, data[i]);
        if (size > 0) {
            (void)desk_frame(desk, line, (size_t)size);
        }
    }
    uint8_t *copy = copied(data, bytes);
    (void)ealm_cobs_decode(copy, bytes, copy, bytes);
    free(copy);
}

void desk_fragment(struct desk *desk, const uint8_t *data, size_t bytes)
{
    uint8_t *copy = copied(data, bytes);
    int32_t size = ealm_join(&desk->joiner, copy, bytes);
    if (size > 0) {
        (void)desk_frame(desk, joined, (size_t)size);
    }
    free(copy);
}

void desk_block(const uint8_t *data, size_t bytes)
{
    int16_t samples[64];
    uint8_t *copy = copied(data, bytes);
    (void)ealm_adpcm_decode(copy, bytes, samples, 64);
    free(copy);
}

void desk_samples(struct desk *desk, const uint8_t *data, size_t bytes)
{
    size_t count = bytes / sizeof(int16_t);
    int16_t *samples = malloc(count ? count * sizeof(*samples) : 1);
    must(samples != 0);
    for (size_t i = 0; i < count; i++) {
        samples[i] = (int16_t)(uint16_t)ealm_get(data + 2 * i, 2);
    }
    (void)ealm_device_capture(&desk->device, samples, count);
    free(samples);
}
