/* SPDX-License-Identifier: MIT */
/* What every virtio device can be told (names as QEMU has them). */
#include <errno.h>

#include "devices/virtio/pci.h"

/* QEMU's, which need nothing with these values. */
static const struct opts_quiet virtio_quiet[] = {
    {"aer", "off", "the bus is conventional PCI, without error reports"},
    {"any_layout", NULL, NULL}, /* is part of virtio 1 */
    {"migrate-extra", NULL, NULL},
    {"notify_on_empty", NULL, NULL}, /* of drivers before event_idx */
    {"use-disabled-flag", NULL, NULL},
    {"use-started", NULL, NULL},
    {"virtio-pci-bus-master-bug-migration", NULL, NULL},
    {"x-ats-page-aligned", NULL, NULL},
    {"x-disable-legacy-check", NULL, NULL},
    {"x-disable-pcie", NULL, NULL},
    {"x-pcie-deverr-init", NULL, NULL},
    {"x-pcie-flr-init", NULL, NULL},
    {"x-pcie-lnkctl-init", NULL, NULL},
    {"x-pcie-pm-init", NULL, NULL},
    {0},
};

#define OWN(key, n, on)                                                        \
    FIELD(BIT, key, struct virtio, asked, .min = n, .def = on)
const struct field virtio_options[] = {
    FIELDS_QUIET(virtio_quiet),
    FIELD(NUMBER, "vectors", struct virtio, vectors, .max = PCI_MSIX_MAX,
          .def = VIRTIO_VECTORS_AUTO,
          .help = "of MSI-X; 0: INTx only (one more than queues)"),
    FIELD(FLAG, "disable-legacy", struct virtio, disable_legacy, .def = AUTO,
          .max = AUTO,
          .help = "off: drivers older than virtio 1.0, too; auto: "
                  "on"),
    FIELD(FLAG, "disable-modern", struct virtio, no_modern,
          .help = "only those"),
    FIELD(FLAG, "page-per-vq", struct virtio, page_per_vq,
          .help = "a page for each doorbell"),
    FIELD(FLAG, "modern-pio-notify", struct virtio, pio_notify,
          .help = "doorbells at I/O ports"),
    FIELD(FLAG, "ats", struct virtio, ats,
          .help = "must be off: there is no IOMMU"),
    FIELD(FLAG, "ioeventfd", struct virtio, ioeventfd, .def = ON,
          .help = "must be on: it is how doorbells work"),
    OWN("indirect_desc", VIRTIO_F_INDIRECT_DESC, ON),
    OWN("event_idx", VIRTIO_F_EVENT_IDX, ON),
    OWN("queue_reset", VIRTIO_F_RING_RESET, ON),
    OWN("packed", VIRTIO_F_RING_PACKED, OFF),
    OWN("in_order", VIRTIO_F_IN_ORDER, OFF),
    OWN("iommu_platform", VIRTIO_F_ACCESS_PLATFORM, OFF),
    OWN("order_platform", VIRTIO_F_ORDER_PLATFORM, OFF),
    OWN("notification_data", VIRTIO_F_NOTIFICATION_DATA, OFF),
    COUNT("guest_faults", struct virtio, faults,
          "rings found broken; the device waited for a reset"),
    {.name = ""},
};

int virtio_check(struct virtio *v, const char *what)
{
    v->has_legacy = v->disable_legacy == OFF;
    v->pio_notify = v->pio_notify && !v->no_modern;
    if (v->ats)
        return fail(-EINVAL, "%s: ats=on: there is no IOMMU", what);
    if (!v->ioeventfd)
        return fail(-EINVAL, "%s: ioeventfd=off: doorbells have no other way",
                    what);
    if (v->no_modern && !v->has_legacy)
        return fail(-EINVAL,
                    "%s: disable-modern=on needs disable-legacy=off: nothing "
                    "would be left",
                    what);
    return 0;
}
