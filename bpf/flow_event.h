/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/*
 * Tells user space about new flows and drops. Telling never delays a packet: an endpoint over its
 * budget, and everybody when nobody reads, is counted instead. Nobody is woken; the reader comes
 * round.
 */
#ifndef STOCKADE_FLOW_EVENT_H
#define STOCKADE_FLOW_EVENT_H

#include "maps.h"
#include "packet.h"

#define EVENT_WINDOW_SHIFT 26 /* nanoseconds: 67 ms */

inlined void count_lost_event(void)
{
	__u32 zero = 0;
	__u64 *lost = bpf_map_lookup_elem(&lost_events, &zero);

	if (lost)
		*lost += 1;
}

/* Two CPUs may both take the last of a budget: a little more is told then, nothing is harmed. */
inlined int within_budget(__u32 slot, __u64 now)
{
	struct event_budget *budget = bpf_map_lookup_elem(&event_budgets, &slot);
	__u32 window = now >> EVENT_WINDOW_SHIFT;
	__u32 zero = 0;
	struct host *here = bpf_map_lookup_elem(&host, &zero);

	if (!budget || !here)
		return 0;
	if (budget->window != window) {
		budget->window = window;
		budget->spent = 0;
	}
	if (budget->spent >= here->event_limit)
		return 0;
	budget->spent++;
	return 1;
}

/* Of the packet on the desk, or as its receiver's gate saw it; reason 0: a flow begins. */
separate int tell(__u32 reason, __u32 as_seen)
{
	__u64 now = bpf_ktime_get_coarse_ns();
	const struct verdict *verdict;
	const struct packet *packet;
	struct work *work = desk();
	struct flow_event *event;

	if (!work)
		return 0;
	packet = as_seen ? &work->seen : &work->packet;
	verdict = &work->verdict;
	if (!within_budget(verdict->slot, now)) {
		count_lost_event();
		return 0;
	}
	event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!event) {
		count_lost_event();
		return 0;
	}
	event->at = now;
	copy_address(event->source, packet->source);
	copy_address(event->destination, packet->destination);
	event->vpc = verdict->vpc;
	event->slot = verdict->slot;
	event->egress_rule = verdict->egress_rule;
	event->ingress_rule = verdict->ingress_rule;
	event->port = packet->port;
	event->source_port = is_icmp(packet->family, packet->carrier) ? 0 : bpf_ntohs(packet->source_port);
	event->protocol = packet->carrier;
	event->gate = verdict->gate;
	event->reason = reason;
	event->family = packet->family;
	bpf_ringbuf_submit(event, BPF_RB_NO_WAKEUP);
	return 0;
}

#endif
