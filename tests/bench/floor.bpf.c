// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0
/* The least that any eBPF datapath does: look up where to, and redirect. No policy, no state. */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

struct map_definition {
	__u32 type;
	__u32 key_size;
	__u32 value_size;
	__u32 max_entries;
	__u32 flags;
};

/* ifindex -> ifindex of the other guest's device */
struct map_definition other __attribute__((section("maps"), used)) = {BPF_MAP_TYPE_ARRAY, 4, 4, 65536, 0};

__attribute__((section("classifier/redirect"), used)) int redirect(struct __sk_buff *skb)
{
	__u32 index = skb->ifindex;
	__u32 *to = bpf_map_lookup_elem(&other, &index);

	return to && *to ? bpf_redirect_peer(*to, 0) : TC_ACT_SHOT;
}

char license_text[] __attribute__((section("license"), used)) = "Dual BSD/GPL";
