/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/*
 * Filter mode (architecture D11): somebody else forwards for the device, a container engine's bridge say, and we
 * only judge what goes in and out. Each device has flows of its own, so the gates of two devices on one bridge
 * are two gates. What passes goes on to whatever else is attached there.
 */
#ifndef STOCKADE_FILTER_H
#define STOCKADE_FILTER_H

#include "gates.h"

/* Who the device is to the flow. */
inlined int is_initiator(const struct flow *flow, __u32 slot, const struct endpoint *self)
{
	return flow->initiator == slot && flow->initiator_generation == self->generation;
}

/* What comes from outside must be for the device, and from somebody. */
inlined enum drop_reason check_incoming(int family, const struct packet *packet, const struct endpoint *self,
					__u32 slot)
{
	if (is_for_many(family, packet->destination))
		return MULTICAST;
	if (self->flags & CHECK_SOURCE && !owns(family, self, slot, packet->destination))
		return NOT_OURS;
	return is_nobody(family, packet->kind == ABOUT_A_FLOW ? packet->complainer : packet->source)
		       ? SPOOFED_ADDRESS
		       : PASSED;
}

inlined enum drop_reason filter_new(struct __sk_buff *skb, struct work *work, struct endpoint *self,
				    int outgoing)
{
	struct packet *packet = &work->packet;
	struct flow *fresh = &work->fresh;
	const int family = packet->family & 1;
	struct address *known;
	enum drop_reason reason;

	forget_quotation(packet);
	__builtin_memset(&work->way, 0, sizeof(work->way));
	begin(work);
	known = known_address(family, self->vpc, outgoing ? packet->destination : packet->source);
	if (outgoing)
		reason = is_for_many(family, packet->destination)
				 ? MULTICAST
				 : egress(work, self, known ? known->identity : 0);
	else
		reason = ingress(work, self, work->slot, known ? known->identity : 0, packet->source);
	if (reason)
		return reason;
	work->seen = *packet;
	if (opens_flow(packet)) {
		copy_address(work->way.judged_source, packet->source);
		make_key(&work->key, family, packet, FILTER_ZONE | work->slot, packet->source,
			 packet->destination);
		fresh->flags |= known && known->identity ? FLOW_MEMBER : 0;
		fresh->initiator = outgoing ? work->slot : 0;
		fresh->initiator_generation = outgoing ? self->generation : 0;
		fresh->responder = outgoing ? 0 : work->slot;
		fresh->responder_generation = outgoing ? 0 : self->generation;
		fresh->initiator_address = packet->source[0];
		fresh->responder_address = packet->destination[0];
		reason = remember_fresh(work);
		if (reason)
			return reason;
	} else {
		tell(PASSED, 0);
	}
	credit(skb, work, work->verdict.egress_rule, work->verdict.ingress_rule);
	return PASSED;
}

separate int filter(struct __sk_buff *skb, __u32 outgoing)
{
	struct work *work = desk();
	struct endpoint *self = work ? live_endpoint(work->slot) : 0;
	struct packet *packet;
	enum drop_reason reason;
	struct flow *flow;
	int family;

	if (!self)
		return TC_ACT_SHOT;
	packet = &work->packet;
	work->verdict.gate = SPOOF;
	if (skb->vlan_present || !self->policy)
		return drop(skb->vlan_present ? UNSUPPORTED : NO_POLICY);
	if (skb->protocol == bpf_htons(ETH_P_ARP))
		return outgoing ? neighbour_asks(skb, self, answer_arp(skb, self, work->slot))
				: TC_ACT_NOT_OURS;
	reason = read_any(skb);
	family = packet->family & 1;
	if (!reason && outgoing)
		reason = check_mac(skb, self);
	if (!reason && is_neighbour_message(packet)) {
		if (outgoing)
			return neighbour_asks(skb, self, answer_solicitation(skb));
		if (!is_redirect(packet))
			return TC_ACT_NOT_OURS;
	}
	if (!reason)
		reason = outgoing ? check_source(family, packet, self, work->slot)
				  : check_incoming(family, packet, self, work->slot);
	work->now = ticks_now();
	work->fragment_link = !outgoing;
	if (!reason && packet->fragment == LATER_FRAGMENT)
		reason = follow_first();
	if (reason)
		return drop(reason);

	make_key(&work->key, family, packet, FILTER_ZONE | work->slot, packet->source, packet->destination);
	flow = packet->kind == OPENS_NOTHING ? 0 : this_flow(work);
	if (flow && is_live(flow, work->now) && !(packet->kind == OF_A_FLOW && is_syn(packet))) {
		int mine = is_initiator(flow, work->slot, self);

		if (mine || (flow->responder == work->slot && flow->responder_generation == self->generation)) {
			reason = follow(skb, work, flow, mine == !!outgoing ? INITIATOR : RESPONDER,
					outgoing ? self : 0, outgoing ? 0 : self, &work->key, family);
			if (reason != NO_FLOW)
				return reason ? cut(work, reason) : TC_ACT_NOT_OURS;
		}
	}
	reason = filter_new(skb, work, self, outgoing);
	return reason ? drop(reason) : TC_ACT_NOT_OURS;
}

#endif
