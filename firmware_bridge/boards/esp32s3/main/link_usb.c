/* Frames in COBS over the built-in USB Serial/JTAG port. */
#include "driver/usb_serial_jtag.h"
#include "esp_check.h"
#include "freertos/FreeRTOS.h"
#include "link.h"

static uint8_t packing[LINK_FRAME_BYTES];
static uint8_t line[EALM_COBS_BYTES(EALM_HEADER_BYTES + 220 + EALM_CRC_BYTES)];
static struct ealm_deframer deframer = {.size = sizeof(struct ealm_deframer)};

uint8_t *const link_frame = packing;

int32_t link_open(void)
{
    usb_serial_jtag_driver_config_t usb = {.tx_buffer_size = 8192, .rx_buffer_size = 1024};
    ESP_ERROR_CHECK(usb_serial_jtag_driver_install(&usb));
    return ealm_deframer_init(&deframer, line, sizeof(line));
}

int32_t link_send(const uint8_t *frame, size_t bytes)
{
    static uint8_t stuffed[2 + EALM_COBS_BYTES(sizeof(packing))];
    stuffed[0] = 0;
    int32_t count = ealm_cobs_encode(frame, bytes, stuffed + 1, sizeof(stuffed) - 2);
    if (count < 0) {
        return count;
    }
    stuffed[1 + count] = 0;
    /* The driver takes all of it or, without waiting, nothing. */
    size_t size = (size_t)count + 2;
    return usb_serial_jtag_write_bytes(stuffed, size, 0) == (int)size ? EALM_OK : EALM_NO_SPACE;
}

void link_poll(struct ealm_device *device)
{
    uint8_t came[64];
    for (int n; (n = usb_serial_jtag_read_bytes(came, sizeof(came), 0)) > 0;) {
        for (int i = 0; i < n; i++) {
            int32_t size = ealm_deframer_push(&deframer, came[i]);
            if (size > 0) {
                (void)ealm_device_receive(device, line, (size_t)size);
            }
        }
    }
}
