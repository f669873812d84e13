/* SPDX-License-Identifier: MIT */
/* Ways for the guest to end, and the exceptions that end it. */
#ifndef GUEST_POWER_H
#define GUEST_POWER_H

#include "irq.h"

enum power_event { EVENT_UP, EVENT_PING, EVENT_FLOOD, EVENT_SINK };

/* rsdp: what the loader said; it is looked at only when needed. */
void power_init(u64 rsdp);

/* Something happened that `on=` may wait for. */
void power_event(enum power_event event);

/* Carries out `test=` once its time has come. From the main loop, when what
 * was queued has been sent. */
void power_run(void);

/* Prints why and, if f is given, the registers; tells pvpanic; halts. */
_Noreturn void power_panic(const char *why, const struct trap_frame *f);

/* CPU exception, from irq_dispatch(). */
_Noreturn void power_exception(const struct trap_frame *f);

#endif
