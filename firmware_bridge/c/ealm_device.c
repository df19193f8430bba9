#include "ealm_device.h"

#include "ealm_memory.h"

#define HELLO_BYTES 20 /* before the name */

static int can(const struct ealm_device *device, unsigned capability)
{
    return (device->config.capabilities & capability) != 0;
}

static size_t length(const char *text)
{
    size_t n = 0;
    while (text && text[n]) {
        n++;
    }
    return n;
}

static int is_gated(const struct ealm_device *device)
{
    return (device->wishes & EALM_WISH_GATED) && device->config.gate && device->config.block;
}

/* Samples that are captured and wait for the gate's verdict. */
static uint64_t captured(const struct ealm_device *device)
{
    return device->position + device->block_samples;
}

/* Where a frame is kept for a host that misses it: two bytes of its length, then the frame. */
static uint8_t *slot(const struct ealm_device *device, uint32_t sequence)
{
    const struct ealm_device_config *config = &device->config;
    size_t slots = config->kept_bytes / EALM_KEPT_BYTES(1, config->frame_bytes);
    if (!can(device, EALM_CAN_RESENDS) || !slots) {
        return 0;
    }
    return config->kept + EALM_KEPT_BYTES(sequence % slots, config->frame_bytes);
}

static void forget_kept(struct ealm_device *device)
{
    if (device->config.kept_bytes) {
        memset(device->config.kept, 0, device->config.kept_bytes);
    }
}

/* A frame whose payload lies in the packing buffer already. */
static int32_t send(struct ealm_device *device, uint8_t type, size_t payload_bytes)
{
    const struct ealm_device_config *config = &device->config;
    struct ealm_frame frame = EALM_FRAME_INIT;
    frame.type = type;
    frame.flags = device->is_muted ? EALM_FLAG_MUTED : 0;
    frame.session = (uint16_t)config->session;
    frame.payload_bytes = (uint16_t)payload_bytes;
    frame.sequence = device->sequence;
    frame.due = device->due;
    frame.position = device->position;
    frame.payload = config->frame + EALM_HEADER_BYTES;
    int32_t bytes = ealm_frame_pack(&frame, config->frame, config->frame_bytes);
    if (bytes < 0) {
        return bytes;
    }
    uint8_t *kept = slot(device, device->sequence);
    if (kept) { /* before it is sent: a board may seal it where it lies */
        ealm_put(kept, (uint64_t)bytes, 2);
        memcpy(kept + 2, config->frame, (size_t)bytes);
    }
    int32_t status = ealm_port_send(config->board, config->frame, (size_t)bytes);
    if (status == EALM_OK) {
        device->sequence++;
        device->frames_sent++;
    }
    return status;
}

static int32_t say_hello(struct ealm_device *device)
{
    const struct ealm_device_config *config = &device->config;
    uint8_t *out = config->frame + EALM_HEADER_BYTES;
    size_t name_bytes = length(config->name);
    memset(out, 0, HELLO_BYTES);
    ealm_put(out, config->session, 4);
    out[4] = EALM_VERSION;
    out[5] = EALM_VERSION;
    ealm_put(out + 6, config->codecs, 2);
    ealm_put(out + 8, config->rate_hz, 4);
    ealm_put(out + 14, config->frame_samples, 2);
    ealm_put(out + 16, config->capabilities, 2);
    if (name_bytes) {
        memcpy(out + HELLO_BYTES, config->name, name_bytes);
    }
    return send(device, EALM_TYPE_HELLO, HELLO_BYTES + name_bytes);
}

static int32_t say_stats(struct ealm_device *device)
{
    uint8_t *out = device->config.frame + EALM_HEADER_BYTES;
    ealm_put(out, device->frames_sent, 4);
    ealm_put(out + 4, device->samples_dropped, 4);
    ealm_put(out + 8, device->frames_received, 4);
    ealm_put(out + 12, device->frames_refused, 4);
    out[16] = (uint8_t)device->gain_db;
    out[17] = device->battery_percent;
    ealm_put(out + 18, 0, 2);
    return send(device, EALM_TYPE_STATS, 20);
}

/* Where we are, and who to a host that does not know. */
static int32_t say_state(struct ealm_device *device)
{
    int32_t status = device->is_welcome ? say_stats(device) : say_hello(device);
    if (status == EALM_OK) {
        device->told_us = ealm_port_now_us(device->config.board);
        device->is_told = 1;
    }
    return status;
}

static int32_t send_audio(struct ealm_device *device, const int16_t *samples, size_t count)
{
    uint8_t *out = device->config.frame + EALM_HEADER_BYTES;
    size_t room = device->config.frame_bytes - EALM_HEADER_BYTES - EALM_CRC_BYTES;
    int32_t bytes;
    if (device->codec == EALM_TYPE_ADPCM) {
        bytes = ealm_adpcm_encode(&device->adpcm, samples, count, out, room);
    } else {
        for (size_t i = 0; i < count; i++) {
            ealm_put(out + 2 * i, (uint16_t)samples[i], 2);
        }
        bytes = (int32_t)(2 * count);
    }
    int32_t status = bytes < 0 ? bytes : send(device, device->codec, (size_t)bytes);
    /* Due whether or not there was room: what did not go is lost, and the host can tell. */
    device->due += (uint32_t)count;
    device->position += count;
    if (status != EALM_OK) {
        device->samples_dropped += (uint32_t)count;
    }
    return status;
}

static int32_t send_all(struct ealm_device *device, const int16_t *samples, size_t count)
{
    int32_t first_error = EALM_OK;
    while (count) {
        size_t part = count < device->config.frame_samples ? count : device->config.frame_samples;
        int32_t status = send_audio(device, samples, part);
        first_error = first_error == EALM_OK ? status : first_error;
        samples += part;
        count -= part;
    }
    return first_error;
}

int32_t ealm_device_init(struct ealm_device *device, const struct ealm_device_config *config)
{
    if (device->size != sizeof(*device) || config->size != sizeof(*config)) {
        return EALM_BAD_STRUCT;
    }
    size_t adpcm = EALM_ADPCM_BYTES((size_t)config->frame_samples);
    size_t pcm16 = 2 * (size_t)config->frame_samples;
    size_t audio = config->codecs & 1U << EALM_TYPE_PCM16 ? pcm16 : adpcm;
    size_t name_bytes = length(config->name);
    size_t hello = HELLO_BYTES + EALM_MAX_NAME_BYTES;
    size_t longest = audio > hello ? audio : hello;
    if (config->frame_samples == 0 || name_bytes > EALM_MAX_NAME_BYTES ||
        audio > EALM_MAX_PAYLOAD_BYTES) {
        return EALM_BAD_PAYLOAD;
    }
    if (config->frame_bytes < EALM_HEADER_BYTES + longest + EALM_CRC_BYTES ||
        (config->kept_bytes && !config->kept)) {
        return EALM_NO_SPACE;
    }
    memset(device, 0, sizeof(*device));
    device->size = sizeof(*device);
    device->config = *config;
    device->adpcm.size = sizeof(device->adpcm);
    device->codec = config->codecs & 1U << EALM_TYPE_ADPCM ? EALM_TYPE_ADPCM : EALM_TYPE_PCM16;
    device->battery_percent = 255;
    forget_kept(device);
    if (!can(device, EALM_CAN_TWO_WAY)) {
        device->was_welcome = 1;
    }
    return EALM_OK;
}

int32_t ealm_device_capture(struct ealm_device *device, const int16_t *samples, size_t count)
{
    device->captured_us = ealm_port_now_us(device->config.board);
    if (device->is_muted) {
        device->position += count;
        return EALM_OK;
    }
    if (can(device, EALM_CAN_TWO_WAY) && !device->is_welcome) {
        /* Before the first welcome nothing is due; a host that has gone misses all. */
        if (device->was_welcome) {
            device->due += (uint32_t)count;
            device->samples_dropped += (uint32_t)count;
        }
        device->position += count;
        return EALM_NOT_READY;
    }
    if (!is_gated(device)) {
        return send_all(device, samples, count);
    }
    int32_t first_error = EALM_OK;
    while (count) {
        size_t room = EALM_GATE_BLOCK_SAMPLES - device->block_samples;
        size_t part = count < room ? count : room;
        memcpy(device->config.block + device->block_samples, samples, part * sizeof(*samples));
        device->block_samples = (uint16_t)(device->block_samples + part);
        samples += part;
        count -= part;
        if (device->block_samples < EALM_GATE_BLOCK_SAMPLES) {
            break;
        }
        device->block_samples = 0;
        int32_t is_open = ealm_gate_push(device->config.gate, device->config.block);
        if (is_open > 0) {
            int32_t status = send_all(device, device->config.block, EALM_GATE_BLOCK_SAMPLES);
            first_error = first_error == EALM_OK ? status : first_error;
        } else {
            device->position += EALM_GATE_BLOCK_SAMPLES;
        }
    }
    return first_error;
}

/* What waits for the gate is not worth hearing after all. */
static void give_up_block(struct ealm_device *device)
{
    device->position += device->block_samples;
    device->block_samples = 0;
}

static int32_t reply_to_sync(struct ealm_device *device, const struct ealm_frame *frame)
{
    if (frame->payload_bytes != 8) {
        return EALM_BAD_PAYLOAD;
    }
    uint64_t asked = ealm_get(frame->payload, 8);
    uint64_t since_us = ealm_port_now_us(device->config.board) - device->captured_us;
    uint64_t now = captured(device) + since_us * device->config.rate_hz / 1000000U;
    uint8_t *out = device->config.frame + EALM_HEADER_BYTES;
    ealm_put(out, asked, 8);
    ealm_put(out + 8, now, 8);
    ealm_put(out + 16, 0, 4);
    return send(device, EALM_TYPE_SYNC_REPLY, 20);
}

static int32_t heed_welcome(struct ealm_device *device, const struct ealm_frame *frame)
{
    const uint8_t *in = frame->payload;
    if (frame->payload_bytes != 8 || in[5] > EALM_TYPE_OPUS ||
        !(device->config.codecs >> in[5] & 1)) {
        return EALM_BAD_PAYLOAD;
    }
    if (ealm_get(in, 4) != device->config.session) {
        return EALM_NOT_READY;
    }
    uint8_t wishes = in[6];
    if (wishes != device->wishes) {
        give_up_block(device);
    }
    device->codec = in[5];
    device->wishes = wishes;
    device->is_welcome = 1;
    device->was_welcome = 1;
    return EALM_OK;
}

static void send_again(struct ealm_device *device, uint32_t sequence)
{
    const struct ealm_device_config *config = &device->config;
    const uint8_t *kept = slot(device, sequence);
    size_t bytes = kept ? (size_t)ealm_get(kept, 2) : 0;
    /* The one that is there may be another, or one for which there was no room. */
    if (bytes && sequence != device->sequence && ealm_get(kept + 2 + 8, 4) == sequence) {
        memcpy(config->frame, kept + 2, bytes);
        (void)ealm_port_send(config->board, config->frame, bytes);
    }
}

static int32_t heed_again(struct ealm_device *device, const struct ealm_frame *frame)
{
    if (frame->payload_bytes != 8) {
        return EALM_BAD_PAYLOAD;
    }
    uint32_t first = (uint32_t)ealm_get(frame->payload, 4);
    uint32_t more = (uint32_t)ealm_get(frame->payload + 4, 4);
    send_again(device, first);
    for (uint32_t n = 0; n < 32; n++) {
        if (more >> n & 1U) {
            send_again(device, first + 1 + n);
        }
    }
    return EALM_OK;
}

static int32_t show(struct ealm_device *device, const struct ealm_frame *frame)
{
    const uint8_t *in = frame->payload;
    if (frame->payload_bytes < 12 || frame->payload_bytes > 12 + EALM_MAX_TEXT_BYTES) {
        return EALM_BAD_PAYLOAD;
    }
    ealm_port_show(device->config.board, frame->type == EALM_TYPE_EVENT ? in[8] : 0, in[9],
                   ealm_get(in, 8), (const char *)in + 12, frame->payload_bytes - 12U);
    return EALM_OK;
}

static int32_t heed(struct ealm_device *device, const struct ealm_frame *frame)
{
    switch (frame->type) {
    case EALM_TYPE_WELCOME:
        return heed_welcome(device, frame);
    case EALM_TYPE_SYNC:
        return reply_to_sync(device, frame);
    case EALM_TYPE_AGAIN:
        return heed_again(device, frame);
    case EALM_TYPE_GAIN:
        if (frame->payload_bytes != 1) {
            return EALM_BAD_PAYLOAD;
        }
        if (can(device, EALM_CAN_SETS_GAIN)) {
            int32_t wanted = frame->payload[0];
            wanted = wanted > 127 ? wanted - 256 : wanted;
            device->gain_db = ealm_port_set_gain(device->config.board, (int8_t)wanted);
        }
        return EALM_OK;
    case EALM_TYPE_CAPTION:
    case EALM_TYPE_EVENT:
        return show(device, frame);
    case EALM_TYPE_BYE: /* the host has begun anew and asks who we are */
        device->is_welcome = 0;
        return say_state(device);
    default:
        return EALM_BAD_TYPE;
    }
}

int32_t ealm_device_receive(struct ealm_device *device, const uint8_t *data, size_t bytes)
{
    struct ealm_frame frame = EALM_FRAME_INIT;
    int32_t status = ealm_frame_unpack(&frame, data, bytes);
    if (status == EALM_OK && !(frame.flags & EALM_FLAG_DOWN)) {
        status = EALM_BAD_TYPE;
    }
    if (status == EALM_OK && frame.session != (uint16_t)device->config.session) {
        status = EALM_NOT_READY;
    }
    if (status == EALM_OK) {
        device->heard_us = ealm_port_now_us(device->config.board);
        status = heed(device, &frame);
    }
    if (status == EALM_OK || status == EALM_NO_SPACE) {
        device->frames_received++;
    } else {
        device->frames_refused++;
    }
    return status;
}

int32_t ealm_device_tick(struct ealm_device *device)
{
    uint64_t now_us = ealm_port_now_us(device->config.board);
    int hears = can(device, EALM_CAN_TWO_WAY);
    if (hears && device->is_welcome && now_us - device->heard_us > EALM_HOST_GONE_US) {
        give_up_block(device);
        device->is_welcome = 0;
    }
    if (device->is_told && now_us - device->told_us < EALM_STREAM_STATE_MS * 1000U) {
        return EALM_OK;
    }
    /* A device that cannot hear the host says both in turn. */
    if (!hears) {
        device->is_welcome = !device->is_welcome;
    }
    return say_state(device);
}

int32_t ealm_device_mute(struct ealm_device *device, int is_muted)
{
    if (is_muted) {
        give_up_block(device);
    }
    device->is_muted = is_muted != 0;
    forget_kept(device); /* no sample leaves a device that is muted */
    device->config.frame[EALM_HEADER_BYTES] = device->is_muted;
    return send(device, EALM_TYPE_MUTE, 1);
}

int32_t ealm_device_finish(struct ealm_device *device)
{
    give_up_block(device);
    return send(device, EALM_TYPE_BYE, 0);
}
