/* SPDX-License-Identifier: MIT */
/* Transmit flood and receive rates. */

/*
 * Theory of operation
 *
 * The flood sends UDP frames of one size to the discard port (RFC 863) as fast
 * as the ring takes them. A buffer that already holds the frame (flood_tag())
 * only gets a new sequence number, so what is measured is the device and not
 * memcpy. The number is the first four bytes of the payload, in network order,
 * for receivers that look for loss.
 *
 * flood_run() fills the ring and returns; the main loop kicks once and, when
 * the ring is full, halts until half of it is free.
 */

#include "clock.h"
#include "net.h"
#include "power.h"

#define PORT_DISCARD 9
#define HEADERS (ETH_HDR + IP_HDR + UDP_HDR)
#define BURST 64 /* frames between two looks at the clock */

static struct {
    bool on;
    u8 mac[6];
    u32 size;
    u64 sent, start_us, end_us, kicks;
    u64 tag; /* differs per boot: buffers are never cleared */
} flood;

static struct {
    u64 frames, bytes; /* at the last look */
    u64 start_frames, start_bytes, start_us, last_us;
    bool active;
} sink;

/* x events in us microseconds, per second. */
static u64 rate(u64 x, u64 us)
{
    return us ? x * 1000000 / us : 0;
}

static void begin(void)
{
    flood.on = true;
    flood.tag = rdtsc() | 1;
    flood.start_us = clock_us();
    flood.end_us = flood.start_us + opt.flood_secs * 1000000ull;
    flood.kicks = nif.kicks;
    print("guest: flood start size=%u to=%pM\n", flood.size, flood.mac);
}

static void ask_again(void)
{
    net_resolve(opt.flood_to);
    clock_timer(TIMER_FLOOD, 1000, ask_again);
}

void flood_start(void)
{
    flood.size = opt.flood_size;
    if (flood.size < ETH_FRAME_MIN)
        flood.size = ETH_FRAME_MIN;
    if (flood.size > ETH_FRAME_MAX)
        flood.size = ETH_FRAME_MAX;
    if (opt.flood_to) {
        ask_again();
        return;
    }
    memcpy(flood.mac, mac_broadcast, 6);
    begin();
}

void flood_resolved(const u8 *mac)
{
    clock_timer(TIMER_FLOOD, 0, NULL);
    memcpy(flood.mac, mac, 6);
    begin();
}

static void fill(u8 *frame)
{
    u32 dst = opt.flood_to ? opt.flood_to : 0xffffffff;
    u8 *ip = net_frame(flood.mac, ETH_IP);

    net_ip_header(ip, net.ip, dst, IP_PROTO_UDP, flood.size - ETH_HDR - IP_HDR,
                  0);
    net_udp_header(ip + IP_HDR, PORT_DISCARD, PORT_DISCARD,
                   flood.size - HEADERS);
    memset(frame + HEADERS, 0, flood.size - HEADERS);
    *flood_tag(frame) = flood.tag;
}

static void end(void)
{
    u64 us = clock_us() - flood.start_us;
    u64 bytes = flood.sent * flood.size;

    flood.on = false;
    print(
        "guest: flood frames=%lu bytes=%lu ms=%lu fps=%lu Bps=%lu kicks=%lu\n",
        flood.sent, bytes, us / 1000, rate(flood.sent, us), rate(bytes, us),
        nif.kicks - flood.kicks);
    power_event(EVENT_FLOOD);
}

bool flood_run(void)
{
    if (!flood.on)
        return false;
    for (unsigned i = 0; i < BURST; i++) {
        if (opt.flood_count && flood.sent == opt.flood_count) {
            end();
            return false;
        }
        u8 *frame = nif.driver->tx_buf();

        if (!frame)
            break;
        if (*flood_tag(frame) != flood.tag)
            fill(frame);
        *(u32_unaligned *)(frame + HEADERS) = be32((u32)flood.sent++);
        nif.driver->tx(flood.size);
        nif.tx_frames++;
        nif.tx_bytes += flood.size;
    }
    if (opt.flood_secs && clock_us() >= flood.end_us) {
        end();
        return false;
    }
    return true;
}

static void sink_total(void)
{
    u64 us = sink.last_us - sink.start_us;
    u64 frames = sink.frames - sink.start_frames;
    u64 bytes = sink.bytes - sink.start_bytes;

    print("guest: sink total frames=%lu bytes=%lu ms=%lu fps=%lu Bps=%lu "
          "irqs=%lu\n",
          frames, bytes, us / 1000, rate(frames, us), rate(bytes, us),
          nif.irqs);
    sink.active = false;
    power_event(EVENT_SINK);
}

/* Once a second. A second without frames ends a run and prints its total. */
static void look(void)
{
    u64 frames = nif.rx_frames - sink.frames, now = clock_us();
    u64 bytes = nif.rx_bytes - sink.bytes;

    if (frames && !sink.active) {
        sink.active = true;
        sink.start_frames = sink.frames;
        sink.start_bytes = sink.bytes;
        sink.start_us = sink.last_us;
    }
    u64 us = now - sink.last_us;

    if (frames || !sink.active)
        sink.last_us = now;
    sink.frames = nif.rx_frames;
    sink.bytes = nif.rx_bytes;
    if (frames)
        print("guest: sink frames=%lu fps=%lu Bps=%lu\n", frames,
              rate(frames, us), rate(bytes, us));
    else if (sink.active)
        sink_total();
    clock_timer(TIMER_SINK, 1000, look);
}

void sink_start(void)
{
    sink.last_us = clock_us();
    sink.frames = nif.rx_frames;
    sink.bytes = nif.rx_bytes;
    clock_timer(TIMER_SINK, 1000, look);
}
