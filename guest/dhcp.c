/* SPDX-License-Identifier: MIT */
/* DHCP client: discover, request, and that is it (RFC 2131). */

#include "clock.h"
#include "net.h"

#define PORT_SERVER 67
#define PORT_CLIENT 68

/* Offsets, RFC 2131 §2 */
#define XID 4
#define FLAGS 10
#define YIADDR 16
#define CHADDR 28
#define COOKIE 236
#define OPTIONS 240
#define BOOTP_MIN 300 /* RFC 1542 §2.1: relays may drop shorter ones */

/* Options, RFC 2132 */
#define OPT_PAD 0
#define OPT_MASK 1
#define OPT_ROUTER 3
#define OPT_ADDRESS 50
#define OPT_TYPE 53
#define OPT_SERVER 54
#define OPT_PARAMETERS 55
#define OPT_END 255
#define DISCOVER 1
#define OFFER 2
#define REQUEST 3
#define ACK 5
#define NAK 6

static struct {
    u8 state; /* message we sent last; 0 before the first and when done */
    u32 xid, address, server;
    u32 wait_ms;
} dhcp;

static u8 *add_option(u8 *p, u8 code, u8 len, const void *value)
{
    *p++ = code;
    *p++ = len;
    memcpy(p, value, len);
    return p + len;
}

static void send(void)
{
    static const u8 parameters[] = {OPT_MASK, OPT_ROUTER};
    u8 *ip = net_frame(mac_broadcast, ETH_IP);

    if (!ip)
        return;
    u8 *msg = ip + IP_HDR + UDP_HDR, *p = msg + OPTIONS;

    memset(msg, 0, BOOTP_MIN);
    msg[0] = 1; /* BOOTREQUEST */
    msg[1] = 1; /* Ethernet */
    msg[2] = 6;
    *(u32_unaligned *)(msg + XID) = dhcp.xid;
    msg[FLAGS] = 0x80; /* answer by broadcast: we have no address yet */
    memcpy(msg + CHADDR, nif.mac, 6);
    memcpy(msg + COOKIE, "\x63\x82\x53\x63", 4);
    p = add_option(p, OPT_TYPE, 1, &dhcp.state);
    if (dhcp.state == REQUEST) {
        p = add_option(p, OPT_ADDRESS, 4, &dhcp.address);
        p = add_option(p, OPT_SERVER, 4, &dhcp.server);
    }
    p = add_option(p, OPT_PARAMETERS, sizeof(parameters), parameters);
    *p = OPT_END;
    net_ip_header(ip, 0, 0xffffffff, IP_PROTO_UDP, UDP_HDR + BOOTP_MIN, 0);
    net_udp_header(ip + IP_HDR, PORT_CLIENT, PORT_SERVER, BOOTP_MIN);
    net_frame_send(IP_HDR + UDP_HDR + BOOTP_MIN);
}

/* RFC 2131 §4.1: the wait doubles, up to 64 s; start over with each. */
static void retry(void)
{
    dhcp.state = DISCOVER;
    send();
    dhcp.wait_ms = dhcp.wait_ms < 64000 ? dhcp.wait_ms * 2 : 64000;
    clock_timer(TIMER_DHCP, dhcp.wait_ms, retry);
}

void dhcp_start(void)
{
    dhcp.xid = (u32)rdtsc() ^ *(u32_unaligned *)(nif.mac + 2);
    dhcp.wait_ms = 500;
    retry();
}

/* Value of a four-byte (or, for the type, one-byte) option; 0 if absent. */
static u32 find_option(const u8 *msg, u32 len, u8 code, u8 size)
{
    for (u32 at = OPTIONS; at < len && msg[at] != OPT_END;) {
        if (msg[at] == OPT_PAD) {
            at++;
            continue;
        }
        if (at + 2 > len || at + 2 + msg[at + 1] > len)
            return 0;
        if (msg[at] == code && msg[at + 1] >= size)
            return size == 1 ? msg[at + 2]
                             : *(const u32_unaligned *)(msg + at + 2);
        at += 2u + msg[at + 1];
    }
    return 0;
}

void dhcp_rx(const u8 *msg, u32 len)
{
    if (!dhcp.state || len < OPTIONS || msg[0] != 2 ||
        *(const u32_unaligned *)(msg + XID) != dhcp.xid ||
        memcmp(msg + COOKIE, "\x63\x82\x53\x63", 4))
        return;
    u32 type = find_option(msg, len, OPT_TYPE, 1);

    if (dhcp.state == DISCOVER && type == OFFER) {
        dhcp.address = *(const u32_unaligned *)(msg + YIADDR);
        dhcp.server = find_option(msg, len, OPT_SERVER, 4);
        dhcp.state = REQUEST;
        send();
    } else if (dhcp.state == REQUEST && type == ACK) {
        u32 mask = find_option(msg, len, OPT_MASK, 4);

        dhcp.state = 0;
        clock_timer(TIMER_DHCP, 0, NULL);
        net_address(*(const u32_unaligned *)(msg + YIADDR),
                    mask ? mask : opt.mask,
                    find_option(msg, len, OPT_ROUTER, 4));
    } else if (dhcp.state == REQUEST && type == NAK) {
        dhcp.state = DISCOVER; /* the timer asks again */
    }
}
