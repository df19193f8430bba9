#pragma once
#include <zephyr/bluetooth/conn.h>
#include <zephyr/bluetooth/uuid.h>
struct bt_gatt_attr;
typedef ssize_t (*bt_gatt_attr_read_func_t)(struct bt_conn *conn, const struct bt_gatt_attr *attr,
                                            void *buf, uint16_t len, uint16_t offset);
typedef ssize_t (*bt_gatt_attr_write_func_t)(struct bt_conn *conn, const struct bt_gatt_attr *attr,
                                             const void *buf, uint16_t len, uint16_t offset,
                                             uint8_t flags);
struct bt_gatt_attr {
    const struct bt_uuid *uuid;
    bt_gatt_attr_read_func_t read;
    bt_gatt_attr_write_func_t write;
    void *user_data;
    uint16_t handle, perm;
};
struct bt_gatt_service_static {
    const struct bt_gatt_attr *attrs;
    size_t attr_count;
};
struct bt_gatt_notify_params {
    const struct bt_uuid *uuid;
    const struct bt_gatt_attr *attr;
    const void *data;
    uint16_t len;
    void (*func)(struct bt_conn *conn, void *user_data);
    void *user_data;
};
#define BT_GATT_CHRC_WRITE_WITHOUT_RESP 0x04
#define BT_GATT_CHRC_NOTIFY 0x10
#define BT_GATT_CCC_NOTIFY 0x0001
#define BT_GATT_PERM_NONE 0
#define BT_GATT_PERM_READ 1
#define BT_GATT_PERM_WRITE_ENCRYPT 8
#define BT_ATT_ERR_AUTHENTICATION 0x05
#define BT_ATT_ERR_INVALID_ATTRIBUTE_LEN 0x0d
#define BT_GATT_ERR(error) (-(error))
/* As many attributes as Zephyr's: a characteristic is its declaration and its value. */
#define BT_GATT_PRIMARY_SERVICE(service) {.user_data = (void *)(uintptr_t)(service)}
#define BT_GATT_CHARACTERISTIC(id, properties, permissions, reads, writes, data) \
    {.perm = (properties)}, \
    { \
        .uuid = (id), .read = (reads), .write = (writes), .user_data = (data), .perm = (permissions) \
    }
#define BT_GATT_CCC(changed, permissions) {.user_data = (changed), .perm = (permissions)}
#define BT_GATT_SERVICE_DEFINE(name, ...) \
    static const struct bt_gatt_attr attributes_of_##name[] = {__VA_ARGS__}; \
    const struct bt_gatt_service_static name = {attributes_of_##name, \
                                                ARRAY_SIZE(attributes_of_##name)}
uint16_t bt_gatt_get_mtu(struct bt_conn *conn);
bool bt_gatt_is_subscribed(struct bt_conn *conn, const struct bt_gatt_attr *attr,
                           uint16_t ccc_type);
int bt_gatt_notify_cb(struct bt_conn *conn, struct bt_gatt_notify_params *params);
