#pragma once
int settings_load(void);
