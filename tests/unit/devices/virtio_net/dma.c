/* SPDX-License-Identifier: MIT */
/* virtio-net and PCI bus mastering (PCI 3.0 §6.2.2): no guest memory is touched
 * and no message sent without it, and nothing is lost. */
#include "tests/unit/fakevirtio.h"

static uint8_t frame[60];

static void set_command(struct vd *d, unsigned cmd)
{
    drv_cfg_write(d->m, d->slot, PCI_COMMAND, 2, cmd);
    fake_run_loop(d->m);
}

BOTH_RINGS(vnet_transmit_waits_for_bus_master)
{
    struct vd d = {0};
    uint8_t got[64];
    vd_up(&d, packed, 0);
    set_command(&d, PCI_CMD_MEM);
    vd_send(&d, TX0, NULL, frame, 60);
    vd_kick(&d, TX0);
    CHECK_EQ(vd_reap(&d.q[TX0]), 0);
    set_command(&d, PCI_CMD_MEM | PCI_CMD_MASTER);
    CHECK_EQ(fake_net_take(d.net, 0, NULL, got, 64), 60);
    CHECK_EQ(vd_reap(&d.q[TX0]), 1);
    CHECK_EQ(vd_irqs(&d, TX0), 1);
    vd_free(&d);
}

BOTH_RINGS(vnet_receive_waits_for_bus_master)
{
    struct vd d = {0};
    vd_up(&d, packed, 0);
    vd_post(&d, RX0, 2048);
    vd_kick(&d, RX0);
    set_command(&d, PCI_CMD_MEM);
    fake_net_give(d.net, 0, NULL, frame, 60);
    fake_run_loop(d.m); /* ends: the waiting frame does not make it spin */
    CHECK_EQ(vd_reap(&d.q[RX0]), 0);
    set_command(&d, PCI_CMD_MEM | PCI_CMD_MASTER);
    CHECK_EQ(vd_reap(&d.q[RX0]), 1);
    vd_free(&d);
}
