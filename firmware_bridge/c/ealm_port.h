/* What a board provides. Each function gets the `board` that was given to ealm_device_init. */
#ifndef EALM_PORT_H
#define EALM_PORT_H

#include <stddef.h>
#include <stdint.h>

#include "ealm_numbers.h"

/* Queue one packed frame for the link: EALM_OK, or EALM_NO_SPACE where there is no room for all of
 * it. Must not wait. On a serial line: ealm_cobs_encode, between zero bytes. */
int32_t ealm_port_send(void *board, const uint8_t *frame, size_t bytes);

/* Microseconds since any moment; must not run backwards. */
uint64_t ealm_port_now_us(void *board);

/* The host has heard something (code: enum ealm_events), or has a caption (code 0). `position` is
 * the sample at which it began; `text` has no zero at its end. */
void ealm_port_show(void *board, uint8_t code, uint8_t confidence, uint64_t position,
                    const char *text, size_t text_bytes);

/* The host asks for this gain; the gain that is then in force. */
int8_t ealm_port_set_gain(void *board, int8_t gain_db);

#endif
