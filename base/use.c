/* SPDX-License-Identifier: MIT */
/* What this machine is configured with that takes system calls of its own. */
#include "base/use.h"

static unsigned uses = 1u << USE_ALWAYS;

void thread_uses(enum thread_use use)
{
    uses |= 1u << use;
}

unsigned threads_use(void)
{
    return uses;
}
