/* SPDX-License-Identifier: MIT */
/* What guest memory is made of. */
#ifndef KVM_RAM_H
#define KVM_RAM_H

#include "machine/machine.h"

struct ram_config {
    const char *path;  /* of a file, or of a directory for one without a name;
                          NULL: memory of the process, or a memfd */
    uint64_t page;     /* huge pages of this size (1: the host's usual), 0: no;
                          a directory's are its file system's */
    bool shared;       /* with other processes, by a descriptor */
    bool prealloc;     /* all of it now */
    bool sparse;       /* no huge pages by themselves, for little guests */
    const char *image; /* of a file with what is in it at first, by a descriptor
                          `fd` for reading; NULL: none */
    int fd;
    const char *server; /* the socket of who serves its pages, connected by
                           `peer`; NULL: nobody, they are zeroes */
    int peer;
    int handed; /* it is another process's, and this; 0: it is new */
};

/* Makes `size` bytes and their regions. *pinned: why nothing of it can go back
 * to the host, or NULL. 0 or -errno (said); free *map (of *map_size) and
 * ram->fd in each case. */
int ram_make(struct ram *ram, uint64_t size, const struct ram_config *c,
             void **map, size_t *map_size, const char **pinned);

#endif
