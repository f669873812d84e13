/* SPDX-License-Identifier: MIT */
/* What -device can name, and what every machine has: one row each, of which
 * everything else is made. */
#ifndef DEVICES_LIST_H
#define DEVICES_LIST_H

#include "machine/machine.h"

#define DEVICE_CLASSES(ROW)                                                    \
    ROW(virtio_net)                                                            \
    ROW(virtio_blk)                                                            \
    ROW(virtio_rng)                                                            \
    ROW(virtio_balloon)                                                        \
    ROW(vmgenid)                                                               \
    ROW(e1000)                                                                 \
    ROW(vfio_pci)                                                              \
    ROW(vhost_user_blk)                                                        \
    ROW(vhost_user_fs)                                                         \
    ROW(virtio_vsock)                                                          \
    ROW(vhost_vsock)

/* In this order; serial ports come last. */
#define BOARD_CLASSES(ROW)                                                     \
    ROW(acpi_pm)                                                               \
    ROW(rtc)                                                                   \
    ROW(i8042)                                                                 \
    ROW(pvpanic)

#define DEVICE_EXTERN(name) extern const struct device_class name##_class;
DEVICE_CLASSES(DEVICE_EXTERN)
BOARD_CLASSES(DEVICE_EXTERN)
DEVICE_EXTERN(serial)

/* &virtio_net_class, …, for tables of them all. */
#define DEVICE_CLASS(name) &name##_class,
#define DEVICE_ROWS DEVICE_CLASSES(DEVICE_CLASS)
#define BOARD_ROWS BOARD_CLASSES(DEVICE_CLASS)

#endif
