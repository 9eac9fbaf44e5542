/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/*
 * Every map: key, value, size, who writes it. User space pins each under its name and finds it
 * again after a restart; an object whose map differs in any of these numbers does not adopt the old
 * one.
 *
 * The section holds plain structs, not BTF-described ones: any loader that reads symbols can create
 * them.
 */
#ifndef STOCKADE_MAPS_H
#define STOCKADE_MAPS_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "types.h"
#include "packet.h"

/* What the gates said so far. `slot`: whose gate spoke last, or who sent. */
struct verdict {
	__u32 slot;
	__u32 egress_rule;
	__u32 ingress_rule;
	__u32 vpc;
	__u8 gate;
	__u8 zero[3];
};

/* What a gate is asked: may this traffic pass, the other side being so known? */
struct question {
	__be32 peer[4];
	__u64 identity; /* 0: of nobody that a rule could name by a group */
	__u16 port;
	__u8 protocol;
	__u8 family;
	__u32 zero;
};

/* A way to a local endpoint, and what the packet looks like when it gets there. */
struct way {
	__u32 slot; /* 0: none */
	__u32 via_public;
	__be32 source;		 /* as the target sees it; IPv4, of IPv6 nothing changes */
	__be32 judged_source[4]; /* as its ingress gate is asked */
	__u64 judged_identity;
};

/*
 * The desk of the packet that a CPU is at. In a map and not on the stack because the verifier then
 * takes each field for any value: it need not follow every combination of what was read, and there
 * are many.
 */
struct work {
	struct packet packet;
	struct packet seen; /* as the receiver sees it */
	struct verdict verdict;
	struct way way;
	struct question question;
	struct flow6_key key; /* IPv4: the shorter key lies at its beginning */
	struct flow fresh;
	__u32 slot; /* the sender's; from outside the receiver's */
	__u32 now;
	__u32 fragment_link; /* the way its other fragments come by: 0 from an endpoint, else a device */
	__u32 is_new;
	__u64 identity; /* of whom the packet is for */
};

struct map_definition {
	__u32 type;
	__u32 key_size;
	__u32 value_size;
	__u32 max_entries;
	__u32 flags;
};

#define MAP(name, kind, key, value, entries, options)                                                          \
	struct map_definition name __attribute__((section("maps"), used)) = {                                  \
		.type = BPF_MAP_TYPE_##kind,                                                                   \
		.key_size = key,                                                                               \
		.value_size = value,                                                                           \
		.max_entries = entries,                                                                        \
		.flags = options,                                                                              \
	}

/* Written by user space, read by the programs. */
MAP(host, ARRAY, 4, sizeof(struct host), 1, BPF_F_MMAPABLE);
MAP(devices, ARRAY, 4, 4, MAX_NEAR, BPF_F_MMAPABLE);	  /* ifindex -> slot */
MAP(far_devices, HASH, 4, 4, MAX_FAR, BPF_F_NO_PREALLOC); /* the same for large indexes */
MAP(endpoints, ARRAY, 4, sizeof(struct endpoint), MAX_SLOTS, BPF_F_MMAPABLE);
MAP(addresses, HASH, sizeof(struct address_key), sizeof(struct address), 524288, BPF_F_NO_PREALLOC);
MAP(addresses6, HASH, sizeof(struct address6_key), sizeof(struct address), 524288, BPF_F_NO_PREALLOC);
MAP(publics, HASH, 4, 4, MAX_SLOTS, BPF_F_NO_PREALLOC);	  /* public address -> slot */
MAP(publics6, HASH, 16, 4, MAX_SLOTS, BPF_F_NO_PREALLOC); /* addresses of PUBLIC6 endpoints -> slot */
MAP(policies, ARRAY, 4, sizeof(struct policy), MAX_POLICIES, BPF_F_MMAPABLE);
MAP(rule_sets, HASH, sizeof(struct policy_key), sizeof(struct interval_set), 262144, BPF_F_NO_PREALLOC);
MAP(intervals, ARRAY, 4, sizeof(struct interval), MAX_INTERVALS, BPF_F_MMAPABLE);
MAP(prefixes, LPM_TRIE, sizeof(struct prefix_key), 8, 262144, BPF_F_NO_PREALLOC);   /* -> class */
MAP(prefixes6, LPM_TRIE, sizeof(struct prefix6_key), 8, 262144, BPF_F_NO_PREALLOC); /* -> class */

/* Written and read by user space alone: what the numbers above mean, for whoever comes after a restart. */
MAP(endpoint_names, ARRAY, 4, sizeof(struct endpoint_name), MAX_SLOTS, BPF_F_MMAPABLE);
MAP(rule_numbers, ARRAY, 4, 8, MAX_RULES, BPF_F_MMAPABLE); /* index -> Rule.number, 0: free */

/*
 * Written by the programs. Flows of TCP apart from the rest, so that a spray of datagrams cannot
 * push out connections. Nothing is evicted silently: allowances and the sweep keep them from filling.
 * User space sets the sizes.
 */
MAP(flows_tcp, HASH, sizeof(struct flow_key), sizeof(struct flow), 131072, 0);
MAP(flows_other, HASH, sizeof(struct flow_key), sizeof(struct flow), 65536, 0);
MAP(flows6_tcp, HASH, sizeof(struct flow6_key), sizeof(struct flow), 131072, BPF_F_NO_PREALLOC);
MAP(flows6_other, HASH, sizeof(struct flow6_key), sizeof(struct flow), 65536, BPF_F_NO_PREALLOC);
MAP(usages, ARRAY, 4, sizeof(struct usage), MAX_SLOTS, BPF_F_MMAPABLE);
MAP(candidates, HASH, sizeof(struct candidate_key), sizeof(struct candidate), 262144, BPF_F_NO_PREALLOC);
MAP(datagrams, HASH, sizeof(struct fragment_key), sizeof(struct datagram), 65536, BPF_F_NO_PREALLOC);
MAP(rules, ARRAY, 4, sizeof(struct hits), MAX_RULES, BPF_F_MMAPABLE); /* times the CPUs */
MAP(drops, PERCPU_ARRAY, 4, 8, MAX_REASONS, 0);
MAP(endpoint_drops, HASH, sizeof(struct endpoint_drop_key), 8, 65536, BPF_F_NO_PREALLOC);
MAP(event_budgets, ARRAY, 4, sizeof(struct event_budget), MAX_SLOTS, 0);
MAP(events, RINGBUF, 0, 0, 1048576, 0);
MAP(works, PERCPU_ARRAY, 4, sizeof(struct work), 1, 0);
MAP(lost_events, PERCPU_ARRAY, 4, 8, 1, 0);

/* The desk, as its last user left it. */
inlined struct work *desk(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&works, &zero);
}

#endif
