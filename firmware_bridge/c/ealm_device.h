/* The device's half of the conversation: HELLO, audio, where it is, clock, mute, BYE.
 *
 * Not to be called from interrupts: one thread, or the main loop, calls everything. */
#ifndef EALM_DEVICE_H
#define EALM_DEVICE_H

#include "ealm_adpcm.h"
#include "ealm_frame.h"
#include "ealm_gate.h"
#include "ealm_port.h"

/* A host that was not heard for so long is gone. */
#define EALM_HOST_GONE_US 10000000U

struct ealm_device_config {
    uint32_t size;
    uint32_t session;       /* other than the last one: random, or counted up at every start */
    uint32_t rate_hz;
    uint16_t frame_samples; /* of an audio frame */
    uint16_t capabilities;  /* enum ealm_capabilities */
    uint16_t codecs;        /* bit n: audio of type n */
    const char *name;       /* UTF-8, at most EALM_MAX_NAME_BYTES; stays the caller's */
    void *board;
    uint8_t *frame;         /* where frames are packed: header, payload and CRC of the longest */
    size_t frame_bytes;
    struct ealm_gate *gate; /* and its block, where EALM_CAN_SOUND_GATE; else 0 */
    int16_t *block;         /* EALM_GATE_BLOCK_SAMPLES */
    uint8_t *kept;          /* where EALM_CAN_RESENDS: EALM_KEPT_BYTES(n, frame_bytes) for the */
    size_t kept_bytes;      /* last n frames; else 0 */
};

/* Memory for the last `frames` frames, each of at most `frame_bytes`, and how long they are. */
#define EALM_KEPT_BYTES(frames, frame_bytes) ((frames) * (2 + (size_t)(frame_bytes)))

struct ealm_device {
    uint32_t size;
    struct ealm_device_config config;
    struct ealm_adpcm adpcm;
    uint64_t position;   /* of the next sample that is neither sent nor withheld */
    uint64_t told_us;    /* when the host was last told where we are */
    uint64_t heard_us;   /* when it was last heard */
    uint64_t captured_us;
    uint32_t sequence;
    uint32_t due;
    uint32_t frames_sent;
    uint32_t samples_dropped;
    uint32_t frames_received;
    uint32_t frames_refused;
    uint16_t block_samples;
    uint8_t codec;
    uint8_t wishes;
    uint8_t is_welcome;
    uint8_t was_welcome;
    uint8_t is_muted;
    uint8_t is_told; /* whether told_us is valid */
    int8_t gain_db;
    uint8_t battery_percent; /* set it to what is known, else 255 */
};

#define EALM_DEVICE_INIT {.size = sizeof(struct ealm_device)}
#define EALM_DEVICE_CONFIG_INIT {.size = sizeof(struct ealm_device_config)}

int32_t ealm_device_init(struct ealm_device *device, const struct ealm_device_config *config);

/* `count` samples that the microphone has taken. What the link has no room for is counted. */
int32_t ealm_device_capture(struct ealm_device *device, const int16_t *samples, size_t count);

/* A frame that came over the link; it is not needed afterwards. */
int32_t ealm_device_receive(struct ealm_device *device, const uint8_t *data, size_t bytes);

/* To be called at least ten times a second. */
int32_t ealm_device_tick(struct ealm_device *device);

/* The switch was moved. While it is on, no sample leaves the device. */
int32_t ealm_device_mute(struct ealm_device *device, int is_muted);

/* This was all. A link that loses frames may lose this one: say it again until the host is silent. */
int32_t ealm_device_finish(struct ealm_device *device);

#endif
