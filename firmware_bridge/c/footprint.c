/* The memory that a board gives the library, for the footprint: nothing else links this. */
#include "ealm_device.h"

struct ealm_device ealm_memory_device;
struct ealm_gate ealm_memory_gate;
int16_t ealm_memory_block[EALM_GATE_BLOCK_SAMPLES];
uint8_t ealm_memory_frame[EALM_HEADER_BYTES + EALM_ADPCM_BYTES(320) + EALM_CRC_BYTES];
