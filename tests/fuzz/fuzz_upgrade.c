/* SPDX-License-Identifier: MIT */
/* What a VMM that is to be replaced hears from the new program, in any order
 * and with its own troubles in between: the guest is that one's from the moment
 * when it has said so in its turn, and stays here in all other cases. And what
 * the new one is handed by the old one: any list, with any descriptors. */
#define helper_upgrade fuzz_helper_upgrade
/* NOLINTNEXTLINE(bugprone-suspicious-include) */
#include "control/upgrade.c"
#undef helper_upgrade

#include <sys/eventfd.h>

#include "tests/fuzz/fuzz.h"

#define ACTS 40

/* The new program: its end of the pair, and how far it is. */
static struct {
    int sock; /* -1: there is none */
    bool starting, said, right, took;
} new = {.sock = -1};

static struct {
    unsigned begun, answered;
    bool over;
    int saves; /* what comes of it */
} old;

/* ------------------------------------------------------------ the old one */

int fuzz_helper_upgrade(struct helper_ask *a, const char *path)
{
    REQUIRE(a == &up.ask && path);
    return 0;
}

static void elsewhere(struct machine *m)
{
    REQUIRE(new.took && m->paused && m->leaving && !old.over);
    old.over = true;
}

static void answered(void *who, int err, const char *why)
{
    REQUIRE(who == &old && why && (err || new.took));
    old.answered++;
}

static int can_save(struct machine *m)
{
    REQUIRE(!m->leaving);
    return old.saves & 1 ? fail(-EBUSY, "not now") : 0;
}

static int save(struct machine *m, struct parts *out)
{
    REQUIRE(m->leaving && m->paused);
    parts_put(out, "part", "x", 1);
    return old.saves & 2 ? -ENOMEM : 0;
}

static void outline(struct machine *m, struct parts *out)
{
    (void)m;
    parts_put(out, "machine", "x", 1);
}

static struct machine *make(void)
{
    static struct machine_ops ops;
    struct machine *m = fake_pc(1 << 20);
    ops = *m->ops;
    ops.can_save = can_save;
    ops.save = save;
    ops.outline = outline;
    m->ops = &ops;
    m->ram.fd = memfd_create("ram", MFD_CLOEXEC);
    up.asked = true;
    REQUIRE_EQ(upgrade_open(m, elsewhere), 0);
    return m;
}

/* ------------------------------------------------------------ the new one */

static void new_goes(void)
{
    if (new.sock >= 0)
        close(new.sock);
    new.sock = -1;
}

static void new_begins(void)
{
    const struct upgrade_told t = {"/new"};
    int err = upgrade_begin(&t, &old, answered);
    REQUIRE(err == -EINPROGRESS || (err == -EBUSY && (old.saves & 1)) ||
            (err == -EBUSY && up.busy));
    if (err != -EINPROGRESS)
        return;
    new_goes();
    old.begun++;
    new.starting = true;
    new.said = new.took = false;
    new.right = true;
}

static void new_starts(struct fuzz *f)
{
    int sv[2];
    uint8_t how = fuzz_u8(f);
    if (!new.starting || !up.busy)
        return;
    new.starting = false;
    if (how & 1) {
        up.ask.done(&up.ask, -(how >> 1), (const int[2]){-1, -1});
        return;
    }
    REQUIRE_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv), 0);
    new.sock = sv[1];
    up.ask.done(&up.ask, 0, (const int[2]){sv[0], -1});
}

/* Nothing can be said once it is not expected any more; what is said in its
 * turn counts. */
static void new_says(struct machine *m, struct fuzz *f)
{
    static const char *const words[] = {"ready", "took", "no ", "took ", ""};
    char text[64] = "";
    uint8_t how = fuzz_u8(f);
    size_t n = 0;
    if (how & 0x80)
        for (n = how & 63; n < sizeof(text) && f->n; n++)
            text[n] = (char)fuzz_u8(f);
    else
        n = strlen(strcpy(text, words[how % ARRAY_LEN(words)]));
    if (new.sock < 0 || send(new.sock, text, n, MSG_DONTWAIT) < 0)
        return;
    REQUIRE(up.busy);
    bool ready = n == 5 && !memcmp(text, "ready", 5);
    new.took |=
        new.right &&new.said && m->leaving &&n == 4 && !memcmp(text, "took", 4);
    new.right &= ready && !new.said;
    new.said |= ready;
}

static void act(struct machine *m, struct fuzz *f)
{
    uint8_t b = fuzz_u8(f);
    switch (b & 7) {
    case 0:
        new_begins();
        break;
    case 1:
        new_starts(f);
        break;
    case 2:
    case 3:
        new_says(m, f);
        break;
    case 4:
        new_goes();
        break;
    case 5:
        fake_advance_ns(1000000000ull << (b >> 3 & 7));
        break;
    case 6:
        old.saves = b >> 3 & 3;
        break;
    default:
        if (b & 8)
            upgrade_cancel("now");
        up.ends = false;
    }
    if (b & 0x80)
        fake_run_loop(m);
}

static void hear(struct machine *m, struct fuzz *f)
{
    bool paused = fuzz_u8(f) & 1;
    handed_want();
    handed_keep(&up.state, "state");
    handed_keep_number(&old.begun, "begun");
    old.begun = old.answered = 0;
    old.saves = 0;
    old.over = false;
    new.took = new.starting = false;
    if (paused)
        machine_pause(m);
    for (int i = 0; f->n && i < ACTS && !old.over; i++) {
        act(m, f);
        REQUIRE(old.over || up.busy || (!m->leaving && m->paused == paused));
    }
    fake_run_loop(m);
    if (!old.over && up.busy)
        upgrade_cancel("the end");
    REQUIRE(old.over == new.took && !up.busy);
    REQUIRE_EQ(old.answered, old.begun);
    if (!old.over) /* and it can take it no more */
        REQUIRE(new.sock < 0 || send(new.sock, "took", 4, MSG_DONTWAIT) < 0);
    new_goes();
    up.ends = up.resumes = m->leaving = false;
    machine_resume(m);
    handed_end();
}

/* ------------------------------------------------------------------ a list */

static void come(struct fuzz *f)
{
    static const char *const names[] = {"ram", "state", "stdin", "tap:n0:0"};
    int fd[8], n = fuzz_u8(f) % 8, left = 0;
    char *text = malloc(f->n + 1);
    REQUIRE(text != NULL);
    for (int i = 0; i < n; i++)
        fd[i] = eventfd(0, EFD_CLOEXEC);
    memcpy(text, f->p, f->n);
    text[f->n] = '\0';
    bool good = handed_come(text, fd, n);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        int got = handed_take("%s", names[i]);
        REQUIRE(got < 0 || handed_has("%s", names[i]));
        REQUIRE_EQ(handed_take("%s", names[i]), -ENOENT);
        handed_number(0, "%s", names[i]);
        if (got >= 0)
            CHECK_EQ(close(got), 0);
    }
    handed_left();
    handed_end();
    for (int i = 0; i < n; i++)
        left += !close(fd[i]);
    CHECK(!good || !left);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct machine *m;
    struct fuzz f = {data, size};
    if (!m)
        m = make();
    if (fuzz_u8(&f) & 1)
        come(&f);
    else
        hear(m, &f);
    return 0;
}
