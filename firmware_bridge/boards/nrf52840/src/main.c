/* An nRF52840 with a PDM microphone on BLE, under Zephyr: a Seeed XIAO BLE Sense, say.
 *
 * UNTESTED ON HARDWARE: so far compiled, and its link run, against stub headers only.
 *
 * A switch from D1 to ground mutes it. On while it starts, it makes the device forget its owner.
 * Captions and events go to show(), which is where a display or a motor belongs. */
#include <zephyr/audio/dmic.h>
#include <zephyr/drivers/gpio.h>
#include <zephyr/kernel.h>
#include <zephyr/random/random.h>

#include "link_ble.h"

#define RATE_HZ 16000
#define BLOCK_BYTES (LINK_FRAME_SAMPLES * sizeof(int16_t))
#define READ_MS 1000

K_MEM_SLAB_DEFINE_STATIC(blocks, BLOCK_BYTES, 6, 4);

static const struct device *const microphone = DEVICE_DT_GET(DT_NODELABEL(dmic_dev));
static const struct gpio_dt_spec mute = GPIO_DT_SPEC_GET(DT_ALIAS(sw0), gpios);
static struct ealm_device device = EALM_DEVICE_INIT;
static struct ealm_gate gate = EALM_GATE_INIT;
static int16_t gate_block[EALM_GATE_BLOCK_SAMPLES];
static uint8_t packing[LINK_FRAME_BYTES];

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
    return k_ticks_to_us_floor64((uint64_t)k_uptime_ticks());
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

static bool open_microphone(void)
{
    struct pcm_stream_cfg stream = {.pcm_rate = RATE_HZ,
                                    .pcm_width = 16,
                                    .block_size = BLOCK_BYTES,
                                    .mem_slab = &blocks};
    struct dmic_cfg config = {
        .io = {.min_pdm_clk_freq = 1000000,
               .max_pdm_clk_freq = 3500000,
               .min_pdm_clk_dc = 40,
               .max_pdm_clk_dc = 60},
        .streams = &stream,
        .channel = {.req_num_streams = 1,
                    .req_num_chan = 1,
                    .req_chan_map_lo = dmic_build_channel_map(0, 0, PDM_CHAN_LEFT)},
    };
    return device_is_ready(microphone) && dmic_configure(microphone, &config) == 0 &&
           dmic_trigger(microphone, DMIC_TRIGGER_START) == 0;
}

int main(void)
{
    struct ealm_device_config config = EALM_DEVICE_CONFIG_INIT;
    bool is_muted = false;

    config.session = sys_rand32_get();
    config.rate_hz = RATE_HZ;
    config.frame_samples = LINK_FRAME_SAMPLES;
    config.capabilities = EALM_CAN_TWO_WAY | EALM_CAN_MUTE_SWITCH | EALM_CAN_SOUND_GATE |
                          EALM_CAN_SHOWS_CAPTIONS | EALM_CAN_FEELS_EVENTS;
    config.codecs = 1 << EALM_TYPE_ADPCM;
    config.name = "nrf52840";
    config.frame = packing;
    config.frame_bytes = sizeof(packing);
    config.gate = &gate;
    config.block = gate_block;

    if (gpio_pin_configure_dt(&mute, GPIO_INPUT) != 0 ||
        ealm_device_init(&device, &config) != EALM_OK ||
        link_open(gpio_pin_get_dt(&mute) > 0) != EALM_OK || !open_microphone()) {
        return 1;
    }
    for (;;) {
        void *block;
        size_t bytes;
        /* Paces the loop: returns when a frame's time of sound has come. */
        if (dmic_read(microphone, 0, &block, &bytes, READ_MS) == 0) {
            (void)ealm_device_capture(&device, block, bytes / sizeof(int16_t));
            k_mem_slab_free(&blocks, block);
        }
        link_poll(&device);
        bool is_on = gpio_pin_get_dt(&mute) > 0;
        if (is_on != is_muted) {
            is_muted = is_on;
            (void)ealm_device_mute(&device, is_muted);
        }
        (void)ealm_device_tick(&device);
    }
}
