/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/*
 * What every way into the region does with a packet: ask a gate, follow a flow, remember one. Here the parts
 * below meet; where the packet goes is the business of whoever calls.
 */
#ifndef STOCKADE_GATES_H
#define STOCKADE_GATES_H

#include "antispoof.h"
#include "conntrack.h"
#include "fragment.h"
#include "neighbour.h"
#include "policy.h"
#include "routes.h"
#include "verdict.h"

/* Reads a packet of either family onto the desk. */
separate int read_any(struct __sk_buff *skb)
{
	struct work *work = desk();

	if (!work)
		return MALFORMED;
	if (skb->protocol == bpf_htons(ETH_P_IP))
		return read_ipv4(skb, &work->packet);
	return skb->protocol == bpf_htons(ETH_P_IPV6) ? read_ipv6(skb, &work->packet) : UNSUPPORTED;
}

/* It passes: count it for the rules that let it, and let the rest of its datagram follow. */
inlined void credit(struct __sk_buff *skb, struct work *work, __u32 egress_rule, __u32 ingress_rule)
{
	if (egress_rule)
		count(skb, egress_rule);
	if (ingress_rule)
		count(skb, ingress_rule);
	if (unlikely(work->packet.fragment == FIRST_FRAGMENT))
		note_first();
}

inlined int is_syn(const struct packet *packet)
{
	return packet->protocol == IPPROTO_TCP && (packet->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
}

/* The question that this packet puts to a gate. */
inlined void ask_about(struct work *work, const __be32 *peer, __u64 identity)
{
	struct question *question = &work->question;

	copy_address(question->peer, peer);
	question->identity = identity;
	question->port = work->packet.port;
	question->protocol = work->packet.carrier;
	question->family = work->packet.family;
}

/* A flow to be, of which nothing is known yet. */
inlined void begin(struct work *work)
{
	__builtin_memset(&work->fresh, 0, sizeof(work->fresh));
	work->verdict.egress_rule = work->verdict.ingress_rule = 0;
}

/* The sender's gate, asked about a destination of this identity: PASSED, or why not; the rule is noted. */
inlined enum drop_reason egress(struct work *work, const struct endpoint *self, __u64 identity)
{
	struct verdict *verdict = &work->verdict;
	struct standing standing = standing_of(self);

	verdict->gate = EGRESS;
	if (is_redirect(&work->packet))
		return INVALID_STATE;
	if (!standing.policy)
		return NO_POLICY;
	ask_about(work, work->packet.destination, identity);
	verdict->egress_rule = judge(standing.policy, EGRESS);
	if (!verdict->egress_rule)
		return NO_EGRESS_RULE;
	work->fresh.egress_epoch = standing.epoch;
	if (is_untracked(standing.policy, EGRESS))
		work->fresh.flags |= FLOW_EGRESS_UNTRACKED;
	return PASSED;
}

/* The gate of `target`, asked about a source of this identity. */
inlined enum drop_reason ingress(struct work *work, const struct endpoint *target, __u32 slot, __u64 identity,
				 const __be32 *source)
{
	struct verdict *verdict = &work->verdict;
	struct standing standing = standing_of(target);

	verdict->gate = INGRESS;
	verdict->slot = slot;
	verdict->vpc = target->vpc;
	if (is_redirect(&work->packet))
		return INVALID_STATE;
	if (!standing.policy)
		return NO_POLICY;
	ask_about(work, source, identity);
	verdict->ingress_rule = judge(standing.policy, INGRESS);
#ifndef BREAK_INGRESS
	if (!verdict->ingress_rule)
		return NO_INGRESS_RULE;
#endif
	work->fresh.ingress_epoch = standing.epoch;
	if (is_untracked(standing.policy, INGRESS))
		work->fresh.flags |= FLOW_INGRESS_UNTRACKED;
	return PASSED;
}

/* The packet as its receiver's gate saw it; `target` when it was called by its public address. */
inlined void see(struct work *work, const __be32 *source, const struct endpoint *target)
{
	work->seen = work->packet;
	copy_address(work->seen.source, source);
	if (target)
		work->seen.destination[0] = target->address;
}

/* The flow's key as its responder sees it: in what `way` on the desk leads to. */
separate int make_key_there(void)
{
	struct work *work = desk();
	struct endpoint *target = work ? live_endpoint(work->way.slot) : 0;
	__be32 source[4], destination[4];

	if (!target)
		return 0;
	copy_address(source, work->packet.source);
	copy_address(destination, work->packet.destination);
	if (work->way.via_public && work->packet.family == V4) {
		source[0] = work->way.source;
		destination[0] = target->address;
	}
	make_key(&work->key, work->packet.family & 1, &work->packet, target->vpc, source, destination);
	return 0;
}

/* Both gates opened: a flow begins, and is told of when it is a new one. */
inlined enum drop_reason remember_fresh(struct work *work)
{
	struct flow *fresh = &work->fresh;
	enum drop_reason reason;

	fresh->seen = work->now;
	fresh->egress_rule = work->verdict.egress_rule;
	fresh->ingress_rule = work->verdict.ingress_rule;
	fresh->judged_source = work->way.judged_source[0];
	fresh->port = work->packet.port;
	fresh->patience = patience(fresh->flags, work->packet.protocol, fresh->initiator, fresh->responder);
	reason = remember();
	if (!reason && work->is_new)
		tell(PASSED, 1);
	return reason;
}

/*
 * An ICMP error about a flow. An end that tracks the flow asks nothing (unless it is strict); another one judges
 * the error as what it is, by its own rules.
 */
separate int judge_error(__u32 role)
{
	struct work *work = desk();
	struct flow *flow = work ? this_flow(work) : 0;
	struct host *here = this_host();
	const struct packet *packet;
	int by_router, family, gate;

	if (!flow || !here)
		return INVALID_STATE;
	packet = &work->packet;
	family = packet->family & 1;
	by_router = !same_address(family, packet->complainer, packet->source);
	for (gate = EGRESS; gate <= INGRESS; gate++) {
		int is_initiator = (gate == EGRESS) == (role == INITIATOR);
		__u32 slot = is_initiator ? flow->initiator : flow->responder;
		__u32 generation = is_initiator ? flow->initiator_generation : flow->responder_generation;
		struct endpoint *at = same_endpoint(slot, generation);
		struct address *known;
		__be32 peer[4] = {};
		__u64 identity = 0;
		__u32 rule;

		if (!at || (!here->strict &&
			    !(flow->flags & (is_initiator ? FLOW_EGRESS_UNTRACKED : FLOW_INGRESS_UNTRACKED))))
			continue;
		if (gate == INGRESS && by_router)
			copy_address(peer, packet->complainer);
		else if (family == V4)
			peer[0] = is_initiator ? flow->responder_address : flow->judged_source;
		else
			copy_address(peer, gate == EGRESS ? packet->destination : packet->source);
		known = known_address(family, at->vpc, peer);
		if (known && (gate == EGRESS || is_initiator || flow->flags & FLOW_MEMBER))
			identity = known->identity;
		work->verdict.gate = gate;
		work->verdict.slot = slot;
		ask_about(work, peer, identity);
		rule = at->policy ? judge(at->policy, gate) : 0;
		if (!rule)
			return !at->policy ? NO_POLICY : gate == EGRESS ? NO_EGRESS_RULE : NO_INGRESS_RULE;
		if (gate == EGRESS)
			work->verdict.egress_rule = rule;
		else
			work->verdict.ingress_rule = rule;
	}
	return PASSED;
}

/*
 * A packet of a live flow, from its party `role`: PASSED, or why it is refused after all. `one` sends, `other`
 * receives; either may be elsewhere. `key`: the flow's, which goes on the desk when there is more to ask.
 */
inlined enum drop_reason follow(struct __sk_buff *skb, struct work *work, struct flow *flow, enum role role,
				const struct endpoint *one, const struct endpoint *other, const void *key,
				int family)
{
	const struct packet *packet = &work->packet;
	__u32 here = role == INITIATOR ? flow->egress_epoch : flow->ingress_epoch;
	__u32 there = role == INITIATOR ? flow->ingress_epoch : flow->egress_epoch;
	enum drop_reason reason = PASSED;

	if (unlikely((one && one->epoch != here) || (other && other->epoch != there) ||
		     packet->kind == ABOUT_A_FLOW)) {
		if (key != &work->key)
			__builtin_memcpy(&work->key, key,
					 family == V4 ? sizeof(struct flow_key) : sizeof(struct flow6_key));
		reason = reconsider(role == INITIATOR);
		if (!reason && packet->kind == ABOUT_A_FLOW) {
			reason = judge_error(role);
			if (!reason && (work->verdict.egress_rule || work->verdict.ingress_rule))
				tell(PASSED, 0);
		}
		if (reason == NO_FLOW)
			forget_this();
		if (reason)
			return reason;
	}
	if (likely(packet->kind == OF_A_FLOW))
		advance(flow, packet, role, work->now);
	credit(skb, work, flow->egress_rule, flow->ingress_rule);
	return PASSED;
}

/* Refused although of a flow that was: which is forgotten, unless it was only the error about it that may not pass. */
inlined int cut(struct work *work, enum drop_reason reason)
{
	if (work->packet.kind == OF_A_FLOW)
		forget_this();
	forget_quotation(&work->packet);
	return drop(reason);
}

/* An endpoint's ARP or neighbour discovery, as it turned out. */
inlined int neighbour_asks(struct __sk_buff *skb, const struct endpoint *self, int outcome)
{
	switch (outcome) {
	case NEIGHBOUR_ANSWERED:
		return self->flags & FILTERED ? TC_ACT_NOT_OURS : deliver(skb, self);
	case NEIGHBOUR_FORGED:
		return drop(SPOOFED_ARP);
	case NEIGHBOUR_FOREIGN:
		return drop(FOREIGN_REPLY);
	default:
		return self->flags & FILTERED ? TC_ACT_NOT_OURS : TC_ACT_SHOT;
	}
}

#endif
