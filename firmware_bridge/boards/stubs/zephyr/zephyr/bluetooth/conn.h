#pragma once
#include <stdint.h>
#include <zephyr/kernel.h>
struct bt_conn;
typedef struct {
    uint8_t type, val[6];
} bt_addr_le_t;
typedef enum { BT_SECURITY_L0, BT_SECURITY_L1, BT_SECURITY_L2 } bt_security_t;
enum bt_security_flag { BT_SECURITY_FLAG_SC = 1, BT_SECURITY_FLAG_OOB = 2 };
struct bt_security_info {
    bt_security_t level;
    uint8_t enc_key_size;
    enum bt_security_flag flags;
};
struct bt_conn_info {
    uint8_t id;
    struct bt_security_info security;
};
enum bt_security_err {
    BT_SECURITY_ERR_SUCCESS,
    BT_SECURITY_ERR_AUTH_REQUIREMENT = 4,
    BT_SECURITY_ERR_PAIR_NOT_ALLOWED = 6,
};
struct bt_conn_pairing_feat {
    uint8_t io_capability, oob_data_flag, auth_req, max_enc_key_size, init_key_dist, resp_key_dist;
};
struct bt_conn_auth_cb {
    enum bt_security_err (*pairing_accept)(struct bt_conn *conn,
                                           const struct bt_conn_pairing_feat *const feat);
};
struct bt_conn_cb {
    void (*connected)(struct bt_conn *conn, uint8_t error);
    void (*disconnected)(struct bt_conn *conn, uint8_t reason);
    void (*recycled)(void);
};
#define BT_CONN_CB_DEFINE(name) const struct bt_conn_cb name
struct bt_conn *bt_conn_ref(struct bt_conn *conn);
void bt_conn_unref(struct bt_conn *conn);
int bt_conn_get_info(const struct bt_conn *conn, struct bt_conn_info *info);
const bt_addr_le_t *bt_conn_get_dst(const struct bt_conn *conn);
int bt_conn_auth_cb_register(const struct bt_conn_auth_cb *callbacks);
