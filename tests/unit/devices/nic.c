/* SPDX-License-Identifier: MIT */
/* What both NIC models share: addresses and backends. */
#include <errno.h>

#include "devices/e1000/state.h"
#include "devices/list.h"
#include "tests/unit/fake.h"

/* The MAC of one more NIC of a machine. */
static const uint8_t *mac_of(struct needs *needs, const char *text)
{
    static uint8_t mac[6];
    struct opts o;
    struct device *dev = NULL;
    REQUIRE_EQ(opts_parse(&o, "nic", text, NULL), 0);
    REQUIRE_EQ(device_new(&e1000_class, &o, needs, &dev), 0);
    memcpy(mac, container_of(dev, struct e1000, dev)->nic.mac, 6);
    device_free(dev);
    return mac;
}

/* The same from run to run; another for each NIC and for
 * each name. Machines without a name all have the same ones. */
TEST(nic_default_mac_is_of_the_machines_name_and_the_nics_number)
{
    struct needs web = {.name = "web"}, again = web, db = {.name = "db"},
                 none = {0}, empty = {.name = ""};
    uint8_t first[6], mac[6];
    memcpy(first, mac_of(&web, ""), 6);
    CHECK_MEM(first, "\x52\x54\x00", 3);
    CHECK_MEM(mac_of(&again, ""), first, 6);
    memcpy(mac, mac_of(&web, ""), 6);
    CHECK(memcmp(mac, first, 6) != 0);
    CHECK_MEM(mac_of(&again, ""), mac, 6);
    CHECK(memcmp(mac_of(&db, ""), first, 6) != 0);
    memcpy(mac, mac_of(&none, ""), 6);
    CHECK_MEM(mac_of(&empty, ""), mac, 6);
    CHECK_MEM(mac_of(&none, "mac=52:54:00:ab:cd:ef"),
              "\x52\x54\x00\xab\xcd\xef", 6);
}

TEST(nic_netdevs_that_are_not_there_or_taken)
{
    struct machine *m = fake_pc(1 << 20);
    fake_net_new("nic-a", 1);
    CHECK_EQ(fake_device(m, &e1000_class, "e1000", "netdev=nic-b"), -EINVAL);
    CHECK_HAS(test_log(), "netdev=nic-b: there is no -netdev with that id");
    CHECK_EQ(fake_device(m, &e1000_class, "e1000", "netdev=nic-a"), 0);
    CHECK_EQ(fake_device(m, &virtio_net_class, "virtio", "netdev=nic-a"),
             -EINVAL);
    CHECK_HAS(test_log(), "netdev=nic-a: another NIC uses it");
    netdev_close_all();
    fake_free(m);
}
