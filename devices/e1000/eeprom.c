/* SPDX-License-Identifier: MIT */
/* The e1000's EEPROM: 64 words, read through EERD or clocked bit by bit through
 * EECD as the four-wire 93C46 it is (SDM 5.1-5.6, 13.4.3, 13.4.4). */
#include <string.h>

#include "devices/e1000/state.h"

/* SDM 5.6, table 5-2. Words not named are FFFF, as an erased EEPROM's. */
enum {
    W_MAC = 0x00,
    W_COMPAT = 0x03,
    W_LED = 0x04,
    W_PBA_NO = 0x08,
    W_INIT1 = 0x0a,
    W_SUBSYS = 0x0b,
    W_SUBVENDOR = 0x0c,
    W_DEVICE = 0x0d,
    W_VENDOR = 0x0e,
    W_INIT2 = 0x0f,
    W_INIT3_SDP = 0x20,
    W_INIT3 = 0x24,
    W_LED_DEFAULT = 0x2f,
    W_SUM = 0x3f,
};
#define WORDS_SUM 0xbaba

void e1000_eeprom_put_mac(struct e1000 *e)
{
    uint16_t *w = e->eeprom.word, sum = 0;
    const uint8_t *mac = e->nic.mac;
    for (int i = 0; i < 3; i++)
        w[W_MAC + i] = (uint16_t)(mac[2 * i] | mac[2 * i + 1] << 8);
    for (int i = 0; i < W_SUM; i++)
        sum = (uint16_t)(sum + w[i]);
    w[W_SUM] = (uint16_t)(WORDS_SUM - sum);
}

void e1000_eeprom_init(struct e1000 *e)
{
    uint16_t *w = e->eeprom.word;
    memset(w, 0xff, sizeof(e->eeprom.word));
    w[W_COMPAT] = 0x0000;
    w[W_LED] = 0xffff; /* the driver's default */
    w[W_PBA_NO] = 0x0000;
    w[W_PBA_NO + 1] = 0x0000;
    w[W_INIT1] = 0x6403; /* bits 15:14 = 01: a valid EEPROM */
    w[W_SUBSYS] = 0x001e;
    w[W_SUBVENDOR] = 0x8086;
    w[W_DEVICE] = 0x100e;
    w[W_VENDOR] = 0x8086;
    w[W_INIT2] = 0x3040;
    w[W_INIT3_SDP] = 0x0008;
    w[W_INIT3] = 0x0000; /* APME off: nothing here can be woken */
    w[W_LED_DEFAULT] = 0x0602;
    e1000_eeprom_put_mac(e);
}

/* SDM 13.5.2: after a reset the card reads its first address from here. */
void e1000_eeprom_load(struct e1000 *e)
{
    const uint16_t *w = e->eeprom.word;
    reg_put(e, RAL, w[W_MAC] | (uint32_t)w[W_MAC + 1] << 16);
    reg_put(e, RAH, w[W_MAC + 2] | RAH_AV);
}

/* SDM 13.4.4: done at once. Words that do not exist read 0. */
void e1000_wr_eerd(struct e1000 *e, uint32_t off, uint32_t val)
{
    uint32_t addr = val >> 8 & 0xff;
    uint32_t word = addr < EEPROM_WORDS ? e->eeprom.word[addr] : 0;
    if (val & EERD_START)
        reg_put(e, off, word << 16 | addr << 8 | EERD_DONE);
}

/* ----------------------------------------------------------- four wires */

static void e1000_eeprom_program(struct e1000_eeprom *ee, unsigned addr,
                                 uint16_t v)
{
    if (ee->writable)
        ee->word[addr] = v;
}

static void e1000_eeprom_program_all(struct e1000_eeprom *ee, uint16_t v)
{
    for (unsigned i = 0; i < EEPROM_WORDS; i++)
        e1000_eeprom_program(ee, i, v);
}

/* Opcode 00: the two high address bits are an opcode more. */
static void e1000_eeprom_extended_command(struct e1000_eeprom *ee)
{
    ee->state = EE_DONE;
    switch (ee->addr >> 4) {
    case 0: /* EWDS */
        ee->writable = false;
        break;
    case 1: /* WRAL */
        ee->state = EE_FILL;
        break;
    case 2: /* ERAL */
        e1000_eeprom_program_all(ee, 0xffff);
        break;
    default: /* EWEN */
        ee->writable = true;
    }
}

static void e1000_eeprom_command(struct e1000_eeprom *ee)
{
    ee->addr = ee->shift & 0x3f;
    ee->nbits = 0;
    switch (ee->shift >> 6 & 3) {
    case 0:
        e1000_eeprom_extended_command(ee);
        break;
    case 1:
        ee->state = EE_WRITE;
        break;
    case 2: /* a 0 comes out before the word */
        ee->state = EE_READ;
        ee->shift = ee->word[ee->addr];
        ee->out = false;
        break;
    default:
        e1000_eeprom_program(ee, ee->addr, 0xffff);
        ee->state = EE_DONE;
    }
}

static void e1000_eeprom_take_data(struct e1000_eeprom *ee)
{
    if (++ee->nbits < 16)
        return;
    if (ee->state == EE_FILL)
        e1000_eeprom_program_all(ee, ee->shift);
    else
        e1000_eeprom_program(ee, ee->addr, ee->shift);
    ee->state = EE_DONE;
}

/* Reading on with CS high goes on with the next word. */
static void e1000_eeprom_give_data(struct e1000_eeprom *ee)
{
    ee->out = ee->shift >> 15;
    ee->shift = (uint16_t)(ee->shift << 1);
    if (++ee->nbits < 16)
        return;
    ee->nbits = 0;
    ee->addr = (ee->addr + 1) % EEPROM_WORDS;
    ee->shift = ee->word[ee->addr];
}

static void e1000_eeprom_clock_rises(struct e1000_eeprom *ee, bool di)
{
    if (ee->state == EE_READ) {
        e1000_eeprom_give_data(ee);
        return;
    }
    ee->shift = (uint16_t)(ee->shift << 1 | di);
    switch (ee->state) {
    case EE_IDLE:
        if (di)
            ee->state = EE_COMMAND;
        ee->nbits = 0;
        break;
    case EE_COMMAND:
        if (++ee->nbits == 8)
            e1000_eeprom_command(ee);
        break;
    case EE_WRITE:
    case EE_FILL:
        e1000_eeprom_take_data(ee);
        break;
    default:
        break;
    }
}

/* SDM 13.4.3, 5.5. DO is high while a selected EEPROM waits for its start bit:
 * that is also how it says that a write is done. */
void e1000_wr_eecd(struct e1000 *e, uint32_t off, uint32_t val)
{
    struct e1000_eeprom *ee = &e->eeprom;
    bool sk = val & EECD_SK, cs = val & EECD_CS;
    if (cs != ee->cs) {
        ee->state = EE_IDLE;
        ee->out = cs;
    }
    if (cs && sk && !ee->sk)
        e1000_eeprom_clock_rises(ee, val & EECD_DI);
    ee->sk = sk;
    ee->cs = cs;
    val |= EECD_PRES;
    if (val & EECD_REQ)
        val |= EECD_GNT;
    if (ee->out)
        val |= EECD_DO;
    reg_put(e, off, val);
}
