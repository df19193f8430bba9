/* A Seeed XIAO BLE Sense (nRF52840, PDM microphone) on Bluetooth Low Energy, with Zephyr.
 *
 * UNTESTED ON HARDWARE: so far compiled against stub headers only.
 *
 * Nothing is sent, and nothing heeded, before the host has a bond by LE Secure Connections. The
 * first host that asks gets one; for another, erase the flash. Captions and events go to show(),
 * which is where a display or a motor belongs.
 *
 * Bluetooth's callbacks come on its own thread; all else is done by main(). */
#include <stddef.h>
#include <stdint.h>

#include <zephyr/audio/dmic.h>
#include <zephyr/bluetooth/bluetooth.h>
#include <zephyr/bluetooth/conn.h>
#include <zephyr/bluetooth/gatt.h>
#include <zephyr/bluetooth/uuid.h>
#include <zephyr/kernel.h>
#include <zephyr/random/random.h>
#include <zephyr/settings/settings.h>

#include "ealm_device.h"
#include "ealm_fragment.h"
#include "ealm_memory.h"

#define RATE_HZ 16000
#define FRAME_SAMPLES 320
#define FRAME_BYTES (FRAME_SAMPLES * sizeof(int16_t))
#define VALUE_BYTES (CONFIG_BT_L2CAP_TX_MTU - 3)
#define KEY_BYTES 16
#define AUTH_BONDING 0x03 /* of AuthReq, Core Specification, Vol 3, Part H, 3.5.1 */
#define AUTH_SC 0x08
#define ATTRIBUTE_UP 2 /* of the service: declaration, declaration of UP, UP */

#define UUID(...) BT_UUID_128_ENCODE(__VA_ARGS__)

struct value {
    uint16_t bytes;
    uint8_t data[VALUE_BYTES];
};

K_MSGQ_DEFINE(came, sizeof(struct value), 16, 4);
K_MEM_SLAB_DEFINE_STATIC(blocks, FRAME_BYTES, 4, 4);
K_MUTEX_DEFINE(mutex);
static struct bt_conn *current; /* under the mutex */
static atomic_t in_flight, is_new, is_free = ATOMIC_INIT(1);

static struct ealm_device device = EALM_DEVICE_INIT;
static struct ealm_gate gate = EALM_GATE_INIT;
static struct ealm_splitter splitter;
static struct ealm_joiner joiner = {.size = sizeof(joiner)};
static int16_t block[EALM_GATE_BLOCK_SAMPLES];
static uint8_t packing[EALM_HEADER_BYTES + FRAME_BYTES + EALM_CRC_BYTES];
static uint8_t joining[EALM_HEADER_BYTES + 220 + EALM_CRC_BYTES];

static void show(uint8_t code, const char *text, size_t text_bytes)
{
    (void)code, (void)text, (void)text_bytes;
}

/* Who may hear us, and be heard */

static int is_trusted(struct bt_conn *conn)
{
    struct bt_conn_info info;
    return bt_conn_get_info(conn, &info) == 0 && info.security.level >= BT_SECURITY_L2 &&
           (info.security.flags & BT_SECURITY_FLAG_SC) != 0 &&
           info.security.enc_key_size == KEY_BYTES &&
           bt_le_bond_exists(BT_ID_DEFAULT, bt_conn_get_dst(conn));
}

static void count_bond(const struct bt_bond_info *info, void *count)
{
    (void)info;
    ++*(int *)count;
}

static enum bt_security_err accept_pairing(struct bt_conn *conn,
                                           const struct bt_conn_pairing_feat *const feat)
{
    int bonds = 0;
    (void)conn;
    bt_foreach_bond(BT_ID_DEFAULT, count_bond, &bonds);
    if (bonds != 0) {
        return BT_SECURITY_ERR_PAIR_NOT_ALLOWED;
    }
    if ((feat->auth_req & AUTH_BONDING) == 0 || (feat->auth_req & AUTH_SC) == 0 ||
        feat->max_enc_key_size < KEY_BYTES) {
        return BT_SECURITY_ERR_AUTH_REQUIREMENT;
    }
    return BT_SECURITY_ERR_SUCCESS;
}

static void on_connected(struct bt_conn *conn, uint8_t error)
{
    if (error) {
        return;
    }
    k_mutex_lock(&mutex, K_FOREVER);
    current = bt_conn_ref(conn);
    k_mutex_unlock(&mutex);
    atomic_set(&in_flight, 0);
    atomic_set(&is_new, 1);
}

static void on_disconnected(struct bt_conn *conn, uint8_t reason)
{
    (void)reason;
    k_mutex_lock(&mutex, K_FOREVER);
    if (current == conn) {
        bt_conn_unref(current);
        current = NULL;
    }
    k_mutex_unlock(&mutex);
}

static void on_recycled(void)
{
    atomic_set(&is_free, 1); /* main() advertises again */
}

BT_CONN_CB_DEFINE(connection_callbacks) = {
    .connected = on_connected,
    .disconnected = on_disconnected,
    .recycled = on_recycled,
};

/* The service */

static ssize_t on_down(struct bt_conn *conn, const struct bt_gatt_attr *attribute, const void *data,
                       uint16_t bytes, uint16_t offset, uint8_t flags)
{
    struct value value;
    (void)attribute, (void)flags;
    if (!is_trusted(conn)) {
        return BT_GATT_ERR(BT_ATT_ERR_AUTHENTICATION);
    }
    if (offset != 0 || bytes > sizeof(value.data)) {
        return BT_GATT_ERR(BT_ATT_ERR_INVALID_ATTRIBUTE_LEN);
    }
    value.bytes = bytes;
    memcpy(value.data, data, bytes);
    (void)k_msgq_put(&came, &value, K_NO_WAIT); /* where there is no room, its frame is lost */
    return bytes;
}

static const struct bt_uuid_128 service_uuid = BT_UUID_INIT_128(UUID(EALM_UUID_SERVICE));
static const struct bt_uuid_128 up_uuid = BT_UUID_INIT_128(UUID(EALM_UUID_UP));
static const struct bt_uuid_128 down_uuid = BT_UUID_INIT_128(UUID(EALM_UUID_DOWN));

BT_GATT_SERVICE_DEFINE(
    service, BT_GATT_PRIMARY_SERVICE(&service_uuid),
    BT_GATT_CHARACTERISTIC(&up_uuid.uuid, BT_GATT_CHRC_NOTIFY, BT_GATT_PERM_NONE, NULL, NULL, NULL),
    BT_GATT_CCC(NULL, BT_GATT_PERM_READ | BT_GATT_PERM_WRITE_ENCRYPT),
    BT_GATT_CHARACTERISTIC(&down_uuid.uuid, BT_GATT_CHRC_WRITE_WITHOUT_RESP,
                           BT_GATT_PERM_WRITE_ENCRYPT, NULL, on_down, NULL));

static const struct bt_data advertised[] = {
    BT_DATA_BYTES(BT_DATA_FLAGS, BT_LE_AD_GENERAL | BT_LE_AD_NO_BREDR),
    BT_DATA_BYTES(BT_DATA_UUID128_ALL, UUID(EALM_UUID_SERVICE)),
};

static void advertise(void)
{
    const struct bt_le_adv_param *often = BT_LE_ADV_PARAM(
        BT_LE_ADV_OPT_CONN, BT_GAP_ADV_FAST_INT_MIN_2, BT_GAP_ADV_FAST_INT_MAX_2, NULL);
    if (bt_le_adv_start(often, advertised, ARRAY_SIZE(advertised), NULL, 0) != 0) {
        atomic_set(&is_free, 1); /* try again with the next frame of sound */
    }
}

static void on_sent(struct bt_conn *conn, void *user_data)
{
    (void)conn, (void)user_data;
    if (atomic_get(&in_flight) > 0) {
        (void)atomic_dec(&in_flight);
    }
}

static int32_t send_fragments(struct bt_conn *conn, const uint8_t *frame, size_t bytes)
{
    uint8_t value[VALUE_BYTES];
    size_t room = (size_t)bt_gatt_get_mtu(conn) - 3;
    int32_t count;
    room = room > sizeof(value) ? sizeof(value) : room;
    size_t needed = (bytes + room - 2) / (room - 1);
    /* Without a free buffer a notification would wait for one. */
    if ((size_t)atomic_get(&in_flight) + needed > CONFIG_BT_ATT_TX_COUNT) {
        return EALM_NO_SPACE;
    }
    while ((count = ealm_split(&splitter, frame, bytes, value, room)) > 0) {
        struct bt_gatt_notify_params notification = {
            .attr = &service.attrs[ATTRIBUTE_UP],
            .data = value,
            .len = (uint16_t)count,
            .func = on_sent,
        };
        (void)atomic_inc(&in_flight);
        if (bt_gatt_notify_cb(conn, &notification) != 0) {
            (void)atomic_dec(&in_flight);
            splitter.at = 0;
            return EALM_NO_SPACE;
        }
    }
    return EALM_OK;
}

/* What the library asks of a board */

int32_t ealm_port_send(void *board, const uint8_t *frame, size_t bytes)
{
    int32_t status = EALM_NO_SPACE;
    (void)board;
    k_mutex_lock(&mutex, K_FOREVER);
    struct bt_conn *conn = current ? bt_conn_ref(current) : NULL;
    k_mutex_unlock(&mutex);
    if (!conn) {
        return status;
    }
    if (is_trusted(conn) &&
        bt_gatt_is_subscribed(conn, &service.attrs[ATTRIBUTE_UP], BT_GATT_CCC_NOTIFY)) {
        status = send_fragments(conn, frame, bytes);
    }
    bt_conn_unref(conn);
    return status;
}

uint64_t ealm_port_now_us(void *board)
{
    (void)board;
    return k_ticks_to_us_floor64((uint64_t)k_uptime_ticks());
}

void ealm_port_show(void *board, uint8_t code, uint8_t confidence, uint64_t position,
                    const char *text, size_t text_bytes)
{
    (void)board, (void)confidence, (void)position;
    show(code, text, text_bytes);
}

int8_t ealm_port_set_gain(void *board, int8_t gain_db)
{
    (void)board, (void)gain_db;
    return 0;
}

static int open_microphone(const struct device *microphone)
{
    struct pcm_stream_cfg stream = {
        .pcm_rate = RATE_HZ,
        .pcm_width = 16,
        .block_size = FRAME_BYTES,
        .mem_slab = &blocks,
    };
    struct dmic_cfg config = {
        .io = {.min_pdm_clk_freq = 1000000,
               .max_pdm_clk_freq = 3500000,
               .min_pdm_clk_dc = 40,
               .max_pdm_clk_dc = 60},
        .streams = &stream,
        .channel = {.req_num_streams = 1,
                    .req_num_chan = 1,
                    .req_chan_map_lo = dmic_build_channel_map(0, 0, PDM_CHAN_LEFT)},
    };
    if (!device_is_ready(microphone) || dmic_configure(microphone, &config) != 0) {
        return -1;
    }
    return dmic_trigger(microphone, DMIC_TRIGGER_START);
}

static int open_bluetooth(void)
{
    static struct bt_conn_auth_cb pairing = {.pairing_accept = accept_pairing};
    if (bt_conn_auth_cb_register(&pairing) != 0 || bt_enable(NULL) != 0) {
        return -1;
    }
    return settings_load(); /* the bonds */
}

static void receive_all(void)
{
    struct value value;
    while (k_msgq_get(&came, &value, K_NO_WAIT) == 0) {
        int32_t size = ealm_join(&joiner, value.data, value.bytes);
        if (size > 0) {
            (void)ealm_device_receive(&device, joining, (size_t)size);
        }
    }
}

int main(void)
{
    const struct device *microphone = DEVICE_DT_GET(DT_NODELABEL(dmic_dev));
    struct ealm_device_config config = EALM_DEVICE_CONFIG_INIT;

    config.session = sys_rand32_get();
    config.rate_hz = RATE_HZ;
    config.frame_samples = FRAME_SAMPLES;
    config.capabilities = EALM_CAN_TWO_WAY | EALM_CAN_SOUND_GATE | EALM_CAN_SHOWS_CAPTIONS |
                          EALM_CAN_FEELS_EVENTS;
    config.codecs = 1 << EALM_TYPE_PCM16 | 1 << EALM_TYPE_ADPCM;
    config.name = "nrf52840";
    config.frame = packing;
    config.frame_bytes = sizeof(packing);
    config.gate = &gate;
    config.block = block;
    if (ealm_device_init(&device, &config) != EALM_OK ||
        ealm_joiner_init(&joiner, joining, sizeof(joining)) != EALM_OK || open_bluetooth() != 0 ||
        open_microphone(microphone) != 0) {
        return -1;
    }
    for (;;) {
        void *samples;
        size_t bytes;
        if (atomic_cas(&is_free, 1, 0)) {
            advertise();
        }
        if (atomic_cas(&is_new, 1, 0)) {
            k_msgq_purge(&came);
            splitter = (struct ealm_splitter){0};
            (void)ealm_joiner_init(&joiner, joining, sizeof(joining));
        }
        receive_all();
        /* Paces the loop: returns when a frame's time of sound has come. */
        if (dmic_read(microphone, 0, &samples, &bytes, 1000) == 0) {
            (void)ealm_device_capture(&device, samples, bytes / sizeof(int16_t));
            k_mem_slab_free(&blocks, samples);
        }
        (void)ealm_device_tick(&device);
    }
}
