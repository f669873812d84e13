/* SPDX-License-Identifier: MIT */
/* -chardev and -serial, as QEMU's users write them. */
#include "host/chardev.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/field.h"
#include "base/handed.h"
#include "base/log.h"
#include "host/helper.h"
#include "host/listen.h"
#include "host/peer.h"
#include "host/program.h"

#define PROGRAM_PAUSE_MS 100 /* before one that has ended is started again */

static struct chardev *chardevs;

/* What the keys say, before it is looked at as a whole. */
struct chardev_keys {
    const char *type, *id, *path, *host, *port, *logfile, *fd;
    uint8_t append, logappend, mux, server, wait, nowait, abstract, ignored;
    uint16_t reconnect;
    uint32_t reconnect_ms;
};

static const struct field common_keys[] = {
    FIELD(TEXT, "backend", struct chardev_keys, type, .arg = "TYPE"),
    FIELD(TEXT, "id", struct chardev_keys, id, .arg = "ID", .help = "its name"),
    FIELD(TEXT, "logfile", struct chardev_keys, logfile, .arg = "FILE",
          .help = "a copy of the output"),
    FIELD(FLAG, "logappend", struct chardev_keys, logappend,
          .help = "to the end of that file"),
    FIELD(FLAG, "mux", struct chardev_keys, mux,
          .help = "a serial port's and a monitor's in one: Ctrl-A c"),
    {.name = ""},
};

static const struct field file_keys[] = {
    FIELDS_OF(common_keys, "", struct chardev_keys, type),
    FIELD(TEXT, "path", struct chardev_keys, path, .arg = "FILE",
          .help = "the file, emptied first"),
    FIELD(FLAG, "append", struct chardev_keys, append,
          .help = "to the end of it"),
    {.name = ""},
};

static const struct field stdio_keys[] = {
    FIELDS_OF(common_keys, "", struct chardev_keys, type),
    FIELD(FLAG, "signal", struct chardev_keys,
          ignored), /* Ctrl-C is the guest's */
    {.name = ""},
};

static const struct field socket_keys[] = {
    FIELDS_OF(common_keys, "", struct chardev_keys, type),
    FIELD(TEXT, "path", struct chardev_keys, path, .arg = "PATH",
          .help = "a UNIX socket; or"),
    FIELD(TEXT, "host", struct chardev_keys, host, .arg = "ADDRESS",
          .help = "numeric, or localhost"),
    FIELD(TEXT, "port", struct chardev_keys, port, .arg = "PORT",
          .help = "of TCP"),
    FIELD(TEXT, "fd", struct chardev_keys, fd, .arg = "N",
          .help = "a socket that is open already"),
    FIELD(FLAG, "abstract", struct chardev_keys, abstract,
          .help = "path= is an abstract name"),
    FIELD(FLAG, "server", struct chardev_keys, server, .def = AUTO,
          .help = "listen; otherwise connect"),
    FIELD(FLAG, "wait", struct chardev_keys, wait, .def = AUTO,
          .help = "with server=on: start when somebody has connected"),
    FIELD(FLAG, "nowait", struct chardev_keys, nowait), /* wait=off, once */
    FIELD(NUMBER, "reconnect", struct chardev_keys, reconnect, .max = 3600,
          .help = "seconds until it connects again"),
    FIELD(NUMBER, "reconnect-ms", struct chardev_keys, reconnect_ms,
          .max = 3600000, .help = "the same in milliseconds"),
    FIELD(FLAG, "tight", struct chardev_keys, ignored),
    FIELD(FLAG, "nodelay", struct chardev_keys, ignored), /* it always is */
    {.name = ""},
};

static const struct {
    const char *name;
    const struct field *keys;
} types[] = {
    [CHARDEV_NULL] = {"null", common_keys},
    [CHARDEV_STDIO] = {"stdio", stdio_keys},
    [CHARDEV_FILE] = {"file", file_keys},
    [CHARDEV_PTY] = {"pty", common_keys},
    [CHARDEV_SOCKET] = {"socket", socket_keys},
};

static int chardev_find_type(const char *what, const char *name)
{
    char list[64] = "";
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        size_t n = strlen(list);
        if (!strcmp(types[i].name, name))
            return (int)i;
        snprintf(list + n, sizeof(list) - n, " %s", types[i].name);
    }
    return fail(-EINVAL, "%s %s: no such type; there are%s", what, name, list);
}

/* A socket that is listened at, by who starts us. */
static int chardev_read_fd(struct chardev *c, const struct chardev_keys *k)
{
    if (k->path || k->host || k->port || c->server != ON)
        return fail(-EINVAL,
                    "%s: fd= is a socket that is listened at: with server=on, "
                    "without path=, host= and port=",
                    c->label);
    snprintf(c->addr.text, sizeof(c->addr.text), "fd:%s", k->fd);
    if (handed_has("given:%s", c->label)) /* the number was another's */
        return 0;
    c->listens = listen_given(c->label, k->fd);
    return c->listens < 0 ? c->listens : 0;
}

/* QEMU's meanings, but for -serial unix:PATH and tcp:HOST:PORT without server=
 * and reconnect=: those listen without waiting, which is what one wants of a
 * console (in QEMU they connect). A server= is QEMU's, who waits. */
static int chardev_read_socket(struct chardev *c, const struct chardev_keys *k)
{
    c->reconnect_ms = k->reconnect_ms ? k->reconnect_ms : k->reconnect * 1000u;
    c->server =
        k->server == ON || (k->server == AUTO && !c->id && !c->reconnect_ms);
    c->wait =
        k->wait == ON || (k->wait == AUTO && k->server == ON && !k->nowait);
    if (k->fd)
        return chardev_read_fd(c, k);
    if (k->path ? k->host || k->port : !k->host && !k->port)
        return fail(-EINVAL, "%s: either path= or host= and port= is needed",
                    c->label);
    if (c->server && c->reconnect_ms)
        return fail(-EINVAL, "%s: reconnect= is for server=off", c->label);
    if (!c->server && c->wait)
        return fail(-EINVAL, "%s: wait=on needs server=on", c->label);
    if (k->path)
        return addr_unix(c->label, k->path, k->abstract, &c->addr);
    if (!k->port) /* tcp:HOST:PORT */
        return addr_host_port(c->label, k->host, c->server, &c->addr);
    return addr_inet(c->label, k->host, k->port, c->server, &c->addr);
}

static int chardev_read_keys(struct chardev *c, struct chardev_keys *k)
{
    snprintf(c->o.what, sizeof(c->o.what), "%s", c->label);
    int err = fields_read(types[c->type].keys, k, &c->o);
    if (err)
        return err;
    c->id = k->id;
    c->path = k->path;
    c->append = k->append;
    c->logfile = k->logfile;
    c->logappend = k->logappend;
    c->mux = k->mux;
    if (c->logappend && !c->logfile)
        return fail(-EINVAL, "%s: logappend= needs logfile=", c->label);
    if (c->type == CHARDEV_FILE && (!c->path || !*c->path))
        return fail(-EINVAL, "%s: path= is missing", c->label);
    return c->type == CHARDEV_SOCKET ? chardev_read_socket(c, k) : 0;
}

static void chardev_drop(struct chardev *c)
{
    struct chardev **p = &chardevs;
    while (*p && *p != c)
        p = &(*p)->next;
    if (*p)
        *p = c->next;
    opts_free(&c->o);
    free(c);
}

static void chardev_keep(struct chardev *c)
{
    c->next = chardevs;
    chardevs = c;
}

/* -------------------------------------------------------------- -chardev */

static int chardev_help(const struct opts *o)
{
    const char *type = o->n ? o->kv[0].val : "";
    int t = 0;
    if (strcmp(type, "help") && strcmp(type, "?")) {
        if (o->n < 2 || strcmp(o->kv[1].key, "help"))
            return 0;
        t = chardev_find_type("-chardev", type);
        if (t < 0)
            return t;
        printf("-chardev %s,id=ID[,KEY=VALUE]...\n", type);
        fields_help(types[t].keys);
        return 1;
    }
    puts("Available chardev backend types:");
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        printf("  %s\n", types[i].name);
    return 1;
}

static int chardev_read_chardev(struct chardev *c, const char *arg)
{
    struct chardev_keys k;
    int err = opts_parse(&c->o, "-chardev", arg, "backend");
    if (!err)
        err = chardev_help(&c->o);
    if (err)
        return err;
    const char *type = opts_str(&c->o, "backend", NULL);
    const char *id = opts_str(&c->o, "id", NULL);
    if (!type || !id || !*id)
        return fail(-EINVAL,
                    "-chardev %s: must be TYPE,id=ID; -chardev help "
                    "lists the types",
                    arg);
    snprintf(c->label, sizeof(c->label), "-chardev %s", id);
    if (chardev_find(id))
        return fail(-EINVAL, "%s: is there already", c->label);
    err = chardev_find_type("-chardev", type);
    if (err < 0)
        return err;
    c->type = (enum chardev_type)err;
    return chardev_read_keys(c, &k);
}

int chardev_add(const char *arg)
{
    struct chardev *c = calloc(1, sizeof(*c));
    if (!c)
        return fail(-ENOMEM, "-chardev: out of memory");
    int err = chardev_read_chardev(c, arg);
    if (err)
        chardev_drop(c);
    else
        chardev_keep(c);
    return err;
}

struct chardev *chardev_next(const struct chardev *c)
{
    return c ? c->next : chardevs;
}

void chardev_describe(const struct chardev *c, char *out, size_t size)
{
    if (c->type == CHARDEV_SOCKET)
        snprintf(out, size, "disconnected:%s%s", c->addr.text,
                 c->server ? ",server=on" : "");
    else if (c->type == CHARDEV_PTY)
        snprintf(out, size, "pty:%s", c->pty);
    else
        snprintf(out, size, "%s", types[c->type].name);
}

struct chardev *chardev_find(const char *id)
{
    struct chardev *c = chardevs;
    while (c && (!c->id || strcmp(c->id, id)))
        c = c->next;
    return c;
}

void chardev_free(void)
{
    while (chardevs)
        chardev_drop(chardevs);
}

/* --------------------------------------------------------------- -serial */

#define SERIAL_TO                                                              \
    "stdio, null, none, pty, file:PATH, unix:PATH, tcp:HOST:PORT, "            \
    "chardev:ID, mon:TO"

static int chardev_read_form(struct chardev *c, const char *rest,
                             const char *first)
{
    struct chardev_keys k;
    int err = opts_parse(&c->o, c->label, rest, first);
    if (err)
        return err;
    if (!c->o.n || strcmp(c->o.kv[0].key, first) || !*c->o.kv[0].val)
        return fail(-EINVAL, "%s: where to?", c->label);
    return chardev_read_keys(c, &k);
}

static int chardev_read_word(struct chardev *c, const char *to)
{
    static const struct {
        const char *word;
        enum chardev_type type;
    } words[] = {{"stdio", CHARDEV_STDIO},
                 {"null", CHARDEV_NULL},
                 {"none", CHARDEV_NULL},
                 {"pty", CHARDEV_PTY}};
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (!strcmp(words[i].word, to)) {
            c->type = words[i].type;
            return 0;
        }
    return fail(-EINVAL, "%s: not one of " SERIAL_TO, c->label);
}

static int chardev_read_to(struct chardev *c, const char *to)
{
    static const struct {
        const char *prefix, *first;
        enum chardev_type type;
    } forms[] = {{"file:", "path", CHARDEV_FILE},
                 {"unix:", "path", CHARDEV_SOCKET},
                 {"tcp:", "host", CHARDEV_SOCKET}};
    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        size_t n = strlen(forms[i].prefix);
        if (strncmp(to, forms[i].prefix, n))
            continue;
        c->type = forms[i].type;
        return chardev_read_form(c, to + n, forms[i].first);
    }
    return chardev_read_word(c, to);
}

int chardev_need_helper(struct chardev *c)
{
    if (c->server && !c->listens)
        helper_need_unlink(&c->addr);
    else if (c->reconnect_ms)
        c->way = helper_address(c->addr.text, &c->addr);
    return c->way < 0 ? c->way : 0;
}

/* A service manager listens for it, maybe. */
static int chardev_take_serial(struct chardev *c)
{
    int fd = listen_socket(c->label, "serial");
    c->listens = fd >= 0 ? fd : 0;
    return fd < 0 && fd != -ENOENT ? fd : 0;
}

/* The chardev that an option's TO is: named, or one of its own. */
static int chardev_for(const char *opt, const char *to, struct chardev **out)
{
    struct chardev *c;
    if (!strncmp(to, "chardev:", 8)) {
        *out = chardev_find(to + 8);
        return *out
                   ? 0
                   : fail(-EINVAL, "%s %s: there is no such -chardev", opt, to);
    }
    *out = c = calloc(1, sizeof(*c));
    if (!c)
        return fail(-ENOMEM, "%s: out of memory", opt);
    snprintf(c->label, sizeof(c->label), "%s %s", opt, to);
    bool mon = !strcmp(opt, "-serial") && !strncmp(to, "mon:", 4);
    int err = chardev_read_to(c, mon ? to + 4 : to);
    c->mux = c->monitor = mon;
    if (err)
        chardev_drop(c);
    else
        chardev_keep(c);
    return err;
}

/* Nobody else has it, nor the terminal that it is. */
static int chardev_is_free(const char *opt, const char *to, struct chardev *c)
{
    for (struct chardev *d = chardevs; d; d = d->next) {
        if (!d->taken ||
            (d != c && (d->type != CHARDEV_STDIO || c->type != d->type)))
            continue;
        int err = fail(-EINVAL, "%s %s: %s is in use already", opt, to,
                       d->id ? d->id : types[d->type].name);
        if (!c->id)
            chardev_drop(c);
        return err;
    }
    return 0;
}

int chardev_serial(const char *to, struct chardev **out)
{
    struct chardev *c;
    int err = chardev_for("-serial", to, &c);
    if (!err)
        err = chardev_is_free("-serial", to, c);
    if (err)
        return err;
    c->taken = true;
    *out = c;
    err = c->type == CHARDEV_SOCKET && c->server && !c->listens
              ? chardev_take_serial(c)
              : 0;
    return err ? err : chardev_need_helper(c);
}

int chardev_monitor(const char *opt, const char *to, struct chardev **out)
{
    struct chardev *c = !strcmp(opt, "-mon") ? chardev_find(to) : NULL;
    int err = 0;
    if (!c && !strcmp(opt, "-mon"))
        return fail(-EINVAL, "-mon chardev=%s: there is no such -chardev", to);
    if (!c)
        err = chardev_for(opt, to, &c);
    if (!err && !(c->mux && c->taken))
        err = chardev_is_free(opt, to, c);
    if (err)
        return err;
    *out = c;
    if (c->mux && c->taken)
        return 0; /* the serial port's, who has looked at it */
    c->taken = true;
    if (c->type == CHARDEV_STDIO || c->type == CHARDEV_PTY)
        return 0;
    if (c->type != CHARDEV_SOCKET || !c->server)
        return fail(-EINVAL,
                    "%s %s: a monitor is at stdio, pty, or a socket with "
                    "server=on",
                    opt, to);
    return chardev_need_helper(c);
}

static void chardev_lend(struct chardev *c, struct peer *peer)
{
    c->taken = true;
    c->peer = peer;
    peer->listen_fd = peer->conn.fd = -1;
}

int chardev_take(const char *what, const char *id, struct peer *peer,
                 struct chardev **out)
{
    struct chardev *c = chardev_find(id);
    if (!c)
        return fail(-EINVAL, "%s: no -chardev %s", what, id);
    if (c->type != CHARDEV_SOCKET || c->addr.sa.sa_family != AF_UNIX ||
        c->taken)
        return fail(-EINVAL,
                    "%s: chardev=%s: must be socket,path=PATH, and no one "
                    "else's",
                    what, id);
    chardev_lend(c, peer);
    *out = c;
    return 0;
}

int chardev_to(const char *what, const char *path, struct peer *peer,
               struct chardev **out)
{
    struct chardev *c = calloc(1, sizeof(*c));
    if (!c)
        return fail(-ENOMEM, "%s: out of memory", what);
    int err = addr_unix(what, path, false, &c->addr);
    if (err) {
        free(c);
        return err;
    }
    c->type = CHARDEV_SOCKET;
    chardev_lend(c, peer);
    chardev_keep(c);
    *out = c;
    return 0;
}

int chardev_of(struct program *p, struct peer *peer, struct chardev **out)
{
    struct chardev *c = calloc(1, sizeof(*c));
    if (!c)
        return fail(-ENOMEM, "%s: out of memory", p->id);
    c->type = CHARDEV_SOCKET;
    c->program = p;
    c->reconnect_ms = PROGRAM_PAUSE_MS;
    p->peer = peer;
    snprintf(c->addr.text, sizeof(c->addr.text), "%s", p->argv[0]);
    chardev_lend(c, peer);
    chardev_keep(c);
    *out = c;
    return 0;
}

void chardev_release(struct chardev *c)
{
    if (c->peer)
        chardev_part(c);
    c->peer = NULL;
    c->taken = false;
    if (!c->id)
        chardev_drop(c);
}

void chardev_release_all(void)
{
    for (struct chardev *c = chardevs, *next; c; c = next) {
        next = c->next;
        if (c->taken)
            chardev_release(c);
    }
}
