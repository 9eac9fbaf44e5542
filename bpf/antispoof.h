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

/* The host's services live there, and neighbours: 169.254/16, fe80::/10, fd00:ec2::/32. */
inlined int is_link_local(int family, const __be32 *address)
{
	if (family == V4)
		return IN_BLOCK(address[0], 0xa9fe0000, 16);
	return IN_BLOCK(address[0], 0xfe800000, 10) || address[0] == bpf_htonl(SERVICE_PREFIX6);
}

/* 224/4, 255.255.255.255; ff00::/8 */
inlined int is_for_many(int family, const __be32 *address)
{
	if (family == V4)
		return IN_BLOCK(address[0], 0xe0000000, 4) || address[0] == 0xffffffff;
	return IN_BLOCK(address[0], 0xff000000, 8);
}

/* Never anybody's source: unspecified, loopback, multicast, reserved, broadcast, IPv4 in IPv6's clothes. */
inlined int is_nobody(int family, const __be32 *address)
{
	if (family == V4)
		return IN_BLOCK(address[0], 0, 8) || IN_BLOCK(address[0], 0x7f000000, 8) ||
		       IN_BLOCK(address[0], 0xe0000000, 3);
	if (IN_BLOCK(address[0], 0xff000000, 8))
		return 1;
	if (address[0] || address[1])
		return 0;
	return address[2] == bpf_htonl(0xffff) || (!address[2] && bpf_ntohl(address[3]) <= 1);
}

inlined int has_mac(const __u8 *bytes, const struct endpoint *self)
{
	return *(__u16 *)bytes == *(__u16 *)self->mac && *(__u16 *)(bytes + 2) == *(__u16 *)(self->mac + 2) &&
	       *(__u16 *)(bytes + 4) == *(__u16 *)(self->mac + 4);
}

/* Who has this address in this VPC. */
inlined struct address *known_address(int family, __u32 vpc, const __be32 *address)
{
	if (family == V4) {
		struct address_key key = {.vpc = vpc, .address = address[0]};

		return bpf_map_lookup_elem(&addresses, &key);
	} else {
		struct address6_key key = {.vpc = vpc};

		copy_address(key.address, address);
		return bpf_map_lookup_elem(&addresses6, &key);
	}
}

/* Who has none of the family has not the unspecified one, which stands for none. */
inlined int is_primary(int family, const struct endpoint *self, const __be32 *address)
{
	if (family == V4)
		return address[0] == self->address && address[0];
	return same_address(V6, address, self->address6) &&
	       (address[0] || address[1] || address[2] || address[3]);
}

inlined int owns(int family, const struct endpoint *self, __u32 slot, const __be32 *address)
{
	struct address *known;

	if (likely(is_primary(family, self, address)))
		return 1;
	known = known_address(family, self->vpc, address);
	return known && known->slot == slot;
}

/* As whom the sender is known by this source; nobody when the source is not its own. */
inlined __u64 own_identity(int family, const struct endpoint *self, __u32 slot, const __be32 *source)
{
	struct address *known;

	if (family == V4 && likely(source[0] == self->address))
		return self->identity;
	known = known_address(family, self->vpc, source);
#ifdef BREAK_ANTISPOOF
	/* The fault is whole: who claims an address is also taken for its owner. */
	return known ? known->identity : 0;
#else
	return known && known->slot == slot ? known->identity : 0;
#endif
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

/* A DHCP server's reply: 67 over IPv4, 547 over IPv6. Nobody but the host gives out addresses. */
inlined int is_dhcp_reply(int family, const struct packet *packet)
{
	return packet->protocol == IPPROTO_UDP && packet->kind == OF_A_FLOW &&
	       packet->source_port == bpf_htons(family == V4 ? 67 : 547);
}

inlined enum drop_reason check_source(int family, const struct packet *packet, const struct endpoint *self,
				      __u32 slot)
{
#ifndef BREAK_ANTISPOOF
	const __be32 *source = packet->kind == ABOUT_A_FLOW ? packet->complainer : packet->source;

	if (unlikely(is_dhcp_reply(family, packet)))
		return FOREIGN_REPLY;
	if (likely(owns(family, self, slot, source)))
		return PASSED;
	if (is_link_local(family, source))
		return FOREIGN_REPLY;
	if (self->flags & CHECK_SOURCE || is_nobody(family, source))
		return SPOOFED_ADDRESS;
#endif
	return PASSED;
}

#endif
