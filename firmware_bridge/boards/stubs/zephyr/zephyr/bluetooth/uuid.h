#pragma once
#include <stdint.h>
struct bt_uuid {
    uint8_t type;
};
struct bt_uuid_128 {
    struct bt_uuid uuid;
    uint8_t val[16];
};
#define BT_UUID_TYPE_128 2
/* clang-format off */
#define BT_UUID_128_ENCODE(w32, w1, w2, w3, w48) \
    (uint8_t)(w48), (uint8_t)((w48) >> 8), (uint8_t)((w48) >> 16), (uint8_t)((w48) >> 24), \
    (uint8_t)((w48) >> 32), (uint8_t)((w48) >> 40), (uint8_t)(w3), (uint8_t)((w3) >> 8), \
    (uint8_t)(w2), (uint8_t)((w2) >> 8), (uint8_t)(w1), (uint8_t)((w1) >> 8), (uint8_t)(w32), \
    (uint8_t)((w32) >> 8), (uint8_t)((w32) >> 16), (uint8_t)((w32) >> 24)
/* clang-format on */
#define BT_UUID_INIT_128(...) {.uuid = {BT_UUID_TYPE_128}, .val = {__VA_ARGS__}}
