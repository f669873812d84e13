/* SPDX-License-Identifier: MIT */
/* What a firewall does with the frames of an interface, by `nft list ruleset`.
 */
#ifndef RULESET_H
#define RULESET_H

#include <stdbool.h>
#include <stddef.h>

enum ruleset_says {
    RULES_PASS,
    RULES_MAY_DROP, /* what meets more than the interface */
    RULES_DROP,
};

/* Of a hook's chains ("input", "forward"), for what has come from `ifname`, or
 * with `out` goes there. Unless it passes, `mend` becomes a command that has
 * the first chain that says otherwise let all of it pass. */
enum ruleset_says ruleset_for(const char *rules, const char *hook,
                              const char *ifname, bool out, char *mend,
                              size_t size);

#endif
