/* The library's two crypto functions by Mbed TLS (2.28 to 3.6), for boards that have it: ESP-IDF,
 * Zephyr, Linux. The host's tests run this file, against Debian's libmbedtls-dev. It wants
 * MBEDTLS_CHACHAPOLY_C, MBEDTLS_MD_C and MBEDTLS_SHA256_C, and clears what it leaves on the stack. */
#include "ealm_port.h"
#include "mbedtls/chachapoly.h"
#include "mbedtls/md.h"

int32_t ealm_port_aead(void *board, int is_opening, const uint8_t *key, const uint8_t *nonce,
                       const uint8_t *head, size_t head_bytes, uint8_t *text, size_t text_bytes)
{
    uint8_t *tag = text + text_bytes;
    mbedtls_chachapoly_context context;
    (void)board;
    mbedtls_chachapoly_init(&context);
    int status = mbedtls_chachapoly_setkey(&context, key);
    if (status == 0) {
        status = is_opening
                     ? mbedtls_chachapoly_auth_decrypt(&context, text_bytes, nonce, head,
                                                       head_bytes, tag, text, text)
                     : mbedtls_chachapoly_encrypt_and_tag(&context, text_bytes, nonce, head,
                                                          head_bytes, text, text, tag);
    }
    mbedtls_chachapoly_free(&context);
    if (status == 0) {
        return EALM_OK;
    }
    return status == MBEDTLS_ERR_CHACHAPOLY_AUTH_FAILED ? EALM_BAD_TAG : EALM_PORT_FAILED;
}

int32_t ealm_port_hmac(void *board, const uint8_t *key, size_t key_bytes, const uint8_t *data,
                       size_t data_bytes, uint8_t *out)
{
    (void)board;
    const mbedtls_md_info_t *sha256 = mbedtls_md_info_from_type(MBEDTLS_MD_SHA256);
    return sha256 && mbedtls_md_hmac(sha256, key, key_bytes, data, data_bytes, out) == 0
               ? EALM_OK
               : EALM_PORT_FAILED;
}
