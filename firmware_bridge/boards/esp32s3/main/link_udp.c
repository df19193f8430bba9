/* Sealed datagrams over Wi-Fi, by Mbed TLS (../../mbedtls/ealm_crypto.c). The network, the host's
 * address, and the device's id and key (`edge-alm bridge pair NAME`) come from menuconfig. */
#include "ealm_seal.h"
#include "esp_check.h"
#include "esp_event.h"
#include "esp_netif.h"
#include "esp_random.h"
#include "esp_timer.h"
#include "esp_wifi.h"
#include "link.h"
#include "lwip/sockets.h"
#include "nvs_flash.h"
#include "sdkconfig.h"

static uint8_t datagram[EALM_SEALED_BYTES(LINK_FRAME_BYTES)];
static uint8_t came[EALM_SEALED_BYTES(EALM_MAX_FRAME_BYTES)];
static uint8_t key[EALM_KEY_BYTES];
static struct ealm_seal seal = EALM_SEAL_INIT;
static int line = -1;

uint8_t *const link_frame = datagram + EALM_SEAL_HEAD_BYTES;

static int32_t digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* Exactly so many bytes of hexadecimal. */
static int32_t read_hex(const char *text, uint8_t *to, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        int32_t high = digit(*text), low = high < 0 ? -1 : digit(text[1]);
        if (low < 0) {
            return EALM_PORT_FAILED;
        }
        to[i] = (uint8_t)(high << 4 | low);
        text += 2;
    }
    return *text ? EALM_PORT_FAILED : EALM_OK;
}

/* Join the network, and again whenever it was lost. */
static void on_wifi(void *context, esp_event_base_t base, int32_t event, void *data)
{
    (void)context, (void)base, (void)data;
    if (event == WIFI_EVENT_STA_START || event == WIFI_EVENT_STA_DISCONNECTED) {
        (void)esp_wifi_connect();
    }
}

static void join_network(void)
{
    wifi_init_config_t init = WIFI_INIT_CONFIG_DEFAULT();
    wifi_config_t config = {.sta = {.ssid = CONFIG_EDGE_ALM_WIFI_SSID,
                                    .password = CONFIG_EDGE_ALM_WIFI_PASSWORD}};
    ESP_ERROR_CHECK(nvs_flash_init());
    ESP_ERROR_CHECK(esp_netif_init());
    ESP_ERROR_CHECK(esp_event_loop_create_default());
    (void)esp_netif_create_default_wifi_sta();
    ESP_ERROR_CHECK(esp_wifi_init(&init));
    ESP_ERROR_CHECK(esp_event_handler_register(WIFI_EVENT, ESP_EVENT_ANY_ID, on_wifi, NULL));
    ESP_ERROR_CHECK(esp_wifi_set_mode(WIFI_MODE_STA));
    ESP_ERROR_CHECK(esp_wifi_set_config(WIFI_IF_STA, &config));
    ESP_ERROR_CHECK(esp_wifi_start());
}

int32_t link_open(void)
{
    uint8_t id[4];
    struct sockaddr_in host = {.sin_family = AF_INET, .sin_port = htons(CONFIG_EDGE_ALM_PORT)};
    if (read_hex(CONFIG_EDGE_ALM_DEVICE, id, sizeof(id)) != EALM_OK ||
        read_hex(CONFIG_EDGE_ALM_KEY, key, sizeof(key)) != EALM_OK ||
        inet_pton(AF_INET, CONFIG_EDGE_ALM_HOST, &host.sin_addr) != 1) {
        return EALM_PORT_FAILED;
    }
    /* The id is written as a number: its first digit counts most. */
    uint32_t device = (uint32_t)id[0] << 24 | (uint32_t)id[1] << 16 | (uint32_t)id[2] << 8 | id[3];
    int32_t status = ealm_seal_init(&seal, device, key, NULL);
    if (status != EALM_OK) {
        return status;
    }
    join_network();
    line = socket(AF_INET, SOCK_DGRAM, IPPROTO_UDP);
    if (line < 0 || connect(line, (struct sockaddr *)&host, sizeof(host)) != 0) {
        return EALM_PORT_FAILED;
    }
    return EALM_OK;
}

int32_t link_send(const uint8_t *frame, size_t bytes)
{
    int32_t size = ealm_seal_close(&seal, frame, bytes, datagram, sizeof(datagram));
    if (size < 0) {
        return size;
    }
    return send(line, datagram, (size_t)size, MSG_DONTWAIT) == size ? EALM_OK : EALM_NO_SPACE;
}

void link_poll(struct ealm_device *device)
{
    uint8_t random[EALM_NONCE_BYTES], greeting[EALM_GREETING_BYTES];
    uint64_t now_us = (uint64_t)esp_timer_get_time();
    esp_fill_random(random, sizeof(random));
    int32_t bytes = ealm_seal_greet(&seal, now_us, random, greeting, sizeof(greeting));
    if (bytes > 0) {
        (void)send(line, greeting, (size_t)bytes, MSG_DONTWAIT);
    }
    /* As many as may have come in a frame's time, so that a flood does not stop the microphone. */
    for (int i = 0; i < 8; i++) {
        ssize_t size = recv(line, came, sizeof(came), MSG_DONTWAIT);
        if (size < 0) {
            return;
        }
        int32_t frame_bytes = ealm_seal_open(&seal, now_us, came, (size_t)size);
        if (frame_bytes > 0) {
            (void)ealm_device_receive(device, came + EALM_SEAL_HEAD_BYTES, (size_t)frame_bytes);
        }
    }
}
