/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/*
 * Answers an endpoint's ARP requests: everything but itself lives at the router's MAC. So no ARP is
 * ever passed on, no neighbour table can be poisoned, and nobody learns who else is there. What an
 * endpoint says about itself must be true even though nobody listens: a lie is worth counting.
 */
#ifndef STOCKADE_NEIGHBOUR_H
#define STOCKADE_NEIGHBOUR_H

#include <linux/if_arp.h>
#include "antispoof.h"
#include "maps.h"
#include "packet.h"

struct arp_ipv4 {
	__be16 hardware;
	__be16 protocol;
	__u8 lengths[2];
	__be16 operation;
	__u8 sender_mac[6];
	__u8 sender[4];
	__u8 target_mac[6];
	__u8 target[4];
} __attribute__((packed));

enum arp_outcome { ARP_IGNORED, ARP_ANSWERED, ARP_FORGED };

inlined enum arp_outcome answer_arp(struct __sk_buff *skb, const struct endpoint *self, __u32 slot)
{
	struct arp_ipv4 *arp;
	struct ethhdr *eth;
	__be32 sender, target;
	__u64 identity;

	if (!reach(skb, ETH_HLEN + sizeof(*arp)))
		return ARP_IGNORED;
	eth = frame_start(skb);
	arp = (void *)(eth + 1);
	if ((void *)(arp + 1) > frame_end(skb))
		return ARP_IGNORED;
	if (arp->hardware != bpf_htons(ARPHRD_ETHER) || arp->protocol != bpf_htons(ETH_P_IP) ||
	    arp->lengths[0] != 6 || arp->lengths[1] != 4)
		return ARP_IGNORED;
	__builtin_memcpy(&sender, arp->sender, 4);
	__builtin_memcpy(&target, arp->target, 4);
#ifndef BREAK_ANTISPOOF
	if (!has_mac(eth->h_source, self) || !has_mac(arp->sender_mac, self))
		return ARP_FORGED;
	/* 0.0.0.0 asks whether an address is free */
	if (sender && !owns(self, slot, sender, &identity) && self->flags & CHECK_SOURCE)
		return ARP_FORGED;
#endif
	if (arp->operation != bpf_htons(ARPOP_REQUEST) || owns(self, slot, target, &identity))
		return ARP_IGNORED;
	arp->operation = bpf_htons(ARPOP_REPLY);
	copy_mac(arp->target_mac, self->mac);
	__builtin_memcpy(arp->target, &sender, 4);
	set_router_mac(arp->sender_mac);
	__builtin_memcpy(arp->sender, &target, 4);
	return ARP_ANSWERED;
}

#endif
