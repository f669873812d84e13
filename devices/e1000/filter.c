/* SPDX-License-Identifier: MIT */
/* Which frames the e1000 takes (SDM 3.2.1, 9.3, 13.4.22, 13.5). */
#include <string.h>

#include "devices/e1000/state.h"

/* SDM 13.5.2: AV and the destination in full; 16 of them. */
static bool e1000_filter_exact(const struct e1000 *e, const uint8_t *da)
{
    uint32_t lo, hi;
    lo = (uint32_t)da[0] | (uint32_t)da[1] << 8 | (uint32_t)da[2] << 16 |
         (uint32_t)da[3] << 24;
    hi = (uint32_t)da[4] | (uint32_t)da[5] << 8;
    for (unsigned i = 0; i < 16; i++) {
        uint32_t rah = reg_get(e, RAH + 8 * i);
        if (rah & RAH_AV && (rah & 0xffff) == hi &&
            reg_get(e, RAL + 8 * i) == lo)
            return true;
    }
    return false;
}

/* SDM 13.5.1: twelve bits of the last two bytes, where from says RCTL.MO. */
static bool e1000_filter_hashed(const struct e1000 *e, const uint8_t *da,
                                uint32_t rctl)
{
    static const uint8_t shift[] = {4, 3, 2, 0};
    unsigned v = (unsigned)da[5] << 8 | da[4];
    v = v >> shift[rctl >> RCTL_MO_SHIFT & 3] & 0xfff;
    return reg_get(e, MTA + 4 * (v >> 5)) >> (v & 31) & 1;
}

static bool e1000_filter_address_ok(const struct e1000 *e, const uint8_t *da,
                                    uint32_t rctl)
{
    if (da[0] & 1) {
        if (is_broadcast(da) && rctl & RCTL_BAM)
            return true;
        if (rctl & RCTL_MPE || e1000_filter_hashed(e, da, rctl))
            return true;
    } else if (rctl & RCTL_UPE) {
        return true;
    }
    return e1000_filter_exact(e, da);
}

/* SDM 9.3. */
static bool e1000_filter_vlan_ok(const struct e1000 *e,
                                 const struct eth_info *i, uint32_t rctl)
{
    unsigned vid = i->tci & 0xfff;
    if (!(rctl & RCTL_VFE) || !i->vlan)
        return true;
    if (rctl & RCTL_CFIEN && !!(i->tci & 0x1000) != !!(rctl & RCTL_CFI))
        return false;
    return reg_get(e, VFTA + 4 * (vid >> 5)) >> (vid & 31) & 1;
}

/* SDM 13.4.22: DPF discards PAUSE frames, PMCF passes MAC control frames on. */
static bool e1000_filter_control_ok(const uint8_t *h, uint32_t rctl)
{
    static const uint8_t pause[] = {0x01, 0x80, 0xc2, 0x00, 0x00, 0x01};
    bool control = h[12] == 0x88 && h[13] == 0x08;
    if (!control || memcmp(h, pause, sizeof(pause)))
        return true;
    return !(rctl & RCTL_DPF) && rctl & RCTL_PMCF;
}

bool e1000_filter(struct e1000 *e, const uint8_t *h, const struct eth_info *i)
{
    uint32_t rctl = reg_get(e, RCTL);
    return e1000_filter_control_ok(h, rctl) &&
           e1000_filter_address_ok(e, h, rctl) &&
           e1000_filter_vlan_ok(e, i, rctl);
}

void e1000_wr_filter(struct e1000 *e, uint32_t off, uint32_t val)
{
    e1000_wr_plain(e, off, val);
    nic_filter_changed(&e->nic, &e->dev);
}

/* ------------------------------------------------------------ for who asks */

/* The first address is the card's own; what the hash lets through can only be
 * said to be more. */
static void e1000_filter_copy(struct nic_filter *show, const struct e1000 *e)
{
    for (unsigned i = 0; i < 16; i++) {
        uint32_t lo = reg_get(e, RAL + 8 * i), hi = reg_get(e, RAH + 8 * i);
        const uint8_t mac[6] = {(uint8_t)lo,         (uint8_t)(lo >> 8),
                                (uint8_t)(lo >> 16), (uint8_t)(lo >> 24),
                                (uint8_t)hi,         (uint8_t)(hi >> 8)};
        if (!i)
            memcpy(show->mac, mac, 6);
        else if (hi & RAH_AV)
            memcpy(mac[0] & 1 ? show->multis[show->nmultis++]
                              : show->unis[show->nunis++],
                   mac, 6);
    }
    for (unsigned i = 0; i < ARRAY_LEN(show->vlans); i++) {
        show->multi_more |= reg_get(e, MTA + 4 * i) != 0;
        show->vlans[i] = reg_get(e, VFTA + 4 * i);
    }
}

int e1000_filter_show(void *dev, const void *told, struct text *out)
{
    struct e1000 *e = container_of((struct device *)dev, struct e1000, dev);
    (void)told;
    nic_filter_asked(&e->nic);
    uint32_t rctl = reg_get(e, RCTL);
    struct nic_filter show = {
        .promiscuous = (rctl & RCTL_UPE) && (rctl & RCTL_MPE),
        .broadcast = rctl & (RCTL_BAM | RCTL_MPE),
        .uni = rctl & RCTL_UPE ? "all" : "normal",
        .multi = rctl & RCTL_MPE ? "all" : "normal",
        .vlan = rctl & RCTL_VFE ? "normal" : "all",
    };
    e1000_filter_copy(&show, e);
    nic_put_filter(&e->nic, &show, out);
    return 0;
}
