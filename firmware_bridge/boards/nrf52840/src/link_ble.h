/* The way to the host: notifications up, writes without response down, to its owner alone.
 *
 * Bluetooth's callbacks come on a thread of their own; these functions are for one other thread. */
#ifndef LINK_BLE_H
#define LINK_BLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ealm_device.h"

#define LINK_FRAME_SAMPLES 320
#define LINK_FRAME_BYTES (EALM_HEADER_BYTES + EALM_ADPCM_BYTES(LINK_FRAME_SAMPLES) + EALM_CRC_BYTES)

/* Switch Bluetooth on; `forgets` the owner, so that another host can pair. EALM_OK, or
 * EALM_PORT_FAILED. */
int32_t link_open(bool forgets);

/* See ealm_port_send; EALM_NOT_READY while nobody whom we trust listens. Does not wait. */
int32_t link_send(const uint8_t *frame, size_t bytes);

/* Be there to be found, and hand over what came. To be called ten times a second. Does not wait. */
void link_poll(struct ealm_device *device);

#endif
