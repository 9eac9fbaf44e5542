/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/*
 * Pass or drop. A drop is counted for the host and for the endpoint, and told; nothing is answered,
 * so a scanner sees silence. What passes is redirected: no packet of an endpoint is ever handed to
 * the host's stack.
 */
#ifndef STOCKADE_VERDICT_H
#define STOCKADE_VERDICT_H

#include "flow_event.h"
#include "maps.h"

#define TC_ACT_NOT_OURS TC_ACT_UNSPEC /* go on with whatever else is attached there */

separate int refuse(__u32 reason, __u32 as_seen)
{
	struct work *work = desk();
	struct endpoint_drop_key key = {.reason = reason};
	__u64 *count = bpf_map_lookup_elem(&drops, &reason);

	if (count)
		*count += 1;
	if (!work)
		return TC_ACT_SHOT;
	key.slot = work->verdict.slot;
	if (key.slot) {
		count = bpf_map_lookup_elem(&endpoint_drops, &key);
		if (count) {
			__sync_fetch_and_add(count, 1);
		} else {
			__u64 one = 1;

			/* Lost when another CPU is first: the host's count above is the exact one. */
			bpf_map_update_elem(&endpoint_drops, &key, &one, BPF_NOEXIST);
		}
	}
	/* What was never read as an IP packet is counted, but there is no flow to tell of. */
	if (work->packet.known)
		tell(reason, as_seen);
	return TC_ACT_SHOT;
}

inlined int drop(enum drop_reason reason)
{
	return refuse(reason, 0);
}

/* At the receiver's gate, which may have seen other addresses. */
inlined int drop_there(enum drop_reason reason)
{
	return refuse(reason, 1);
}

/* A clean desk, or 0. */
inlined struct work *new_work(void)
{
	struct work *work = desk();

	if (!work)
		return 0;
	work->slot = 0;
	work->fragment_link = 0;
	__builtin_memset(&work->packet, 0, sizeof(work->packet));
	__builtin_memset(&work->verdict, 0, sizeof(work->verdict));
	return work;
}

/*
 * A rule let this packet through, itself or as part of the flow it opened. Each CPU has a stretch
 * of its own, so nothing is shared; a per-CPU map would do the same but takes its time to make, and
 * to read.
 */
inlined void count(struct __sk_buff *skb, __u32 rule)
{
	__u32 place = bpf_get_smp_processor_id() * MAX_RULES + rule;
	struct hits *hits = bpf_map_lookup_elem(&rules, &place);

	if (hits) {
		hits->packets += skb->gso_segs > 1 ? skb->gso_segs : 1;
		hits->bytes += skb->len - ETH_HLEN;
	}
}

#endif
