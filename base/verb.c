/* SPDX-License-Identifier: MIT */
/* What an operator can have a thing do while the machine runs. */
#include "base/verb.h"

#include <assert.h>
#include <string.h>

const struct verb *verb_find(const struct verb *table, const char *name)
{
    for (; table && table->name; table++)
        if (!strcmp(table->name, name))
            return table;
    return NULL;
}

int verb_do(const struct verb *v, void *thing, struct opts *o, struct text *out)
{
    _Alignas(8) uint8_t told[VERB_TOLD] = {0};
    assert(v->size <= sizeof(told));
    int err = fields_read(v->fields, told, o);
    return err ? err : v->run(thing, told, out);
}
