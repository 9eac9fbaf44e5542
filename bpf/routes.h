/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/*
 * Where a destination lives, and how a packet gets there: another endpoint here, the host or what
 * lies beyond an uplink (replies only), or nowhere. Every way ends in a redirect; a redirect to an
 * endpoint is made only with the endpoint that `live_endpoint` just found, so a slot that changed
 * hands is no way.
 */
#ifndef STOCKADE_ROUTES_H
#define STOCKADE_ROUTES_H

#include "antispoof.h"
#include "maps.h"
#include "packet.h"

inlined struct host *this_host(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&host, &zero);
}

/* Whether outsiders may mean an endpoint of this site by it. */
inlined int in_pool(int family, const struct host *here, const __be32 *address)
{
	if (family == V4)
		return (address[0] & here->pool_mask) == here->pool;
	return here->pool6_mask[0] && (address[0] & here->pool6_mask[0]) == here->pool6[0] &&
	       (address[1] & here->pool6_mask[1]) == here->pool6[1] &&
	       (address[2] & here->pool6_mask[2]) == here->pool6[2] &&
	       (address[3] & here->pool6_mask[3]) == here->pool6[3];
}

inlined __u32 slot_of_device(__u32 ifindex)
{
	__u32 *slot;

	if (likely(ifindex < MAX_NEAR))
		slot = bpf_map_lookup_elem(&devices, &ifindex);
	else
		slot = bpf_map_lookup_elem(&far_devices, &ifindex);
	return slot ? *slot : 0;
}

/* The endpoint in this slot if it has a device. */
inlined struct endpoint *live_endpoint(__u32 slot)
{
	struct endpoint *endpoint = bpf_map_lookup_elem(&endpoints, &slot);

	return endpoint && slot && endpoint->ifindex ? endpoint : 0;
}

/* The same, unless somebody else has the slot by now. */
inlined struct endpoint *same_endpoint(__u32 slot, __u32 generation)
{
	struct endpoint *endpoint = live_endpoint(slot);

	return endpoint && endpoint->generation == generation ? endpoint : 0;
}

inlined __u32 slot_of_public(int family, const __be32 *address)
{
	__u32 *slot =
		family == V4 ? bpf_map_lookup_elem(&publics, address) : bpf_map_lookup_elem(&publics6, address);

	return slot ? *slot : 0;
}

/* To an address of the sender's own network that is here. */
inlined void by_private_address(struct work *work, __u32 slot, __u64 identity)
{
	work->way.slot = slot;
	work->way.source = work->packet.source[0];
	copy_address(work->way.judged_source, work->packet.source);
	work->way.judged_identity = identity;
}

/* Over IPv6 there is no translation: whoever may be met from outside is met by its own address. */
inlined enum drop_reason by_public_address6(struct work *work, const struct endpoint *self)
{
	work->way.slot = slot_of_public(V6, work->packet.destination);
	if (!work->way.slot)
		return NO_ROUTE;
	if (!live_endpoint(work->way.slot))
		return ENDPOINT_UNKNOWN;
	/* A router's word for others ends with its own network: here they would be taken for the receiver's neighbours. */
	if (!(self->flags & PUBLIC6) || !owns(V6, self, work->slot, work->packet.source))
		return NO_PUBLIC_ADDRESS;
	work->way.via_public = 1;
	copy_address(work->way.judged_source, work->packet.source);
	return PASSED;
}

/*
 * By a public address (architecture N5). On the classic platform and in one network the sender keeps its
 * private address, except towards itself: a stack takes no packet from its own address. Otherwise it is
 * seen as its own public address, and belongs to no group.
 */
inlined enum drop_reason by_public_address(struct work *work, const struct endpoint *self, __u64 identity)
{
	const struct packet *packet = &work->packet;
	struct host *here = this_host();
	struct way *way = &work->way;
	struct endpoint *target;

	if (!here || !in_pool(V4, here, packet->destination))
		return NO_ROUTE;
	way->slot = slot_of_public(V4, packet->destination);
	if (!way->slot)
		return NO_ROUTE;
	target = live_endpoint(way->slot);
	if (!target)
		return ENDPOINT_UNKNOWN;
	way->via_public = 1;
	if (self->flags & CLASSIC && self->vpc == target->vpc) {
		copy_address(way->judged_source, packet->source);
		way->judged_identity = identity;
		way->source = way->slot == work->slot ? self->public_address : packet->source[0];
		return PASSED;
	}
	if (!self->public_address)
		return NO_PUBLIC_ADDRESS;
	way->source = way->judged_source[0] = self->public_address;
	return PASSED;
}

inlined int set_macs(struct __sk_buff *skb, const __u8 *destination)
{
	struct ethhdr *eth = frame_start(skb);

	if ((void *)(eth + 1) > frame_end(skb))
		return 0;
	copy_mac(eth->h_dest, destination);
	set_router_mac(eth->h_source);
	return 1;
}

/* Into the other end of a veth, in one step. Its stack takes frames marked as its own only. */
inlined int into_peer(struct __sk_buff *skb, __u32 ifindex, const __u8 *mac)
{
	if (!set_macs(skb, mac))
		return TC_ACT_SHOT;
	if (unlikely(skb->pkt_type != PACKET_HOST))
		bpf_skb_change_type(skb, PACKET_HOST);
	return bpf_redirect_peer(ifindex, 0);
}

inlined int deliver(struct __sk_buff *skb, const struct endpoint *target)
{
	return into_peer(skb, target->ifindex, target->mac);
}

/* Out to whoever opened the flow from outside: the host's stack by the gateway link, others by their uplink. */
inlined int leave(struct __sk_buff *skb, __u32 link)
{
	struct host *here = this_host();

	if (!here)
		return TC_ACT_SHOT;
	if (link != here->gateway)
		return bpf_redirect_neigh(link, 0, 0, 0);
	if (!set_macs(skb, here->gateway_mac))
		return TC_ACT_SHOT;
	return bpf_redirect(link, 0);
}

#endif
