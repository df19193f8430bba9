#pragma once
#include <zephyr/bluetooth/conn.h>
#define BT_ID_DEFAULT 0
struct bt_bond_info {
    bt_addr_le_t addr;
};
struct bt_data {
    uint8_t type, data_len;
    const uint8_t *data;
};
#define BT_DATA_FLAGS 0x01
#define BT_DATA_UUID128_ALL 0x07
#define BT_LE_AD_GENERAL 0x02
#define BT_LE_AD_NO_BREDR 0x04
#define BT_DATA_BYTES(kind, ...) \
    {.type = (kind), \
     .data_len = sizeof((uint8_t[]){__VA_ARGS__}), \
     .data = (const uint8_t[]){__VA_ARGS__}}
struct bt_le_adv_param {
    uint32_t options, interval_min, interval_max;
    const bt_addr_le_t *peer;
};
#define BT_LE_ADV_OPT_CONN 1
#define BT_GAP_ADV_FAST_INT_MIN_2 0x00a0
#define BT_GAP_ADV_FAST_INT_MAX_2 0x00f0
#define BT_LE_ADV_PARAM(options, least, most, peer) \
    ((const struct bt_le_adv_param[]){{(options), (least), (most), (peer)}})
int bt_enable(void (*ready)(int error));
int bt_le_adv_start(const struct bt_le_adv_param *param, const struct bt_data *ad, size_t ad_len,
                    const struct bt_data *sd, size_t sd_len);
bool bt_le_bond_exists(uint8_t id, const bt_addr_le_t *addr);
void bt_foreach_bond(uint8_t id, void (*func)(const struct bt_bond_info *info, void *user_data),
                     void *user_data);
