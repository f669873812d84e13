/* SPDX-License-Identifier: MIT */
/* ARP, IPv4, ICMP echo, UDP: as much as a test partner needs. */
#ifndef GUEST_NET_H
#define GUEST_NET_H

#include "netif.h"
#include "options.h"

#define ETH_HDR 14
#define ETH_IP 0x0800
#define ETH_ARP 0x0806
#define IP_HDR 20
#define IP_PROTO_ICMP 1
#define IP_PROTO_UDP 17
#define UDP_HDR 8

extern const u8 mac_broadcast[6];

/* Our address; 0 until there is one. Network byte order, as all addresses. */
struct net {
    u32 ip, mask, gw;
    u64 pings; /* echo requests answered */
};
extern struct net net;

/* From a driver: one received frame, which net_rx() may modify. */
void net_rx(u8 *frame, u32 len);

/* Room for the payload of a frame to mac, its Ethernet header filled in, or
 * NULL if the ring is full. */
u8 *net_frame(const u8 *mac, u16 type);

/* Queues that frame; len is the payload's. Short ones are padded. */
void net_frame_send(u32 len);

/* Fills in a 20-byte IPv4 header for len bytes of payload behind it; frag is
 * the fragment word (flags and offset in 8 bytes). */
void net_ip_header(u8 *ip, u32 src, u32 dst, u8 proto, u32 len, u16 frag);

/* Fills in a UDP header without checksum. */
void net_udp_header(u8 *udp, u16 sport, u16 dport, u32 len);

/* Takes the address into use and tells the neighbours (RFC 5227 §3). */
void net_address(u32 ip, u32 mask, u32 gw);

/* Asks for the MAC of ip, or of the gateway in front of it. The answer calls
 * flood_resolved(). */
void net_resolve(u32 ip);

/* dhcp.c */
void dhcp_start(void);
void dhcp_rx(const u8 *msg, u32 len);

/* flood.c: the frame that is in the TX buffer of frame already, or 0. The tag
 * lies at the end of the buffer, out of the way of frame and header. */
static inline u64 *flood_tag(u8 *frame)
{
    return (u64 *)(((uptr)frame & ~(uptr)(NETIF_BUF - 1)) + NETIF_BUF - 8);
}
void flood_start(void);
void flood_resolved(const u8 *mac);
/* Queues what room there is; true if it has anything left to send. */
bool flood_run(void);
void sink_start(void);

#endif
