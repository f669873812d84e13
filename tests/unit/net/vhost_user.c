/* SPDX-License-Identifier: MIT */
/* -netdev vhost-user: it says where a back-end is met, and no frame passes. */
#include "host/chardev.h"
#include "net/list.h"
#include "tests/unit/net/net_test.h"

static struct machine *m;

TEST(net_vhost_user_only_names_where_its_back_end_is)
{
    struct netdev *nd = NULL;
    uint8_t p[100];
    struct iovec iov = {p, sizeof(p)};
    m = fake_new(4096);
    REQUIRE_EQ(nt_open(m, &vhost_user_class,
                       "id=u,path=/run/x,reconnect=2,queues=2", &nd),
               0);
    CHECK_EQ(nd->nq, 2);
    CHECK_EQ(nd->vhost, VHOST_USER);
    CHECK_STR(nd->chardev->addr.text, "unix:/run/x");
    CHECK_EQ(nd->chardev->reconnect_ms, 2000);
    CHECK(!nd->chardev->server);
    CHECK(!netdev_link(nd)); /* until a device has met it */
    CHECK_EQ(nt_send(nd, 60, 0), -ENOTCONN);
    CHECK_EQ(nd->q[1]->recv(nd->q[1], &iov, 1), 0);
    CHECK_EQ(nd->q[0]->fd, -1);
    netdev_free(nd);
    fake_free(m);
}

TEST(net_vhost_user_has_its_chardev_alone_and_gives_it_back)
{
    struct netdev *a = NULL, *b = NULL;
    m = fake_new(4096);
    REQUIRE_EQ(chardev_add("socket,id=c,path=/run/y,server=on,wait=off"), 0);
    REQUIRE_EQ(nt_open(m, &vhost_user_class, "id=a,chardev=c", &a), 0);
    CHECK(a->chardev == chardev_find("c"));
    CHECK(nt_open(m, &vhost_user_class, "id=b,chardev=c", &b) < 0);
    CHECK_HAS(test_log(), "no one else's");
    netdev_free(a);
    REQUIRE_EQ(nt_open(m, &vhost_user_class, "id=b,chardev=c", &b), 0);
    netdev_free(b);
    chardev_free();
    fake_free(m);
}

TEST(net_vhost_user_errors_are_said)
{
    static const char *const bad[][2] = {
        {"id=u", "either path= or chardev="},
        {"id=u,path=/x,chardev=x", "either path= or chardev="},
        {"id=u,chardev=nope", "no -chardev nope"},
        {"id=u,path=/x,queues=99", "1 to 16"},
        {"id=u,path=/x,color=red", "color"},
        {"id=u,path=", "path"},
        {"id=u,chardev=x", "must be socket,path=PATH"},
    };
    struct netdev *nd = NULL;
    m = fake_new(4096);
    REQUIRE_EQ(chardev_add("pty,id=x"), 0);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        CHECK(nt_open(m, &vhost_user_class, bad[i][0], &nd) < 0);
        CHECK_HAS(test_log(), bad[i][1]);
    }
    chardev_free();
    fake_free(m);
}
