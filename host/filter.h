/* SPDX-License-Identifier: MIT */
/* Which system calls a thread of each kind may make. */
#ifndef FILTER_H
#define FILTER_H

#include <stddef.h>
#include <stdint.h>

#include "base/thread.h"

struct sock_filter;

enum { EXIT_VIOLATION = 148, FILTER_MAX = 336 };

/* From now on threads confine themselves (base/thread.h), and a call that is on
 * no list ends the VMM with exit code EXIT_VIOLATION. Before threads_begin();
 * no_new_privs is set. */
void filter_begin(void);
/* Its two halves: the handler; the calling thread's filter, for good. */
void filter_catch(void);
void filter_confine(enum thread_kind kind);

/* The filter for a kind of thread of this process, for what is in use
 * (threads_use). The number of instructions, FILTER_MAX at most. */
size_t filter_make(enum thread_kind kind, unsigned uses,
                   struct sock_filter *out);
/* So many calls are on its list. */
unsigned filter_calls(enum thread_kind kind, unsigned uses);
/* "openat"; "" where this program knows no name. */
const char *filter_call_name(unsigned number);

#endif
