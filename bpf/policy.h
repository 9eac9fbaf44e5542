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
separate __u32 search(__u32 first, __u32 count, __u32 port)
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

inlined __u32 ask(__u32 policy, __u32 gate, __u64 peer, __u8 protocol, __u16 port)
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

/* The rule that lets what `question` on the desk asks for through; 0 for none. */
separate __u32 judge(__u32 index, __u32 gate)
{
	struct policy *policy = bpf_map_lookup_elem(&policies, &index);
	struct gate_summary *summary;
	struct question *question;
	struct work *work = desk();
	__u32 family, rule;
	__u64 class;

	if (!policy || !work)
		return 0;
	question = &work->question;
	family = question->family & 1;
	summary = &policy->gates[gate & 1];
	if (summary->any[family])
		return summary->any[family];
	if (question->identity && summary->flags & GATE_IDENTITIES) {
		rule = ask(index, gate, question->identity, question->protocol, question->port);
		if (rule)
			return rule;
	}
	class = summary->everybody[family];
	if (family == V4 && summary->flags & GATE_PREFIXES_V4) {
		struct prefix_key key = {
			.length = 64, .scope = index << 1 | gate, .address = question->peer[0]};
		__u64 *found = bpf_map_lookup_elem(&prefixes, &key);

		class = found ? *found : class;
	} else if (family == V6 && summary->flags & GATE_PREFIXES_V6) {
		struct prefix6_key key = {.length = 160, .scope = index << 1 | gate};
		__u64 *found;

		copy_address(key.address, question->peer);
		found = bpf_map_lookup_elem(&prefixes6, &key);
		class = found ? *found : class;
	}
	return class ? ask(index, gate, class, question->protocol, question->port) : 0;
}

/*
 * Whether a flow that begins so need not be tracked at this gate: everybody may open it, and everybody has every
 * port the other way, so that answers pass by the rules as they stand.
 */
separate __u32 is_untracked(__u32 index, __u32 gate)
{
	struct policy *policy = bpf_map_lookup_elem(&policies, &index);
	struct question *question;
	struct work *work = desk();
	__u32 needed;
	__u64 class;

	if (!policy || !work)
		return 0;
	question = &work->question;
	if (question->protocol == IPPROTO_TCP)
		needed = GATE_ALL_TCP_V4 << (question->family & 1);
	else if (question->protocol == IPPROTO_UDP)
		needed = GATE_ALL_UDP_V4 << (question->family & 1);
	else
		return 0;
	if (!(policy->gates[!gate].flags & needed))
		return 0;
	class = policy->gates[gate & 1].everybody[question->family & 1];
	return class && ask(index, gate, class, question->protocol, question->port);
}

#endif
