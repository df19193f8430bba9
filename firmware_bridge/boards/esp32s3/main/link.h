/* The way to the host: link_usb.c or link_udp.c, as `idf.py menuconfig` says. */
#ifndef LINK_H
#define LINK_H

#include <stddef.h>
#include <stdint.h>

#include "ealm_device.h"

#define LINK_FRAME_SAMPLES 320
#define LINK_FRAME_BYTES (EALM_HEADER_BYTES + 2 * LINK_FRAME_SAMPLES + EALM_CRC_BYTES)

/* Where frames are packed: LINK_FRAME_BYTES, with as much room around them as the link needs. */
extern uint8_t *const link_frame;

/* EALM_OK, or EALM_PORT_FAILED. */
int32_t link_open(void);

/* See ealm_port_send. */
int32_t link_send(const uint8_t *frame, size_t bytes);

/* Hand over what came; to be called at least ten times a second. Does not wait. */
void link_poll(struct ealm_device *device);

#endif
