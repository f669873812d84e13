/* SPDX-License-Identifier: MIT */
/* What an operator does to a machine: pausing it, and verbs of its devices. */
#include "base/verb.h"

#include <errno.h>
#include <stdlib.h>

#include "tests/unit/fake.h"

struct lamp {
    struct device dev;
    unsigned holds, resumes, brightness;
    bool parked; /* as it was when it was held */
};
struct lamp_told {
    uint8_t brightness;
};

static unsigned parks, unparks, starts;

static int lamp_dim(void *thing, const void *told, struct text *out)
{
    struct lamp *l = container_of((struct device *)thing, struct lamp, dev);
    l->brightness = ((const struct lamp_told *)told)->brightness;
    text_put(out, "%s", l->dev.id);
    return 0;
}

static const struct field lamp_fields[] = {
    FIELD(NUMBER, "to", struct lamp_told, brightness, .max = 9, .def = 5),
    {.name = ""},
};
static const struct verb lamp_verbs[] = {
    {"dim", "less light", lamp_fields, sizeof(struct lamp_told), lamp_dim},
    {.name = NULL},
};
static const struct device_class lamp_class = {.name = "lamp",
                                               .verbs = lamp_verbs};
static const struct device_class dark_class = {.name = "dark"};

static void lamp_hold(struct device *dev)
{
    struct lamp *l = container_of(dev, struct lamp, dev);
    l->holds++;
    l->parked = parks > unparks;
}

static void lamp_resume(struct device *dev)
{
    struct lamp *l = container_of(dev, struct lamp, dev);
    l->resumes++;
    l->parked = parks > unparks;
}

static void lamp_add(struct machine *m, struct lamp *l, const char *id,
                     const struct device_class *cls)
{
    *l = (struct lamp){
        .dev = {
            .cls = cls, .id = id, .hold = lamp_hold, .resume = lamp_resume}};
    device_register(m, &l->dev);
}

/* "answer" or "error". */
static const char *does(struct machine *m, const char *id, const char *verb,
                        const char *key, const char *val)
{
    static char got[256];
    struct text out = {0};
    struct opts o;
    opts_init(&o, verb);
    if (key)
        REQUIRE_EQ(opts_add(&o, key, val), 0);
    log_catch(got, sizeof(got));
    int err = machine_do(m, id, verb, &o, &out);
    log_catch(NULL, 0);
    CHECK_EQ(!err, !*got);
    if (!err)
        strcpy(got, out.p);
    text_free(&out);
    opts_free(&o);
    return got;
}

TEST(verbs_of_a_device_are_found_by_their_name)
{
    struct machine *m = fake_new(4096);
    struct lamp a, b, c;
    lamp_add(m, &a, "a", &dark_class);
    lamp_add(m, &b, "b", &lamp_class);
    lamp_add(m, &c, "c", &lamp_class);
    CHECK_STR(does(m, NULL, "dim", NULL, NULL), "b");
    CHECK_EQ(b.brightness, 5);
    CHECK_STR(does(m, "c", "dim", "to", "7"), "c");
    CHECK_EQ(c.brightness, 7);
    CHECK_EQ(b.brightness, 5);
    CHECK_HAS(does(m, "c", "dim", "to", "10"), "a number from 0 to 9");
    CHECK_HAS(does(m, "c", "dim", "too", "1"), "did you mean \"to\"");
    CHECK_EQ(c.brightness, 7);
    CHECK_HAS(does(m, "a", "dim", NULL, NULL), "no such verb of a");
    CHECK_HAS(does(m, "d", "dim", NULL, NULL), "there is no device d");
    CHECK_HAS(does(m, NULL, "shine", NULL, NULL), "there is no such verb");
    CHECK_STR(test_log(), "");
    fake_free(m);
}

static void on_park(struct machine *m)
{
    (void)m;
    parks++;
}
static void on_unpark(struct machine *m)
{
    (void)m;
    unparks++;
}
static void on_start(struct machine *m)
{
    (void)m;
    starts++;
}

TEST(machine_pause_holds_all_once_and_resume_lets_go)
{
    struct machine *m = fake_new(4096);
    const struct machine_ops *before = m->ops;
    struct machine_ops ops = *m->ops;
    struct lamp l;
    ops.park = on_park;
    ops.unpark = on_unpark;
    m->ops = &ops;
    m->start = on_start;
    parks = unparks = starts = 0;
    lamp_add(m, &l, "l", &dark_class);
    machine_hold(m);
    machine_release(m);
    CHECK_EQ(starts, 1);
    machine_resume(m); /* is nothing, unless it is paused */
    CHECK_EQ(unparks, 0);
    for (int i = 0; i < 2; i++)
        machine_pause(m);
    CHECK(m->paused && l.holds == 1 && parks == 1 && l.parked);
    for (int i = 0; i < 2; i++)
        machine_resume(m);
    CHECK(!m->paused && l.resumes == 1 && unparks == 1 && l.parked);
    CHECK_EQ(starts, 2);
    /* what else it waits for, a reset's kernel, say: whichever comes last */
    machine_pause(m);
    machine_hold(m);
    machine_release(m);
    CHECK_EQ(starts, 2);
    machine_hold(m);
    machine_resume(m);
    CHECK_EQ(starts, 2);
    machine_release(m);
    CHECK_EQ(starts, 3);
    m->ops = before;
    fake_free(m);
}
