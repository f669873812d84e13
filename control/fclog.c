/* SPDX-License-Identifier: MIT */
/* The log as Firecracker's clients read it:
 *
 *     2026-11-26T10:47:21.123456Z [ID:main:WARN] text
 *
 * Whatever is said here is worth a warning, but for the first line: there is no
 * more to be had with another level, and less only with Off. */
#include "control/fclog.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/log.h"
#include "base/opts.h"

static const char *id = "anonymous-instance";

void fclog_id(const char *name)
{
    id = name;
}

enum { LEVEL_OFF, LEVEL_INFO = 3, LEVEL_UNKNOWN = 7 };
static const struct {
    const char *word, *shown;
    bool info;
} levels[LEVEL_UNKNOWN] = {
    {"Off", "", false},         {"Error", "ERROR", false},
    {"Warn", "WARN", false},    {"Info", "WARN", true},
    {"Debug", "WARN", true},    {"Trace", "WARN", true},
    {"Warning", "WARN", false},
};

static int fclog_open(const char *what, const char *path)
{
    int fd = open(
        path, O_RDWR | O_APPEND | O_CREAT | O_NONBLOCK | O_NOCTTY | O_CLOEXEC,
        0644);
    if (fd < 0)
        return fail(-errno, "%s: log_path: %s: %s", what, path,
                    strerror(errno));
    log_take(fd);
    return 0;
}

static void fclog_form(const struct fclog *l, const char *level, bool off)
{
    char prefix[80];
    snprintf(prefix, sizeof(prefix), "[%s:main%s%s%s] ", id,
             l->show_level ? ":" : "", l->show_level ? level : "",
             l->show_origin ? ":vmm" : "");
    log_form(prefix, off);
}

int fclog_set(const char *what, const struct fclog *l)
{
    unsigned level = l->level ? 0 : LEVEL_INFO;
    while (l->level && level < LEVEL_UNKNOWN &&
           strcasecmp(l->level, levels[level].word))
        level++;
    if (level == LEVEL_UNKNOWN)
        return fail(-EINVAL,
                    "%s: level: %s: must be one of Off, Error, Warning, Info, "
                    "Debug, Trace",
                    what, l->level);
    int err = l->path ? fclog_open(what, l->path) : 0;
    if (err)
        return err;
    /* Where information is left out, Firecracker up to 1.4 had this line all
     * the same, bare, and clients of that time look for it. */
    if (levels[level].info)
        fclog_form(l, "INFO", false);
    else
        log_form("", level == LEVEL_OFF);
    log_line("Running Firecracker v" FC_VERSION);
    fclog_form(l, levels[level].shown, level == LEVEL_OFF);
    return 0;
}
