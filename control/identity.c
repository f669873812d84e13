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

static int identity_hex(char ch)
{
    static const char digits[] = "0123456789abcdef";
    const char *at = ch ? strchr(digits, ch | 32) : NULL;
    return at && (ch <= '9' || (ch | 32) >= 'a') ? (int)(at - digits) : -1;
}

/* 8-4-4-4-12 hexadecimal digits. */
static int identity_uuid(const char *what, const char *text, uint8_t uuid[16])
{
    const char *p = text;
    for (int i = 0; i < 16; i++, p += 2) {
        if ((i == 4 || i == 6 || i == 8 || i == 10) && *p++ != '-')
            goto bad;
        int high = identity_hex(p[0]), low = high < 0 ? -1 : identity_hex(p[1]);
        if (low < 0)
            goto bad;
        uuid[i] = (uint8_t)(high << 4 | low);
    }
    if (!*p)
        return 0;
bad:
    return fail(-EINVAL,
                "%s %s: not a UUID; write "
                "12345678-9abc-def0-1234-56789abcdef0",
                what, text);
}

int pc_uuid(struct config *c, const struct told *t)
{
    return identity_uuid("-uuid", t->arg, c->boot.who.uuid);
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
        err = identity_uuid("-smbios uuid", t->uuid, who->uuid);
    for (int i = 0; !err && i < IDENTITY_TEXTS; i++)
        err = pc_copy(t, smbios_keys[2 + i].name, t->text[i], who->text[i],
                      sizeof(who->text[i]));
    return err;
}
