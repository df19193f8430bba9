/* A bare-metal device for QEMU's mps2-an386 (Cortex-M4): a recording comes in by semihosting, as
 * from a microphone, and goes out framed over UART0. Board-specific code only; the rest is
 * ealm_device.c as on any other board.
 *
 * The command line, by semihosting: the recording (16 kHz mono s16le without a header), then any of
 *   pcm16     not ADPCM
 *   paced     a frame every 20 ms of emulated time; else as fast as the UART takes them
 *   gated     offers the sound gate
 *   show=FILE write captions and events there, a line each */
#include <stddef.h>
#include <stdint.h>

#include "ealm_device.h"
#include "ealm_memory.h"

#define CORE_HZ 25000000U
#define TICK_HZ 50U /* more of them, and an emulator on a busy machine falls behind */
#define RATE_HZ 16000U
#define FRAME_SAMPLES 320U

#define REGISTER(address) (*(volatile uint32_t *)(address))
#define UART_DATA REGISTER(0x40004000)
#define UART_STATE REGISTER(0x40004004) /* bit 0: cannot send yet, bit 1: something has come */
#define UART_CONTROL REGISTER(0x40004008)
#define UART_INTERRUPT REGISTER(0x4000400c)
#define UART_DIVIDER REGISTER(0x40004010)
#define SYSTICK_CONTROL REGISTER(0xe000e010)
#define SYSTICK_RELOAD REGISTER(0xe000e014)
#define SYSTICK_VALUE REGISTER(0xe000e018)
#define INTERRUPTS_ENABLE REGISTER(0xe000e100)

extern uint32_t data_start[], data_end[], data_image[], bss_start[], bss_end[], stack_top[];

/* libc, as much as is needed */

void *memcpy(void *to, const void *from, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        ((volatile uint8_t *)to)[i] = ((const uint8_t *)from)[i];
    }
    return to;
}

void *memmove(void *to, const void *from, size_t bytes)
{
    if ((uintptr_t)to <= (uintptr_t)from) {
        return memcpy(to, from, bytes);
    }
    for (size_t i = bytes; i; i--) {
        ((volatile uint8_t *)to)[i - 1] = ((const uint8_t *)from)[i - 1];
    }
    return to;
}

void *memset(void *to, int value, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        ((volatile uint8_t *)to)[i] = (uint8_t)value;
    }
    return to;
}

/* Semihosting (Arm's "Semihosting for AArch32 and AArch64", 2.0) */

static uint32_t host_call(uint32_t operation, const void *argument)
{
    register uint32_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

static int32_t open_file(const char *name, uint32_t mode)
{
    size_t length = 0;
    while (name[length]) {
        length++;
    }
    const uint32_t argument[3] = {(uint32_t)(uintptr_t)name, mode, length};
    return (int32_t)host_call(0x01, argument);
}

static size_t read_file(int32_t file, void *to, size_t bytes)
{
    const uint32_t argument[3] = {(uint32_t)file, (uint32_t)(uintptr_t)to, bytes};
    return bytes - host_call(0x06, argument);
}

static void write_file(int32_t file, const void *from, size_t bytes)
{
    const uint32_t argument[3] = {(uint32_t)file, (uint32_t)(uintptr_t)from, bytes};
    (void)host_call(0x05, argument);
}

static void leave(uint32_t status)
{
    const uint32_t argument[2] = {0x20026, status}; /* the application has exited */
    (void)host_call(0x20, argument);
    for (;;) {
    }
}

/* Time */

static volatile uint32_t ticks;

static void on_tick(void)
{
    ticks++;
}

static void wait_for_interrupt(void)
{
    __asm__ volatile("wfi");
}

/* UART0: what comes waits in a ring; what goes waits for the line. */

static volatile uint8_t came[1024];
static volatile uint32_t came_in, came_out;

static void on_uart(void)
{
    UART_INTERRUPT = 2;
    while (UART_STATE & 2) {
        uint8_t byte = (uint8_t)UART_DATA;
        if (came_in - came_out < sizeof(came)) {
            came[came_in % sizeof(came)] = byte;
            came_in = came_in + 1;
        }
    }
}

static void put_byte(uint8_t byte)
{
    while (UART_STATE & 1) {
    }
    UART_DATA = byte;
}

/* The port */

static int32_t show_file = -1;

int32_t ealm_port_send(void *board, const uint8_t *frame, size_t bytes)
{
    static uint8_t stuffed[EALM_COBS_BYTES(EALM_HEADER_BYTES + 2 * FRAME_SAMPLES + EALM_CRC_BYTES)];
    (void)board;
    int32_t count = ealm_cobs_encode(frame, bytes, stuffed, sizeof(stuffed));
    if (count < 0) {
        return count;
    }
    put_byte(0);
    for (int32_t i = 0; i < count; i++) {
        put_byte(stuffed[i]);
    }
    put_byte(0);
    return EALM_OK;
}

uint64_t ealm_port_now_us(void *board)
{
    (void)board;
    uint32_t before, value;
    do {
        before = ticks;
        value = SYSTICK_VALUE;
    } while (before != ticks);
    return (uint64_t)before * (1000000U / TICK_HZ) +
           (CORE_HZ / TICK_HZ - 1 - value) / (CORE_HZ / 1000000U);
}

void ealm_port_show(void *board, uint8_t code, uint8_t confidence, uint64_t position,
                    const char *text, size_t text_bytes)
{
    (void)board, (void)confidence, (void)position;
    if (show_file >= 0) {
        const char head[2] = {(char)('0' + code), ' '};
        write_file(show_file, head, sizeof(head));
        write_file(show_file, text, text_bytes);
        write_file(show_file, "\n", 1);
    }
}

int8_t ealm_port_set_gain(void *board, int8_t gain_db)
{
    (void)board, (void)gain_db;
    return 0; /* a file has none */
}

/* The device */

static struct ealm_device device = EALM_DEVICE_INIT;
static struct ealm_gate gate = EALM_GATE_INIT;
static int16_t block[EALM_GATE_BLOCK_SAMPLES];
static uint8_t packing[EALM_HEADER_BYTES + 2 * FRAME_SAMPLES + EALM_CRC_BYTES];
static uint8_t line[EALM_COBS_BYTES(EALM_HEADER_BYTES + 220 + EALM_CRC_BYTES)];
static struct ealm_deframer deframer = {.size = sizeof(struct ealm_deframer)};
static char words[512];

static void take_what_came(void)
{
    while (came_out != came_in) {
        uint8_t byte = came[came_out % sizeof(came)];
        came_out = came_out + 1;
        int32_t bytes = ealm_deframer_push(&deframer, byte);
        if (bytes > 0) {
            (void)ealm_device_receive(&device, line, (size_t)bytes);
        }
    }
}

static int is_word(const char *word, const char *name)
{
    while (*name && *word == *name) {
        word++;
        name++;
    }
    return *name == 0;
}

int main(void)
{
    const uint32_t argument[2] = {(uint32_t)(uintptr_t)words, sizeof(words)};
    struct ealm_device_config config = EALM_DEVICE_CONFIG_INIT;
    int is_paced = 0;

    UART_DIVIDER = 16;
    UART_CONTROL = 1 | 2 | 8; /* send, receive, interrupt when something has come */
    INTERRUPTS_ENABLE = 1;    /* interrupt 0: UART0 has received */
    SYSTICK_RELOAD = CORE_HZ / TICK_HZ - 1;
    SYSTICK_VALUE = 0;
    SYSTICK_CONTROL = 7;

    config.session = 0x386;
    config.rate_hz = RATE_HZ;
    config.frame_samples = FRAME_SAMPLES;
    config.capabilities = EALM_CAN_TWO_WAY | EALM_CAN_SHOWS_CAPTIONS | EALM_CAN_FEELS_EVENTS;
    config.codecs = 1 << EALM_TYPE_ADPCM;
    config.name = "mps2-an386";
    config.frame = packing;
    config.frame_bytes = sizeof(packing);
    config.gate = &gate;
    config.block = block;

    (void)host_call(0x15, argument); /* the command line; its first word is the recording */
    char *word = words;
    while (*word) {
        char *end = word;
        while (*end && *end != ' ') {
            end++;
        }
        char *next = *end ? end + 1 : end;
        *end = 0;
        if (is_word(word, "pcm16")) {
            config.codecs = 1 << EALM_TYPE_PCM16;
        } else if (is_word(word, "paced")) {
            is_paced = 1;
        } else if (is_word(word, "gated")) {
            config.capabilities |= EALM_CAN_SOUND_GATE;
        } else if (is_word(word, "show=")) {
            show_file = open_file(word + 5, 4); /* "w" */
        }
        word = next;
    }
    int32_t recording = open_file(words, 1); /* "rb" */
    if (recording < 0 || ealm_device_init(&device, &config) != EALM_OK ||
        ealm_deframer_init(&deframer, line, sizeof(line)) != EALM_OK) {
        leave(1);
    }

    uint32_t next_frame = 0;
    int is_streaming = 0;
    for (;;) {
        int16_t samples[FRAME_SAMPLES];
        take_what_came();
        (void)ealm_device_tick(&device);
        if (!device.is_welcome) {
            wait_for_interrupt();
            continue;
        }
        if (!is_streaming) {
            is_streaming = 1;
            next_frame = ticks;
        }
        if (is_paced && (int32_t)(ticks - next_frame) < 0) {
            wait_for_interrupt();
            continue;
        }
        next_frame++; /* a frame is a tick long */
        size_t bytes = read_file(recording, samples, sizeof(samples));
        if (bytes < sizeof(*samples)) {
            break;
        }
        (void)ealm_device_capture(&device, samples, bytes / sizeof(*samples));
    }
    (void)ealm_device_finish(&device);
    /* Until the host has said nothing for two seconds: it may have something to show. */
    for (uint32_t last = ticks, seen = came_in; ticks - last < 2 * TICK_HZ;) {
        take_what_came();
        if (came_in != seen) {
            seen = came_in;
            last = ticks;
        }
        wait_for_interrupt();
    }
    leave(0);
    return 0;
}

void start(void)
{
    memcpy(data_start, data_image, (size_t)((uint8_t *)data_end - (uint8_t *)data_start));
    memset(bss_start, 0, (size_t)((uint8_t *)bss_end - (uint8_t *)bss_start));
    (void)main();
}

static void on_fault(void)
{
    leave(2);
}

typedef void (*handler)(void);
__attribute__((section(".vectors"), used)) static const struct {
    uint32_t *stack;
    handler exceptions[15];
    handler interrupts[2];
} vectors = {
    stack_top,
    {start, on_fault, on_fault, on_fault, on_fault, on_fault, 0, 0, 0, 0, on_fault, on_fault, 0,
     on_fault, on_tick},
    {on_uart, on_fault},
};
