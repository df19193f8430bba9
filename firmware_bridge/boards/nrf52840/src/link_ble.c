#include "link_ble.h"

#include <string.h>

#include <zephyr/bluetooth/bluetooth.h>
#include <zephyr/bluetooth/conn.h>
#include <zephyr/bluetooth/gatt.h>
#include <zephyr/bluetooth/uuid.h>
#include <zephyr/kernel.h>
#include <zephyr/settings/settings.h>

#include "ealm_fragment.h"

#define NOTIFY_BYTES 3 /* of ATT, before a notification's value */
#define VALUE_BYTES (CONFIG_BT_L2CAP_TX_MTU - NOTIFY_BYTES)
#define LEAST_VALUE_BYTES 20 /* at the smallest MTU */
#define MOST_IN_FLIGHT (CONFIG_BT_ATT_TX_COUNT - 2) /* the others are for answers to the host */
#define WHOLE_KEY_BYTES 16
#define PATIENCE_MS 60000 /* to pair in, which may ask a person; others find the line taken */
#define AUTH_BONDING 0x01 /* of AuthReq, Core Specification, Vol 3, Part H, 3.5.1 */
#define AUTH_SC 0x08
#define UUID_BYTES(...) BT_UUID_128_ENCODE(__VA_ARGS__)
#define UUID(...) BT_UUID_INIT_128(UUID_BYTES(__VA_ARGS__))

BUILD_ASSERT(MOST_IN_FLIGHT * (LEAST_VALUE_BYTES - 1) >= LINK_FRAME_BYTES);

struct value {
    uint16_t bytes;
    uint8_t data[VALUE_BYTES];
};

/* What came and waits for link_poll. Where there is no room its frame is lost. */
K_MSGQ_DEFINE(incoming, sizeof(struct value), 16, 2);

K_MUTEX_DEFINE(host_lock);
static struct bt_conn *host; /* who is connected, trusted or not; under the lock */
static bool is_new;          /* not seen by take_host() yet; under the lock */
static atomic_t in_flight;   /* notifications that wait for the radio */
static atomic_t is_pairing;
static atomic_t is_free = ATOMIC_INIT(1); /* nobody is connected, and it is not advertised yet */

static struct ealm_splitter splitter;
static struct ealm_joiner joiner = {.size = sizeof(struct ealm_joiner)};
static int64_t taken_ms; /* when take_host() saw this connection first */
static uint8_t joined[EALM_HEADER_BYTES + 220 + EALM_CRC_BYTES];

static const struct bt_uuid_128 service_uuid = UUID(EALM_UUID_SERVICE);
static const struct bt_uuid_128 up_uuid = UUID(EALM_UUID_UP);
static const struct bt_uuid_128 down_uuid = UUID(EALM_UUID_DOWN);

/* Trust */

struct search {
    const bt_addr_le_t *address;
    bool is_found;
};

static void compare(const struct bt_bond_info *bond, void *context)
{
    struct search *search = context;
    search->is_found |= !search->address || bt_addr_le_eq(&bond->addr, search->address);
}

/* With this one, or with anyone (NULL). */
static bool has_bond(const bt_addr_le_t *address)
{
    struct search search = {.address = address};
    bt_foreach_bond(BT_ID_DEFAULT, compare, &search);
    return search.is_found;
}

/* Encrypted with a whole key of LE Secure Connections, and bonded. The permissions of the
 * attributes ask for less and at other times: a subscription made on an open connection, or by a
 * bond of another time, would pass them. While it pairs it is encrypted before it is bonded. A
 * board with a display or buttons asks for BT_SECURITY_L4 here, which keeps a man in the middle out
 * of the pairing. */
static bool is_trusted(struct bt_conn *conn)
{
    struct bt_conn_info info;
    return !atomic_get(&is_pairing) && bt_conn_get_info(conn, &info) == 0 &&
           info.type == BT_CONN_TYPE_LE && info.security.level >= BT_SECURITY_L2 &&
           (info.security.flags & BT_SECURITY_FLAG_SC) &&
           info.security.enc_key_size == WHOLE_KEY_BYTES && has_bond(bt_conn_get_dst(conn));
}

static void hang_up(struct bt_conn *conn)
{
    (void)bt_conn_disconnect(conn, BT_HCI_ERR_AUTH_FAIL);
}

/* The first one is the owner, until the switch is held at the start. */
static enum bt_security_err accept_pairing(struct bt_conn *conn,
                                           const struct bt_conn_pairing_feat *const asked)
{
    (void)conn;
    if (has_bond(NULL)) {
        return BT_SECURITY_ERR_PAIR_NOT_ALLOWED;
    }
    if (!(asked->auth_req & AUTH_BONDING) || !(asked->auth_req & AUTH_SC) ||
        asked->max_enc_key_size < WHOLE_KEY_BYTES) {
        return BT_SECURITY_ERR_AUTH_REQUIREMENT;
    }
    atomic_set(&is_pairing, 1);
    return BT_SECURITY_ERR_SUCCESS;
}

static void on_paired(struct bt_conn *conn, bool is_bonded)
{
    atomic_set(&is_pairing, 0);
    if (!is_bonded || !is_trusted(conn)) {
        hang_up(conn);
    }
}

static void on_pairing_failed(struct bt_conn *conn, enum bt_security_err error)
{
    (void)error;
    atomic_set(&is_pairing, 0);
    hang_up(conn);
}

static void on_security(struct bt_conn *conn, bt_security_t level, enum bt_security_err error)
{
    (void)level;
    if (error || (!atomic_get(&is_pairing) && !is_trusted(conn))) {
        hang_up(conn);
    }
}

/* The connection */

static const struct bt_data says[] = {
    BT_DATA_BYTES(BT_DATA_FLAGS, (BT_LE_AD_GENERAL | BT_LE_AD_NO_BREDR)),
    BT_DATA_BYTES(BT_DATA_UUID128_ALL, UUID_BYTES(EALM_UUID_SERVICE)),
};
static const struct bt_data name[] = {
    BT_DATA(BT_DATA_NAME_COMPLETE, CONFIG_BT_DEVICE_NAME, sizeof(CONFIG_BT_DEVICE_NAME) - 1),
};

static void on_connected(struct bt_conn *conn, uint8_t error)
{
    if (error) {
        return;
    }
    atomic_set(&in_flight, 0);
    atomic_set(&is_pairing, 0);
    (void)k_mutex_lock(&host_lock, K_FOREVER);
    host = bt_conn_ref(conn);
    is_new = true;
    (void)k_mutex_unlock(&host_lock);
}

static void on_disconnected(struct bt_conn *conn, uint8_t reason)
{
    (void)reason;
    (void)k_mutex_lock(&host_lock, K_FOREVER);
    if (host == conn) {
        bt_conn_unref(host);
        host = NULL;
    }
    (void)k_mutex_unlock(&host_lock);
    k_msgq_purge(&incoming);
}

static void on_recycled(void)
{
    atomic_set(&is_free, 1);
}

BT_CONN_CB_DEFINE(connection_callbacks) = {
    .connected = on_connected,
    .disconnected = on_disconnected,
    .recycled = on_recycled,
    .security_changed = on_security,
};

/* Who is connected, to be given back by bt_conn_unref(), or NULL. Fragments begin anew with every
 * connection. */
static struct bt_conn *take_host(void)
{
    (void)k_mutex_lock(&host_lock, K_FOREVER);
    struct bt_conn *conn = host ? bt_conn_ref(host) : NULL;
    bool was_new = is_new;
    is_new = false;
    (void)k_mutex_unlock(&host_lock);
    if (was_new) {
        taken_ms = k_uptime_get();
        splitter = (struct ealm_splitter){0};
        (void)ealm_joiner_init(&joiner, joined, sizeof(joined));
    }
    return conn;
}

/* The service */

static ssize_t on_write(struct bt_conn *conn, const struct bt_gatt_attr *attribute,
                        const void *data, uint16_t bytes, uint16_t offset, uint8_t flags)
{
    struct value value = {.bytes = bytes};
    (void)attribute, (void)flags;
    if (!is_trusted(conn)) {
        return BT_GATT_ERR(BT_ATT_ERR_AUTHENTICATION);
    }
    if (offset != 0 || bytes > sizeof(value.data)) {
        return BT_GATT_ERR(BT_ATT_ERR_INVALID_ATTRIBUTE_LEN);
    }
    memcpy(value.data, data, bytes);
    (void)k_msgq_put(&incoming, &value, K_NO_WAIT);
    return bytes;
}

BT_GATT_SERVICE_DEFINE(service, BT_GATT_PRIMARY_SERVICE(&service_uuid),
                       BT_GATT_CHARACTERISTIC(&up_uuid.uuid, BT_GATT_CHRC_NOTIFY,
                                              BT_GATT_PERM_NONE, NULL, NULL, NULL),
                       BT_GATT_CCC(NULL, BT_GATT_PERM_READ | BT_GATT_PERM_WRITE_LESC),
                       BT_GATT_CHARACTERISTIC(&down_uuid.uuid, BT_GATT_CHRC_WRITE_WITHOUT_RESP,
                                              BT_GATT_PERM_WRITE_LESC, NULL, on_write, NULL));
#define UP_VALUE (&service.attrs[2]) /* behind the service's declaration and its own */

static void on_sent(struct bt_conn *conn, void *context)
{
    (void)conn, (void)context;
    /* A connection that has ended may tell of its last ones late. */
    if (atomic_get(&in_flight) > 0) {
        (void)atomic_dec(&in_flight);
    }
}

/* Notify a frame, if there are buffers for all of it: without one a notification waits. */
static int32_t notify(struct bt_conn *conn, const uint8_t *frame, size_t bytes)
{
    uint8_t value[VALUE_BYTES];
    size_t room = (size_t)bt_gatt_get_mtu(conn) - NOTIFY_BYTES;
    room = room < sizeof(value) ? room : sizeof(value);
    size_t fragments = (bytes + room - 2) / (room - 1);
    if ((size_t)atomic_get(&in_flight) + fragments > MOST_IN_FLIGHT) {
        return EALM_NO_SPACE;
    }
    splitter.at = 0;
    while (is_trusted(conn)) {
        int32_t size = ealm_split(&splitter, frame, bytes, value, room);
        if (size <= 0) {
            return size;
        }
        struct bt_gatt_notify_params notification = {
            .attr = UP_VALUE,
            .data = value,
            .len = (uint16_t)size,
            .func = on_sent,
        };
        (void)atomic_inc(&in_flight);
        if (bt_gatt_notify_cb(conn, &notification) != 0) {
            (void)atomic_dec(&in_flight);
            return EALM_NO_SPACE;
        }
    }
    return EALM_NOT_READY;
}

int32_t link_send(const uint8_t *frame, size_t bytes)
{
    int32_t status = EALM_NOT_READY;
    struct bt_conn *conn = take_host();
    if (!conn) {
        return status;
    }
    if (bt_gatt_is_subscribed(conn, UP_VALUE, BT_GATT_CCC_NOTIFY)) {
        status = notify(conn, frame, bytes);
    }
    bt_conn_unref(conn);
    return status;
}

void link_poll(struct ealm_device *device)
{
    static struct value value;
    if (atomic_cas(&is_free, 1, 0) && bt_le_adv_start(BT_LE_ADV_CONN_FAST_2, says, ARRAY_SIZE(says),
                                                      name, ARRAY_SIZE(name)) != 0) {
        atomic_set(&is_free, 1);
    }
    struct bt_conn *conn = take_host();
    if (!conn) {
        return;
    }
    while (k_msgq_get(&incoming, &value, K_NO_WAIT) == 0) {
        int32_t bytes = ealm_join(&joiner, value.data, value.bytes);
        if (bytes > 0) {
            (void)ealm_device_receive(device, joined, (size_t)bytes);
        }
    }
    if (k_uptime_get() - taken_ms > PATIENCE_MS && !is_trusted(conn)) {
        hang_up(conn);
    }
    bt_conn_unref(conn);
}

int32_t link_open(bool forgets)
{
    static const struct bt_conn_auth_cb pairing = {.pairing_accept = accept_pairing};
    static struct bt_conn_auth_info_cb paired = {
        .pairing_complete = on_paired,
        .pairing_failed = on_pairing_failed,
    };
    if (bt_conn_auth_cb_register(&pairing) != 0 || bt_conn_auth_info_cb_register(&paired) != 0 ||
        bt_enable(NULL) != 0 || settings_load() != 0) {
        return EALM_PORT_FAILED;
    }
    return !forgets || bt_unpair(BT_ID_DEFAULT, NULL) == 0 ? EALM_OK : EALM_PORT_FAILED;
}
