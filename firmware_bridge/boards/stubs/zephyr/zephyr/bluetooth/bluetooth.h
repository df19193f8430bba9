#pragma once
#include <zephyr/bluetooth/conn.h>
#define BT_ID_DEFAULT 0
struct bt_data {
    uint8_t type, data_len;
    const uint8_t *data;
};
enum { BT_DATA_FLAGS = 1, BT_DATA_UUID128_ALL = 7, BT_DATA_NAME_COMPLETE = 9 };
enum { BT_LE_AD_GENERAL = 2, BT_LE_AD_NO_BREDR = 4 };
#define BT_DATA(kind, bytes, count) {.type = (kind), .data_len = (count), .data = (const uint8_t *)(bytes)}
#define BT_DATA_BYTES(kind, ...)                                                                   \
    BT_DATA(kind, ((uint8_t[]){__VA_ARGS__}), sizeof((uint8_t[]){__VA_ARGS__}))
struct bt_le_adv_param {
    uint32_t options;
};
extern const struct bt_le_adv_param stub_advertising;
#define BT_LE_ADV_CONN_FAST_2 (&stub_advertising)
struct bt_bond_info {
    bt_addr_le_t addr;
};
int bt_enable(void (*ready)(int error));
int bt_le_adv_start(const struct bt_le_adv_param *param, const struct bt_data *ad, size_t ad_count,
                    const struct bt_data *sd, size_t sd_count);
int bt_unpair(uint8_t id, const bt_addr_le_t *address);
void bt_foreach_bond(uint8_t id, void (*visit)(const struct bt_bond_info *bond, void *context),
                     void *context);
