/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/*
 * Who may have how many flows in memory. Each flow counts for the endpoints at both its ends. An endpoint that
 * has used up its allowance loses half-open flows of its own (of untracked ones any), never those of others;
 * when the tables are nearly full nobody may have more than a fair share.
 *
 * A table never evicts by itself, so the counts are exact: every way in and out of it is here.
 */
#ifndef STOCKADE_ALLOWANCE_H
#define STOCKADE_ALLOWANCE_H

#include "maps.h"
#include "packet.h"
#include "routes.h"

#define TICK_SHIFT 27 /* nanoseconds: 134 ms; 32 bits last for 18 years */
#define SECONDS(n) ((__u32)(((__u64)(n)*1000000000) >> TICK_SHIFT))

enum charge { TRACKED = 0, UNTRACKED = 1 };

inlined __u32 ticks_now(void)
{
	return bpf_ktime_get_coarse_ns() >> TICK_SHIFT;
}

inlined struct flow *find_flow(int family, __u8 protocol, const void *key)
{
	if (family == V4)
		return likely(protocol == IPPROTO_TCP) ? bpf_map_lookup_elem(&flows_tcp, key)
						       : bpf_map_lookup_elem(&flows_other, key);
	return likely(protocol == IPPROTO_TCP) ? bpf_map_lookup_elem(&flows6_tcp, key)
					       : bpf_map_lookup_elem(&flows6_other, key);
}

/* Clocks of two CPUs may differ by a tick, so "later than now" is now. */
inlined int is_live(const struct flow *flow, __u32 now)
{
	__s32 idle = now - flow->seen;

	return idle < 0 || (__u32)idle < flow->patience;
}

inlined int is_untracked_throughout(const struct flow *flow)
{
	return (!flow->initiator || flow->flags & FLOW_EGRESS_UNTRACKED) &&
	       (!flow->responder || flow->flags & FLOW_INGRESS_UNTRACKED);
}

inlined __u32 *charged(__u32 slot, enum charge kind)
{
	struct usage *usage = bpf_map_lookup_elem(&usages, &slot);

	if (!usage)
		return 0;
	return kind == TRACKED ? &usage->tracked : &usage->untracked;
}

/* Two CPUs may both take the last: one flow more than the allowance then. */
inlined void add(__u32 *count)
{
	if (count)
		__sync_fetch_and_add(count, 1);
}

inlined void subtract(__u32 *count)
{
	if (count && *count)
		__sync_fetch_and_add(count, -1);
}

/* What counts for an endpoint; a slot that changed hands began anew. */
inlined __u32 *charged_to(__u32 slot, __u32 generation, enum charge kind)
{
	struct endpoint *endpoint = bpf_map_lookup_elem(&endpoints, &slot);

	return slot && endpoint && endpoint->generation == generation ? charged(slot, kind) : 0;
}

inlined void forget_flow(int family, __u8 protocol, const void *key, const struct flow *flow)
{
	__u32 initiator = flow->initiator, initiator_generation = flow->initiator_generation;
	__u32 responder = flow->responder, responder_generation = flow->responder_generation;
	__u32 flags = flow->flags;
	long failed;

	if (family == V4)
		failed = protocol == IPPROTO_TCP ? bpf_map_delete_elem(&flows_tcp, key)
						 : bpf_map_delete_elem(&flows_other, key);
	else
		failed = protocol == IPPROTO_TCP ? bpf_map_delete_elem(&flows6_tcp, key)
						 : bpf_map_delete_elem(&flows6_other, key);
	/* Whoever takes it out, takes it off; of two, the kernel lets one. */
	if (failed)
		return;
	subtract(charged(0, protocol != IPPROTO_TCP));
	subtract(charged_to(initiator, initiator_generation, !!(flags & FLOW_EGRESS_UNTRACKED)));
	subtract(charged_to(responder, responder_generation, !!(flags & FLOW_INGRESS_UNTRACKED)));
}

/* The flow under the key on the desk, if it is there. */
inlined struct flow *this_flow(struct work *work)
{
	return find_flow(work->packet.family & 1, work->packet.protocol, &work->key);
}

separate int forget_this(void)
{
	struct work *work = desk();
	struct flow *flow = work ? this_flow(work) : 0;

	if (flow)
		forget_flow(work->packet.family & 1, work->packet.protocol, &work->key, flow);
	return 0;
}

/* `flow` is from now on tracked or not as `flags` has it. */
inlined void track(struct flow *flow, __u32 flags)
{
	__u32 changed = (flow->flags ^ flags) & (FLOW_EGRESS_UNTRACKED | FLOW_INGRESS_UNTRACKED);

	if (likely(!changed))
		return;
	flow->flags ^= changed;
	if (changed & FLOW_EGRESS_UNTRACKED) {
		subtract(charged_to(flow->initiator, flow->initiator_generation,
				    !(flags & FLOW_EGRESS_UNTRACKED)));
		add(charged_to(flow->initiator, flow->initiator_generation, !!(flags & FLOW_EGRESS_UNTRACKED)));
	}
	if (changed & FLOW_INGRESS_UNTRACKED) {
		subtract(charged_to(flow->responder, flow->responder_generation,
				    !(flags & FLOW_INGRESS_UNTRACKED)));
		add(charged_to(flow->responder, flow->responder_generation,
			       !!(flags & FLOW_INGRESS_UNTRACKED)));
	}
}

/* Tracked flows go while they are half-open, or over; untracked ones always. */
inlined int is_expendable(const struct flow *flow, __u32 slot, __u32 kind, __u8 protocol)
{
	__u32 settled = protocol == IPPROTO_TCP ? FLOW_ESTABLISHED : FLOW_REPLIED;
	__u32 over = FLOW_FIN_SENT | FLOW_FIN_REPLIED;

	if (flow->initiator != slot && flow->responder != slot)
		return 0;
	if (kind == TRACKED)
		return !(flow->flags & settled) || flow->flags & FLOW_RESET || (flow->flags & over) == over ||
		       !is_live(flow, ticks_now());
	return flow->flags & (flow->initiator == slot ? FLOW_EGRESS_UNTRACKED : FLOW_INGRESS_UNTRACKED);
}

inlined int forget_candidate(struct candidate *candidate, __u32 slot, __u32 kind)
{
	__u8 protocol =
		candidate->family == V4 ? ((struct flow_key *)&candidate->key)->scope : candidate->key.scope;
	struct flow *flow = find_flow(candidate->family & 1, protocol, &candidate->key);

	if (!flow || !is_expendable(flow, slot, kind, protocol))
		return 0;
	forget_flow(candidate->family & 1, protocol, &candidate->key, flow);
	return 1;
}

/* One flow of this endpoint less, of those noted as candidates; 0: none was to be had. */
separate int make_room(__u32 slot, __u32 kind)
{
	struct usage *usage = bpf_map_lookup_elem(&usages, &slot);
	int tries;

	if (!usage)
		return 0;
	for (tries = 0; tries < 8; tries++) {
		/* The oldest, where the next one will be noted; what cannot go is passed by for good. */
		__u32 place = usage->next[kind & 1] % CANDIDATES;
		struct candidate_key at = {.slot = slot, .place = (kind & 1) * CANDIDATES + place};
		struct candidate *candidate = bpf_map_lookup_elem(&candidates, &at);

		if (candidate && forget_candidate(candidate, slot, kind))
			return 1;
		__sync_fetch_and_add(&usage->next[kind & 1], 1);
	}
	return 0;
}

/* The flow to be is one that may have to go when its endpoint wants more room. */
separate int note_candidate(__u32 slot, __u32 kind)
{
	struct usage *usage = bpf_map_lookup_elem(&usages, &slot);
	struct candidate candidate = {};
	struct work *work = desk();
	struct candidate_key at;

	if (!usage || !work)
		return 0;
	at.slot = slot;
	at.place = (kind & 1) * CANDIDATES + __sync_fetch_and_add(&usage->next[kind & 1], 1) % CANDIDATES;
	candidate.key = work->key;
	candidate.family = work->packet.family;
	bpf_map_update_elem(&candidates, &at, &candidate, BPF_ANY);
	return 0;
}

/* Room for one more flow at one end; 0: there is none. Noted as a candidate once three quarters are used. */
separate int take_room_at(__u32 slot, __u32 kind)
{
	struct host *here = this_host();
	struct work *work = desk();
	__u32 *count, *all;
	__u32 limit, table;

	if (!here || !work)
		return 0;
	table = work->packet.protocol != IPPROTO_TCP;
	count = charged(slot, kind);
	all = charged(0, table);
	if (!count || !all)
		return 0;
	limit = here->allowance;
	if (unlikely(*all >= here->crowded[table & 1] && here->fair < limit))
		limit = here->fair;
	if (unlikely(*count >= limit && !make_room(slot, kind)))
		return 0;
	add(count);
	if (unlikely(*count > limit / 4 * 3))
		note_candidate(slot, kind);
	return 1;
}

/* Room for `work->fresh` at both its ends. */
inlined int take_room(struct work *work)
{
	const struct flow *new = &work->fresh;
	enum charge at_initiator = !!(new->flags &FLOW_EGRESS_UNTRACKED);

	if (new->initiator && !take_room_at(new->initiator, at_initiator))
		return 0;
	if (!new->responder || take_room_at(new->responder, !!(new->flags &FLOW_INGRESS_UNTRACKED)))
		return 1;
	if (new->initiator)
		subtract(charged(new->initiator, at_initiator));
	return 0;
}

/* 0: it is in; room has been taken. */
inlined long insert_flow(int family, __u8 protocol, const void *key, const struct flow *new)
{
	long failed;

	if (family == V4)
		failed = protocol == IPPROTO_TCP ? bpf_map_update_elem(&flows_tcp, key, new, BPF_NOEXIST)
						 : bpf_map_update_elem(&flows_other, key, new, BPF_NOEXIST);
	else
		failed = protocol == IPPROTO_TCP ? bpf_map_update_elem(&flows6_tcp, key, new, BPF_NOEXIST)
						 : bpf_map_update_elem(&flows6_other, key, new, BPF_NOEXIST);
	if (likely(!failed)) {
		add(charged(0, protocol != IPPROTO_TCP));
		return 0;
	}
	if (new->initiator)
		subtract(charged(new->initiator, !!(new->flags &FLOW_EGRESS_UNTRACKED)));
	if (new->responder)
		subtract(charged(new->responder, !!(new->flags &FLOW_INGRESS_UNTRACKED)));
	return failed;
}

/* Whether nobody else has the slot by now; slot 0 is elsewhere and stays. */
inlined int is_still(__u32 slot, __u32 generation)
{
	struct endpoint *endpoint = bpf_map_lookup_elem(&endpoints, &slot);

	return !slot || (endpoint && endpoint->generation == generation);
}

/* For every flow of a table: out with it when it has idled out, or one of its ends is gone. */
static long sweep_flow(void *map, const void *key, struct flow *flow, struct sweep *sweep)
{
	__u32 scope;

	if (is_live(flow, sweep->now) && is_still(flow->initiator, flow->initiator_generation) &&
	    is_still(flow->responder, flow->responder_generation))
		return 0;
	scope = sweep->family == V4 ? ((const struct flow_key *)key)->scope
				    : ((const struct flow6_key *)key)->scope;
	forget_flow(sweep->family & 1, scope & 0xff, key, flow);
	sweep->forgotten++;
	return 0;
}

#endif
