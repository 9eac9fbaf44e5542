/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/*
 * The memory of flows. One entry a flow, found from either direction and from the header inside an
 * ICMP error. An entry is proof that the flow passed its gates, so it is believed only from those
 * who are its parties: the slot *and* generation must be the sender's, or the packet opens a flow
 * of its own.
 *
 * Time-outs are judged at lookup. Nothing sweeps: the tables drop what was unused longest.
 */
#ifndef STOCKADE_CONNTRACK_H
#define STOCKADE_CONNTRACK_H

#include "maps.h"
#include "packet.h"

#define TICK_SHIFT     27 /* nanoseconds: 134 ms; 32 bits last for 18 years */
#define SECONDS(n)     ((__u32)(((__u64)(n)*1000000000) >> TICK_SHIFT))
#define SYN_SENT       SECONDS(120)
#define SYN_ANSWERED   SECONDS(60)
#define TCP_OPEN       SECONDS(432000)
#define TCP_HALF_SHUT  SECONDS(120)
#define TCP_SHUT       SECONDS(10)
#define UDP_SINGLE     SECONDS(30)
#define UDP_STREAM     SECONDS(180)
#define ICMP_QUERY     SECONDS(30)
#define OTHER_PROTOCOL SECONDS(600)

enum role { STRANGER, INITIATOR, RESPONDER };

inlined __u32 ticks_now(void)
{
	return bpf_ktime_get_coarse_ns() >> TICK_SHIFT;
}

/*
 * ICMP queries need no sorting: who asked is known from the type, and two hosts that ping each
 * other with the same identifier keep two flows apart.
 */
inlined void make_key(struct flow_key *key, const struct packet *packet, __u32 vpc, __be32 source,
		      __be32 destination)
{
	key->scope = vpc << 8 | packet->protocol;
	if (unlikely(packet->protocol == IPPROTO_ICMP)) {
		key->address[0] = packet->turned ? destination : source;
		key->address[1] = packet->turned ? source : destination;
		key->port[0] = packet->source_port;
		key->port[1] = packet->query;
	} else if (source < destination ||
		   (source == destination && packet->source_port <= packet->destination_port)) {
		key->address[0] = source;
		key->address[1] = destination;
		key->port[0] = packet->source_port;
		key->port[1] = packet->destination_port;
	} else {
		key->address[0] = destination;
		key->address[1] = source;
		key->port[0] = packet->destination_port;
		key->port[1] = packet->source_port;
	}
}

inlined int is_shut(const struct flow *flow)
{
	return flow->flags & FLOW_RESET ||
	       (flow->flags & (FLOW_FIN_SENT | FLOW_FIN_REPLIED)) == (FLOW_FIN_SENT | FLOW_FIN_REPLIED);
}

inlined __u32 patience(const struct flow *flow, __u8 protocol)
{
	if (protocol == IPPROTO_TCP) {
		if (likely((flow->flags & (FLOW_ESTABLISHED | FLOW_RESET | FLOW_FIN_SENT | FLOW_FIN_REPLIED)) ==
			   FLOW_ESTABLISHED))
			return TCP_OPEN;
		if (is_shut(flow))
			return TCP_SHUT;
		if (flow->flags & (FLOW_FIN_SENT | FLOW_FIN_REPLIED))
			return TCP_HALF_SHUT;
		return flow->flags & FLOW_REPLIED ? SYN_ANSWERED : SYN_SENT;
	}
	if (protocol == IPPROTO_UDP)
		return flow->flags & FLOW_REPLIED ? UDP_STREAM : UDP_SINGLE;
	return protocol == IPPROTO_ICMP ? ICMP_QUERY : OTHER_PROTOCOL;
}

inlined struct flow *find_flow(const struct flow_key *key, __u8 protocol)
{
	if (likely(protocol == IPPROTO_TCP))
		return bpf_map_lookup_elem(&flows_tcp, key);
	return bpf_map_lookup_elem(&flows_other, key);
}

/* Clocks of two CPUs may differ by a tick, so "later than now" is now. */
inlined int is_live(const struct flow *flow, __u8 protocol, __u32 now)
{
	__s32 idle = now - flow->seen;

	return idle < 0 || (__u32)idle < patience(flow, protocol);
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
	__u32 flags = flow->flags;

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

/*
 * Policy let it through: remember. `is_new` tells a retransmitted SYN from a new flow. An entry of
 * the same parties is renewed in place; one of others is replaced whole, as a reader must not see
 * half of each. The same ports both by the private and by the public address are two flows that
 * answers cannot tell apart: the first come stays.
 */
outlined enum drop_reason remember(const struct packet *packet, const struct flow_key *key,
				   const struct flow *new, int *is_new)
{
	struct flow *old = find_flow(key, packet->protocol);
	int over = !old || is_shut(old) || !is_live(old, packet->protocol, new->seen);
	long failed;

	*is_new = 1;
	if (old && same_parties(old, new)) {
		*is_new = over;
		old->egress_rule = new->egress_rule;
		old->ingress_rule = new->ingress_rule;
		old->seen = new->seen;
		if (over)
			old->flags = new->flags;
		return PASSED;
	}
	if (!over && new->initiator && old->initiator == new->initiator &&
	    old->initiator_generation == new->initiator_generation &&
	    (old->flags ^ new->flags) & FLOW_VIA_PUBLIC)
		return INVALID_STATE;
	if (packet->protocol == IPPROTO_TCP)
		failed = bpf_map_update_elem(&flows_tcp, key, new, BPF_ANY);
	else
		failed = bpf_map_update_elem(&flows_other, key, new, BPF_ANY);
	return failed ? CONNTRACK_FULL : PASSED;
}

#endif
