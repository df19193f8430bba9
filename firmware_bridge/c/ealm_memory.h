/* All of libc that is needed. A compiler may come without <string.h> (Debian's for Arm does), and
 * calls these by itself anyway: a board without libc defines them. */
#ifndef EALM_MEMORY_H
#define EALM_MEMORY_H

#include <stddef.h>

void *memcpy(void *to, const void *from, size_t bytes);
void *memmove(void *to, const void *from, size_t bytes);
void *memset(void *to, int value, size_t bytes);

#endif
