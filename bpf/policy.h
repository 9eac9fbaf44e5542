/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/*
 * One gate: who is the peer, and does a rule of this rule set let it in? Asked twice at most: once
 * for the peer's identity, once for the class of the longest block that covers its address. A class
 * carries the rules of *every* covering block (the compiler sees to that), so the longest match
 * forgets none. Answers with the index of the rule, 0 for none. Knows no state and changes nothing.
 */
#ifndef STOCKADE_POLICY_H
#define STOCKADE_POLICY_H

#include "maps.h"
#include "packet.h"

inlined __u32 rule_in(const struct interval *interval, __u16 port)
{
	return port >= interval->low && port <= interval->high ? interval->rule : 0;
}

/* By halves: the slice is sorted and its intervals are disjoint. */
outlined __u32 search(__u32 first, __u32 count, __u16 port)
{
	__u32 low = 0, high = count;
	int probe;

	for (probe = 0; probe < MAX_PROBES && low < high; probe++) {
		__u32 middle = (low + high) / 2;
		__u32 index = first + middle;
		struct interval *interval = bpf_map_lookup_elem(&intervals, &index);

		if (!interval)
			return 0;
		if (port < interval->low)
			high = middle;
		else if (port > interval->high)
			low = middle + 1;
		else
			return interval->rule;
	}
	return 0;
}

inlined __u32 ask(__u32 policy, enum gate gate, __u64 peer, __u8 protocol, __u16 port)
{
	struct policy_key key = {.peer = peer, .policy = policy, .protocol = protocol, .gate = gate};
	struct interval_set *set = bpf_map_lookup_elem(&rule_sets, &key);
	__u32 rule;

	if (!set) {
		key.protocol = ANY_PROTOCOL;
		set = bpf_map_lookup_elem(&rule_sets, &key);
		if (!set)
			return 0;
	}
	if (unlikely(set->count > INLINE_INTERVALS))
		return search(set->offset, set->count, port);
	/* Unused places hold rule 0. */
	rule = rule_in(&set->first[0], port);
	if (!rule)
		rule = rule_in(&set->first[1], port);
	if (!rule)
		rule = rule_in(&set->first[2], port);
	if (!rule)
		rule = rule_in(&set->first[3], port);
	return rule;
}

outlined __u32 judge(__u32 index, enum gate gate, __u64 identity, __be32 address, const struct packet *packet)
{
	__u8 protocol = packet->carrier;
	__u16 port = packet->port;
	struct policy *policy = bpf_map_lookup_elem(&policies, &index);
	struct gate_summary *summary;
	__u64 class;
	__u32 rule;

	if (!policy)
		return 0;
	summary = &policy->gates[gate & 1];
	if (summary->any)
		return summary->any;
	if (identity && summary->flags & GATE_IDENTITIES) {
		rule = ask(index, gate, identity, protocol, port);
		if (rule)
			return rule;
	}
	class = summary->everywhere;
	if (!class && summary->flags & GATE_PREFIXES) {
		struct prefix_key key = {.length = 64, .scope = index << 1 | gate, .address = address};
		__u64 *found = bpf_map_lookup_elem(&prefixes, &key);

		if (found)
			class = *found;
	}
	return class ? ask(index, gate, class, protocol, port) : 0;
}

#endif
