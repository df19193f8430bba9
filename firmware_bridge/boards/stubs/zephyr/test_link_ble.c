/* Runs ../../nrf52840/src/link_ble.c with a Bluetooth stack that is made up: who gets audio? */
#include "../../nrf52840/src/link_ble.c"

#include <stdio.h>
#include <stdlib.h>

struct bt_conn {
    struct bt_conn_info info;
    bt_addr_le_t address;
    uint16_t mtu;
    int refs;
    bool is_subscribed, is_cut;
};

static bt_addr_le_t owner;
static bool has_owner, is_radio_busy;
static int notified, waiting, advertised, failing_after = -1;
static struct bt_conn_auth_info_cb *info;
static struct ealm_joiner host_joiner = {.size = sizeof(struct ealm_joiner)};
static uint8_t host_joined[LINK_FRAME_BYTES];
static int32_t came_up;
static unsigned received;
static int64_t now_ms;
const struct bt_le_adv_param stub_advertising = {0};

static const uint8_t sent[LINK_FRAME_BYTES] = {1, 2, 3, [LINK_FRAME_BYTES - 1] = 4};

#define MUST(condition)                                                                            \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            printf("line %d: %s\n", __LINE__, #condition);                                         \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

/* The kernel */

atomic_val_t atomic_get(const atomic_t *target) { return *target; }
atomic_val_t atomic_set(atomic_t *target, atomic_val_t value) { return *target = value; }
atomic_val_t atomic_inc(atomic_t *target) { return (*target)++; }
atomic_val_t atomic_dec(atomic_t *target) { return (*target)--; }
bool atomic_cas(atomic_t *target, atomic_val_t old_value, atomic_val_t new_value)
{
    bool is_old = *target == old_value;
    *target = is_old ? new_value : *target;
    return is_old;
}
int k_msgq_put(struct k_msgq *queue, const void *message, k_timeout_t timeout)
{
    (void)timeout;
    if (queue->used == queue->most) {
        return -1;
    }
    memcpy(queue->buffer + queue->used++ * queue->size, message, queue->size);
    return 0;
}
int k_msgq_get(struct k_msgq *queue, void *message, k_timeout_t timeout)
{
    (void)timeout;
    if (!queue->used) {
        return -1;
    }
    memcpy(message, queue->buffer, queue->size);
    memmove(queue->buffer, queue->buffer + queue->size, --queue->used * queue->size);
    return 0;
}
void k_msgq_purge(struct k_msgq *queue) { queue->used = 0; }
int k_mutex_lock(struct k_mutex *mutex, k_timeout_t timeout)
{
    (void)timeout;
    MUST(!mutex->held);
    mutex->held = 1;
    return 0;
}
int k_mutex_unlock(struct k_mutex *mutex) { return mutex->held = 0; }
int64_t k_uptime_get(void) { return now_ms; }
int settings_load(void) { return 0; }

/* Bluetooth */

int bt_enable(void (*ready)(int error)) { return ready != NULL; }
int bt_conn_auth_cb_register(const struct bt_conn_auth_cb *callbacks) { return !callbacks->pairing_accept; }
int bt_conn_auth_info_cb_register(struct bt_conn_auth_info_cb *callbacks)
{
    info = callbacks;
    return 0;
}
int bt_le_adv_start(const struct bt_le_adv_param *param, const struct bt_data *ad, size_t ad_count,
                    const struct bt_data *sd, size_t sd_count)
{
    (void)param, (void)sd;
    MUST(ad_count == 2 && ad[1].data_len == 16 && sd_count == 1);
    MUST(ad[1].data[15] == 0x54 && ad[1].data[14] == 0xf7 && ad[1].data[0] == 0xfb);
    return is_radio_busy ? -1 : (advertised++, 0);
}
int bt_unpair(uint8_t id, const bt_addr_le_t *address)
{
    (void)id, (void)address;
    has_owner = false;
    return 0;
}
void bt_foreach_bond(uint8_t id, void (*visit)(const struct bt_bond_info *bond, void *context),
                     void *context)
{
    struct bt_bond_info bond = {owner};
    (void)id;
    if (has_owner) {
        visit(&bond, context);
    }
}
bool bt_addr_le_eq(const bt_addr_le_t *a, const bt_addr_le_t *b) { return !memcmp(a, b, sizeof(*a)); }
struct bt_conn *bt_conn_ref(struct bt_conn *conn) { return conn->refs++, conn; }
void bt_conn_unref(struct bt_conn *conn) { MUST(conn->refs-- > 0); }
int bt_conn_get_info(const struct bt_conn *conn, struct bt_conn_info *to) { return *to = conn->info, 0; }
const bt_addr_le_t *bt_conn_get_dst(const struct bt_conn *conn) { return &conn->address; }
int bt_conn_disconnect(struct bt_conn *conn, uint8_t reason)
{
    (void)reason;
    conn->is_cut = true;
    return 0;
}
uint16_t bt_gatt_get_mtu(struct bt_conn *conn) { return conn->mtu; }
bool bt_gatt_is_subscribed(struct bt_conn *conn, const struct bt_gatt_attr *attribute,
                           uint16_t ccc_type)
{
    MUST(attribute->uuid == &up_uuid && ccc_type == BT_GATT_CCC_NOTIFY);
    return conn->is_subscribed;
}
int bt_gatt_notify_cb(struct bt_conn *conn, struct bt_gatt_notify_params *params)
{
    MUST(params->attr->uuid == &up_uuid && params->len <= conn->mtu - NOTIFY_BYTES);
    MUST(params->func == on_sent);
    MUST(waiting < CONFIG_BT_ATT_TX_COUNT); /* else the real one waits for a buffer */
    MUST(notified || ((const uint8_t *)params->data)[0] % 64 == 0);
    if (failing_after-- == 0) {
        return -1;
    }
    came_up = ealm_join(&host_joiner, params->data, params->len);
    waiting++;
    return notified++, 0;
}

/* The radio has sent so many. */
static void deliver(struct bt_conn *conn, int count)
{
    for (; count && waiting; count--, waiting--) {
        on_sent(conn, NULL);
    }
}

int32_t ealm_device_receive(struct ealm_device *device, const uint8_t *data, size_t bytes)
{
    (void)device;
    MUST(bytes == 40 && data[39] == 7);
    return (int32_t)received++;
}

static void connect_to(struct bt_conn *conn)
{
    MUST(ealm_joiner_init(&host_joiner, host_joined, sizeof(host_joined)) == EALM_OK);
    notified = waiting = 0;
    came_up = 0;
    received = 0;
    on_connected(conn, 0);
}

static void disconnect(struct bt_conn *conn)
{
    on_disconnected(conn, 0);
    MUST(conn->refs == 0);
    MUST(link_send(sent, sizeof(sent)) == EALM_NOT_READY);
    int before = advertised;
    on_recycled();
    is_radio_busy = true;
    link_poll(NULL);
    MUST(advertised == before);
    is_radio_busy = false;
    link_poll(NULL);
    link_poll(NULL);
    MUST(advertised == before + 1);
}

/* As a frame of 40 bytes in two values. */
static ssize_t write_down(struct bt_conn *conn)
{
    uint8_t down[21] = {EALM_FRAGMENT_FIRST};
    ssize_t taken = on_write(conn, NULL, down, sizeof(down), 0, 0);
    down[0] = EALM_FRAGMENT_LAST | 1;
    down[20] = 7;
    MUST(on_write(conn, NULL, down, sizeof(down), 0, 0) == taken);
    return taken;
}

/* Whoever is in reach, with whatever security: audio for the owner alone. */
static void test_who_is_heard(void)
{
    const uint8_t sc = BT_SECURITY_FLAG_SC;
    const struct {
        bt_security_t level;
        uint8_t flags, key_bytes, is_owner, is_good;
    } cases[] = {
        {BT_SECURITY_L1, 0, 0, 1, 0},  /* not encrypted, whatever bond it has */
        {BT_SECURITY_L1, sc, 16, 1, 0},
        {BT_SECURITY_L2, 0, 16, 1, 0}, /* legacy pairing */
        {BT_SECURITY_L3, 0, 16, 1, 0},
        {BT_SECURITY_L2, sc, 7, 1, 0}, /* a short key */
        {BT_SECURITY_L2, sc, 16, 0, 0}, /* paired without a bond */
        {BT_SECURITY_L2, sc, 16, 1, 1},
        {BT_SECURITY_L4, sc, 16, 1, 1},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        bool is_good = cases[i].is_good;
        struct bt_conn conn = {.info = {BT_CONN_TYPE_LE, {BT_SECURITY_L1, 0, 0}},
                               .address = {1, {(uint8_t)i}},
                               .mtu = 100,
                               .is_subscribed = true}; /* as an unpaired client may */
        uint8_t long_value[VALUE_BYTES + 1] = {0};
        has_owner = cases[i].is_owner;
        owner = conn.address;
        connect_to(&conn);
        MUST(link_send(sent, sizeof(sent)) == EALM_NOT_READY && notified == 0);
        conn.info.security.level = cases[i].level;
        conn.info.security.flags = (enum bt_security_flag)cases[i].flags;
        conn.info.security.enc_key_size = cases[i].key_bytes;
        on_security(&conn, cases[i].level, BT_SECURITY_ERR_SUCCESS);
        MUST(conn.is_cut == !is_good);
        MUST(link_send(sent, sizeof(sent)) == (is_good ? EALM_OK : EALM_NOT_READY));
        MUST(notified == (is_good ? 2 : 0)); /* 192 bytes at an MTU of 100 */
        MUST(came_up == (is_good ? LINK_FRAME_BYTES : 0));
        MUST(!is_good || memcmp(host_joined, sent, sizeof(sent)) == 0);
        MUST(write_down(&conn) == (is_good ? 21 : BT_GATT_ERR(BT_ATT_ERR_AUTHENTICATION)));
        MUST(on_write(&conn, NULL, long_value, sizeof(long_value), 0, 0) < 0);
        link_poll(NULL);
        MUST(received == is_good);
        conn.is_subscribed = false;
        MUST(link_send(sent, sizeof(sent)) == EALM_NOT_READY);
        conn.is_subscribed = true;
        has_owner = false; /* forgotten while connected */
        MUST(link_send(sent, sizeof(sent)) == EALM_NOT_READY);
        MUST(notified == (is_good ? 2 : 0));
        disconnect(&conn);
    }
}

/* Pairing is refused unless it will make a bond that is_trusted(), and counts at its end. */
static void test_who_may_pair(void)
{
    const struct {
        uint8_t auth, key_bytes, has_owner, error;
    } cases[] = {
        {AUTH_SC, 16, 0, BT_SECURITY_ERR_AUTH_REQUIREMENT},
        {AUTH_BONDING, 16, 0, BT_SECURITY_ERR_AUTH_REQUIREMENT},
        {AUTH_BONDING | AUTH_SC, 15, 0, BT_SECURITY_ERR_AUTH_REQUIREMENT},
        {AUTH_BONDING | AUTH_SC, 16, 1, BT_SECURITY_ERR_PAIR_NOT_ALLOWED},
        {AUTH_BONDING | AUTH_SC, 16, 0, BT_SECURITY_ERR_SUCCESS},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        for (int is_bonded = 0; is_bonded < 2; is_bonded++) {
            const struct bt_conn_pairing_feat asked = {.auth_req = cases[i].auth,
                                                       .max_enc_key_size = cases[i].key_bytes};
            struct bt_conn conn = {.info = {BT_CONN_TYPE_LE, {BT_SECURITY_L1, 0, 0}},
                                   .address = {1, {5}},
                                   .mtu = 247,
                                   .is_subscribed = true};
            owner = (bt_addr_le_t){1, {9}};
            has_owner = cases[i].has_owner;
            connect_to(&conn);
            MUST(accept_pairing(&conn, &asked) == (enum bt_security_err)cases[i].error);
            if (cases[i].error) {
                info->pairing_failed(&conn, (enum bt_security_err)cases[i].error);
                MUST(conn.is_cut);
                disconnect(&conn);
                continue;
            }
            conn.info.security =
                (struct bt_security_info){BT_SECURITY_L2, 16, BT_SECURITY_FLAG_SC};
            owner = conn.address; /* the stack has the key before the pairing is over */
            has_owner = true;
            on_security(&conn, BT_SECURITY_L2, BT_SECURITY_ERR_SUCCESS);
            MUST(!conn.is_cut);
            MUST(link_send(sent, sizeof(sent)) == EALM_NOT_READY && write_down(&conn) < 0);
            has_owner = is_bonded;
            info->pairing_complete(&conn, is_bonded);
            MUST(conn.is_cut == !is_bonded);
            MUST(link_send(sent, sizeof(sent)) == (is_bonded ? EALM_OK : EALM_NOT_READY));
            MUST(notified == is_bonded);
            disconnect(&conn);
        }
    }
}

/* Nobody holds the one connection without being trusted. */
static void test_who_may_stay(void)
{
    for (int is_good = 0; is_good < 2; is_good++) {
        struct bt_conn conn = {.info = {BT_CONN_TYPE_LE, {BT_SECURITY_L1, 0, 0}}, .mtu = 23};
        has_owner = true;
        owner = conn.address;
        connect_to(&conn);
        link_poll(NULL);
        if (is_good) {
            conn.info.security =
                (struct bt_security_info){BT_SECURITY_L2, 16, BT_SECURITY_FLAG_SC};
        }
        now_ms += PATIENCE_MS;
        link_poll(NULL);
        MUST(!conn.is_cut);
        now_ms++;
        link_poll(NULL);
        MUST(conn.is_cut == !is_good);
        disconnect(&conn);
    }
}

/* No frame waits for the radio: as many go as there are buffers, and none in part but where the
 * stack fails; then the next one goes whole. */
static void test_a_busy_radio(void)
{
    const uint16_t mtus[] = {23, 50, 247};
    for (size_t i = 0; i < ARRAY_SIZE(mtus); i++) {
        struct bt_conn conn = {
            .info = {BT_CONN_TYPE_LE, {BT_SECURITY_L2, 16, BT_SECURITY_FLAG_SC}},
            .address = {1, {5}},
            .mtu = mtus[i],
            .is_subscribed = true,
        };
        int room = mtus[i] - NOTIFY_BYTES - 1, each = (LINK_FRAME_BYTES + room - 1) / room;
        int frames = 0;
        owner = conn.address;
        has_owner = true;
        connect_to(&conn);
        for (; link_send(sent, sizeof(sent)) == EALM_OK; frames++) {
            MUST(came_up == LINK_FRAME_BYTES);
        }
        MUST(frames == MOST_IN_FLIGHT / each && notified == frames * each);
        deliver(&conn, each - 1);
        int32_t expected = waiting + each > MOST_IN_FLIGHT ? EALM_NO_SPACE : EALM_OK;
        MUST(link_send(sent, sizeof(sent)) == expected);
        deliver(&conn, waiting);
        failing_after = each / 2;
        MUST(link_send(sent, sizeof(sent)) == EALM_NO_SPACE && waiting == each / 2);
        MUST(link_send(sent, sizeof(sent)) == EALM_OK && came_up == LINK_FRAME_BYTES);
        MUST(atomic_get(&in_flight) == waiting);
        disconnect(&conn);
        /* What the radio still had does not count against the next connection. */
        connect_to(&conn);
        for (int k = 0; k < frames; k++) {
            MUST(link_send(sent, sizeof(sent)) == EALM_OK);
        }
        disconnect(&conn);
    }
}

int main(void)
{
    has_owner = true;
    MUST(link_open(false) == EALM_OK && has_owner);
    MUST(link_open(true) == EALM_OK && !has_owner);
    link_poll(NULL);
    link_poll(NULL);
    MUST(advertised == 1);
    test_who_is_heard();
    test_who_may_pair();
    test_who_may_stay();
    test_a_busy_radio();
    puts("link_ble: audio for its owner alone");
    return 0;
}
