/* SPDX-License-Identifier: MIT */
/* Parses the command line; main.c lists the options. */

#include "options.h"
#include "boot.h"

struct options opt;

static bool ends_word(char c)
{
    return !c || c == ' ' || c == ',' || c == '\n';
}

bool word_is(const char *s, const char *name)
{
    size_t n = strlen(name);

    return s && !memcmp(s, name, n) && ends_word(s[n]);
}

/* If *s begins with key, steps over it. */
static bool eat(const char **s, const char *key)
{
    const char *p = *s;

    while (*key)
        if (*p++ != *key++)
            return false;
    *s = p;
    return true;
}

static u64 number(const char **s)
{
    u64 v = 0;

    while (**s >= '0' && **s <= '9')
        v = v * 10 + (u64)(*(*s)++ - '0');
    return v;
}

/* a.b.c.d to network byte order. */
static u32 address(const char **s)
{
    u32 ip = 0;

    for (unsigned i = 0; i < 4; i++) {
        ip |= (u32)(number(s) & 255) << (8 * i);
        if (i < 3 && **s == '.')
            (*s)++;
    }
    return ip;
}

static u32 prefix_mask(u64 bits)
{
    return !bits || bits > 32 ? 0 : be32(~0u << (32 - bits));
}

static void parse_ip(const char **s)
{
    if (eat(s, "dhcp")) {
        opt.dhcp = true;
        return;
    }
    opt.ip_of_mac = eat(s, "mac");
    if (!opt.ip_of_mac)
        opt.ip = address(s);
    if (eat(s, "/"))
        opt.mask = prefix_mask(number(s));
    if (eat(s, ",gw="))
        opt.gw = address(s);
}

static void parse_flood(const char **s)
{
    opt.flood_size = (u32)number(s);
    while (eat(s, ",")) {
        if (eat(s, "secs="))
            opt.flood_secs = (u32)number(s);
        else if (eat(s, "to=bcast"))
            opt.flood_to = 0;
        else if (eat(s, "to="))
            opt.flood_to = address(s);
        else
            opt.flood_count = number(s);
    }
    if (!opt.flood_count && !opt.flood_secs)
        opt.flood_secs = 10;
}

/* Only this one: where ring 0 is interpreted, the others can wait. */
bool options_ring3(const char *cmdline)
{
    for (const char *s = cmdline; *s && s < cmdline + BOOT_CMDLINE_MAX; s++)
        if (*s == 'r' && (s == cmdline || s[-1] == ' ') && word_is(s, "ring3"))
            return true;
    return false;
}

static void parse_word(const char *s)
{
    if (eat(&s, "ip="))
        parse_ip(&s);
    else if (eat(&s, "flood="))
        parse_flood(&s);
    else if (eat(&s, "test="))
        opt.test = s;
    else if (eat(&s, "after="))
        opt.after_ms = (u32)number(&s);
    else if (eat(&s, "reboot="))
        opt.reboot = s;
    else if (eat(&s, "on="))
        opt.on = s;
    else if (eat(&s, "nic="))
        opt.nic = (u32)number(&s);
    else if (word_is(s, "quiet"))
        opt.quiet = true;
    else if (word_is(s, "sink"))
        opt.sink = true;
    else if (word_is(s, "nomsix"))
        opt.no_msix = true;
    else if (word_is(s, "rebar"))
        opt.rebar = true;
    else if (word_is(s, "rebar=high"))
        opt.rebar = opt.rebar_high = true;
}

void options_parse(const char *cmdline)
{
    const char *s = cmdline;

    opt.ip = be32(0x0a000002); /* 10.0.0.2/24 */
    opt.mask = prefix_mask(24);
    while (*s && s < cmdline + BOOT_CMDLINE_MAX) {
        if (*s != ' ')
            parse_word(s);
        while (*s && *s != ' ')
            s++;
        while (*s == ' ')
            s++;
    }
}
