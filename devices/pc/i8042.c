/* SPDX-License-Identifier: MIT */
/* Keyboard controller (8042, ports 60h and 64h), its keyboard, and System
 * Control Port A (92h): A20, reset, quick answers to probes, Ctrl-Alt-Del.
 *
 * The controller's answer to a command waits in a place of its own, before what
 * the keyboard has in its 16 bytes; each byte that can be read raises IRQ 1 if
 * the command byte says so. Nobody types here but the operator, who has one
 * thing to say ("ctrl-alt-del"). A20 is always on (KVM has no wrap); its bit is
 * kept so that guests that switch it see what they wrote. */
#include "machine/machine.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "machine/platform.h"

enum { /* status, port 64h read (IBM PS/2 Technical Reference) */
       STS_OBF = 1 << 0,
       STS_SYS = 1 << 2, /* self-test passed */
       STS_CMD = 1 << 3, /* last write went to 64h */
       STS_UNLOCKED = 1 << 4,
};
enum { /* output port */
       OUT_NO_RESET = 1 << 0,
       OUT_A20 = 1 << 1,
       OUT_IDLE = 0xcc, /* clock and data lines high, no interrupts */
};
enum { /* port 92h */
       P92_RESET = 1 << 0,
       P92_A20 = 1 << 1,
};
enum { /* command byte */
       CB_INT = 1 << 0,
       CB_OFF = 1 << 4, /* the keyboard's clock is held */
       CB_TRANSLATE = 1 << 6,
};
#define RAM_BYTES 32 /* controller RAM, commands 20h-3Fh and 60h-7Fh */
#define QUEUE 16

struct i8042 {
    struct device dev;
    struct region data, cmd, port92;
    struct irq irq;
    pthread_mutex_t lock;
    uint8_t queue[QUEUE]; /* of the keyboard */
    unsigned count;
    uint8_t answer; /* of the controller, if `answered` */
    uint8_t answered;
    uint8_t muted;    /* the keyboard was told to send no keys */
    uint8_t status;   /* without OBF */
    uint8_t expect;   /* controller command whose data byte comes next, 0 */
    uint8_t kbd_cmd;  /* keyboard command whose data byte comes next, 0 */
    uint8_t out_port; /* A20 and reset */
    uint8_t ram[RAM_BYTES]; /* [0]: command byte */
};

/* Is there something to be read at port 60h? */
static bool i8042_full(const struct i8042 *k)
{
    return k->answered || (k->count && !(k->ram[0] & CB_OFF));
}

/* A byte has come to port 60h, or may now raise the interrupt. */
static void i8042_tell(struct i8042 *k)
{
    if (i8042_full(k) && k->ram[0] & CB_INT)
        irq_pulse(&k->irq);
}

static void i8042_answer(struct i8042 *k, uint8_t b)
{
    k->answer = b;
    k->answered = true;
    i8042_tell(k);
}

/* From the keyboard. As scan codes are, its other bytes are translated, too:
 * 83h, of its identity, and 2 are the same key of set 1. */
static void i8042_send(struct i8042 *k, uint8_t b)
{
    bool first = !i8042_full(k);
    if ((b == 0x83 || b == 2) && k->ram[0] & CB_TRANSLATE)
        b = 0x41;
    if (k->count < QUEUE)
        k->queue[k->count++] = b;
    if (first)
        i8042_tell(k);
}

static void i8042_pull_reset(struct i8042 *k)
{
    k->dev.m->ops->request(k->dev.m, STOP_RESET);
}

static void i8042_write_out_port(struct i8042 *k, uint8_t val)
{
    k->out_port = val;
    if (!(val & OUT_NO_RESET))
        i8042_pull_reset(k);
}

static void i8042_write_ram(struct i8042 *k, unsigned i, uint8_t b)
{
    k->ram[i] = b;
    if (!i)
        i8042_tell(k);
}

/* Port 64h. Commands without an effect here (A7h-A9h are the missing mouse)
 * are accepted: a guest waits for none of them. */
static void i8042_controller_command(struct i8042 *k, uint8_t cmd)
{
    k->status |= STS_CMD;
    k->expect = 0;
    if ((cmd & 0xe0) == 0x20) { /* read RAM byte */
        i8042_answer(k, k->ram[cmd & 0x1f]);
        return;
    }
    if ((cmd & 0xe0) == 0x60) { /* write RAM byte */
        k->expect = cmd;
        return;
    }
    if ((cmd & 0xf0) == 0xf0) { /* pulse output lines 3:0 that are 0 here */
        if (!(cmd & OUT_NO_RESET))
            i8042_pull_reset(k);
        return;
    }
    switch (cmd) {
    case 0xa9: /* test mouse port: clock line stuck, nothing there */
        i8042_answer(k, 0x01);
        break;
    case 0xaa: /* self test */
        k->status |= STS_SYS;
        i8042_answer(k, 0x55);
        break;
    case 0xab: /* test keyboard port */
        i8042_answer(k, 0x00);
        break;
    case 0xad: /* keyboard off and on */
        i8042_write_ram(k, 0, k->ram[0] | CB_OFF);
        break;
    case 0xae:
        i8042_write_ram(k, 0, k->ram[0] & (uint8_t)~CB_OFF);
        break;
    case 0xc0: /* input port: keyboard not locked */
        i8042_answer(k, 0x80);
        break;
    case 0xd0:
        i8042_answer(k, k->out_port);
        break;
    case 0xd1: /* write output port */
    case 0xd2: /* write keyboard output buffer */
    case 0xd3: /* write mouse output buffer */
    case 0xd4: /* write to mouse */
        k->expect = cmd;
        break;
    case 0xdd: /* A20 off and on, without a data byte */
        k->out_port &= (uint8_t)~OUT_A20;
        break;
    case 0xdf:
        k->out_port |= OUT_A20;
        break;
    default:
        break;
    }
}

/* A byte for the keyboard itself; every one is acknowledged (FAh). It is on
 * again when it is written to. */
static void i8042_keyboard_command(struct i8042 *k, uint8_t b)
{
    k->ram[0] &= (uint8_t)~CB_OFF;
    i8042_send(k, 0xfa);
    if (k->kbd_cmd) { /* its data byte */
        if (k->kbd_cmd == 0xf0 && b == 0)
            i8042_send(k, 2); /* scan code set */
        k->kbd_cmd = 0;
        return;
    }
    switch (b) {
    case 0xed: /* LEDs */
    case 0xf0: /* scan code set */
    case 0xf3: /* typematic rate */
        k->kbd_cmd = b;
        break;
    case 0xf2: /* identify: MF2 keyboard */
        i8042_send(k, 0xab);
        i8042_send(k, 0x83);
        break;
    case 0xf5: /* send no keys */
        k->muted = true;
        break;
    case 0xff: /* reset, self test passed */
        i8042_send(k, 0xaa);
        k->muted = false;
        break;
    case 0xf4: /* send them */
    case 0xf6: /* defaults */
        k->muted = false;
        break;
    default:
        break;
    }
}

static void i8042_data_write(void *owner, uint64_t off, unsigned width,
                             uint64_t val)
{
    struct i8042 *k = owner;
    uint8_t b = (uint8_t)val;
    (void)off, (void)width;
    pthread_mutex_lock(&k->lock);
    uint8_t cmd = k->expect;
    k->expect = 0;
    k->status &= (uint8_t)~STS_CMD;
    if ((cmd & 0xe0) == 0x60)
        i8042_write_ram(k, cmd & 0x1f, b);
    else if (cmd == 0xd1)
        i8042_write_out_port(k, b);
    else if (cmd == 0xd2 || cmd == 0xd3)
        i8042_answer(k, b);
    else if (cmd != 0xd4) /* there is no mouse */
        i8042_keyboard_command(k, b);
    pthread_mutex_unlock(&k->lock);
}

static uint64_t i8042_data_read(void *owner, uint64_t off, unsigned width)
{
    struct i8042 *k = owner;
    uint8_t b = 0;
    (void)off, (void)width;
    pthread_mutex_lock(&k->lock);
    if (k->answered) {
        b = k->answer;
        k->answered = false;
    } else if (i8042_full(k)) {
        b = k->queue[0];
        k->count--;
        memmove(k->queue, k->queue + 1, k->count);
    }
    i8042_tell(k); /* of the next one */
    pthread_mutex_unlock(&k->lock);
    return b;
}

static uint64_t i8042_cmd_read(void *owner, uint64_t off, unsigned width)
{
    struct i8042 *k = owner;
    (void)off, (void)width;
    pthread_mutex_lock(&k->lock);
    uint8_t b = k->status | (i8042_full(k) ? STS_OBF : 0);
    pthread_mutex_unlock(&k->lock);
    return b;
}

static void i8042_cmd_write(void *owner, uint64_t off, unsigned width,
                            uint64_t val)
{
    struct i8042 *k = owner;
    (void)off, (void)width;
    pthread_mutex_lock(&k->lock);
    i8042_controller_command(k, (uint8_t)val);
    pthread_mutex_unlock(&k->lock);
}

/* A20 is one line with two switches; here port 92h shows the same bit. */
static uint64_t i8042_port92_read(void *owner, uint64_t off, unsigned width)
{
    struct i8042 *k = owner;
    (void)off, (void)width;
    pthread_mutex_lock(&k->lock);
    uint8_t b = k->out_port & OUT_A20 ? P92_A20 : 0;
    pthread_mutex_unlock(&k->lock);
    return b;
}

static void i8042_port92_write(void *owner, uint64_t off, unsigned width,
                               uint64_t val)
{
    struct i8042 *k = owner;
    (void)off, (void)width;
    pthread_mutex_lock(&k->lock);
    k->out_port &= (uint8_t)~OUT_A20;
    if (val & P92_A20)
        k->out_port |= OUT_A20;
    if (val & P92_RESET)
        i8042_pull_reset(k);
    pthread_mutex_unlock(&k->lock);
}

#define KBC(kind, key, member, ...)                                            \
    FIELD_AS(STATE, kind, key, struct i8042, member, __VA_ARGS__)

/* After a reset as a BIOS leaves it: tested, A20 on, scan codes translated. */
static const struct field i8042_fields[] = {
    FIELD_EACH(STATE, NUMBER, "queue", struct i8042, queue),
    KBC(NUMBER, "count", count, .max = QUEUE),
    FIELD_AS(STATE | SPARE, NUMBER, "answer", struct i8042, answer),
    FIELD_AS(STATE | SPARE, FLAG, "answered", struct i8042, answered),
    FIELD_AS(STATE | SPARE, FLAG, "muted", struct i8042, muted),
    KBC(MASK, "status", status, .def = STS_SYS | STS_UNLOCKED | STS_CMD,
        .max = STS_SYS | STS_UNLOCKED | STS_CMD),
    KBC(NUMBER, "expect", expect),
    KBC(NUMBER, "kbd_cmd", kbd_cmd),
    KBC(NUMBER, "out_port", out_port, .def = OUT_IDLE | OUT_NO_RESET | OUT_A20),
    /* translate, mouse off, system flag */
    KBC(NUMBER, "command", ram[0], .def = 0x64),
    KBC(NUMBER, "ram", ram[1], .n = RAM_BYTES - 1),
    {.name = ""},
};

static void i8042_reset(struct device *dev)
{
    struct i8042 *k = container_of(dev, struct i8042, dev);
    pthread_mutex_lock(&k->lock);
    fields_reset(i8042_fields, k, STATE);
    pthread_mutex_unlock(&k->lock);
}

static void i8042_resume(struct device *dev)
{
    struct i8042 *k = container_of(dev, struct i8042, dev);
    pthread_mutex_lock(&k->lock);
    i8042_tell(k);
    pthread_mutex_unlock(&k->lock);
}

/* -------------------------------------------------------------------- verb */

/* All keys go down, and up again in the other order: of set 2, as a keyboard
 * sends them, and what the controller makes of that. */
static int i8042_ctrl_alt_del(void *thing, const void *told, struct text *out)
{
    static const uint8_t raw[] = {0x14, 0x11, 0xe0, 0x71, 0xe0, 0xf0,
                                  0x71, 0xf0, 0x11, 0xf0, 0x14};
    static const uint8_t translated[] = {0x1d, 0x38, 0xe0, 0x53,
                                         0xe0, 0xd3, 0xb8, 0x9d};
    struct i8042 *k = container_of((struct device *)thing, struct i8042, dev);
    (void)told, (void)out;
    pthread_mutex_lock(&k->lock);
    bool set1 = k->ram[0] & CB_TRANSLATE, first = !i8042_full(k);
    const uint8_t *code = set1 ? translated : raw;
    unsigned n = set1 ? sizeof(translated) : sizeof(raw);
    bool heard = k->ram[0] & CB_INT && !(k->ram[0] & CB_OFF) && !k->muted;
    bool fits = k->count + n <= QUEUE;
    if (heard && fits) {
        memcpy(k->queue + k->count, code, n);
        k->count += n;
    }
    if (heard && fits && first)
        i8042_tell(k);
    pthread_mutex_unlock(&k->lock);
    if (!heard)
        return fail(-EAGAIN, "the guest does not listen to its keyboard: the "
                             "interrupt is off (yet)");
    return fits ? 0
                : fail(-EBUSY, "the guest has not read the keys from before");
}

static const struct verb i8042_verbs[] = {
    {.name = "ctrl-alt-del",
     .help = "press these keys",
     .run = i8042_ctrl_alt_del},
    {.name = NULL},
};

/* ------------------------------------------------------------------ making */

static int i8042_add_port(struct i8042 *k, struct region *r, uint16_t port,
                          uint64_t (*read)(void *, uint64_t, unsigned),
                          void (*write)(void *, uint64_t, unsigned, uint64_t))
{
    *r = (struct region){.base = port,
                         .len = 1,
                         .read = read,
                         .write = write,
                         .owner = k,
                         .name = "i8042"};
    int err = bus_add(k->dev.m->pio, r);
    return err ? fail(err, "i8042: port 0x%x is taken", port) : 0;
}

static int i8042_create(struct machine *m, struct device *dev)
{
    struct i8042 *k = container_of(dev, struct i8042, dev);
    int err;
    pthread_mutex_init(&k->lock, NULL);
    k->dev.reset = i8042_reset;
    k->dev.resume = i8042_resume;
    err = irq_isa(m, &k->irq, IRQ_KEYBOARD);
    if (err)
        return fail(err, "i8042: no interrupt %d", IRQ_KEYBOARD);
    err = i8042_add_port(k, &k->data, PORT_I8042_DATA, i8042_data_read,
                         i8042_data_write);
    if (err)
        goto free_irq;
    err = i8042_add_port(k, &k->cmd, PORT_I8042_CMD, i8042_cmd_read,
                         i8042_cmd_write);
    if (err)
        goto del_data;
    err = i8042_add_port(k, &k->port92, PORT_FAST_A20, i8042_port92_read,
                         i8042_port92_write);
    if (err)
        goto del_cmd;
    i8042_reset(&k->dev);
    device_register(m, &k->dev);
    return 0;
del_cmd:
    bus_del(m->pio, &k->cmd);
del_data:
    bus_del(m->pio, &k->data);
free_irq:
    irq_free(&k->irq);
    return err;
}

const struct device_class i8042_class = {
    .name = "i8042",
    .help = "part of every machine",
    .fields = i8042_fields,
    .size = sizeof(struct i8042),
    .create = i8042_create,
    .verbs = i8042_verbs,
};
