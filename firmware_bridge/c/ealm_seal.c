#include "ealm_seal.h"

#include "ealm_device.h"
#include "ealm_memory.h"

#define START_BYTES 8 /* magic, kind, 0, device id */
#define HASH_BYTES 32
#define GREET_US 1000000U

/* HKDF-SHA256 (RFC 5869) of the shared key, for one block of output. */
static int32_t derive(const struct ealm_seal *seal, const uint8_t *salt, size_t salt_bytes,
                      const char *purpose, uint8_t *out)
{
    static const char prefix[] = "edge-alm bridge 1 ";
    uint8_t extracted[HASH_BYTES], info[sizeof(prefix) + 8];
    size_t used = sizeof(prefix) - 1;
    memcpy(info, prefix, used);
    while (*purpose) {
        info[used++] = (uint8_t)*purpose++;
    }
    info[used++] = 1;
    int32_t status =
        ealm_port_hmac(seal->board, salt, salt_bytes, seal->key, EALM_KEY_BYTES, extracted);
    return status == EALM_OK
               ? ealm_port_hmac(seal->board, extracted, sizeof(extracted), info, used, out)
               : status;
}

static void start(const struct ealm_seal *seal, uint8_t kind, uint8_t *out)
{
    out[0] = EALM_SEAL_MAGIC;
    out[1] = kind;
    out[2] = 0;
    out[3] = 0;
    ealm_put(out + 4, seal->device, 4);
}

static void nonce_of(uint64_t counter, uint8_t *nonce)
{
    memset(nonce, 0, 4);
    ealm_put(nonce + 4, counter, 8);
}

/* The bit map that slides of RFC 6479, as small as it gets. */
static int is_fresh(const struct ealm_seal *seal, uint64_t counter)
{
    if (!seal->seen || counter > seal->highest) {
        return 1;
    }
    uint64_t behind = seal->highest - counter;
    return behind < EALM_DOWN_WINDOW && !(seal->seen >> behind & 1);
}

static void add(struct ealm_seal *seal, uint64_t counter)
{
    if (!seal->seen || counter > seal->highest) {
        uint64_t ahead = counter - seal->highest;
        seal->seen = ahead < EALM_DOWN_WINDOW ? seal->seen << ahead : 0;
        seal->highest = counter;
    }
    seal->seen |= (uint64_t)1 << (seal->highest - counter);
}

int32_t ealm_seal_init(struct ealm_seal *seal, uint32_t device, const uint8_t *key, void *board)
{
    static const uint8_t no_salt[HASH_BYTES];
    if (seal->size != sizeof(*seal)) {
        return EALM_BAD_STRUCT;
    }
    memset(seal, 0, sizeof(*seal));
    seal->size = sizeof(*seal);
    seal->device = device;
    seal->key = key;
    seal->board = board;
    return derive(seal, no_salt, sizeof(no_salt), "greeting", seal->greeting_key);
}

int32_t ealm_seal_greet(struct ealm_seal *seal, uint64_t now_us, const uint8_t *random,
                        uint8_t *out, size_t out_bytes)
{
    if (out_bytes < EALM_GREETING_BYTES) {
        return EALM_NO_SPACE;
    }
    if (seal->is_open && now_us - seal->heard_us > EALM_HOST_GONE_US) {
        seal->is_open = 0;
        seal->is_greeting = 0;
    }
    if (seal->is_open || (seal->is_greeting && now_us - seal->greeted_us < GREET_US)) {
        return 0;
    }
    if (!seal->is_greeting) {
        memcpy(seal->nonce, random, EALM_NONCE_BYTES);
    }
    seal->is_greeting = 1;
    seal->greeted_us = now_us;
    start(seal, EALM_DATAGRAM_GREETING, out);
    memcpy(out + START_BYTES, seal->nonce, EALM_NONCE_BYTES);
    size_t head_bytes = START_BYTES + EALM_NONCE_BYTES;
    int32_t status = ealm_port_aead(seal->board, 0, seal->greeting_key, seal->nonce, out,
                                    head_bytes, out + head_bytes, 0);
    return status == EALM_OK ? EALM_GREETING_BYTES : status;
}

int32_t ealm_seal_close(struct ealm_seal *seal, const uint8_t *frame, size_t bytes, uint8_t *out,
                        size_t out_bytes)
{
    uint8_t nonce[EALM_NONCE_BYTES];
    if (!seal->is_open) {
        return EALM_NOT_READY;
    }
    if (bytes > EALM_MAX_FRAME_BYTES) {
        return EALM_TOO_LONG;
    }
    if (out_bytes < EALM_SEALED_BYTES(bytes)) {
        return EALM_NO_SPACE;
    }
    if (bytes && frame != out + EALM_SEAL_HEAD_BYTES) {
        memmove(out + EALM_SEAL_HEAD_BYTES, frame, bytes);
    }
    /* A counter is used up whatever comes of it: never two texts under one nonce. */
    uint64_t counter = seal->sent++;
    start(seal, EALM_DATAGRAM_UP, out);
    ealm_put(out + START_BYTES, counter, 8);
    nonce_of(counter, nonce);
    int32_t status = ealm_port_aead(seal->board, 0, seal->up_key, nonce, out,
                                    EALM_SEAL_HEAD_BYTES, out + EALM_SEAL_HEAD_BYTES, bytes);
    return status == EALM_OK ? (int32_t)EALM_SEALED_BYTES(bytes) : status;
}

/* The host's reply to the greeting under way: both derive the session's keys. */
static int32_t heed_reply(struct ealm_seal *seal, uint64_t now_us, uint8_t *data, size_t bytes)
{
    uint8_t head[START_BYTES + 2 * EALM_NONCE_BYTES], nonces[2 * EALM_NONCE_BYTES];
    size_t head_bytes = START_BYTES + EALM_NONCE_BYTES;
    if (bytes != EALM_GREETING_BYTES) {
        return EALM_BAD_PAYLOAD;
    }
    if (seal->is_open || !seal->is_greeting) {
        return EALM_REPLAYED;
    }
    memcpy(head, data, head_bytes);
    memcpy(head + head_bytes, seal->nonce, EALM_NONCE_BYTES);
    memcpy(nonces, seal->nonce, EALM_NONCE_BYTES);
    memcpy(nonces + EALM_NONCE_BYTES, data + START_BYTES, EALM_NONCE_BYTES);
    int32_t status = ealm_port_aead(seal->board, 1, seal->greeting_key, data + START_BYTES, head,
                                    sizeof(head), data + head_bytes, 0);
    if (status == EALM_OK) {
        status = derive(seal, nonces, sizeof(nonces), "up", seal->up_key);
    }
    if (status == EALM_OK) {
        status = derive(seal, nonces, sizeof(nonces), "down", seal->down_key);
    }
    if (status == EALM_OK) {
        seal->sent = 0;
        seal->highest = 0;
        seal->seen = 0;
        seal->heard_us = now_us;
        seal->is_open = 1;
    }
    return status;
}

int32_t ealm_seal_open(struct ealm_seal *seal, uint64_t now_us, uint8_t *data, size_t bytes)
{
    uint8_t nonce[EALM_NONCE_BYTES];
    if (bytes < EALM_SEALED_BYTES(0)) {
        return EALM_TRUNCATED;
    }
    if (bytes > EALM_SEALED_BYTES(EALM_MAX_FRAME_BYTES)) {
        return EALM_TOO_LONG;
    }
    if (data[0] != EALM_SEAL_MAGIC ||
        (data[1] != EALM_DATAGRAM_REPLY && data[1] != EALM_DATAGRAM_DOWN)) {
        return EALM_BAD_TYPE;
    }
    if (ealm_get(data + 4, 4) != seal->device) {
        return EALM_UNKNOWN_DEVICE;
    }
    if (data[1] == EALM_DATAGRAM_REPLY) {
        return heed_reply(seal, now_us, data, bytes);
    }
    if (!seal->is_open) {
        return EALM_NOT_READY;
    }
    uint64_t counter = ealm_get(data + START_BYTES, 8);
    if (!is_fresh(seal, counter)) {
        return EALM_REPLAYED;
    }
    size_t frame_bytes = bytes - EALM_SEALED_BYTES(0);
    nonce_of(counter, nonce);
    int32_t status =
        ealm_port_aead(seal->board, 1, seal->down_key, nonce, data, EALM_SEAL_HEAD_BYTES,
                       data + EALM_SEAL_HEAD_BYTES, frame_bytes);
    if (status != EALM_OK) {
        return status;
    }
    add(seal, counter);
    seal->heard_us = now_us;
    return (int32_t)frame_bytes;
}
