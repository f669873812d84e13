/* SPDX-License-Identifier: MIT */
/* The log as Firecracker's clients read it:
 *
 *     2026-11-26T10:47:21.123456Z [ID:main:WARN] text
 *
 * Whatever is said here is worth a warning: there is no more to be had with
 * another level, and less only with Off. */
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

enum { LEVEL_OFF, LEVEL_ERROR, LEVEL_WARN, LEVEL_INFO, LEVEL_UNKNOWN = 7 };
static const struct {
    const char *word, *shown;
} levels[LEVEL_UNKNOWN] = {
    {"Off", ""},         {"Error", "ERROR"}, {"Warn", "WARN"},
    {"Info", "WARN"},    {"Debug", "WARN"},  {"Trace", "WARN"},
    {"Warning", "WARN"},
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

int fclog_set(const char *what, const struct fclog *l)
{
    unsigned level = l->level ? 0 : LEVEL_INFO;
    char prefix[80];
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
    snprintf(prefix, sizeof(prefix), "[%s:main%s%s%s] ", id,
             l->show_level ? ":" : "", l->show_level ? levels[level].shown : "",
             l->show_origin ? ":vmm" : "");
    log_form(prefix, level == LEVEL_OFF);
    log_line("Running Firecracker v" FC_VERSION);
    return 0;
}
