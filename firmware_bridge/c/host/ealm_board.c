/* A device that sends sealed datagrams, as a library for ctypes: what a board's main loop does, with
 * the link, the clock and the crypto as functions of the caller's. */
#include <stdlib.h>
#include <string.h>

#include "ealm_device.h"
#include "ealm_seal.h"

#define KEPT_FRAMES 8

struct board_calls {
    int32_t (*send)(const uint8_t *datagram, size_t bytes);
    uint64_t (*now_us)(void);
    void (*show)(uint8_t code, const char *text, size_t text_bytes);
    int32_t (*aead)(int is_opening, const uint8_t *key, const uint8_t *nonce, const uint8_t *head,
                    size_t head_bytes, uint8_t *text, size_t text_bytes);
    int32_t (*hmac)(const uint8_t *key, size_t key_bytes, const uint8_t *data, size_t data_bytes,
                    uint8_t *out);
};

struct board {
    struct board_calls calls;
    struct ealm_device device;
    struct ealm_seal seal;
    uint8_t key[EALM_KEY_BYTES];
    uint8_t datagram[EALM_SEALED_BYTES(EALM_HEADER_BYTES + 640 + EALM_CRC_BYTES)];
    uint8_t kept[EALM_KEPT_BYTES(KEPT_FRAMES, EALM_HEADER_BYTES + 640 + EALM_CRC_BYTES)];
};

int32_t ealm_port_send(void *context, const uint8_t *frame, size_t bytes)
{
    struct board *board = context;
    int32_t sealed =
        ealm_seal_close(&board->seal, frame, bytes, board->datagram, sizeof(board->datagram));
    return sealed < 0 ? sealed : board->calls.send(board->datagram, (size_t)sealed);
}

uint64_t ealm_port_now_us(void *context)
{
    struct board *board = context;
    return board->calls.now_us();
}

void ealm_port_show(void *context, uint8_t code, uint8_t confidence, uint64_t position,
                    const char *text, size_t text_bytes)
{
    struct board *board = context;
    (void)confidence, (void)position;
    board->calls.show(code, text, text_bytes);
}

int8_t ealm_port_set_gain(void *context, int8_t gain_db)
{
    (void)context;
    return gain_db;
}

int32_t ealm_port_aead(void *context, int is_opening, const uint8_t *key, const uint8_t *nonce,
                       const uint8_t *head, size_t head_bytes, uint8_t *text, size_t text_bytes)
{
    struct board *board = context;
    return board->calls.aead(is_opening, key, nonce, head, head_bytes, text, text_bytes);
}

int32_t ealm_port_hmac(void *context, const uint8_t *key, size_t key_bytes, const uint8_t *data,
                       size_t data_bytes, uint8_t *out)
{
    struct board *board = context;
    return board->calls.hmac(key, key_bytes, data, data_bytes, out);
}

struct board *board_new(const struct board_calls *calls, uint32_t session, uint16_t codecs,
                        uint32_t device, const uint8_t *key);
void board_free(struct board *board);
int32_t board_receive(struct board *board, const uint8_t *datagram, size_t bytes);
int32_t board_tick(struct board *board, const uint8_t *random);
int32_t board_capture(struct board *board, const int16_t *samples, size_t count);
int32_t board_mute(struct board *board, int is_muted);
int32_t board_finish(struct board *board);
int board_is_open(const struct board *board);
int board_is_welcome(const struct board *board);
uint32_t board_due(const struct board *board);

struct board *board_new(const struct board_calls *calls, uint32_t session, uint16_t codecs,
                        uint32_t device, const uint8_t *key)
{
    struct ealm_device_config config = EALM_DEVICE_CONFIG_INIT;
    struct board *board = calloc(1, sizeof(*board));
    if (!board) {
        return NULL;
    }
    board->calls = *calls;
    board->device = (struct ealm_device)EALM_DEVICE_INIT;
    board->seal = (struct ealm_seal)EALM_SEAL_INIT;
    memcpy(board->key, key, sizeof(board->key));
    config.session = session;
    config.rate_hz = 16000;
    config.frame_samples = 320;
    config.capabilities = EALM_CAN_TWO_WAY | EALM_CAN_SHOWS_CAPTIONS | EALM_CAN_FEELS_EVENTS |
                          EALM_CAN_RESENDS;
    config.codecs = codecs;
    config.name = "sealed";
    config.board = board;
    /* Frames are packed where they are sealed: one buffer. */
    config.frame = board->datagram + EALM_SEAL_HEAD_BYTES;
    config.frame_bytes = sizeof(board->datagram) - EALM_SEALED_BYTES(0);
    config.kept = board->kept;
    config.kept_bytes = sizeof(board->kept);
    if (ealm_seal_init(&board->seal, device, board->key, board) != EALM_OK ||
        ealm_device_init(&board->device, &config) != EALM_OK) {
        free(board);
        return NULL;
    }
    return board;
}

void board_free(struct board *board)
{
    free(board);
}

int32_t board_receive(struct board *board, const uint8_t *datagram, size_t bytes)
{
    uint8_t copy[EALM_SEALED_BYTES(EALM_MAX_FRAME_BYTES) + 1];
    bytes = bytes < sizeof(copy) ? bytes : sizeof(copy);
    memcpy(copy, datagram, bytes);
    int32_t frame_bytes = ealm_seal_open(&board->seal, board->calls.now_us(), copy, bytes);
    return frame_bytes > 0 ? ealm_device_receive(&board->device, copy + EALM_SEAL_HEAD_BYTES,
                                                 (size_t)frame_bytes)
                           : frame_bytes;
}

int32_t board_tick(struct board *board, const uint8_t *random)
{
    uint8_t greeting[EALM_GREETING_BYTES];
    int32_t bytes = ealm_seal_greet(&board->seal, board->calls.now_us(), random, greeting,
                                    sizeof(greeting));
    if (bytes > 0) {
        (void)board->calls.send(greeting, (size_t)bytes);
    }
    return bytes < 0 ? bytes : ealm_device_tick(&board->device);
}

int32_t board_capture(struct board *board, const int16_t *samples, size_t count)
{
    return ealm_device_capture(&board->device, samples, count);
}

int32_t board_mute(struct board *board, int is_muted)
{
    return ealm_device_mute(&board->device, is_muted);
}

int32_t board_finish(struct board *board)
{
    return ealm_device_finish(&board->device);
}

int board_is_open(const struct board *board)
{
    return board->seal.is_open;
}

int board_is_welcome(const struct board *board)
{
    return board->device.is_welcome;
}

uint32_t board_due(const struct board *board)
{
    return board->device.due;
}
