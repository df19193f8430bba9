#include "ealm_fragment.h"

#include "ealm_memory.h"

int32_t ealm_split(struct ealm_splitter *splitter, const uint8_t *frame, size_t bytes, uint8_t *out,
                   size_t value_bytes)
{
    if (splitter->at >= bytes) {
        splitter->at = 0;
        return 0;
    }
    if (value_bytes < 2) {
        return EALM_NO_SPACE;
    }
    size_t rest = bytes - splitter->at;
    size_t count = rest < value_bytes ? rest : value_bytes - 1;
    uint8_t head = splitter->count;
    if (splitter->at == 0) {
        head |= EALM_FRAGMENT_FIRST;
    }
    if (count == rest) {
        head |= EALM_FRAGMENT_LAST;
    }
    out[0] = head;
    memcpy(out + 1, frame + splitter->at, count);
    splitter->at += count;
    splitter->count = (uint8_t)((splitter->count + 1) & EALM_FRAGMENT_COUNT);
    return (int32_t)(count + 1);
}

int32_t ealm_joiner_init(struct ealm_joiner *joiner, uint8_t *buffer, size_t buffer_bytes)
{
    if (joiner->size != sizeof(*joiner)) {
        return EALM_BAD_STRUCT;
    }
    joiner->buffer = buffer;
    joiner->buffer_bytes = buffer_bytes;
    joiner->used = 0;
    joiner->is_open = 0;
    return EALM_OK;
}

static int32_t drop(struct ealm_joiner *joiner, int32_t status)
{
    joiner->used = 0;
    joiner->is_open = 0;
    return status;
}

int32_t ealm_join(struct ealm_joiner *joiner, const uint8_t *value, size_t bytes)
{
    int32_t status = EALM_OK;
    if (bytes < 2) {
        return drop(joiner, EALM_TRUNCATED);
    }
    uint8_t head = value[0];
    size_t count = bytes - 1;
    if (head & EALM_FRAGMENT_FIRST) {
        status = drop(joiner, joiner->is_open ? EALM_TRUNCATED : EALM_OK);
    } else if (!joiner->is_open || (head & EALM_FRAGMENT_COUNT) != joiner->next) {
        return drop(joiner, EALM_TRUNCATED);
    }
    if (count > joiner->buffer_bytes - joiner->used) {
        return drop(joiner, EALM_TOO_LONG);
    }
    memcpy(joiner->buffer + joiner->used, value + 1, count);
    joiner->used += count;
    if (!(head & EALM_FRAGMENT_LAST)) {
        joiner->next = (uint8_t)((head + 1) & EALM_FRAGMENT_COUNT);
        joiner->is_open = 1;
        return status;
    }
    int32_t whole = (int32_t)joiner->used;
    (void)drop(joiner, EALM_OK);
    return whole;
}
