// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0
/*
 * Where packets come in. Four hooks, all at tc on the host's side of a device, and a walk through the tables:
 *
 *   from_endpoint  what an instance sends: who are you, may you send, may they receive, and there you go
 *   to_endpoint    whatever else the host would send to an instance: dropped; in filter mode its ingress gate
 *   from_gateway   what the host's own stack or an uplink sends to an address that outsiders may mean
 *   from_services  what the services namespace answers
 *   sweep          forgets flows that idled out; user space runs it
 *
 * README.md draws the way of a packet through the headers below.
 */
#include <linux/bpf.h>
#include <linux/if_packet.h>
#include "types.h"
#include "maps.h"
#include "packet.h"
#include "flow_event.h"
#include "verdict.h"
#include "antispoof.h"
#include "policy.h"
#include "routes.h"
#include "allowance.h"
#include "conntrack.h"
#include "fragment.h"
#include "nat.h"
#include "neighbour.h"
#include "exempt.h"
#include "gates.h"
#include "filter.h"

/* A packet of a flow through a public address, from whoever opened it: on its way, or 0. */
inlined int follow_by_public(struct __sk_buff *skb, struct work *work, const struct endpoint *self,
			     const struct endpoint *target, enum drop_reason *reason)
{
	const struct packet *packet = &work->packet;
	struct flow *flow = this_flow(work);

	*reason = PASSED;
	if (!flow || !is_live(flow, work->now) || role_of(flow, work->slot, self->generation, 1) != INITIATOR ||
	    flow->responder != work->way.slot || flow->responder_generation != target->generation)
		return 0;
	if (packet->kind == OF_A_FLOW && is_syn(packet))
		return 0;
	*reason = follow(skb, work, flow, INITIATOR, self, target, &work->key, packet->family & 1);
	if (!*reason && packet->family == V4)
		translate(skb, work->way.source, target->address);
	return *reason != NO_FLOW;
}

/*
 * What no flow is known for: services, the way, both gates, and a flow to remember.
 */
separate int open_flow(struct __sk_buff *skb)
{
	struct work *work = desk();
	struct endpoint *self = work ? live_endpoint(work->slot) : 0;
	enum drop_reason reason = PASSED, refused;
	struct endpoint *target;
	struct verdict *verdict;
	struct address *known;
	struct packet *packet;
	__u64 mine;
	struct way *way;
	int family;

	if (!self)
		return TC_ACT_SHOT;
	packet = &work->packet;
	verdict = &work->verdict;
	way = &work->way;
	__builtin_memset(way, 0, sizeof(*way));
	family = packet->family & 1;
	verdict->gate = SPOOF;
	verdict->slot = work->slot;
	if (!self->policy)
		return drop(NO_POLICY); /* nobody's yet, or no longer: for the services too */
	verdict->gate = ROUTE;
	if (unlikely(is_own_resolver(packet, self)) && packet->kind == OF_A_FLOW)
		return to_service(skb, SERVICE_BY_NETWORK);
	if (is_link_local(family, packet->destination)) {
		if (packet->kind == OF_A_FLOW &&
		    is_service(family, packet->destination, packet->protocol, packet->destination_port))
			return to_service(skb, 0);
		return drop(NO_ROUTE);
	}
	if (is_for_many(family, packet->destination))
		return drop(MULTICAST);

	mine = own_identity(family, self, work->slot, packet->source);
	known = known_address(family, self->vpc, packet->destination);
	work->identity = known ? known->identity : 0;
	if (known && known->slot)
		by_private_address(work, known->slot, mine);
	else if (family == V4)
		reason = by_public_address(work, self, mine);
	else
		reason = by_public_address6(work, self);
	target = live_endpoint(way->slot);
	if (!reason && !target)
		reason = ENDPOINT_UNKNOWN;
	if (!reason && target->flags & FILTERED)
		reason = NO_ROUTE; /* somebody else forwards to its device */
	if (!reason && target && way->via_public && packet->kind != OPENS_NOTHING) {
		make_key_there();
		if (follow_by_public(skb, work, self, target, &refused))
			return refused ? cut(work, refused) : deliver(skb, target);
	}
	forget_quotation(packet);

	/* The sender's gate speaks before the way does: whether somebody is there is not for all to know. */
	begin(work);
	verdict->slot = work->slot;
	refused = egress(work, self, work->identity);
	if (refused)
		return drop(refused);
	if (reason || !target) {
		verdict->gate = ROUTE;
		return drop(reason);
	}

	reason = ingress(work, target, way->slot, way->judged_identity, way->judged_source);
	see(work, way->judged_source, way->via_public && family == V4 ? target : 0);
	if (reason)
		return drop_there(reason);
	if (opens_flow(packet)) {
		struct flow *fresh = &work->fresh;

		make_key_there();
		fresh->flags |=
			(way->via_public ? FLOW_VIA_PUBLIC : 0) | (way->judged_identity ? FLOW_MEMBER : 0);
		if (way->slot == work->slot && !way->via_public &&
		    is_turned(family, packet, packet->source, packet->destination))
			fresh->flags |= FLOW_TURNED;
		fresh->initiator = work->slot;
		fresh->initiator_generation = self->generation;
		fresh->responder = way->slot;
		fresh->responder_generation = target->generation;
		fresh->initiator_address = packet->source[0];
		fresh->responder_address = packet->destination[0];
		reason = remember_fresh(work);
		if (reason)
			return drop_there(reason);
	} else {
		tell(PASSED, 1);
	}
	credit(skb, work, verdict->egress_rule, verdict->ingress_rule);
	if (way->via_public && family == V4)
		translate(skb, way->source, target->address);
	return deliver(skb, target);
}

/*
 * Known flows: by the addresses as they stand, so both ends of a private flow and all replies. `family` is a
 * constant where this is inlined: the short path of IPv4 is the one that most packets go.
 */
inlined int from_fabric(struct __sk_buff *skb, struct work *work, struct endpoint *self, __u32 slot,
			const int family)
{
	struct packet *packet = &work->packet;
	struct endpoint *other = 0;
	struct flow_key short_key;
	void *key = family == V4 ? (void *)&short_key : &work->key;
	struct flow *flow;
	enum drop_reason reason;
	enum role role;

	reason = family == V4 ? read_ipv4(skb, packet) : read_ipv6(skb, packet);
	if (likely(!reason))
		reason = check_mac(skb, self);
	if (family == V6 && !reason && is_neighbour_message(packet))
		return neighbour_asks(skb, self, answer_solicitation(skb));
	if (likely(!reason))
		reason = check_source(family, packet, self, slot);
	work->now = ticks_now();
	if (likely(!reason) && unlikely(packet->fragment == LATER_FRAGMENT))
		reason = follow_first();
	if (unlikely(reason))
		return drop(reason);
	if (unlikely(packet->kind == ABOUT_A_FLOW && !same_address(family, packet->complainer, packet->source)))
		forget_quotation(packet);
	if (unlikely(packet->kind == OPENS_NOTHING))
		return open_flow(skb);

	make_key(key, family, packet, self->vpc, packet->source, packet->destination);
	flow = find_flow(family, packet->protocol, key);
	if (!flow || !is_live(flow, work->now))
		return open_flow(skb);
	role = role_of(flow, slot, self->generation, 0);
	if (unlikely(role == INITIATOR && flow->responder == slot))
		role = role_with_oneself(flow, family, packet);
	if (role == INITIATOR)
		other = same_endpoint(flow->responder, flow->responder_generation);
	else if (role == RESPONDER && flow->initiator)
		other = same_endpoint(flow->initiator, flow->initiator_generation);
	if (unlikely(role == STRANGER || (!other && (role == INITIATOR || flow->initiator))))
		return open_flow(skb);
	if (unlikely(packet->kind == OF_A_FLOW && is_syn(packet)))
		return open_flow(skb);
	reason = follow(skb, work, flow, role, self, other, key, family);
	if (unlikely(reason))
		return reason == NO_FLOW ? open_flow(skb) : cut(work, reason);
	if (family == V4 && unlikely(flow->flags & FLOW_VIA_PUBLIC))
		translate(skb, flow->responder_address, flow->initiator_address);
	return other ? deliver(skb, other) : leave(skb, flow->link);
}

separate int from_fabric_v6(struct __sk_buff *skb)
{
	struct work *work = desk();
	struct endpoint *self = work ? live_endpoint(work->slot) : 0;

	return self ? from_fabric(skb, work, self, work->slot, V6) : TC_ACT_SHOT;
}

SEC("classifier/from_endpoint")
int from_endpoint(struct __sk_buff *skb)
{
	__u32 slot = slot_of_device(skb->ifindex);
	struct endpoint *self = live_endpoint(slot);
	struct work *work = new_work();

	if (!work)
		return TC_ACT_SHOT;
	work->verdict.gate = SPOOF;
	if (unlikely(!self || self->ifindex != skb->ifindex))
		return drop(ENDPOINT_UNKNOWN);
	work->slot = work->verdict.slot = slot;
	work->verdict.vpc = self->vpc;
	if (unlikely(self->flags & FILTERED))
		return filter(skb, 1);
	if (likely(skb->protocol == bpf_htons(ETH_P_IP)))
		return from_fabric(skb, work, self, slot, V4);
	if (skb->protocol == bpf_htons(ETH_P_IPV6))
		return from_fabric_v6(skb);
	if (skb->protocol != bpf_htons(ETH_P_ARP) || skb->vlan_present)
		return drop(UNSUPPORTED);
	return neighbour_asks(skb, self, self->policy ? answer_arp(skb, self, slot) : NEIGHBOUR_IGNORED);
}

SEC("classifier/to_endpoint")
int to_endpoint(struct __sk_buff *skb)
{
	__u32 slot = slot_of_device(skb->ifindex);
	struct endpoint *self = live_endpoint(slot);
	struct work *work = new_work();

	if (!work)
		return TC_ACT_SHOT;
	work->slot = work->verdict.slot = slot;
	if (self && self->ifindex == skb->ifindex && self->flags & FILTERED) {
		work->verdict.vpc = self->vpc;
		return filter(skb, 0);
	}
	/* Ours arrive by redirect_peer, which does not pass here. */
	work->verdict.gate = ROUTE;
	return drop(NOT_OURS);
}

/* Nobody outside has an address from inside; who says so wants to be taken for a member. */
inlined enum drop_reason check_outside(int family, const __be32 *source, __u32 vpc)
{
	if (is_link_local(family, source))
		return FOREIGN_REPLY;
	if (is_nobody(family, source) || slot_of_public(family, source) || known_address(family, vpc, source))
		return SPOOFED_ADDRESS;
	return PASSED;
}

/* A flow from outside: one gate, the receiver's. */
separate int open_from_outside(struct __sk_buff *skb)
{
	struct work *work = desk();
	struct endpoint *target = work ? live_endpoint(work->slot) : 0;
	enum drop_reason reason;
	struct verdict *verdict;
	struct packet *packet;

	if (!target)
		return TC_ACT_SHOT;
	packet = &work->packet;
	verdict = &work->verdict;
	__builtin_memset(&work->way, 0, sizeof(work->way));
	forget_quotation(packet);
	begin(work);
	reason = ingress(work, target, work->slot, 0, packet->source);
	see(work, packet->source, packet->family == V4 ? target : 0);
	if (reason)
		return drop_there(reason);
	if (opens_flow(packet)) {
		struct flow *fresh = &work->fresh;

		make_key(&work->key, packet->family & 1, packet, target->vpc, packet->source,
			 work->seen.destination);
		fresh->flags |= FLOW_VIA_PUBLIC;
		fresh->responder = work->slot;
		fresh->responder_generation = target->generation;
		fresh->initiator_address = packet->source[0];
		fresh->responder_address = packet->destination[0];
		fresh->link = skb->ifindex;
		copy_address(work->way.judged_source, packet->source);
		reason = remember_fresh(work);
		if (reason)
			return drop_there(reason);
	} else {
		tell(PASSED, 1);
	}
	credit(skb, work, 0, verdict->ingress_rule);
	if (packet->family == V4)
		translate(skb, packet->source[0], target->address);
	return deliver(skb, target);
}

/* The gateway link is ours alone. Of an uplink only packets to those whom outsiders may mean are. */
inlined int is_ours(struct __sk_buff *skb, const struct host *here)
{
	__be32 destination[4] = {}, *field;

	if (skb->vlan_present || skb->pkt_type == PACKET_OTHERHOST)
		return 0;
	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		if (!reach(skb, L4))
			return 0;
		field = frame_start(skb) + IP_DESTINATION_FIELD;
		if ((void *)(field + 1) > frame_end(skb))
			return 0;
		destination[0] = *field;
		return in_pool(V4, here, destination);
	}
	if (skb->protocol != bpf_htons(ETH_P_IPV6) || !reach(skb, L4_V6))
		return 0;
	field = frame_start(skb) + IPV6_DESTINATION_FIELD;
	if ((void *)(field + 4) > frame_end(skb))
		return 0;
	copy_address(destination, field);
	return in_pool(V6, here, destination);
}

separate int enter(struct __sk_buff *skb)
{
	struct work *work = desk();
	struct endpoint *target;
	struct verdict *verdict;
	struct packet *packet;
	__be32 inside[4] = {};
	struct flow *flow;
	enum drop_reason reason;
	int family;

	if (!work)
		return TC_ACT_SHOT;
	packet = &work->packet;
	verdict = &work->verdict;
	verdict->gate = ROUTE;
	reason = read_any(skb);
	if (reason)
		return drop(reason);
	family = packet->family & 1;
	work->slot = verdict->slot = slot_of_public(family, packet->destination);
	if (!work->slot)
		return drop(NO_ROUTE);
	target = live_endpoint(work->slot);
	if (!target || target->flags & FILTERED)
		return drop(ENDPOINT_UNKNOWN);
	verdict->vpc = target->vpc;
	verdict->gate = SPOOF;
	reason = check_outside(family, packet->kind == ABOUT_A_FLOW ? packet->complainer : packet->source,
			       target->vpc);
	work->now = ticks_now();
	work->fragment_link = skb->ifindex;
	if (!reason && packet->fragment == LATER_FRAGMENT)
		reason = follow_first();
	if (reason)
		return drop(reason);
	if (packet->kind == OPENS_NOTHING)
		return open_from_outside(skb);

	if (family == V4)
		inside[0] = target->address;
	else
		copy_address(inside, packet->destination);
	make_key(&work->key, family, packet, target->vpc, packet->source, inside);
	flow = this_flow(work);
	if (!flow || !is_live(flow, work->now) || flow->initiator || flow->responder != work->slot ||
	    flow->responder_generation != target->generation)
		return open_from_outside(skb);
	if (packet->kind == OF_A_FLOW && (flow->link != skb->ifindex || is_syn(packet)))
		return open_from_outside(skb);
	reason = follow(skb, work, flow, INITIATOR, 0, target, &work->key, family);
	if (reason)
		return reason == NO_FLOW ? open_from_outside(skb) : cut(work, reason);
	if (family == V4)
		translate(skb, packet->source[0], target->address);
	return deliver(skb, target);
}

SEC("classifier/from_gateway")
int from_gateway(struct __sk_buff *skb)
{
	struct work *work = new_work();
	struct host *here = this_host();

	if (!here || !work)
		return TC_ACT_SHOT;
	if (!is_ours(skb, here))
		return skb->ifindex == here->gateway ? TC_ACT_SHOT : TC_ACT_NOT_OURS;
	return enter(skb);
}

SEC("classifier/from_services")
int from_services(struct __sk_buff *skb)
{
	struct work *work = new_work();
	struct packet *packet;
	struct endpoint *client;
	__u32 number;
	int family;

	if (!work)
		return TC_ACT_SHOT;
	packet = &work->packet;
	work->verdict.gate = ROUTE;
	if (skb->protocol == bpf_htons(ETH_P_IP)
		    ? read_ipv4(skb, packet)
		    : skb->protocol != bpf_htons(ETH_P_IPV6) || read_ipv6(skb, packet))
		return TC_ACT_SHOT;
	family = packet->family & 1;
	/* Answers only: the services open nothing towards an instance. */
	if (packet->kind != OF_A_FLOW || packet->fragment != WHOLE ||
	    !is_service(family, packet->source, packet->protocol, packet->source_port))
		return TC_ACT_SHOT;
	client = service_client(family, packet->destination, &number);
	if (!client)
		return drop(ENDPOINT_UNKNOWN);
	return from_service(skb, packet, client, number);
}

SEC("syscall/sweep")
int sweep(struct sweep *told)
{
	struct sweep sweep = {.now = bpf_ktime_get_ns() >> TICK_SHIFT, .family = V4};

	bpf_for_each_map_elem(&flows_tcp, sweep_flow, &sweep, 0);
	bpf_for_each_map_elem(&flows_other, sweep_flow, &sweep, 0);
	sweep.family = V6;
	bpf_for_each_map_elem(&flows6_tcp, sweep_flow, &sweep, 0);
	bpf_for_each_map_elem(&flows6_other, sweep_flow, &sweep, 0);
	*told = sweep;
	return 0;
}

union layouts layouts_for_btf __attribute__((section("layouts"), used)) = {};
char license_text[] __attribute__((section("license"), used)) = "Dual BSD/GPL";
