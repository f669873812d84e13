/* SPDX-License-Identifier: MIT */
/* QMP's descriptors: what clients bring by SCM_RIGHTS, under a name (getfd) or
 * in a set (add-fd), and a NIC's other backend, which is mostly made of them.
 *
 * Theory of operation. There is no hot-plug, but a cable can be moved: an
 * engine takes a NIC's backend away (netdev_del) and gives another one under
 * the same id (netdev_add), which the NIC then has, its cable out meanwhile.
 * All that a command names is looked at before anything is taken. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "control/qmp.h"
#include "host/fdname.h"
#include "host/fdset.h"
#include "net/net.h"

#define RUN(name)                                                              \
    static int name(struct monitor *mo, const struct qmp_told *t,              \
                    struct text *out)

/* The oldest that came and was not used; -EINVAL (said): there is none. */
static int qmp_came(struct monitor *mo)
{
    if (!mo->nfd)
        return fail(-EINVAL, "No file descriptor supplied via SCM_RIGHTS");
    int fd = mo->fd[0];
    mo->nfd--;
    memmove(mo->fd, mo->fd + 1, mo->nfd * sizeof(mo->fd[0]));
    return fd;
}

/* ---------------------------------------------------------------- by a name */

int qmp_take_fd(const char *name)
{
    struct fdname *f = *name ? fdname_find(name) : NULL;
    if (!f)
        return -ENOENT;
    f->name[0] = '\0';
    return f->fd;
}

void qmp_drop_fds(void)
{
    fdname_free();
    fdset_free();
}

/* Under a name that is there already it takes the other's place. */
RUN(qmp_getfd)
{
    (void)out;
    if (!*t->name || strlen(t->name) >= FDNAME_SIZE)
        return fail(-EINVAL, "fdname: must be of 1 to %d characters",
                    FDNAME_SIZE - 1);
    struct fdname *same = fdname_find(t->name),
                  *f = same ? same : fdname_find("");
    if (!f)
        return fail(-ENFILE, "at most %d descriptors wait to be used",
                    FDNAME_FDS);
    int fd = qmp_came(mo);
    if (fd < 0)
        return fd;
    if (same)
        close(same->fd);
    f->fd = fd;
    strcpy(f->name, t->name);
    return 0;
}

static int qmp_no_fd(const char *name)
{
    return fail(-EINVAL, "File descriptor named '%s' not found", name);
}

RUN(qmp_closefd)
{
    (void)mo, (void)out;
    int fd = qmp_take_fd(t->name);
    if (fd < 0)
        return qmp_no_fd(t->name);
    close(fd);
    return 0;
}

/* ----------------------------------------------------------------- in a set */

RUN(qmp_add_fd)
{
    uint32_t set = t->set;
    int fd = qmp_came(mo);
    if (fd < 0)
        return fd;
    int err = fdset_add(&set, fd, t->line);
    if (err)
        close(fd);
    else
        text_put(out, "{\"fdset-id\": %u, \"fd\": %d}", set, fd);
    return err;
}

RUN(qmp_remove_fd)
{
    (void)mo, (void)out;
    int err = fdset_remove(t->set, t->number);
    return err ? -EINVAL : 0; /* no device that could not be found */
}

RUN(qmp_query_fdsets)
{
    (void)mo, (void)t;
    fdset_put(out);
    return 0;
}

/* --------------------------------------------------------- another backend */

/* Cuts the next of "a:b:c" off. False: there are no more, or it is too long. */
static bool qmp_next_name(const char **list, char name[64])
{
    size_t n = strcspn(*list, ":");
    if (!n || n >= 64)
        return false;
    memcpy(name, *list, n);
    name[n] = '\0';
    *list += n + ((*list)[n] == ':');
    return true;
}

/* Does getfd have what the list names, each of it once, and none of the `n`
 * that were `seen`? Adds them; how many, or -EINVAL (said). */
static int qmp_count_names(const char *list, const struct fdname **seen, int n)
{
    char name[64];
    int count = 0;
    for (const char *p = list; *p; count++, n++) {
        if (count == NET_QUEUES_MAX || !qmp_next_name(&p, name))
            return fail(-EINVAL, "%.80s: no list of 1 to %d names, NAME:NAME",
                        list, NET_QUEUES_MAX);
        seen[n] = fdname_find(name);
        if (!seen[n])
            return qmp_no_fd(name);
        for (int i = 0; i < n; i++)
            if (seen[i] == seen[n])
                return fail(-EINVAL, "%.80s: %s is named twice", list, name);
    }
    return count;
}

/* Takes them; `fd` NULL: nobody needs them. */
static void qmp_take_names(const char *list, int *fd)
{
    char name[64];
    while (qmp_next_name(&list, name)) {
        int took = qmp_take_fd(name);
        if (fd)
            *fd++ = took;
        else
            close(took);
    }
}

/* The netdev, whose backend may be another from now on. */
static struct netdev *qmp_netdev(const char *id)
{
    struct netdev *nd = netdev_find(id);
    if (!nd)
        fail(-ENOENT,
             "netdev %s: there is none; NICs and their netdevs are "
             "made at the start",
             id);
    else if (!nd->swap || !nd->drop)
        fail(-EOPNOTSUPP, "netdev %s: what is behind a %s stays", id,
             nd->cls ? nd->cls->name : "netdev");
    else
        return nd;
    return NULL;
}

static int qmp_check_add(const struct netdev *nd, const struct qmp_told *t)
{
    if (!nd->away)
        return fail(-EINVAL, "netdev %s: is there; netdev_del comes first",
                    t->id);
    if (strcmp(t->type, "tap"))
        return fail(-EINVAL, "type=%.40s: only a tap can be put there",
                    t->type);
    if (!t->fd + !t->fds + !t->path != 2)
        return fail(-EINVAL, "one of 'fd', 'fds' and 'ifname' is needed");
    if ((t->flag || t->vhostfd || t->vhostfds) && nd->vhost != VHOST_KERNEL)
        return fail(-EINVAL, "netdev %s: began without vhost, and stays so",
                    t->id);
    return 0;
}

/* Its queues' descriptors. A descriptor of vhost-net is not needed: the NIC
 * keeps its own. */
static int qmp_put_fds(struct netdev *nd, const struct qmp_told *t)
{
    const struct fdname *seen[2 * NET_QUEUES_MAX];
    int fd[NET_QUEUES_MAX];
    const char *list = t->fd ? t->fd : t->fds;
    const char *vhost = t->vhostfd    ? t->vhostfd
                        : t->vhostfds ? t->vhostfds
                                      : "";
    int n = qmp_count_names(list, seen, 0);
    if (n < 0 || qmp_count_names(vhost, seen, n) < 0)
        return -EINVAL;
    if (n != (int)nd->nq)
        return fail(-EINVAL, "netdev %s: has %u queues, not %d", nd->id, nd->nq,
                    n);
    qmp_take_names(vhost, NULL);
    qmp_take_names(list, fd);
    return nd->swap(nd, fd, NULL);
}

RUN(qmp_netdev_add)
{
    (void)out;
    struct netdev *nd = qmp_netdev(t->id);
    int err = nd ? qmp_check_add(nd, t) : -EINVAL;
    if (err)
        return err;
    return t->path ? qmp_verb(mo, "netdev", "id", t->id, "ifname", t->path)
                   : qmp_put_fds(nd, t);
}

RUN(qmp_netdev_del)
{
    const struct netdev *nd = netdev_find(t->id);
    (void)out;
    if (!nd || nd->away)
        return fail(-ENOENT, "Device '%s' not found", t->id);
    return qmp_netdev(t->id) ? qmp_verb(mo, "netdev", "id", t->id, "ifname", "")
                             : -EINVAL;
}

/* ----------------------------------------------------------------- commands */

#define MAY_MISS(key, member)                                                  \
    QMP_KEY(NUMBER, key, member, .max = INT32_MAX, .def = UINT32_MAX)

static const struct field fd_fields[] = {
    QMP_KEY(TEXT, "fdname", name, .arg = "NAME"), QMP_END};
static const struct field add_fields[] = {
    MAY_MISS("fdset-id", set), QMP_KEY(TEXT, "opaque", line, .arg = "TEXT"),
    QMP_END};
static const struct field remove_fields[] = {MAY_MISS("fdset-id", set),
                                             MAY_MISS("fd", number), QMP_END};
static const struct field netdev_add_fields[] = {
    QMP_KEY(TEXT, "type", type, .arg = "tap"),
    QMP_KEY(TEXT, "id", id, .arg = "ID"),
    QMP_KEY(TEXT, "fd", fd, .arg = "NAME"),
    QMP_KEY(TEXT, "fds", fds, .arg = "NAME:NAME"),
    QMP_KEY(TEXT, "ifname", path, .arg = "TAP"),
    QMP_KEY(FLAG, "vhost", flag),
    QMP_KEY(TEXT, "vhostfd", vhostfd, .arg = "NAME"),
    QMP_KEY(TEXT, "vhostfds", vhostfds, .arg = "NAME:NAME"),
    QMP_END};
static const struct field id_fields[] = {QMP_KEY(TEXT, "id", id, .arg = "ID"),
                                         QMP_END};

const struct qmp_command qmp_fd_commands[] = {
    {"getfd", fd_fields, "fdname", NULL, qmp_getfd},
    {"closefd", fd_fields, "fdname", NULL, qmp_closefd},
    {"add-fd", add_fields, NULL, "{fdset-id:i,fd:i}", qmp_add_fd},
    {"remove-fd", remove_fields, "fdset-id", NULL, qmp_remove_fd},
    {"query-fdsets", NULL, NULL, "[{fdset-id:i,fds:[{fd:i,opaque?:s}]}]",
     qmp_query_fdsets},
    {"netdev_add", netdev_add_fields, "type id", NULL, qmp_netdev_add},
    {"netdev_del", id_fields, "id", NULL, qmp_netdev_del},
    {.name = NULL},
};
