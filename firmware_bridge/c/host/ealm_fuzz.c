/* The library under libFuzzer. An input is a life of a device: records of a byte that says what
 * happens, a length (2) and so many bytes. A device is new at every input, so that an input that
 * ends it does so again. */
#include "host/ealm_desk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static struct desk desk;
    desk_init(&desk);
    while (bytes >= 3) {
        uint8_t what = data[0];
        size_t part = (size_t)ealm_get(data + 1, 2);
        data += 3;
        bytes -= 3;
        part = part < bytes ? part : bytes;
        switch (what % 10) {
        case 0:
            (void)desk_frame(&desk, data, part);
            break;
        case 1:
            (void)desk_right_frame(&desk, data, part);
            break;
        case 2:
            (void)desk_datagram(&desk, data, part);
            break;
        case 3:
            (void)desk_right_datagram(&desk, data, part);
            break;
        case 4:
            desk_line(&desk, data, part);
            break;
        case 5:
            desk_fragment(&desk, data, part);
            break;
        case 6:
            desk_block(data, part);
            break;
        case 7:
            desk_samples(&desk, data, part);
            break;
        case 8:
            (void)ealm_device_mute(&desk.device, what / 10 % 2);
            break;
        default:
            (void)ealm_device_tick(&desk.device);
            break;
        }
        data += part;
        bytes -= part;
    }
    return 0;
}
