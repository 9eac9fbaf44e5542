// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0
/*
 * Where packets come in. Four hooks, all at tc on the host's side of a device:
 *
 *   from_endpoint  what an instance sends: who are you, may you send, may they receive, and there
 * you go to_endpoint    whatever else the host would send to an instance: dropped from_gateway what
 * the host's own stack or an uplink sends to a public address from_services  what the services
 * namespace answers
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

/* A packet of a flow that is known: no rule is asked, the rules that opened it are credited. */
inlined int follow(struct __sk_buff *skb, const struct flow *flow)
{
	if (flow->egress_rule)
		count(skb, flow->egress_rule);
	if (flow->ingress_rule)
		count(skb, flow->ingress_rule);
	return 1;
}

inlined enum role role_of(const struct flow *flow, __u32 slot, __u32 generation, __u32 via_public)
{
	if (flow->initiator == slot && flow->initiator_generation == generation &&
	    !(flow->flags & FLOW_VIA_PUBLIC) == !via_public)
		return INITIATOR;
	if (flow->responder == slot && flow->responder_generation == generation && !via_public)
		return RESPONDER;
	return STRANGER;
}

/* The ingress gate of `target`. PASSED, or why not; the rule is noted in `verdict`. */
inlined enum drop_reason ingress(const struct packet *packet, const struct endpoint *target,
				 __u32 slot, __u64 identity, __be32 source, struct verdict *verdict)
{
	verdict->gate = INGRESS;
	verdict->slot = slot;
	verdict->vpc = target->vpc;
	if (!target->policy)
		return NO_POLICY;
	verdict->ingress_rule = judge(target->policy, INGRESS, identity, source, packet);
#ifndef BREAK_INGRESS
	if (!verdict->ingress_rule)
		return NO_INGRESS_RULE;
#endif
	return PASSED;
}

inlined void credit(struct __sk_buff *skb, const struct verdict *verdict)
{
	if (verdict->egress_rule)
		count(skb, verdict->egress_rule);
	if (verdict->ingress_rule)
		count(skb, verdict->ingress_rule);
}

/* The error turned out to be about no flow of its sender's: an ICMP packet like any other. */
inlined void forget_quotation(struct packet *packet)
{
	if (packet->kind != ABOUT_A_FLOW)
		return;
	packet->kind = OPENS_NOTHING;
	packet->protocol = packet->carrier;
	packet->source = packet->outer_source;
}

inlined int is_redirect(const struct packet *packet)
{
	return packet->carrier == IPPROTO_ICMP && packet->port >> 8 == ICMP_REDIRECT_TYPE;
}

SEC("classifier/from_endpoint")
int from_endpoint(struct __sk_buff *skb)
{
	struct packet packet = {};
	struct verdict verdict = {.gate = SPOOF};
	struct way way = {};
	struct flow_key key;
	struct flow *flow;
	struct endpoint *self, *other;
	enum drop_reason reason;
	enum role role = STRANGER;
	__u32 slot = slot_of_device(skb->ifindex);
	__u32 now, hop_rule;
	__u64 identity;
	int is_new;

	self = live_endpoint(slot);
	if (unlikely(!self || self->ifindex != skb->ifindex))
		return drop(&packet, &verdict, ENDPOINT_UNKNOWN);
	verdict.slot = slot;
	verdict.vpc = self->vpc;
	if (unlikely(skb->protocol != bpf_htons(ETH_P_IP))) {
		if (skb->protocol != bpf_htons(ETH_P_ARP) || skb->vlan_present)
			return drop(&packet, &verdict, UNSUPPORTED);
		if (!self->policy)
			return TC_ACT_SHOT;
		switch (answer_arp(skb, self, slot)) {
		case ARP_ANSWERED:
			return deliver(skb, self);
		case ARP_FORGED:
			return drop(&packet, &verdict, SPOOFED_ARP);
		default:
			return TC_ACT_SHOT;
		}
	}
	reason = read_packet(skb, &packet);
	if (unlikely(reason))
		return drop(&packet, &verdict, reason);
	reason = check_mac(skb, self);
	if (unlikely(reason))
		return drop(&packet, &verdict, reason);
	reason = check_source(&packet, self, slot, &identity);
	if (unlikely(reason))
		return drop(&packet, &verdict, reason);
	if (unlikely(packet.kind == ABOUT_A_FLOW && packet.outer_source != packet.source))
		forget_quotation(&packet);

	/* Known flows: by the addresses as they stand, so both ends of a private flow and all
	 * replies. */
	now = ticks_now();
	if (likely(packet.kind != OPENS_NOTHING)) {
		make_key(&key, &packet, self->vpc, packet.source, packet.destination);
		flow = find_flow(&key, packet.protocol);
		if (flow && is_live(flow, packet.protocol, now))
			role = role_of(flow, slot, self->generation, 0);
		if (likely(role != STRANGER)) {
			if (role == INITIATOR)
				other = same_endpoint(flow->responder, flow->responder_generation);
			else if (flow->initiator)
				other = same_endpoint(flow->initiator, flow->initiator_generation);
			else
				other = 0;
			if (unlikely(!other && flow->initiator))
				goto open;
			if (unlikely(packet.kind == OF_A_FLOW &&
				     !advance(flow, &packet, role, now)))
				goto open;
			follow(skb, flow);
			if (unlikely(flow->flags & FLOW_VIA_PUBLIC)) {
				__u32 link = flow->link;

				translate(skb, &packet, flow->responder_address,
					  flow->initiator_address);
				if (!other)
					return leave(skb, link);
			}
			return other ? deliver(skb, other) : TC_ACT_SHOT;
		}
	} else {
		flow = 0;
	}
open:
	/* Not known. First what is decided without rules. */
	verdict.gate = ROUTE;
	if (IS_LINK_LOCAL(packet.destination)) {
		if (packet.kind == OF_A_FLOW &&
		    is_service(packet.destination, packet.protocol, packet.destination_port))
			return to_service(skb, &packet, self, slot);
		return drop(&packet, &verdict, NO_ROUTE);
	}
	if (IS_MULTICAST(packet.destination) || packet.destination == 0xffffffff)
		return drop(&packet, &verdict, MULTICAST);

	/* The way there, and whether a flow through a public address is known. */
	{
		struct address_key there = {.vpc = self->vpc, .address = packet.destination};
		struct address *known = bpf_map_lookup_elem(&addresses, &there);
		__u64 peer = known ? known->identity : 0;

		if (known && known->slot) {
			way.slot = known->slot;
			way.source = way.judged_source = packet.source;
			way.judged_identity = identity;
			way.target = live_endpoint(known->slot);
			reason = way.target ? PASSED : ENDPOINT_UNKNOWN;
		} else {
			reason = by_public_address(&way, &packet, self, slot, identity);
			if (!reason && way.target && packet.kind != OPENS_NOTHING) {
				make_key(&key, &packet, way.target->vpc, way.source,
					 way.target->address);
				flow = find_flow(&key, packet.protocol);
				role = STRANGER;
				if (flow && is_live(flow, packet.protocol, now))
					role = role_of(flow, slot, self->generation, 1);
				if (role == INITIATOR && flow->responder == way.slot &&
				    flow->responder_generation == way.target->generation &&
				    (packet.kind == ABOUT_A_FLOW ||
				     advance(flow, &packet, role, now))) {
					follow(skb, flow);
					translate(skb, &packet, way.source, way.target->address);
					return deliver(skb, way.target);
				}
			}
		}
		forget_quotation(&packet);

		/* The sender's gate speaks before its packet's way does: it must not tell who is
		 * there. */
		verdict.gate = EGRESS;
		if (unlikely(is_redirect(&packet)))
			return drop(&packet, &verdict, INVALID_STATE);
		if (!self->policy)
			return drop(&packet, &verdict, NO_POLICY);
		hop_rule = judge(self->policy, EGRESS, peer, packet.destination, &packet);
		if (!hop_rule)
			return drop(&packet, &verdict, NO_EGRESS_RULE);
		verdict.egress_rule = hop_rule;
	}
	if (reason || !way.target) {
		verdict.gate = ROUTE;
		return drop(&packet, &verdict, reason ? reason : NO_ROUTE);
	}
	{
		struct packet seen = packet;

		seen.source = way.judged_source;
		if (way.via_public)
			seen.destination = way.target->address;
		reason = ingress(&seen, way.target, way.slot, way.judged_identity,
				 way.judged_source, &verdict);
		if (reason)
			return drop(&seen, &verdict, reason);
		is_new = 1;
		if (packet.kind == OF_A_FLOW && !(packet.tcp_flags & TCP_RST)) {
			struct flow fresh = {
				.seen = now,
				.flags = way.via_public ? FLOW_VIA_PUBLIC : 0,
				.initiator = slot,
				.initiator_generation = self->generation,
				.responder = way.slot,
				.responder_generation = way.target->generation,
				.egress_rule = verdict.egress_rule,
				.ingress_rule = verdict.ingress_rule,
				.initiator_address = packet.source,
				.responder_address = packet.destination,
			};

			/* The same ports both by the private and by the public address: the first
			 * come stays. */
			if (flow && is_live(flow, packet.protocol, now) && !is_shut(flow) &&
			    flow->initiator == slot && flow->responder == way.slot &&
			    (flow->flags ^ fresh.flags) & FLOW_VIA_PUBLIC) {
				verdict.gate = EGRESS;
				return drop(&seen, &verdict, INVALID_STATE);
			}
			reason = remember(&packet, &key, flow, &fresh, &is_new);
			if (reason)
				return drop(&seen, &verdict, reason);
		}
		if (is_new)
			tell(&seen, &verdict, PASSED);
	}
	credit(skb, &verdict);
	if (way.via_public)
		translate(skb, &packet, way.source, way.target->address);
	return deliver(skb, way.target);
}

SEC("classifier/to_endpoint")
int to_endpoint(struct __sk_buff *skb)
{
	struct packet packet = {};
	struct verdict verdict = {.gate = ROUTE};

	/* Ours arrive by redirect_peer, which does not pass here. */
	verdict.slot = slot_of_device(skb->ifindex);
	return drop(&packet, &verdict, NOT_OURS);
}

SEC("classifier/from_gateway")
int from_gateway(struct __sk_buff *skb)
{
	struct packet packet = {};
	struct verdict verdict = {.gate = ROUTE};
	struct host *here = this_host();
	struct flow_key key;
	struct flow *flow = 0;
	struct endpoint *target;
	struct address_key from = {};
	struct address *claimed;
	enum drop_reason reason;
	__u32 slot, now, on_gateway;
	__be32 *destination;
	int is_new = 1;

	if (!here)
		return TC_ACT_SHOT;
	/* The gateway link is ours alone. Of an uplink only packets to the public pool are. */
	on_gateway = skb->ifindex == here->gateway;
	if (skb->protocol != bpf_htons(ETH_P_IP) || skb->vlan_present)
		return on_gateway ? TC_ACT_SHOT : TC_ACT_NOT_OURS;
	if (!reach(skb, L4))
		return on_gateway ? TC_ACT_SHOT : TC_ACT_NOT_OURS;
	destination = frame_start(skb) + IP_DESTINATION_FIELD;
	if ((void *)(destination + 1) > frame_end(skb))
		return TC_ACT_SHOT;
	if (!in_pool(here, *destination))
		return on_gateway ? TC_ACT_SHOT : TC_ACT_NOT_OURS;
	if (skb->pkt_type == PACKET_OTHERHOST)
		return on_gateway ? TC_ACT_SHOT : TC_ACT_NOT_OURS;

	reason = read_packet(skb, &packet);
	if (reason)
		return drop(&packet, &verdict, reason);
	slot = slot_of_public(packet.destination);
	if (!slot)
		return drop(&packet, &verdict, NO_ROUTE);
	target = live_endpoint(slot);
	verdict.slot = slot;
	if (!target)
		return drop(&packet, &verdict, ENDPOINT_UNKNOWN);
	verdict.vpc = target->vpc;

	/* Nobody outside has an address from inside; who says so wants to be taken for a member. */
	verdict.gate = SPOOF;
	{
		__be32 source = packet.kind == ABOUT_A_FLOW ? packet.outer_source : packet.source;

		if (IS_LINK_LOCAL(source))
			return drop(&packet, &verdict, FOREIGN_REPLY);
		if (is_nobody(source) || slot_of_public(source))
			return drop(&packet, &verdict, SPOOFED_ADDRESS);
		from.vpc = target->vpc;
		from.address = source;
		claimed = bpf_map_lookup_elem(&addresses, &from);
		if (claimed)
			return drop(&packet, &verdict, SPOOFED_ADDRESS);
	}

	now = ticks_now();
	if (packet.kind != OPENS_NOTHING) {
		make_key(&key, &packet, target->vpc, packet.source, target->address);
		flow = find_flow(&key, packet.protocol);
		if (flow && is_live(flow, packet.protocol, now) && !flow->initiator &&
		    flow->responder == slot && flow->responder_generation == target->generation &&
		    (packet.kind == ABOUT_A_FLOW ||
		     (flow->link == skb->ifindex && advance(flow, &packet, INITIATOR, now)))) {
			follow(skb, flow);
			translate(skb, &packet, packet.source, target->address);
			return deliver(skb, target);
		}
	}
	forget_quotation(&packet);
	{
		struct packet seen = packet;

		seen.destination = target->address;
		verdict.gate = INGRESS;
		if (is_redirect(&packet))
			return drop(&seen, &verdict, INVALID_STATE);
		reason = ingress(&seen, target, slot, 0, packet.source, &verdict);
		if (reason)
			return drop(&seen, &verdict, reason);
		if (packet.kind == OF_A_FLOW && !(packet.tcp_flags & TCP_RST)) {
			struct flow fresh = {
				.seen = now,
				.flags = FLOW_VIA_PUBLIC,
				.responder = slot,
				.responder_generation = target->generation,
				.ingress_rule = verdict.ingress_rule,
				.initiator_address = packet.source,
				.responder_address = packet.destination,
				.link = skb->ifindex,
			};

			reason = remember(&packet, &key, flow, &fresh, &is_new);
			if (reason)
				return drop(&seen, &verdict, reason);
		}
		if (is_new)
			tell(&seen, &verdict, PASSED);
	}
	credit(skb, &verdict);
	translate(skb, &packet, packet.source, target->address);
	return deliver(skb, target);
}

SEC("classifier/from_services")
int from_services(struct __sk_buff *skb)
{
	struct packet packet = {};
	struct verdict verdict = {.gate = ROUTE};
	struct endpoint *client;
	__u32 slot = 0;

	if (skb->protocol != bpf_htons(ETH_P_IP) || read_packet(skb, &packet))
		return TC_ACT_SHOT;
	/* Answers only: the services open nothing towards an instance. */
	if (packet.kind != OF_A_FLOW ||
	    !is_service(packet.source, packet.protocol, packet.source_port))
		return TC_ACT_SHOT;
	client = service_client(packet.destination, &slot);
	if (!client)
		return drop(&packet, &verdict, ENDPOINT_UNKNOWN);
	set_destination(skb, &packet, packet.destination, client->address);
	return deliver(skb, client);
}

char license_text[] __attribute__((section("license"), used)) = "Dual BSD/GPL";
