#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))
#define BUILD_ASSERT(condition) _Static_assert(condition, #condition)
/* What prj.conf makes of Kconfig. */
#define CONFIG_BT_DEVICE_NAME "edge-alm"
#define CONFIG_BT_L2CAP_TX_MTU 247
#define CONFIG_BT_ATT_TX_COUNT 27
typedef struct {
    int64_t ticks;
} k_timeout_t;
#define K_NO_WAIT ((k_timeout_t){0})
#define K_FOREVER ((k_timeout_t){-1})
typedef long atomic_val_t;
typedef atomic_val_t atomic_t;
#define ATOMIC_INIT(value) (value)
atomic_val_t atomic_get(const atomic_t *target);
atomic_val_t atomic_set(atomic_t *target, atomic_val_t value);
atomic_val_t atomic_inc(atomic_t *target);
atomic_val_t atomic_dec(atomic_t *target);
bool atomic_cas(atomic_t *target, atomic_val_t old_value, atomic_val_t new_value);
struct k_msgq {
    size_t size, most, used;
    char *buffer;
};
#define K_MSGQ_DEFINE(name, message_size, count, align)                                            \
    static char name##_buffer[(message_size) * (count)];                                           \
    static struct k_msgq name = {.size = (message_size), .most = (count), .buffer = name##_buffer}
int k_msgq_put(struct k_msgq *queue, const void *message, k_timeout_t timeout);
int k_msgq_get(struct k_msgq *queue, void *message, k_timeout_t timeout);
void k_msgq_purge(struct k_msgq *queue);
struct k_mutex {
    int held;
};
#define K_MUTEX_DEFINE(name) static struct k_mutex name
int k_mutex_lock(struct k_mutex *mutex, k_timeout_t timeout);
int k_mutex_unlock(struct k_mutex *mutex);
struct k_mem_slab {
    size_t size;
};
#define K_MEM_SLAB_DEFINE_STATIC(name, block_size, count, align)                                   \
    static struct k_mem_slab name = {.size = (block_size)}
void k_mem_slab_free(struct k_mem_slab *slab, void *block);
int64_t k_uptime_get(void);
int64_t k_uptime_ticks(void);
uint64_t k_ticks_to_us_floor64(uint64_t ticks);
struct device {
    const char *name;
};
extern const struct device stub_device;
#define DT_NODELABEL(label) label
#define DT_ALIAS(alias) alias
#define DEVICE_DT_GET(node) (&stub_device)
bool device_is_ready(const struct device *device);
