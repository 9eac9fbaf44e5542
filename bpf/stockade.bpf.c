// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0
/*
 * Where packets come in. Four hooks, all at tc on the host's side of a device:
 *
 *   from_endpoint  what an instance sends: who are you, may you send, may they receive, and there you go
 *   to_endpoint    whatever else the host would send to an instance: dropped
 *   from_gateway   what the host's own stack or an uplink sends to a public address
 *   from_services  what the services namespace answers
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
#include "conntrack.h"
#include "nat.h"
#include "routes.h"
#include "neighbour.h"
#include "exempt.h"

inlined void credit(struct __sk_buff *skb, __u32 egress_rule, __u32 ingress_rule)
{
	if (egress_rule)
		count(skb, egress_rule);
	if (ingress_rule)
		count(skb, ingress_rule);
}

inlined int is_redirect(const struct packet *packet)
{
	return packet->carrier == IPPROTO_ICMP && packet->port >> 8 == ICMP_REDIRECT_TYPE;
}

/* The ingress gate of `target`, asked about `judged_source`: PASSED, or why not; the rule is noted. */
inlined enum drop_reason ingress(struct work *work, const struct endpoint *target, __u32 slot, __u64 identity,
				 __be32 judged_source)
{
	struct verdict *verdict = &work->verdict;

	verdict->gate = INGRESS;
	verdict->slot = slot;
	verdict->vpc = target->vpc;
	if (!target->policy)
		return NO_POLICY;
	verdict->ingress_rule = judge(target->policy, INGRESS, identity, judged_source, &work->packet);
#ifndef BREAK_INGRESS
	if (!verdict->ingress_rule)
		return NO_INGRESS_RULE;
#endif
	return PASSED;
}

/* The flow's key as its responder sees it. */
inlined void make_key_there(struct flow_key *key, const struct work *work, const struct endpoint *target)
{
	make_key(key, &work->packet, target->vpc, work->way.source,
		 work->way.via_public ? target->address : work->packet.destination);
}

/* A packet of a flow through a public address, from whoever opened it: on its way, or 0. */
inlined int follow_by_public(struct __sk_buff *skb, struct work *work, const struct endpoint *self,
			     const struct endpoint *target, const struct flow_key *key)
{
	const struct packet *packet = &work->packet;
	struct flow *flow = find_flow(key, packet->protocol);

	if (!flow || !is_live(flow, packet->protocol, work->now) ||
	    role_of(flow, work->slot, self->generation, 1) != INITIATOR || flow->responder != work->way.slot ||
	    flow->responder_generation != target->generation)
		return 0;
	if (packet->kind == OF_A_FLOW && !advance(flow, packet, INITIATOR, work->now))
		return 0;
	credit(skb, flow->egress_rule, flow->ingress_rule);
	translate(skb, packet, work->way.source, target->address);
	return 1;
}

/*
 * What no flow is known for: services, the way, both gates, and a flow to remember. A function of its own,
 * handed no more than it needs, so that the verifier walks it once and not once for each way to get here.
 */
outlined int open_flow(struct __sk_buff *skb, struct work *work)
{
	struct packet *packet = &work->packet;
	struct verdict *verdict = &work->verdict;
	struct way *way = &work->way;
	struct endpoint *self = live_endpoint(work->slot);
	struct address_key there = {.address = packet->destination};
	struct flow fresh = {};
	struct flow_key key;
	struct endpoint *target;
	struct address *known;
	enum drop_reason reason = PASSED;
	__u64 peer = 0;
	int is_new = 1;

	if (!self)
		return TC_ACT_SHOT;
	verdict->gate = ROUTE;
	if (IS_LINK_LOCAL(packet->destination)) {
		if (packet->kind == OF_A_FLOW &&
		    is_service(packet->destination, packet->protocol, packet->destination_port))
			return to_service(skb, packet, self, work->slot);
		return drop(packet, verdict, NO_ROUTE);
	}
	if (IS_MULTICAST(packet->destination) || packet->destination == 0xffffffff)
		return drop(packet, verdict, MULTICAST);

	there.vpc = self->vpc;
	known = bpf_map_lookup_elem(&addresses, &there);
	if (known)
		peer = known->identity;
	if (known && known->slot)
		by_private_address(work, known->slot);
	else
		reason = by_public_address(work, self);
	target = live_endpoint(way->slot);
	if (!reason && !target)
		reason = ENDPOINT_UNKNOWN;
	if (!reason && target && way->via_public && packet->kind != OPENS_NOTHING) {
		make_key_there(&key, work, target);
		if (follow_by_public(skb, work, self, target, &key))
			return deliver(skb, target);
	}
	forget_quotation(packet);

	/* The sender's gate speaks before the way does: whether somebody is there is not for all to know. */
	verdict->gate = EGRESS;
	if (is_redirect(packet))
		return drop(packet, verdict, INVALID_STATE);
	if (!self->policy)
		return drop(packet, verdict, NO_POLICY);
	verdict->egress_rule = judge(self->policy, EGRESS, peer, packet->destination, packet);
	if (!verdict->egress_rule)
		return drop(packet, verdict, NO_EGRESS_RULE);
	if (reason || !target) {
		verdict->gate = ROUTE;
		return drop(packet, verdict, reason);
	}

	reason = ingress(work, target, way->slot, way->judged_identity, way->judged_source);
	work->seen = *packet;
	work->seen.source = way->judged_source;
	if (way->via_public)
		work->seen.destination = target->address;
	if (reason)
		return drop(&work->seen, verdict, reason);

	if (opens_flow(packet)) {
		make_key_there(&key, work, target);
		fresh.seen = work->now;
		fresh.flags = way->via_public ? FLOW_VIA_PUBLIC : 0;
		fresh.initiator = work->slot;
		fresh.initiator_generation = self->generation;
		fresh.responder = way->slot;
		fresh.responder_generation = target->generation;
		fresh.egress_rule = verdict->egress_rule;
		fresh.ingress_rule = verdict->ingress_rule;
		fresh.initiator_address = packet->source;
		fresh.responder_address = packet->destination;
		reason = remember(packet, &key, &fresh, &is_new);
		if (reason)
			return drop(&work->seen, verdict, reason);
	}
	if (is_new)
		tell(&work->seen, verdict, PASSED);
	credit(skb, verdict->egress_rule, verdict->ingress_rule);
	if (way->via_public)
		translate(skb, packet, way->source, target->address);
	return deliver(skb, target);
}

SEC("classifier/from_endpoint")
int from_endpoint(struct __sk_buff *skb)
{
	__u32 slot = slot_of_device(skb->ifindex);
	struct endpoint *self = live_endpoint(slot);
	struct endpoint *other = 0;
	struct work *work = new_work();
	struct packet *packet;
	struct verdict *verdict;
	struct flow_key key;
	struct flow *flow;
	enum drop_reason reason;
	enum role role;

	if (!work)
		return TC_ACT_SHOT;
	packet = &work->packet;
	verdict = &work->verdict;
	verdict->gate = SPOOF;
	if (unlikely(!self || self->ifindex != skb->ifindex))
		return drop(packet, verdict, ENDPOINT_UNKNOWN);
	work->slot = verdict->slot = slot;
	verdict->vpc = self->vpc;

	if (unlikely(skb->protocol != bpf_htons(ETH_P_IP))) {
		if (skb->protocol != bpf_htons(ETH_P_ARP) || skb->vlan_present)
			return drop(packet, verdict, UNSUPPORTED);
		switch (self->policy ? answer_arp(skb, self, slot) : ARP_IGNORED) {
		case ARP_ANSWERED:
			return deliver(skb, self);
		case ARP_FORGED:
			return drop(packet, verdict, SPOOFED_ARP);
		default:
			return TC_ACT_SHOT;
		}
	}
	reason = read_packet(skb, packet);
	if (likely(!reason))
		reason = check_mac(skb, self);
	if (likely(!reason))
		reason = check_source(packet, self, slot, &work->identity);
	if (unlikely(reason))
		return drop(packet, verdict, reason);
	if (unlikely(packet->kind == ABOUT_A_FLOW && packet->outer_source != packet->source))
		forget_quotation(packet);

	/* Known flows: by the addresses as they stand, so both ends of a private flow and all replies. */
	work->now = ticks_now();
	if (unlikely(packet->kind == OPENS_NOTHING))
		return open_flow(skb, work);
	make_key(&key, packet, self->vpc, packet->source, packet->destination);
	flow = find_flow(&key, packet->protocol);
	if (!flow || !is_live(flow, packet->protocol, work->now))
		return open_flow(skb, work);
	role = role_of(flow, slot, self->generation, 0);
	if (role == INITIATOR)
		other = same_endpoint(flow->responder, flow->responder_generation);
	else if (role == RESPONDER && flow->initiator)
		other = same_endpoint(flow->initiator, flow->initiator_generation);
	if (unlikely(role == STRANGER || (!other && (role == INITIATOR || flow->initiator))))
		return open_flow(skb, work);
	if (likely(packet->kind == OF_A_FLOW) && !advance(flow, packet, role, work->now))
		return open_flow(skb, work);

	credit(skb, flow->egress_rule, flow->ingress_rule);
	if (unlikely(flow->flags & FLOW_VIA_PUBLIC)) {
		__u32 link = flow->link;

		translate(skb, packet, flow->responder_address, flow->initiator_address);
		if (!other)
			return leave(skb, link);
	}
	return other ? deliver(skb, other) : TC_ACT_SHOT;
}

SEC("classifier/to_endpoint")
int to_endpoint(struct __sk_buff *skb)
{
	struct work *work = new_work();

	if (!work)
		return TC_ACT_SHOT;
	/* Ours arrive by redirect_peer, which does not pass here. */
	work->verdict.gate = ROUTE;
	work->verdict.slot = slot_of_device(skb->ifindex);
	return drop(&work->packet, &work->verdict, NOT_OURS);
}

/* Nobody outside has an address from inside; who says so wants to be taken for a member. */
inlined enum drop_reason check_outside(__be32 source, __u32 vpc)
{
	struct address_key key = {.vpc = vpc, .address = source};

	if (IS_LINK_LOCAL(source))
		return FOREIGN_REPLY;
	if (is_nobody(source) || slot_of_public(source) || bpf_map_lookup_elem(&addresses, &key))
		return SPOOFED_ADDRESS;
	return PASSED;
}

/* A flow from outside: one gate, the receiver's. */
outlined int open_from_outside(struct __sk_buff *skb, struct work *work, __u32 ifindex)
{
	struct packet *packet = &work->packet;
	struct verdict *verdict = &work->verdict;
	struct endpoint *target = live_endpoint(work->slot);
	struct flow fresh = {};
	struct flow_key key;
	enum drop_reason reason;
	int is_new = 1;

	if (!target)
		return TC_ACT_SHOT;
	forget_quotation(packet);
	work->seen = *packet;
	work->seen.destination = target->address;
	verdict->gate = INGRESS;
	if (is_redirect(packet))
		return drop(&work->seen, verdict, INVALID_STATE);
	reason = ingress(work, target, work->slot, 0, packet->source);
	if (reason)
		return drop(&work->seen, verdict, reason);
	if (opens_flow(packet)) {
		make_key(&key, packet, target->vpc, packet->source, target->address);
		fresh.seen = work->now;
		fresh.flags = FLOW_VIA_PUBLIC;
		fresh.responder = work->slot;
		fresh.responder_generation = target->generation;
		fresh.ingress_rule = verdict->ingress_rule;
		fresh.initiator_address = packet->source;
		fresh.responder_address = packet->destination;
		fresh.link = ifindex;
		reason = remember(packet, &key, &fresh, &is_new);
		if (reason)
			return drop(&work->seen, verdict, reason);
	}
	if (is_new)
		tell(&work->seen, verdict, PASSED);
	credit(skb, 0, verdict->ingress_rule);
	translate(skb, packet, packet->source, target->address);
	return deliver(skb, target);
}

/* The gateway link is ours alone. Of an uplink only IPv4 packets to the public pool are. */
inlined int is_ours(struct __sk_buff *skb, const struct host *here)
{
	__be32 *destination;

	if (skb->protocol != bpf_htons(ETH_P_IP) || skb->vlan_present || skb->pkt_type == PACKET_OTHERHOST ||
	    !reach(skb, L4))
		return 0;
	destination = frame_start(skb) + IP_DESTINATION_FIELD;
	return (void *)(destination + 1) <= frame_end(skb) && in_pool(here, *destination);
}

SEC("classifier/from_gateway")
int from_gateway(struct __sk_buff *skb)
{
	struct work *work = new_work();
	struct host *here = this_host();
	struct packet *packet;
	struct verdict *verdict;
	struct endpoint *target;
	struct flow_key key;
	struct flow *flow;
	enum drop_reason reason;

	if (!here || !work)
		return TC_ACT_SHOT;
	if (!is_ours(skb, here))
		return skb->ifindex == here->gateway ? TC_ACT_SHOT : TC_ACT_NOT_OURS;
	packet = &work->packet;
	verdict = &work->verdict;
	verdict->gate = ROUTE;
	reason = read_packet(skb, packet);
	if (reason)
		return drop(packet, verdict, reason);
	work->slot = verdict->slot = slot_of_public(packet->destination);
	if (!work->slot)
		return drop(packet, verdict, NO_ROUTE);
	target = live_endpoint(work->slot);
	if (!target)
		return drop(packet, verdict, ENDPOINT_UNKNOWN);
	verdict->vpc = target->vpc;
	verdict->gate = SPOOF;
	reason = check_outside(packet->kind == ABOUT_A_FLOW ? packet->outer_source : packet->source,
			       target->vpc);
	if (reason)
		return drop(packet, verdict, reason);

	work->now = ticks_now();
	if (packet->kind == OPENS_NOTHING)
		return open_from_outside(skb, work, skb->ifindex);
	make_key(&key, packet, target->vpc, packet->source, target->address);
	flow = find_flow(&key, packet->protocol);
	if (!flow || !is_live(flow, packet->protocol, work->now) || flow->initiator ||
	    flow->responder != work->slot || flow->responder_generation != target->generation)
		return open_from_outside(skb, work, skb->ifindex);
	if (packet->kind == OF_A_FLOW &&
	    (flow->link != skb->ifindex || !advance(flow, packet, INITIATOR, work->now)))
		return open_from_outside(skb, work, skb->ifindex);
	credit(skb, flow->egress_rule, flow->ingress_rule);
	translate(skb, packet, packet->source, target->address);
	return deliver(skb, target);
}

SEC("classifier/from_services")
int from_services(struct __sk_buff *skb)
{
	struct work *work = new_work();
	struct packet *packet;
	struct endpoint *client;

	if (!work)
		return TC_ACT_SHOT;
	packet = &work->packet;
	work->verdict.gate = ROUTE;
	if (skb->protocol != bpf_htons(ETH_P_IP) || read_packet(skb, packet))
		return TC_ACT_SHOT;
	/* Answers only: the services open nothing towards an instance. */
	if (packet->kind != OF_A_FLOW || !is_service(packet->source, packet->protocol, packet->source_port))
		return TC_ACT_SHOT;
	client = service_client(packet->destination, &work->slot);
	if (!client)
		return drop(packet, &work->verdict, ENDPOINT_UNKNOWN);
	set_destination(skb, packet, packet->destination, client->address);
	return deliver(skb, client);
}

union layouts layouts_for_btf __attribute__((section("layouts"), used)) = {};
char license_text[] __attribute__((section("license"), used)) = "Dual BSD/GPL";
