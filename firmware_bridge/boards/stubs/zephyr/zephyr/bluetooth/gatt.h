#pragma once
#include <zephyr/bluetooth/conn.h>
#include <zephyr/bluetooth/uuid.h>
enum { BT_GATT_CHRC_WRITE_WITHOUT_RESP = 4, BT_GATT_CHRC_NOTIFY = 16 };
enum { BT_GATT_PERM_NONE = 0, BT_GATT_PERM_READ = 1, BT_GATT_PERM_WRITE_LESC = 512 };
enum { BT_GATT_CCC_NOTIFY = 1 };
enum { BT_ATT_ERR_AUTHENTICATION = 5, BT_ATT_ERR_INVALID_ATTRIBUTE_LEN = 13 };
#define BT_GATT_ERR(code) (-(code))
struct bt_gatt_attr;
typedef ssize_t (*stub_read)(struct bt_conn *conn, const struct bt_gatt_attr *attribute, void *to,
                             uint16_t bytes, uint16_t offset);
typedef ssize_t (*stub_write)(struct bt_conn *conn, const struct bt_gatt_attr *attribute,
                              const void *data, uint16_t bytes, uint16_t offset, uint8_t flags);
struct bt_gatt_attr {
    const void *uuid;
    stub_read read;
    stub_write write;
    void (*changed)(const struct bt_gatt_attr *attribute, uint16_t value);
    uint16_t perm;
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
/* As many attributes as Zephyr's: a characteristic is its declaration and its value. */
#define BT_GATT_PRIMARY_SERVICE(which) {.uuid = (which)}
#define BT_GATT_CHARACTERISTIC(which, properties, permissions, reader, writer, context)            \
    {.perm = (properties)}, {.uuid = (which), .perm = (permissions), .read = (reader), .write = (writer)}
#define BT_GATT_CCC(callback, permissions) {.changed = (callback), .perm = (permissions)}
#define BT_GATT_SERVICE_DEFINE(name, ...)                                                          \
    static const struct bt_gatt_attr name##_attrs[] = {__VA_ARGS__};                               \
    static const struct bt_gatt_service_static name = {name##_attrs,                               \
                                                       sizeof(name##_attrs) / sizeof(*name##_attrs)}
uint16_t bt_gatt_get_mtu(struct bt_conn *conn);
bool bt_gatt_is_subscribed(struct bt_conn *conn, const struct bt_gatt_attr *attribute,
                           uint16_t ccc_type);
int bt_gatt_notify_cb(struct bt_conn *conn, struct bt_gatt_notify_params *params);
