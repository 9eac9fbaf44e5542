/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/*
 * Answers an endpoint's ARP requests and neighbour solicitations: everything but itself lives at the router's
 * MAC. So nothing of the kind is ever passed on, no neighbour table can be poisoned, and nobody learns who else is there. What an
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

enum neighbour_outcome { NEIGHBOUR_IGNORED, NEIGHBOUR_ANSWERED, NEIGHBOUR_FORGED, NEIGHBOUR_FOREIGN };

inlined enum neighbour_outcome answer_arp(struct __sk_buff *skb, const struct endpoint *self, __u32 slot)
{
	struct arp_ipv4 *arp;
	struct ethhdr *eth;
	__be32 sender, target;
	/* Where others forward, nothing strange is passed on: some stacks take ARP of other hardware for theirs. */
	const enum neighbour_outcome strange = self->flags & FILTERED ? NEIGHBOUR_FORGED : NEIGHBOUR_IGNORED;

	if (!reach(skb, ETH_HLEN + sizeof(*arp)))
		return strange;
	eth = frame_start(skb);
	arp = (void *)(eth + 1);
	if ((void *)(arp + 1) > frame_end(skb))
		return strange;
	if (arp->hardware != bpf_htons(ARPHRD_ETHER) || arp->protocol != bpf_htons(ETH_P_IP) ||
	    arp->lengths[0] != 6 || arp->lengths[1] != 4)
		return strange;
	__builtin_memcpy(&sender, arp->sender, 4);
	__builtin_memcpy(&target, arp->target, 4);
#ifndef BREAK_ANTISPOOF
	if (!has_mac(eth->h_source, self) || !has_mac(arp->sender_mac, self))
		return NEIGHBOUR_FORGED;
	/* 0.0.0.0 asks whether an address is free */
	if (sender && !owns(V4, self, slot, &sender) && self->flags & CHECK_SOURCE)
		return NEIGHBOUR_FORGED;
#endif
	if (self->flags & FILTERED)
		return NEIGHBOUR_ANSWERED; /* by whoever is asked */
	if (arp->operation != bpf_htons(ARPOP_REQUEST) || owns(V4, self, slot, &target))
		return NEIGHBOUR_IGNORED;
	arp->operation = bpf_htons(ARPOP_REPLY);
	copy_mac(arp->target_mac, self->mac);
	__builtin_memcpy(arp->target, &sender, 4);
	set_router_mac(arp->sender_mac);
	__builtin_memcpy(arp->sender, &target, 4);
	return NEIGHBOUR_ANSWERED;
}

#define SOLICITATION	      135
#define ADVERTISEMENT	      136
#define MESSAGE_LENGTH	      24 /* with the target, without options */
#define ROUTER_MESSAGE_LENGTH 8	 /* a router solicitation, without options */
#define OPTION_LENGTH	      8	 /* of a link-layer address */

inlined int is_neighbour_message(const struct packet *packet)
{
	__u8 type = packet->port >> 8;

	return packet->carrier == IPPROTO_ICMPV6 && packet->family == V6 && type >= ICMPV6_FIRST_NEIGHBOUR &&
	       type <= ICMPV6_REDIRECT_TYPE;
}

inlined int is_unspecified(const __be32 *address)
{
	return !address[0] && !address[1] && !address[2] && !address[3];
}

/* Turns the solicitation into the advertisement that the router's MAC has what was asked for. */
inlined enum neighbour_outcome advertise(struct __sk_buff *skb, const struct packet *packet,
					 const __be32 *target, int has_option)
{
	__be32 pseudo[10], message[8] = {};
	struct ipv6hdr *ip;
	__be32 *icmp;
	__u32 sum;
	int word;

	copy_address(pseudo, target);
	copy_address(pseudo + 4, packet->source);
	pseudo[8] = bpf_htonl(has_option ? MESSAGE_LENGTH + OPTION_LENGTH : MESSAGE_LENGTH);
	pseudo[9] = bpf_htonl(IPPROTO_ICMPV6);
	message[0] = bpf_htonl((__u32)ADVERTISEMENT << 24);
	message[1] = bpf_htonl(0xe0000000); /* a router, asked for, overriding what was known */
	copy_address(message + 2, target);
	message[6] = bpf_htonl(0x02010000 | ROUTER_MAC_0);
	message[7] = bpf_htonl((__u32)ROUTER_MAC_2 << 16 | ROUTER_MAC_4);
	sum = bpf_csum_diff(0, 0, pseudo, sizeof(pseudo), 0);
	if (has_option)
		sum = bpf_csum_diff(0, 0, message, MESSAGE_LENGTH + OPTION_LENGTH, sum);
	else
		sum = bpf_csum_diff(0, 0, message, MESSAGE_LENGTH, sum);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	((__u16 *)message)[1] = ~sum;
	ip = frame_start(skb) + L3;
	icmp = (void *)(ip + 1);
	if ((void *)(icmp + 6) > frame_end(skb))
		return NEIGHBOUR_IGNORED;
	ip->payload_len = bpf_htons(has_option ? MESSAGE_LENGTH + OPTION_LENGTH : MESSAGE_LENGTH);
	copy_address(ip->saddr.in6_u.u6_addr32, target);
	copy_address(ip->daddr.in6_u.u6_addr32, packet->source);
	for (word = 0; word < 6; word++)
		icmp[word] = message[word];
	if (has_option) {
		if ((void *)(icmp + 8) > frame_end(skb))
			return NEIGHBOUR_IGNORED;
		icmp[6] = message[6];
		icmp[7] = message[7];
	}
	return NEIGHBOUR_ANSWERED;
}

/* Neighbour discovery of an endpoint: what it says must be true of itself, what it asks is answered here. */
separate int answer_solicitation(struct __sk_buff *skb)
{
	struct work *work = desk();
	struct endpoint *self = work ? live_endpoint(work->slot) : 0;
	const struct packet *packet;
	int has_option, foreign = 0, to_router;
	__u32 length, before;
	__be32 target[4] = {}, *message;
	struct ipv6hdr *ip;
	__u8 type, *option;

	if (!self)
		return NEIGHBOUR_IGNORED;
	packet = &work->packet;
	type = packet->port >> 8;
	to_router = type == ICMPV6_FIRST_NEIGHBOUR;
	if (type != SOLICITATION && type != ADVERTISEMENT && !to_router)
		return NEIGHBOUR_FOREIGN;
	if (to_router && !(self->flags & FILTERED))
		return NEIGHBOUR_IGNORED;
	before = to_router ? ROUTER_MESSAGE_LENGTH : MESSAGE_LENGTH;
	reach(skb, L4_V6 + MESSAGE_LENGTH + OPTION_LENGTH);
	ip = frame_start(skb) + L3;
	message = (void *)(ip + 1);
	if ((void *)message + before > frame_end(skb) || packet->l4 != L4_V6)
		return NEIGHBOUR_FORGED;
	if (!to_router) {
		if ((void *)message + MESSAGE_LENGTH > frame_end(skb))
			return NEIGHBOUR_FORGED;
		copy_address(target, message + 2);
	}
	/* One option at most: a lie could stand behind another. */
	length = bpf_ntohs(ip->payload_len);
	if (length < before || length > before + OPTION_LENGTH)
		return NEIGHBOUR_FORGED;
	option = (void *)message + before;
	has_option = length == before + OPTION_LENGTH && (void *)(option + OPTION_LENGTH) <= frame_end(skb);
	if (has_option)
		foreign = option[0] == (type == ADVERTISEMENT ? 2 : 1) && !has_mac(option + 2, self);
#ifdef BREAK_ANTISPOOF
	(void)foreign;
#else
	if (ip->hop_limit != 255 || foreign)
		return NEIGHBOUR_FORGED;
	if (!is_unspecified(packet->source) && !IN_BLOCK(packet->source[0], 0xfe800000, 10) &&
	    !owns(V6, self, work->slot, packet->source))
		return NEIGHBOUR_FORGED;
	if (type == ADVERTISEMENT && !IN_BLOCK(target[0], 0xfe800000, 10) &&
	    !owns(V6, self, work->slot, target))
		return NEIGHBOUR_FORGED;
#endif
	if (self->flags & FILTERED)
		return NEIGHBOUR_ANSWERED; /* by whoever is asked */
	if (type == ADVERTISEMENT || is_unspecified(packet->source) || owns(V6, self, work->slot, target))
		return NEIGHBOUR_IGNORED;
	return advertise(skb, packet, target, has_option);
}

#endif
