/* SPDX-License-Identifier: MIT */
/* QMP inside: its commands, and what describes them. */
#ifndef QMP_H
#define QMP_H

#include "control/monitor.h"

/* What any command may be told. */
struct qmp_told {
    const char *id, *device, *name, *node, *line, *path, *type;
    const char *fd, *fds, *vhostfd, *vhostfds; /* names */
    uint64_t size;
    uint32_t number, set;
    uint8_t flag;
    const struct opts *args; /* all of it, as it came */
};
#define QMP_KEY(kind, key, member, ...)                                        \
    FIELD(kind, key, struct qmp_told, member, __VA_ARGS__)
#define QMP_ANY "VALUE" /* of any type, as its `arg` */
#define QMP_END                                                                \
    {                                                                          \
        .name = ""                                                             \
    }

/* A row; one without a name ends a table. */
struct qmp_command {
    const char *name;
    const struct field *fields; /* of struct qmp_told; NULL: none */
    const char *need;           /* keys that must be said, or NULL */
    const char *gives; /* the type of what it returns (schema.c); NULL: {} */
    /* As a verb's run; -ENODEV: there is no device to do it. */
    int (*run)(struct monitor *mo, const struct qmp_told *t, struct text *out);
};
extern const struct qmp_command qmp_commands[], qmp_fd_commands[],
    query_commands[];
/* All of them, one after the other; NULL: there are no more. */
const struct qmp_command *qmp_command(unsigned i);

/* Indexed by enum machine_news. */
struct qmp_event {
    const char *name, *data; /* its type; NULL: it has none */
};
extern const struct qmp_event qmp_events[];
#define QMP_EVENTS 9

/* Does what the verb of that name does, with up to two keys. */
int qmp_verb(struct monitor *mo, const char *verb, const char *key,
             const char *val, const char *key2, const char *val2);

/* qmp_fds.c: the descriptor that getfd has brought under this name, which is
 * the caller's; or -ENOENT. */
int qmp_take_fd(const char *name);

#define QMP_VERSION                                                            \
    "{\"qemu\": {\"micro\": 0, \"minor\": 2, \"major\": 7}, \"package\": "     \
    "\"vmm " VERSION "\"}"

/* query.c: what HMP shows, too. A device's place among others, as QEMU's object
 * model has it, in quotes. */
void query_path(struct text *out, const struct device *d);
const char *query_status_word(const struct machine *m);
bool query_balloon_actual(const struct machine *m, uint64_t *actual);

/* A processor's place there, by its number. */
#define QMP_CPU "/machine/unattached/device[%u]"

/* qom.c: rows of QMP's. */
int qom_list(struct monitor *mo, const struct qmp_told *t, struct text *out);
int qom_get(struct monitor *mo, const struct qmp_told *t, struct text *out);
int qom_set(struct monitor *mo, const struct qmp_told *t, struct text *out);

/* schema.c: query-qmp-schema. */
void schema_put(struct text *out);

#endif
