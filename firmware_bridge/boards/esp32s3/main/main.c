/* An ESP32-S3 with an I2S microphone (INMP441, ICS-43434, ...) on its built-in USB Serial/JTAG port or
 * on Wi-Fi: link_usb.c, link_udp.c.
 *
 * UNTESTED ON HARDWARE: so far compiled against stub headers only.
 *
 * The microphone: SCK to GPIO 4, WS to GPIO 5, SD to GPIO 6, L/R to ground. A switch from GPIO 7 to
 * ground mutes it. Captions and events go to show(), which is where a display or a motor belongs. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "driver/gpio.h"
#include "driver/i2s_std.h"
#include "ealm_device.h"
#include "esp_check.h"
#include "esp_random.h"
#include "esp_timer.h"
#include "link.h"

#define RATE_HZ 16000
#define FRAME_SAMPLES LINK_FRAME_SAMPLES
#define PIN_SCK GPIO_NUM_4
#define PIN_WS GPIO_NUM_5
#define PIN_SD GPIO_NUM_6
#define PIN_MUTE GPIO_NUM_7
#define MICROPHONE_BITS 12 /* of 32: 24-bit samples, amplified by 24 dB */

static struct ealm_device device = EALM_DEVICE_INIT;
static struct ealm_gate gate = EALM_GATE_INIT;
static int16_t block[EALM_GATE_BLOCK_SAMPLES];
static uint8_t kept[EALM_KEPT_BYTES(8, LINK_FRAME_BYTES)];

static void show(uint8_t code, const char *text, size_t text_bytes)
{
    (void)code, (void)text, (void)text_bytes;
}

int32_t ealm_port_send(void *board, const uint8_t *frame, size_t bytes)
{
    (void)board;
    return link_send(frame, bytes);
}

uint64_t ealm_port_now_us(void *board)
{
    (void)board;
    return (uint64_t)esp_timer_get_time();
}

void ealm_port_show(void *board, uint8_t code, uint8_t confidence, uint64_t position,
                    const char *text, size_t text_bytes)
{
    (void)board, (void)confidence, (void)position;
    show(code, text, text_bytes);
}

int8_t ealm_port_set_gain(void *board, int8_t gain_db)
{
    (void)board, (void)gain_db;
    return 0;
}

static i2s_chan_handle_t open_microphone(void)
{
    i2s_chan_handle_t microphone = NULL;
    i2s_chan_config_t channel = I2S_CHANNEL_DEFAULT_CONFIG(I2S_NUM_AUTO, I2S_ROLE_MASTER);
    i2s_std_config_t config = {
        .clk_cfg = I2S_STD_CLK_DEFAULT_CONFIG(RATE_HZ),
        .slot_cfg =
            I2S_STD_PHILIPS_SLOT_DEFAULT_CONFIG(I2S_DATA_BIT_WIDTH_32BIT, I2S_SLOT_MODE_MONO),
        .gpio_cfg = {.mclk = I2S_GPIO_UNUSED,
                     .bclk = PIN_SCK,
                     .ws = PIN_WS,
                     .dout = I2S_GPIO_UNUSED,
                     .din = PIN_SD},
    };
    ESP_ERROR_CHECK(i2s_new_channel(&channel, NULL, &microphone));
    ESP_ERROR_CHECK(i2s_channel_init_std_mode(microphone, &config));
    ESP_ERROR_CHECK(i2s_channel_enable(microphone));
    return microphone;
}

static int16_t to_16_bits(int32_t sample)
{
    sample >>= MICROPHONE_BITS;
    return (int16_t)(sample > 32767 ? 32767 : sample < -32768 ? -32768 : sample);
}

void app_main(void)
{
    static int32_t raw[FRAME_SAMPLES];
    static int16_t samples[FRAME_SAMPLES];
    struct ealm_device_config config = EALM_DEVICE_CONFIG_INIT;
    bool is_muted = false;

    config.session = esp_random();
    config.rate_hz = RATE_HZ;
    config.frame_samples = FRAME_SAMPLES;
    config.capabilities = EALM_CAN_TWO_WAY | EALM_CAN_MUTE_SWITCH | EALM_CAN_SOUND_GATE |
                          EALM_CAN_SHOWS_CAPTIONS | EALM_CAN_FEELS_EVENTS | EALM_CAN_RESENDS;
    config.codecs = 1 << EALM_TYPE_PCM16 | 1 << EALM_TYPE_ADPCM;
    config.name = "esp32-s3";
    config.frame = link_frame;
    config.frame_bytes = LINK_FRAME_BYTES;
    config.gate = &gate;
    config.block = block;
    config.kept = kept;
    config.kept_bytes = sizeof(kept);

    ESP_ERROR_CHECK(gpio_set_direction(PIN_MUTE, GPIO_MODE_INPUT));
    ESP_ERROR_CHECK(gpio_set_pull_mode(PIN_MUTE, GPIO_PULLUP_ONLY));
    if (link_open() != EALM_OK || ealm_device_init(&device, &config) != EALM_OK) {
        return;
    }
    i2s_chan_handle_t microphone = open_microphone();
    for (;;) {
        size_t bytes = 0;
        /* Paces the loop: returns when a frame's time of sound has come. */
        if (i2s_channel_read(microphone, raw, sizeof(raw), &bytes, 1000) == ESP_OK) {
            size_t count = bytes / sizeof(*raw);
            for (size_t i = 0; i < count; i++) {
                samples[i] = to_16_bits(raw[i]);
            }
            (void)ealm_device_capture(&device, samples, count);
        }
        link_poll(&device);
        bool is_on = gpio_get_level(PIN_MUTE) == 0;
        if (is_on != is_muted) {
            is_muted = is_on;
            (void)ealm_device_mute(&device, is_muted);
        }
        (void)ealm_device_tick(&device);
    }
}
