/* SPDX-License-Identifier: MIT */
/* What -blockdev can name: one row each, of which everything else is made. */
#ifndef BLOCK_LIST_H
#define BLOCK_LIST_H

#include "block/block.h"

#define BLOCKDEV_CLASSES(ROW)                                                  \
    ROW(file)                                                                  \
    ROW(null_co)                                                               \
    ROW(image)

#define BLOCKDEV_EXTERN(name) extern const struct blockdev_class name##_class;
BLOCKDEV_CLASSES(BLOCKDEV_EXTERN)

/* &file_class, …, for tables of them all. */
#define BLOCKDEV_CLASS(name) &name##_class,
#define BLOCKDEV_ROWS BLOCKDEV_CLASSES(BLOCKDEV_CLASS)

#endif
