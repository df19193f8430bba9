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

/* Only where datagrams are sealed (ealm_seal.c): the board's crypto library, in two functions. One
 * for the AEAD in both directions, in place, as a small board has no second buffer; and HMAC rather
 * than HKDF, since every library has it and HKDF is 20 lines on top (mbedTLS leaves it out by
 * default, CryptoCell and PSA take it another way each). Both return EALM_OK or EALM_PORT_FAILED. */

/* ChaCha20-Poly1305 (RFC 8439). `text` is encrypted where it lies and its tag of EALM_TAG_BYTES
 * written behind it; or, opening, decrypted where it lies if the tag behind it is right, else
 * EALM_BAD_TAG. `key` has EALM_KEY_BYTES, `nonce` EALM_NONCE_BYTES; `head` is authenticated too. */
int32_t ealm_port_aead(void *board, int is_opening, const uint8_t *key, const uint8_t *nonce,
                       const uint8_t *head, size_t head_bytes, uint8_t *text, size_t text_bytes);

/* HMAC-SHA256 (RFC 2104): 32 bytes in `out`. */
int32_t ealm_port_hmac(void *board, const uint8_t *key, size_t key_bytes, const uint8_t *data,
                       size_t data_bytes, uint8_t *out);

#endif
