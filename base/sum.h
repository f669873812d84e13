/* SPDX-License-Identifier: MIT */
/* A sum of bytes, against accidents and to tell pages apart: quick, and not
 * against somebody who means it. */
#ifndef SUM_H
#define SUM_H

#include <stddef.h>
#include <stdint.h>

/* Another one for each length; never 0. */
uint64_t sum_of(const void *p, size_t n);

#endif
