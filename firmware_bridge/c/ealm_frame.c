#include "ealm_frame.h"

#include "ealm_memory.h"

void ealm_put(uint8_t *out, uint64_t value, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        out[i] = (uint8_t)(value >> (8 * i));
    }
}

uint64_t ealm_get(const uint8_t *data, size_t bytes)
{
    uint64_t value = 0;
    for (size_t i = 0; i < bytes; i++) {
        value |= (uint64_t)data[i] << (8 * i);
    }
    return value;
}

uint32_t ealm_crc32(uint32_t crc, const uint8_t *data, size_t bytes)
{
    /* Half a byte at a time: 64 bytes of table instead of 1 KiB. */
    static const uint32_t table[16] = {
        0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4,
        0x4db26158, 0x5005713c, 0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
        0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
    };
    crc = ~crc;
    for (size_t i = 0; i < bytes; i++) {
        crc ^= data[i];
        crc = (crc >> 4) ^ table[crc & 15];
        crc = (crc >> 4) ^ table[crc & 15];
    }
    return ~crc;
}

static int is_type(uint8_t type)
{
    return type <= EALM_TYPE_OPUS || (type >= EALM_TYPE_HELLO && type <= EALM_TYPE_AGAIN);
}

int32_t ealm_frame_pack(const struct ealm_frame *frame, uint8_t *out, size_t out_bytes)
{
    if (frame->size != sizeof(*frame)) {
        return EALM_BAD_STRUCT;
    }
    if (frame->payload_bytes > EALM_MAX_PAYLOAD_BYTES) {
        return EALM_TOO_LONG;
    }
    size_t before_crc = EALM_HEADER_BYTES + (size_t)frame->payload_bytes;
    if (out_bytes < before_crc + EALM_CRC_BYTES) {
        return EALM_NO_SPACE;
    }
    if (frame->payload_bytes && frame->payload != out + EALM_HEADER_BYTES) {
        memmove(out + EALM_HEADER_BYTES, frame->payload, frame->payload_bytes);
    }
    out[0] = EALM_VERSION;
    out[1] = frame->flags;
    out[2] = frame->stream;
    out[3] = frame->type;
    ealm_put(out + 4, frame->session, 2);
    ealm_put(out + 6, frame->payload_bytes, 2);
    ealm_put(out + 8, frame->sequence, 4);
    ealm_put(out + 12, frame->due, 4);
    ealm_put(out + 16, frame->position, 8);
    ealm_put(out + before_crc, ealm_crc32(0, out, before_crc), EALM_CRC_BYTES);
    return (int32_t)(before_crc + EALM_CRC_BYTES);
}

int32_t ealm_frame_unpack(struct ealm_frame *frame, const uint8_t *data, size_t bytes)
{
    if (frame->size != sizeof(*frame)) {
        return EALM_BAD_STRUCT;
    }
    if (bytes < EALM_HEADER_BYTES + EALM_CRC_BYTES) {
        return EALM_TRUNCATED;
    }
    size_t payload_bytes = (size_t)ealm_get(data + 6, 2);
    size_t before_crc = EALM_HEADER_BYTES + payload_bytes;
    if (payload_bytes > EALM_MAX_PAYLOAD_BYTES || bytes > before_crc + EALM_CRC_BYTES) {
        return EALM_TOO_LONG;
    }
    if (bytes < before_crc + EALM_CRC_BYTES) {
        return EALM_TRUNCATED;
    }
    if (ealm_get(data + before_crc, EALM_CRC_BYTES) != ealm_crc32(0, data, before_crc)) {
        return EALM_BAD_CRC;
    }
    if (data[0] != EALM_VERSION) {
        return EALM_BAD_VERSION;
    }
    if (!is_type(data[3])) {
        return EALM_BAD_TYPE;
    }
    frame->flags = data[1];
    frame->stream = data[2];
    frame->type = data[3];
    frame->reserved = 0;
    frame->session = (uint16_t)ealm_get(data + 4, 2);
    frame->payload_bytes = (uint16_t)payload_bytes;
    frame->sequence = (uint32_t)ealm_get(data + 8, 4);
    frame->due = (uint32_t)ealm_get(data + 12, 4);
    frame->position = ealm_get(data + 16, 8);
    frame->payload = data + EALM_HEADER_BYTES;
    return EALM_OK;
}

int32_t ealm_cobs_encode(const uint8_t *data, size_t bytes, uint8_t *out, size_t out_bytes)
{
    size_t code_at = 0, to = 1;
    for (size_t i = 0; i <= bytes; i++) {
        size_t run = to - code_at - 1;
        int ends = i == bytes || data[i] == 0;
        if (run == 254) {
            if (to >= out_bytes) {
                return EALM_NO_SPACE;
            }
            out[code_at] = 255;
            code_at = to++;
            run = 0;
        }
        if (ends) {
            if (code_at >= out_bytes) {
                return EALM_NO_SPACE;
            }
            out[code_at] = (uint8_t)(run + 1);
            code_at = to++;
        } else {
            if (to >= out_bytes) {
                return EALM_NO_SPACE;
            }
            out[to++] = data[i];
        }
    }
    return (int32_t)code_at;
}

int32_t ealm_cobs_decode(const uint8_t *data, size_t bytes, uint8_t *out, size_t out_bytes)
{
    size_t at = 0, to = 0;
    while (at < bytes) {
        uint8_t code = data[at++];
        if (code == 0 || code - 1U > bytes - at) {
            return EALM_BAD_COBS;
        }
        for (size_t i = 1; i < code; i++) {
            uint8_t byte = data[at++];
            if (byte == 0) {
                return EALM_BAD_COBS;
            }
            if (to >= out_bytes) {
                return EALM_NO_SPACE;
            }
            out[to++] = byte;
        }
        if (code < 255 && at < bytes) {
            if (to >= out_bytes) {
                return EALM_NO_SPACE;
            }
            out[to++] = 0;
        }
    }
    return (int32_t)to;
}

int32_t ealm_deframer_init(struct ealm_deframer *deframer, uint8_t *buffer, size_t buffer_bytes)
{
    if (deframer->size != sizeof(*deframer)) {
        return EALM_BAD_STRUCT;
    }
    deframer->buffer = buffer;
    deframer->buffer_bytes = buffer_bytes;
    deframer->used = 0;
    deframer->skipping = 0;
    return EALM_OK;
}

int32_t ealm_deframer_push(struct ealm_deframer *deframer, uint8_t byte)
{
    if (byte != 0) {
        if (deframer->used < deframer->buffer_bytes) {
            deframer->buffer[deframer->used++] = byte;
        } else {
            deframer->skipping = 1;
        }
        return 0;
    }
    size_t used = deframer->used;
    int skipped = deframer->skipping;
    deframer->used = 0;
    deframer->skipping = 0;
    if (skipped) {
        return EALM_TOO_LONG;
    }
    return ealm_cobs_decode(deframer->buffer, used, deframer->buffer, used);
}
