/* SPDX-License-Identifier: MIT */
/* Who the machine is: -name, -uuid, -smbios. */
#include <errno.h>
#include <string.h>
#include <sys/prctl.h>

#include "base/thread.h"
#include "control/told.h"

const struct field name_keys[] = {
    KEY(TEXT, "guest", guest),
    KEY(TEXT, "process", process),
    KEY(FLAG, "debug-threads", threads, .def = ON),
    END,
};

int pc_name(struct config *c, const struct told *t)
{
    char process[16] = ""; /* prctl's limit */
    int err = pc_copy(t, "guest", t->guest, c->name_text, sizeof(c->name_text));
    for (const char *p = c->name_text; !err && *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            err = fail(-EINVAL, "-name: a control character (0x%02x) in it",
                       (unsigned char)*p);
    if (!err)
        err = pc_copy(t, "process", t->process, process, sizeof(process));
    if (!err && c->name_text[0])
        c->name = c->name_text;
    if (!err)
        threads_name(c->name && t->threads ? c->name_text : NULL);
    if (!err && process[0])
        prctl(PR_SET_NAME, process);
    return err;
}

int pc_uuid(struct config *c, const struct told *t)
{
    return parse_uuid("-uuid", t->arg, c->boot.who.uuid);
}

#define IDENTITY(key, i) KEY(TEXT, key, text[i])
const struct field smbios_keys[] = {
    KEY(TEXT, "type", type),
    KEY(TEXT, "uuid", uuid),
    IDENTITY("manufacturer", 0),
    IDENTITY("product", 1),
    IDENTITY("version", 2),
    IDENTITY("serial", 3),
    IDENTITY("sku", 4),
    IDENTITY("family", 5),
    END,
};

int pc_smbios(struct config *c, const struct told *t)
{
    struct identity *who = &c->boot.who;
    const char *type = t->type ? t->type : "";
    int err = 0;
    if (strcmp(type, "1"))
        err =
            fail(-EINVAL,
                 "-smbios type=%s: only type=1, the system, can be told", type);
    if (!err && t->uuid)
        err = parse_uuid("-smbios uuid", t->uuid, who->uuid);
    for (int i = 0; !err && i < IDENTITY_TEXTS; i++)
        err = pc_copy(t, smbios_keys[2 + i].name, t->text[i], who->text[i],
                      sizeof(who->text[i]));
    return err;
}
