#pragma once
#include <zephyr/kernel.h>
#define GPIO_INPUT 1
struct gpio_dt_spec {
    const struct device *port;
};
#define GPIO_DT_SPEC_GET(node, property) {.port = &stub_device}
int gpio_pin_configure_dt(const struct gpio_dt_spec *pin, uint32_t flags);
int gpio_pin_get_dt(const struct gpio_dt_spec *pin);
