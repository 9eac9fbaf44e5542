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

#include "maps.h"
#include "packet.h"

#define IP_SOURCE_FIELD	       (L3 + 12)
#define IP_DESTINATION_FIELD   (L3 + 16)
#define TO_QUOTED	       (L4 + 8 - L3) /* from a field to the same field of the quoted header */
#define IPV6_SOURCE_FIELD      (L3 + 8)
#define IPV6_DESTINATION_FIELD (L3 + 24)

inlined void replace_address(struct __sk_buff *skb, __u32 ip, __u32 field, __be32 from, __be32 to)
{
	bpf_l3_csum_replace(skb, ip + 10, from, to, 4);
	bpf_skb_store_bytes(skb, field, &to, 4, 0);
}

/* `from` and `to`: an address, or 0 and the difference that two make. Only the first fragment has a checksum. */
inlined void correct_l4(struct __sk_buff *skb, const struct packet *packet, __u32 l4, __u32 from, __u32 to,
			__u32 size)
{
	if (packet->fragment == LATER_FRAGMENT)
		return;
	if (packet->carrier == IPPROTO_TCP)
		bpf_l4_csum_replace(skb, l4 + 16, from, to, BPF_F_PSEUDO_HDR | size);
	else if (packet->carrier == IPPROTO_UDP)
		bpf_l4_csum_replace(skb, l4 + 6, from, to, BPF_F_PSEUDO_HDR | BPF_F_MARK_MANGLED_0 | size);
}

/* Packet pointers are void after this. */
inlined void replace_ipv4(struct __sk_buff *skb, const struct packet *packet, __u32 field, __be32 from,
			  __be32 to)
{
	if (from == to)
		return;
	correct_l4(skb, packet, L4, from, to, 4);
	replace_address(skb, L3, field, from, to);
}

inlined void replace_ipv6(struct __sk_buff *skb, const struct packet *packet, __u32 field, const __be32 *from,
			  const __be32 *to)
{
	correct_l4(skb, packet, packet->l4, 0, bpf_csum_diff((void *)from, 16, (void *)to, 16, 0), 0);
	bpf_skb_store_bytes(skb, field, to, 16, 0);
}

/*
 * Translate source and destination; in an ICMP error the quoted ones too, which stand the other way
 * round. the desk's packet still has the addresses from before.
 */
separate int translate(struct __sk_buff *skb, __be32 source, __be32 destination)
{
	const struct packet *packet;
	struct work *work = desk();
	__be32 from, to;

	if (!work)
		return 0;
	packet = &work->packet;
	from = packet->source[0];
	to = packet->destination[0];

	if (unlikely(packet->kind == ABOUT_A_FLOW)) {
		if (from != source)
			replace_address(skb, L4 + 8, IP_DESTINATION_FIELD + TO_QUOTED, from, source);
		if (to != destination)
			replace_address(skb, L4 + 8, IP_SOURCE_FIELD + TO_QUOTED, to, destination);
		/* A router on the way may complain too; it keeps its own address. */
		if (packet->complainer[0] == from)
			replace_ipv4(skb, packet, IP_SOURCE_FIELD, from, source);
	} else {
		replace_ipv4(skb, packet, IP_SOURCE_FIELD, from, source);
	}
	replace_ipv4(skb, packet, IP_DESTINATION_FIELD, to, destination);
	return 0;
}

#endif
