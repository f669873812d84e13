/* SPDX-License-Identifier: MIT */
/* What nft prints of a firewall, from anybody who may name a table. What is
 * said to mend it is pasted into a shell: one word in quotes, and no more. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "control/ruleset.h"
#include "tests/fuzz/fuzz.h"

#define BEGIN "nft 'insert rule "
#define END " accept'"

static void check_mend(const char *mend, bool out)
{
    size_t n = strlen(mend);
    assert(n > strlen(BEGIN END) && !strncmp(mend, BEGIN, strlen(BEGIN)));
    assert(!strcmp(mend + n - strlen(END), END));
    const char *words = mend + strlen(BEGIN);
    assert(strchr(words, '\'') == mend + n - 1);
    assert(strstr(words, out ? " oifname \"tap0\"" : " iifname \"tap0\""));
    for (size_t i = 0; i < n; i++)
        assert(mend[i] >= ' ' && mend[i] <= '~');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const hooks[] = {"input", "output", "forward"};
    struct fuzz f = {data, size};
    uint8_t way = fuzz_u8(&f);
    bool out = way & 1;
    char mend[320] = "";
    char *rules = malloc(f.n + 1);
    assert(rules);
    memcpy(rules, f.p, f.n);
    rules[f.n] = '\0';
    enum ruleset_says says =
        ruleset_for(rules, hooks[way / 2 % 3], "tap0", out, mend, sizeof(mend));
    if (says == RULES_PASS)
        assert(!*mend);
    else
        check_mend(mend, out);
    free(rules);
    return 0;
}
