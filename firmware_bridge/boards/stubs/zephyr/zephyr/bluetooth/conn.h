#pragma once
#include <zephyr/kernel.h>
typedef struct {
    uint8_t type;
    uint8_t a[6];
} bt_addr_le_t;
struct bt_conn;
typedef enum { BT_SECURITY_L0, BT_SECURITY_L1, BT_SECURITY_L2, BT_SECURITY_L3, BT_SECURITY_L4 } bt_security_t;
enum bt_security_flag { BT_SECURITY_FLAG_SC = 1, BT_SECURITY_FLAG_OOB = 2 };
enum bt_security_err {
    BT_SECURITY_ERR_SUCCESS,
    BT_SECURITY_ERR_AUTH_FAIL,
    BT_SECURITY_ERR_AUTH_REQUIREMENT = 4,
    BT_SECURITY_ERR_PAIR_NOT_ALLOWED = 6,
};
enum { BT_CONN_TYPE_LE = 1 };
enum { BT_HCI_ERR_AUTH_FAIL = 5 };
struct bt_security_info {
    bt_security_t level;
    uint8_t enc_key_size;
    enum bt_security_flag flags;
};
struct bt_conn_info {
    uint8_t type;
    struct bt_security_info security;
};
struct bt_conn_pairing_feat {
    uint8_t io_capability, oob_data_flag, auth_req, max_enc_key_size, init_key_dist, resp_key_dist;
};
struct bt_conn_cb {
    void (*connected)(struct bt_conn *conn, uint8_t error);
    void (*disconnected)(struct bt_conn *conn, uint8_t reason);
    void (*recycled)(void);
    void (*security_changed)(struct bt_conn *conn, bt_security_t level, enum bt_security_err error);
};
struct bt_conn_auth_cb {
    enum bt_security_err (*pairing_accept)(struct bt_conn *conn,
                                           const struct bt_conn_pairing_feat *const asked);
};
struct bt_conn_auth_info_cb {
    void (*pairing_complete)(struct bt_conn *conn, bool bonded);
    void (*pairing_failed)(struct bt_conn *conn, enum bt_security_err reason);
};
#define BT_CONN_CB_DEFINE(name)                                                                    \
    extern const struct bt_conn_cb name;                                                           \
    const struct bt_conn_cb name
struct bt_conn *bt_conn_ref(struct bt_conn *conn);
void bt_conn_unref(struct bt_conn *conn);
int bt_conn_get_info(const struct bt_conn *conn, struct bt_conn_info *info);
const bt_addr_le_t *bt_conn_get_dst(const struct bt_conn *conn);
int bt_conn_disconnect(struct bt_conn *conn, uint8_t reason);
int bt_conn_auth_cb_register(const struct bt_conn_auth_cb *callbacks);
int bt_conn_auth_info_cb_register(struct bt_conn_auth_info_cb *callbacks);
bool bt_addr_le_eq(const bt_addr_le_t *a, const bt_addr_le_t *b);
