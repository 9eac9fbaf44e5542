/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/*
 * Public address <-> private address, one to one; ports are never touched. Checksums are corrected
 * through the helpers alone: a packet between two veths mostly carries a half-made one
 * (CHECKSUM_PARTIAL), which only they can tell from a whole one, also for the big segments that are
 * cut up later.
 *
 * The copy of a header inside an ICMP error gets the opposite change. Its own IP checksum is
 * corrected with the address, so the ICMP checksum, which covers both, stays true. The quoted TCP
 * or UDP checksum is left: nobody can check it on a quotation.
 */
#ifndef STOCKADE_NAT_H
#define STOCKADE_NAT_H

#include "packet.h"

#define IP_SOURCE_FIELD	     (L3 + 12)
#define IP_DESTINATION_FIELD (L3 + 16)
#define TO_QUOTED	     (QUOTED_L3 - L3) /* from a field to the same field of the quoted header */

inlined void replace_address(struct __sk_buff *skb, __u32 ip, __u32 field, __be32 from, __be32 to)
{
	bpf_l3_csum_replace(skb, ip + 10, from, to, 4);
	bpf_skb_store_bytes(skb, field, &to, 4, 0);
}

inlined void correct_l4(struct __sk_buff *skb, __u8 protocol, __be32 from, __be32 to)
{
	if (protocol == IPPROTO_TCP)
		bpf_l4_csum_replace(skb, L4 + 16, from, to, BPF_F_PSEUDO_HDR | 4);
	else if (protocol == IPPROTO_UDP)
		bpf_l4_csum_replace(skb, L4 + 6, from, to, BPF_F_PSEUDO_HDR | BPF_F_MARK_MANGLED_0 | 4);
}

/* Packet pointers are void after this. */
inlined void set_source(struct __sk_buff *skb, const struct packet *packet, __be32 from, __be32 to)
{
	if (from == to)
		return;
	correct_l4(skb, packet->carrier, from, to);
	replace_address(skb, L3, IP_SOURCE_FIELD, from, to);
}

inlined void set_destination(struct __sk_buff *skb, const struct packet *packet, __be32 from, __be32 to)
{
	if (from == to)
		return;
	correct_l4(skb, packet->carrier, from, to);
	replace_address(skb, L3, IP_DESTINATION_FIELD, from, to);
}

/*
 * Translate source and destination; in an ICMP error the quoted ones too, which stand the other way
 * round. `packet` still has the addresses from before.
 */
outlined void translate(struct __sk_buff *skb, const struct packet *packet, __be32 source, __be32 destination)
{
	if (unlikely(packet->kind == ABOUT_A_FLOW)) {
		if (packet->source != source)
			replace_address(skb, QUOTED_L3, IP_DESTINATION_FIELD + TO_QUOTED, packet->source,
					source);
		if (packet->destination != destination)
			replace_address(skb, QUOTED_L3, IP_SOURCE_FIELD + TO_QUOTED, packet->destination,
					destination);
		/* A router on the way may complain too; it keeps its own address. */
		if (packet->outer_source == packet->source)
			set_source(skb, packet, packet->source, source);
	} else {
		set_source(skb, packet, packet->source, source);
	}
	set_destination(skb, packet, packet->destination, destination);
}

#endif
