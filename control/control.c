/* SPDX-License-Identifier: MIT */
/* -control: a socket at which a running machine can be asked things.
 *
 * Who can connect can end the machine, so the socket is made for its maker
 * alone, and is never wider than what was asked for. The process gives up its
 * user after that; the socket stays whose it was. Its file is removed by the
 * helper process when this one has ended. */
#include "control/control.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/handed.h"
#include "control/api.h"
#include "control/serial.h"
#include "host/helper.h"
#include "host/ids.h"
#include "host/listen.h"

#define WAITING 128  /* connections that are not accepted yet */
#define NOBODY 65534 /* whom a user namespace does not know */

static struct {
    struct opts o;
    const char *path, *owner, *group, *mode;
    uid_t uid;
    gid_t gid;
    mode_t bits;
    bool blind; /* others have no number here */
    int fd;     /* a service manager's, instead; 0: none */
    struct addr addr;
} told;

static struct control ctl;
static struct server server;

static const struct field control_fields[] = {
    FIELD(TEXT, "path", __typeof__(told), path, .arg = "PATH",
          .help = "of the socket"),
    FIELD(TEXT, "owner", __typeof__(told), owner, .arg = "USER",
          .help = "who may connect (who started the VMM)"),
    FIELD(TEXT, "group", __typeof__(told), group, .arg = "GROUP",
          .help = "who else may, with mode=0660 unless that is said"),
    FIELD(TEXT, "mode", __typeof__(told), mode, .arg = "MODE",
          .help = "the file's, octal (0600)"),
    {.name = ""},
};

static int control_read(void)
{
    uid_t uid = (uid_t)-1;
    gid_t gid = (gid_t)-1;
    if (!told.path || !*told.path)
        return fail(-EINVAL, "-control: PATH is missing");
    if (told.owner && !ids_user(told.owner, &uid, &gid))
        return fail(-EINVAL, "-control: owner=%s: no such user", told.owner);
    if (told.owner)
        told.uid = uid;
    if (told.group && !ids_group(told.group, &told.gid))
        return fail(-EINVAL, "-control: group=%s: no such group", told.group);
    told.bits = told.group ? 0660 : 0600;
    if (told.mode) {
        char *end;
        unsigned long bits = strtoul(told.mode, &end, 8);
        if (!*told.mode || *end || bits > 0777)
            return fail(-EINVAL, "-control: mode=%s: must be octal, as 0660",
                        told.mode);
        told.bits = (mode_t)bits;
    }
    return addr_unix("-control", told.path, false, &told.addr);
}

int control_check(void)
{
    int fd = handed_take("given:-control");
    if (fd < 0)
        fd = listen_socket("-control", "api");
    told.fd = fd < 0 ? 0 : fd;
    if (fd == -ENOENT && told.path)
        helper_need_unlink(&told.addr);
    return fd == -EINVAL ? fd : 0;
}

int control_option(const char *arg)
{
    if (word_among(arg, "help ?")) {
        fields_help(control_fields);
        return 1;
    }
    if (told.path)
        return fail(-EINVAL, "-control: one socket is enough for all");
    int err = opts_parse(&told.o, "-control", arg, "path");
    if (!err)
        err = fields_read(control_fields, &told, &told.o);
    told.uid = (uid_t)-1;
    told.gid = (gid_t)-1;
    return err ? err : control_read();
}

/* A second look at who came, where others beside the owner may: a file's mode
 * can be changed by who may not mean it. Root may, as everywhere; of others
 * their user and their group are looked at. Inside a user namespace they have
 * no number, and the file's mode decides.
 *
 * syscalls loop if control: getsockopt */
static bool control_admits(struct server *s, int fd)
{
    struct ucred who;
    gid_t groups[64];
    socklen_t len = sizeof(who);
    (void)s;
    if (told.fd || (told.bits & S_IROTH && told.bits & S_IWOTH))
        return true;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len))
        return false;
    if (!who.uid || who.uid == told.uid || (who.uid == NOBODY && told.blind))
        return true;
    if (!told.group)
        return false;
    if (who.gid == told.gid)
        return true;
    len = sizeof(groups);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &len))
        return false;
    for (size_t i = 0; i < len / sizeof(*groups); i++)
        if (groups[i] == told.gid)
            return true;
    return false;
}

static void control_request(struct client *c)
{
    api_request(&ctl, c);
}

static void control_goes_on(struct client *c, uint8_t known)
{
    if (known == SERIAL_RESTS)
        serial_attach(ctl.m, c);
}

/* Made for its maker alone; then what else was asked for. */
static int control_bind(int fd)
{
    mode_t before = umask(0177);
    int err = addr_bind(fd, &told.addr);
    umask(before);
    if (!err)
        err = helper_unlink(&told.addr);
    if (!err && (told.owner || told.group) &&
        lchown(told.path, told.owner ? told.uid : (uid_t)-1, told.gid))
        err = -errno;
    if (!err && chmod(told.path, told.bits))
        err = -errno;
    if (!err && listen(fd, WAITING))
        err = -errno;
    return err;
}

int control_begin(struct machine *m, const struct config *config)
{
    if (!told.path && !told.fd)
        return 0;
    int fd = told.fd ? told.fd : handed_take("listen:-control"), err = 0;
    if (fd >= 0 && !told.fd) {
        err = helper_unlink(&told.addr);
    } else if (!told.fd) {
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        err = fd < 0 ? -errno : control_bind(fd);
    }
    if (err) {
        if (fd >= 0)
            close(fd);
        return fail(err, "-control %s: %s", told.path,
                    addr_bind_why(&told.addr, err));
    }
    told.blind = geteuid() != 0; /* the sandbox is a user namespace then */
    if (!told.owner)
        told.uid = geteuid();
    ctl = (struct control){.m = m, .config = config};
    server = (struct server){.request = control_request,
                             .admit = control_admits,
                             .goes_on = control_goes_on,
                             .name = "vmm"};
    err = server_begin(&server, m->loop, fd);
    handed_keep(&server.listen.fd, "%s:-control", told.fd ? "given" : "listen");
    return err ? fail(err, "-control: %s", strerror(-err)) : 0;
}

void control_end(void)
{
    verbs_end();
    server_end(&server);
    opts_free(&told.o);
}
