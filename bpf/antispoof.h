/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/*
 * Is the sender who it says it is? First of all checks, without exception: services and established
 * flows come after it. The MAC is pinned always, the address unless the endpoint may forward for
 * others.
 */
#ifndef STOCKADE_ANTISPOOF_H
#define STOCKADE_ANTISPOOF_H

#include "maps.h"
#include "packet.h"

/* network/bits of an address in network order */
#define IN_BLOCK(address, network, bits) (((address)&bpf_htonl(~0u << (32 - (bits)))) == bpf_htonl(network))
#define IS_LINK_LOCAL(address)		 IN_BLOCK(address, 0xa9fe0000, 16)
#define IS_MULTICAST(address)		 IN_BLOCK(address, 0xe0000000, 4)

/* Never anybody's source: unspecified, loopback, multicast, reserved, broadcast. */
inlined int is_nobody(__be32 address)
{
	return IN_BLOCK(address, 0, 8) || IN_BLOCK(address, 0x7f000000, 8) || IN_BLOCK(address, 0xe0000000, 3);
}

inlined int has_mac(const __u8 *bytes, const struct endpoint *self)
{
	return *(__u16 *)bytes == *(__u16 *)self->mac && *(__u16 *)(bytes + 2) == *(__u16 *)(self->mac + 2) &&
	       *(__u16 *)(bytes + 4) == *(__u16 *)(self->mac + 4);
}

/* Whether the address is one of this endpoint's, and as whom it is known. */
inlined int owns(const struct endpoint *self, __u32 slot, __be32 address, __u64 *identity)
{
	struct address_key key = {.vpc = self->vpc, .address = address};
	struct address *known;

	if (likely(address == self->address)) {
		*identity = self->identity;
		return 1;
	}
	known = bpf_map_lookup_elem(&addresses, &key);
	if (!known || known->slot != slot)
		return 0;
	*identity = known->identity;
	return 1;
}

inlined enum drop_reason check_mac(struct __sk_buff *skb, const struct endpoint *self)
{
	struct ethhdr *eth = frame_start(skb);

	if ((void *)(eth + 1) > frame_end(skb))
		return MALFORMED;
#ifndef BREAK_ANTISPOOF
	if (unlikely(!has_mac(eth->h_source, self)))
		return SPOOFED_MAC;
#endif
	return PASSED;
}

inlined enum drop_reason check_source(const struct packet *packet, const struct endpoint *self, __u32 slot,
				      __u64 *identity)
{
	__be32 source = packet->kind == ABOUT_A_FLOW ? packet->outer_source : packet->source;

	if (likely(owns(self, slot, source, identity)))
		return PASSED;
	*identity = 0;
#ifdef BREAK_ANTISPOOF
	/* The fault is whole: who claims an address is also taken for its owner. */
	struct address_key key = {.vpc = self->vpc, .address = source};
	struct address *claimed = bpf_map_lookup_elem(&addresses, &key);

	if (claimed)
		*identity = claimed->identity;
#else
	if (IS_LINK_LOCAL(source))
		return FOREIGN_REPLY;
	if (self->flags & CHECK_SOURCE || is_nobody(source))
		return SPOOFED_ADDRESS;
#endif
	return PASSED;
}

#endif
