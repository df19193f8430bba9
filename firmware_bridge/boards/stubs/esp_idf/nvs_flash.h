#pragma once
#include "esp_check.h"
esp_err_t nvs_flash_init(void);
