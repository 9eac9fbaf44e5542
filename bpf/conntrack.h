/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/*
 * The memory of flows. One entry a flow, found from either direction and from the header inside an
 * ICMP error. An entry is proof that the flow passed its gates, so it is believed only from those
 * who are its parties: the slot *and* generation must be the sender's, or the packet opens a flow
 * of its own.
 *
 * Time-outs are judged at lookup; what idled out is swept up later (allowance.h), which only frees room.
 */
#ifndef STOCKADE_CONNTRACK_H
#define STOCKADE_CONNTRACK_H

#include "allowance.h"
#include "maps.h"
#include "packet.h"
#include "policy.h"

#define SYN_SENT       SECONDS(120)
#define SYN_ANSWERED   SECONDS(60)
#define TCP_HALF_SHUT  SECONDS(120)
#define TCP_SHUT       SECONDS(10)
#define ICMP_QUERY     SECONDS(30)
#define OTHER_PROTOCOL SECONDS(600)

#define FLOW_SHUT (FLOW_FIN_SENT | FLOW_FIN_REPLIED)

enum role { STRANGER, INITIATOR, RESPONDER };

/* Rule set and epoch as they stand, read at once: one of each would be a mixture. */
struct standing {
	__u32 policy;
	__u32 epoch;
};

inlined struct standing standing_of(const struct endpoint *endpoint)
{
	union {
		__u64 both;
		struct standing standing;
	} read;

	read.both = *(volatile const __u64 *)&endpoint->policy;
	return read.standing;
}

inlined int is_before(int family, const __be32 *one, const __be32 *other)
{
	if (family == V4 || one[0] != other[0])
		return one[0] < other[0];
	if (one[1] != other[1])
		return one[1] < other[1];
	return one[2] != other[2] ? one[2] < other[2] : one[3] < other[3];
}

/*
 * Whether the key has the receiver's end first. ICMP queries need no sorting: who asked is known from the type, and
 * two hosts that ping each other with the same identifier keep two flows apart.
 */
inlined int is_turned(int family, const struct packet *packet, const __be32 *source, const __be32 *destination)
{
	if (unlikely(is_icmp(family, packet->protocol)))
		return packet->turned;
	return !is_before(family, source, destination) &&
	       (!same_address(family, source, destination) || packet->source_port > packet->destination_port);
}

/* Fills the key of either family at `at`. */
inlined void make_key(void *at, int family, const struct packet *packet, __u32 zone, const __be32 *source,
		      const __be32 *destination)
{
	__be16 port[2] = {packet->source_port, packet->destination_port};
	const int turned = is_turned(family, packet, source, destination);

	if (unlikely(is_icmp(family, packet->protocol))) {
		port[1] = packet->query;
	} else if (turned) {
		port[0] = packet->destination_port;
		port[1] = packet->source_port;
	}
	if (family == V4) {
		struct flow_key *key = at;

		key->address[0] = turned ? destination[0] : source[0];
		key->address[1] = turned ? source[0] : destination[0];
		key->port[0] = port[0];
		key->port[1] = port[1];
		key->scope = zone << 8 | packet->protocol;
	} else {
		struct flow6_key *key = at;

		copy_address(key->address[0], turned ? destination : source);
		copy_address(key->address[1], turned ? source : destination);
		key->port[0] = port[0];
		key->port[1] = port[1];
		key->scope = zone << 8 | packet->protocol;
	}
}

inlined int is_shut(const struct flow *flow)
{
	return flow->flags & FLOW_RESET || (flow->flags & FLOW_SHUT) == FLOW_SHUT;
}

/* What the endpoint in this slot has patience for; whoever is elsewhere (slot 0) has patience for ever. */
inlined __u32 patience_of(__u32 slot, __u32 flags, __u32 protocol)
{
	struct endpoint *endpoint = live_endpoint(slot);

	if (!endpoint)
		return ~0u;
	if (protocol == IPPROTO_TCP)
		return endpoint->tcp_established;
	return flags & FLOW_REPLIED ? endpoint->udp_stream : endpoint->udp_single;
}

/* How long a flow in this state may be idle: as long as both its ends remember it. */
separate __u32 patience(__u32 flags, __u32 protocol, __u32 initiator, __u32 responder)
{
	__u32 one, other;

	if (protocol == IPPROTO_TCP) {
		if (flags & FLOW_RESET || (flags & FLOW_SHUT) == FLOW_SHUT)
			return TCP_SHUT;
		if (flags & FLOW_SHUT)
			return TCP_HALF_SHUT;
		if (!(flags & FLOW_ESTABLISHED))
			return flags & FLOW_REPLIED ? SYN_ANSWERED : SYN_SENT;
	} else if (protocol != IPPROTO_UDP) {
		return protocol == IPPROTO_ICMP || protocol == IPPROTO_ICMPV6 ? ICMP_QUERY : OTHER_PROTOCOL;
	}
	one = patience_of(initiator, flags, protocol);
	other = patience_of(responder, flags, protocol);
	return one < other ? one : other;
}

/* Who the sender in this slot is to the flow. `via_public`: it calls the other by the public address. */
inlined enum role role_of(const struct flow *flow, __u32 slot, __u32 generation, __u32 via_public)
{
	if (flow->initiator == slot && flow->initiator_generation == generation &&
	    !(flow->flags & FLOW_VIA_PUBLIC) == !via_public)
		return INITIATOR;
	if (flow->responder == slot && flow->responder_generation == generation && !via_public)
		return RESPONDER;
	return STRANGER;
}

/* The same when one endpoint is both: it answers when its packet is turned otherwise than the first one was. */
inlined enum role role_with_oneself(const struct flow *flow, int family, const struct packet *packet)
{
	int turned = is_turned(family, packet, packet->source, packet->destination);

	return !turned == !(flow->flags & FLOW_TURNED) ? INITIATOR : RESPONDER;
}

inlined void touch(struct flow *flow, __u32 now)
{
	/* Once a second: a flow used by two CPUs would otherwise bounce its cache line for each packet. */
	if (now - flow->seen >= SECONDS(1))
		flow->seen = now;
}

/*
 * Moves the flow on by this packet of one of its parties. Zero: the packet asks for a new flow, so
 * policy must speak; a SYN always does, which is how a revoke refuses what only looks like an old
 * connection.
 */
inlined int advance(struct flow *flow, const struct packet *packet, enum role role, __u32 now)
{
	__u32 flags = flow->flags & ~FLOW_STALE;

	if (likely(packet->protocol == IPPROTO_TCP)) {
		if ((packet->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN)
			return 0;
		if (unlikely(!(flags & FLOW_ESTABLISHED) || packet->tcp_flags & (TCP_FIN | TCP_RST))) {
			if (packet->tcp_flags & TCP_RST)
				flags |= FLOW_RESET;
			if (packet->tcp_flags & TCP_FIN)
				flags |= role == INITIATOR ? FLOW_FIN_SENT : FLOW_FIN_REPLIED;
			if (role == RESPONDER)
				flags |= FLOW_REPLIED;
			else if (flags & FLOW_REPLIED)
				flags |= FLOW_ESTABLISHED;
		}
	} else if (role == RESPONDER) {
		flags |= FLOW_REPLIED;
	}
	if (flags != flow->flags) {
		flow->flags = flags;
		flow->patience = patience(flags, packet->protocol, flow->initiator, flow->responder);
		flow->seen = now;
	} else {
		touch(flow, now);
	}
	return 1;
}

inlined int same_parties(const struct flow *old, const struct flow *new)
{
	return old->initiator == new->initiator && old->responder == new->responder &&
	       old->initiator_generation == new->initiator_generation &&
	       old->responder_generation == new->responder_generation &&
	       old->initiator_address == new->initiator_address &&
	       old->responder_address == new->responder_address && old->link == new->link;
}

/* Of IPv6 a flow has no addresses: between two of one endpoint's own, its direction tells which of them began. */
inlined int begins_the_other_way(const struct work *work, const struct flow *old)
{
	return (old->flags ^ work->fresh.flags) & FLOW_TURNED && work->packet.family == V6 &&
	       !same_address(V6, work->key.address[0], work->key.address[1]);
}

/*
 * Policy let it through: remember `fresh` on the desk under `key`. `is_new` tells a retransmitted SYN from a new
 * flow. An entry of the same parties is renewed in place; one of others is replaced whole, as a reader must
 * not see half of each. The same ports both by the private and by the public address are two flows that
 * answers cannot tell apart: the first come stays.
 */
separate int remember(void)
{
	struct work *work = desk();
	const struct flow *new;
	struct flow *old;
	int over;

	if (!work)
		return CONNTRACK_FULL;
	new = &work->fresh;
	old = this_flow(work);
	over = !old || is_shut(old) || !is_live(old, new->seen);
	work->is_new = 1;
	if (old && same_parties(old, new) && !begins_the_other_way(work, old)) {
		work->is_new = over;
		track(old, new->flags);
		old->egress_rule = new->egress_rule;
		old->ingress_rule = new->ingress_rule;
		old->egress_epoch = new->egress_epoch;
		old->ingress_epoch = new->ingress_epoch;
		old->judged_source = new->judged_source;
		old->seen = new->seen;
		if (over) {
			old->port = new->port; /* another flow, which this packet is the first of */
			old->flags = new->flags;
			old->patience = new->patience;
		} else {
			old->flags = (old->flags & ~FLOW_MEMBER) | (new->flags &FLOW_MEMBER);
			old->patience =
				patience(old->flags, work->packet.protocol, old->initiator, old->responder);
		}
		return PASSED;
	}
	if (!over && new->initiator && old->initiator == new->initiator &&
	    old->initiator_generation == new->initiator_generation &&
	    (old->flags ^ new->flags) & FLOW_VIA_PUBLIC)
		return INVALID_STATE;
	if (old)
		forget_this();
	if (take_room(work) && !insert_flow(work->packet.family & 1, work->packet.protocol, &work->key, new))
		return PASSED;
	/* Without memory passes what its rules let pass in both directions and nothing has to translate. */
	return !(new->flags &FLOW_VIA_PUBLIC) && is_untracked_throughout(new) ? PASSED : CONNTRACK_FULL;
}

/*
 * The rules of one end have changed since it was asked about this flow: ask about its first packet again. An
 * untracked flow is as good as today's rules; so is one that should be cut, and one that was open to everybody
 * both ways in between, which made it untracked. A tracked flow goes on, and may become untracked.
 */
inlined enum drop_reason ask_again(struct work *work, struct flow *flow, enum gate gate, int forward)
{
	const struct packet *packet = &work->packet;
	const int family = packet->family & 1, is_egress = gate == EGRESS,
		  is_udp = packet->protocol == IPPROTO_UDP;
	struct question *question = &work->question;
	const __u32 bit = is_egress ? FLOW_EGRESS_UNTRACKED : FLOW_INGRESS_UNTRACKED;
	struct endpoint *at =
		same_endpoint(is_egress ? flow->initiator : flow->responder,
			      is_egress ? flow->initiator_generation : flow->responder_generation);
	__u32 since = is_egress ? flow->egress_epoch : flow->ingress_epoch, rule, flags;
	struct standing standing;
	struct address *known;
	int anew;

	if (!at)
		return PASSED;
	standing = standing_of(at);
	if (!standing.policy)
		return PASSED; /* on the move; what it is to be comes with an epoch of its own */
	__builtin_memset(question, 0, sizeof(*question));
	question->protocol = packet->protocol;
	question->family = family;
	if (family == V4)
		question->peer[0] = is_egress ? flow->responder_address : flow->judged_source;
	else
		copy_address(question->peer, is_egress == !!forward ? packet->destination : packet->source);
	known = known_address(family, at->vpc, question->peer);
	if (known && (is_egress || flow->flags & FLOW_MEMBER))
		question->identity = known->identity;
	question->port = flow->port;
	rule = judge(standing.policy, gate);
	anew = flow->flags & bit || (__s32)(at->cut - since) > 0 ||
	       ((packet->protocol == IPPROTO_TCP || is_udp) && (__s32)(at->opened[family][is_udp] - since) > 0);
	if (anew && !rule)
		return is_egress ? NO_EGRESS_RULE : NO_INGRESS_RULE;
	flags = flow->flags & ~bit;
	if (rule && is_untracked(standing.policy, gate))
		flags |= bit;
	if (rule && (anew || flags & bit)) {
		*(is_egress ? &flow->egress_rule : &flow->ingress_rule) = rule;
		track(flow, flags);
	}
	*(is_egress ? &flow->egress_epoch : &flow->ingress_epoch) = standing.epoch;
	/* An error about the flow is no word of its own: it neither lengthens nor shortens its life. */
	if (packet->kind == OF_A_FLOW)
		flow->patience = patience(flow->flags, packet->protocol, flow->initiator, flow->responder);
	else
		flow->flags |= FLOW_STALE;
	return PASSED;
}

/*
 * Whether the end still has the address that the flow knows it by. One that has lost it is no party any more: the
 * address may be somebody else's by now, and nothing of the flow is for that one.
 */
inlined int still_has(const struct work *work, const struct flow *flow, const struct endpoint *end,
		      enum gate gate, int forward)
{
	const int family = work->packet.family & 1, is_egress = gate == EGRESS;
	const int is_public = family == V4 && flow->flags & FLOW_VIA_PUBLIC;
	__be32 address[4] = {};

	if (is_public && is_egress && !(flow->flags & FLOW_MEMBER) &&
	    flow->judged_source != flow->initiator_address && flow->judged_source != end->public_address)
		return 0;
	if (is_public && !is_egress)
		return flow->responder_address == end->public_address;
	if (!(end->flags & CHECK_SOURCE))
		return 1; /* a router is an end of what others say, in its own network */
	address[0] = is_egress ? flow->initiator_address : flow->responder_address;
	if (family == V6)
		copy_address(address, is_egress == !!forward ? work->packet.source : work->packet.destination);
	return owns(family, end, is_egress ? flow->initiator : flow->responder, address);
}

/* Whether the flow under the key on the desk may go on under today's rules of both its ends. */
separate int reconsider(__u32 forward)
{
	struct work *work = desk();
	struct flow *flow = work ? this_flow(work) : 0;
	struct endpoint *one, *other;
	enum drop_reason reason = PASSED;
	int changed, changed_there;

	if (!flow)
		return PASSED;
	one = same_endpoint(flow->initiator, flow->initiator_generation);
	changed = one && one->epoch != flow->egress_epoch;
	if (changed && !still_has(work, flow, one, EGRESS, forward))
		return NO_FLOW;
	other = same_endpoint(flow->responder, flow->responder_generation);
	changed_there = other && other->epoch != flow->ingress_epoch;
	if (changed_there && !still_has(work, flow, other, INGRESS, forward))
		return NO_FLOW;
	if (changed) {
		work->verdict.gate = EGRESS;
		work->verdict.slot = flow->initiator;
		reason = ask_again(work, flow, EGRESS, forward);
	}
	if (!reason && changed_there) {
		work->verdict.gate = INGRESS;
		work->verdict.slot = flow->responder;
		reason = ask_again(work, flow, INGRESS, forward);
	}
	return reason;
}

#endif
