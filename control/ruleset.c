/* SPDX-License-Identifier: MIT */
/* The rules of nft(8), which has iptables' as well, read as far as a doctor
 * needs them.
 *
 * Theory of operation. Each line of a chain is a rule: conditions, then a
 * verdict. Only conditions on the interface are understood. A rule with others
 * that drops may drop; one with others that accepts is believed to have been
 * made for the interface that it names, or for answers (ct state established).
 * Texts in quotes (comments, prefixes of a log) are no words of a rule. Chains
 * that are jumped to are not followed. */
#include "control/ruleset.h"

#include <stdio.h>
#include <string.h>

enum { LINE = 512 };

struct ruleset {
    const char *hook, *ifname;
    bool out;
    char family[16], table[96], chain[96];
    bool ours, policy; /* the chain is of the hook; and drops at its end */
    bool passed;       /* what comes to the next rule is not the interface's */
    enum ruleset_says says;
};

/* The word at p, and how long it is; a text in quotes is one. */
static size_t ruleset_word(const char *p)
{
    size_t n = strcspn(p, " \t");
    if (*p != '"')
        return n;
    n = strcspn(p + 1, "\"");
    return n + 1 + (p[n + 1] == '"');
}

static const char *ruleset_next(const char *p)
{
    p += ruleset_word(p);
    return p + strspn(p, " \t");
}

static bool ruleset_is(const char *p, const char *word)
{
    return ruleset_word(p) == strlen(word) && !strncmp(p, word, strlen(word));
}

static bool ruleset_has(const char *p, const char *word)
{
    for (; *p; p = ruleset_next(p))
        if (ruleset_is(p, word))
            return true;
    return false;
}

/* "tap0", "tap*", a comma after it or none. */
static bool ruleset_names(const char *p, const char *ifname)
{
    size_t n = strcspn(p + 1, "\"");
    if (n && p[n] == '*')
        return !strncmp(p + 1, ifname, n - 1);
    return n == strlen(ifname) && !strncmp(p + 1, ifname, n);
}

/* The condition at p, if it is one on the interface: *p moves behind it.
 * *met: the interface meets it. */
static bool ruleset_condition(const struct ruleset *r, const char **p,
                              bool *met)
{
    const char *at = *p;
    if (!ruleset_is(at, r->out ? "oifname" : "iifname") &&
        !ruleset_is(at, r->out ? "oif" : "iif"))
        return false;
    at = ruleset_next(at);
    bool other = ruleset_is(at, "!="), found = false;
    if (other)
        at = ruleset_next(at);
    bool set = *at == '{';
    do {
        if (*at == '"')
            found |= ruleset_names(at, r->ifname);
        at = ruleset_next(at);
    } while (set && *at && *at != '}');
    if (set && *at)
        at = ruleset_next(at);
    *p = at;
    *met = found != other;
    return true;
}

/* What is no condition: counters, and what is written to the log. */
static const char *ruleset_pass_over(const char *p)
{
    if (ruleset_is(p, "counter"))
        for (p = ruleset_next(p);
             ruleset_is(p, "packets") || ruleset_is(p, "bytes");)
            p = ruleset_next(ruleset_next(p));
    else if (ruleset_is(p, "log"))
        for (p = ruleset_next(p); ruleset_is(p, "prefix") ||
                                  ruleset_is(p, "level") ||
                                  ruleset_is(p, "group");)
            p = ruleset_next(ruleset_next(p));
    return p;
}

static void ruleset_rule(struct ruleset *r, const char *p)
{
    bool named = false, met = true;
    for (const char *was = NULL; p != was;) {
        was = p;
        named |= ruleset_condition(r, &p, &met);
        if (!met)
            return;
        p = ruleset_pass_over(p);
    }
    bool all = ruleset_is(p, "accept") || ruleset_is(p, "drop") ||
               ruleset_is(p, "reject");
    bool drops = ruleset_has(p, "drop") || ruleset_has(p, "reject");
    if (drops && all)
        r->says = RULES_DROP;
    else if (drops && r->says == RULES_PASS)
        r->says = RULES_MAY_DROP;
    bool answers = strstr(p, "established") && ruleset_has(p, "state");
    r->passed = (drops && all) ||
                (ruleset_has(p, "accept") && (all || named || answers));
}

/* "type filter hook forward priority filter; policy drop;" */
static void ruleset_type(struct ruleset *r, const char *p)
{
    r->ours = ruleset_has(p, "hook");
    for (; r->ours && !ruleset_is(p, "hook");)
        p = ruleset_next(p);
    r->ours = r->ours && ruleset_is(ruleset_next(p), r->hook);
    r->policy = strstr(p, "policy drop;") != NULL;
}

/* A line; true: a chain ends that does not let it pass. Whoever may make a
 * table names it (nft itself takes other characters in no name): where a name
 * has others it ends. */
static bool ruleset_line(struct ruleset *r, const char *p)
{
    if (sscanf(p, "table %15[a-z] %95[A-Za-z0-9_./\\-]", r->family, r->table) ==
        2)
        return false;
    if (sscanf(p, "chain %95[A-Za-z0-9_./\\-]", r->chain) == 1) {
        r->ours = r->passed = r->policy = false;
        r->says = RULES_PASS;
    } else if (!strncmp(p, "type ", 5)) {
        ruleset_type(r, p);
    } else if (*p == '}' && r->ours) {
        if (r->policy && !r->passed)
            r->says = RULES_DROP;
        r->ours = false;
        return r->says != RULES_PASS;
    } else if (r->ours && !r->passed) {
        ruleset_rule(r, p);
    }
    return false;
}

enum ruleset_says ruleset_for(const char *rules, const char *hook,
                              const char *ifname, bool out, char *mend,
                              size_t size)
{
    struct ruleset r = {.hook = hook, .ifname = ifname, .out = out};
    enum ruleset_says worst = RULES_PASS;
    char line[LINE];
    while (*rules) {
        size_t n = strcspn(rules, "\n");
        snprintf(line, sizeof(line), "%.*s", (int)n, rules);
        rules += n + (rules[n] == '\n');
        if (!ruleset_line(&r, line + strspn(line, "\t ")) || r.says <= worst)
            continue;
        worst = r.says;
        snprintf(mend, size, "nft 'insert rule %s %s %s %s \"%s\" accept'",
                 r.family, r.table, r.chain, out ? "oifname" : "iifname",
                 ifname);
    }
    return worst;
}
