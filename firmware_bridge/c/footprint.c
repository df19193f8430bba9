/* The memory that a board gives the library, for the footprint: nothing else links this. */
#include "ealm_device.h"
#include "ealm_fragment.h"
#include "ealm_seal.h"

#define FRAME_BYTES (EALM_HEADER_BYTES + EALM_ADPCM_BYTES(320) + EALM_CRC_BYTES)

struct ealm_device ealm_memory_device;
struct ealm_gate ealm_memory_gate;
int16_t ealm_memory_block[EALM_GATE_BLOCK_SAMPLES];
struct ealm_splitter ealm_memory_splitter;
struct ealm_joiner ealm_memory_joiner;
#ifdef SEALED
struct ealm_seal ealm_memory_seal;
uint8_t ealm_memory_frame[EALM_SEALED_BYTES(FRAME_BYTES)];
#else
uint8_t ealm_memory_frame[FRAME_BYTES];
#endif
