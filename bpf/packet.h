/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/*
 * Reads a packet once: Ethernet, IPv4 without options, TCP, UDP, ICMP. Decides nothing but
 * well-formedness. Trusts no length field: each is held against what is there. Whatever is not
 * understood whole is refused here, so that no later part judges half a packet.
 */
#ifndef STOCKADE_PACKET_H
#define STOCKADE_PACKET_H

#include <linux/bpf.h>
#include <linux/icmp.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "types.h"

#define likely(x)   __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define inlined	    static __always_inline
#define outlined    static __attribute__((noinline))

/*
 * Packet pointers. Read in assembly because the context's fields are 32 bits wide to C, and a
 * compiler that moves them as such loses what the verifier knows about them.
 */
inlined void *frame_start(struct __sk_buff *skb)
{
	void *start;

	asm volatile("%0 = *(u32 *)(%1 + %2)"
		     : "=r"(start)
		     : "r"(skb), "i"(__builtin_offsetof(struct __sk_buff, data)));
	return start;
}

inlined void *frame_end(struct __sk_buff *skb)
{
	void *end;

	asm volatile("%0 = *(u32 *)(%1 + %2)"
		     : "=r"(end)
		     : "r"(skb), "i"(__builtin_offsetof(struct __sk_buff, data_end)));
	return end;
}

/* A MAC at an even offset, as three words. */
inlined void set_router_mac(__u8 *mac)
{
	((__be16 *)mac)[0] = bpf_htons(ROUTER_MAC_0);
	((__be16 *)mac)[1] = bpf_htons(ROUTER_MAC_2);
	((__be16 *)mac)[2] = bpf_htons(ROUTER_MAC_4);
}

inlined void copy_mac(__u8 *to, const __u8 *from)
{
	((__be16 *)to)[0] = ((const __be16 *)from)[0];
	((__be16 *)to)[1] = ((const __be16 *)from)[1];
	((__be16 *)to)[2] = ((const __be16 *)from)[2];
}

#define L3	      ETH_HLEN
#define L4	      (ETH_HLEN + 20)
#define QUOTED_L3     (L4 + 8)
#define QUOTED_L4     (QUOTED_L3 + 20)
#define HEADERS	      (QUOTED_L4 + 8) /* the most that is ever looked at */
#define IP_FRAGMENTED 0x3fff	      /* more-fragments bit and offset */

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

#define ICMP_REDIRECT_TYPE 5

enum packet_kind {
	OPENS_NOTHING, /* judged each time: ICMP that is neither a query nor about a flow */
	OF_A_FLOW,
	ABOUT_A_FLOW, /* an ICMP error; addresses and ports are the quoted packet's, turned round */
};

/* What the rest of the program needs to know. Ports are those of the flow key, `port` is what rules see. */
struct packet {
	__be32 source;
	__be32 destination;
	__be16 source_port;
	__be16 destination_port;
	__u16 port;
	__u8 protocol; /* of the flow: quoted one's for ABOUT_A_FLOW */
	__u8 carrier;  /* of the packet itself */
	__u8 kind;
	__u8 tcp_flags;
	__u8 turned;	     /* an ICMP reply: its destination asked */
	__u8 query;	     /* ICMP: the request type, of a reply too */
	__be32 outer_source; /* ABOUT_A_FLOW: who complains */
	__u32 zero;
};

/*
 * The first HEADERS bytes made linear, if they are not: the kernel need not have pulled more than
 * the Ethernet header. Returns whether the packet pointers are good for `length` bytes.
 */
inlined int reach(struct __sk_buff *skb, __u32 length)
{
	__u32 all = skb->len;

	if (likely(frame_start(skb) + length <= frame_end(skb)))
		return 1;
	if (all < length)
		return 0;
	bpf_skb_pull_data(skb, all < HEADERS ? all : HEADERS);
	return frame_start(skb) + length <= frame_end(skb);
}

/* Queries are echo and the pairs 13-18 (timestamp, information, address mask); others: -1. */
inlined int icmp_request_of(__u8 type, __u8 *is_reply)
{
	if (type == ICMP_ECHO || type == ICMP_ECHOREPLY) {
		*is_reply = type == ICMP_ECHOREPLY;
		return ICMP_ECHO;
	}
	if (type < ICMP_TIMESTAMP || type > ICMP_ADDRESSREPLY)
		return -1;
	*is_reply = !(type & 1);
	return (type - 1) | 1;
}

/* Errors that may be about a flow. Redirects are none: they change routes, and nobody here may do that. */
inlined int icmp_is_error(__u8 type)
{
	return type == ICMP_DEST_UNREACH || type == ICMP_TIME_EXCEEDED || type == ICMP_PARAMETERPROB;
}

/*
 * The packet that an ICMP error quotes, turned round: what its receiver would send back. Leaves
 * `packet` as it was when the quotation is too short or too strange to name a flow; the error is
 * then judged like any ICMP.
 */
inlined void read_quotation(struct __sk_buff *skb, struct packet *packet)
{
	void *data, *end;
	struct iphdr *quoted;
	__be16 *ports;

	if (!reach(skb, HEADERS))
		return;
	data = frame_start(skb);
	end = frame_end(skb);
	quoted = data + QUOTED_L3;
	ports = data + QUOTED_L4;
	if ((void *)(ports + 4) > end)
		return;
	if (*(__u8 *)quoted != 0x45 || quoted->frag_off & bpf_htons(IP_FRAGMENTED))
		return;
	if (quoted->saddr != packet->destination)
		return;
	if (quoted->protocol == IPPROTO_TCP || quoted->protocol == IPPROTO_UDP) {
		packet->source_port = ports[1];
		packet->destination_port = ports[0];
	} else if (quoted->protocol == IPPROTO_ICMP) {
		__u8 is_reply = 0;
		int request = icmp_request_of(*(__u8 *)ports, &is_reply);

		if (request < 0)
			return;
		packet->source_port = packet->destination_port = ports[2];
		packet->query = request;
		packet->turned = !is_reply;
	}
	packet->kind = ABOUT_A_FLOW;
	packet->protocol = quoted->protocol;
	packet->outer_source = packet->source;
	packet->source = quoted->daddr;
}

/* The error turned out to be about no flow of its sender's: an ICMP packet like any other. */
inlined void forget_quotation(struct packet *packet)
{
	if (packet->kind != ABOUT_A_FLOW)
		return;
	packet->kind = OPENS_NOTHING;
	packet->protocol = packet->carrier;
	packet->source = packet->outer_source;
}

/*
 * Whether a flow begins with this packet if the gates let it through. A reset ends what is not there, and an
 * ICMP reply that nobody asked for must not let its receiver ask back.
 */
inlined int opens_flow(const struct packet *packet)
{
	return packet->kind == OF_A_FLOW && !packet->turned && !(packet->tcp_flags & TCP_RST);
}

/* Fills `packet`, or says what is wrong with it. Expects an IPv4 frame (skb->protocol). */
inlined enum drop_reason read_packet(struct __sk_buff *skb, struct packet *packet)
{
	void *data, *end;
	struct iphdr *ip;
	__u32 length;

	if (skb->vlan_present)
		return UNSUPPORTED;
	if (!reach(skb, L4))
		return MALFORMED;
	/* An L4 header may be shorter: then reach() costs a helper call, and the checks below decide. */
	reach(skb, L4 + sizeof(struct tcphdr));
	data = frame_start(skb);
	end = frame_end(skb);
	ip = data + L3;
	if (data + L4 > end)
		return MALFORMED;
	if (unlikely(*(__u8 *)ip != 0x45))
		return (*(__u8 *)ip >> 4) == 4 && (*(__u8 *)ip & 15) > 5 ? UNSUPPORTED : MALFORMED;
	if (unlikely(ip->frag_off & bpf_htons(IP_FRAGMENTED)))
		return FRAGMENT;
	length = bpf_ntohs(ip->tot_len);
	if (unlikely(length < sizeof(*ip) || length > skb->len - L3))
		return MALFORMED;
	length -= sizeof(*ip);
	packet->source = ip->saddr;
	packet->destination = ip->daddr;
	packet->protocol = packet->carrier = ip->protocol;
	packet->kind = OF_A_FLOW;
	if (likely(ip->protocol == IPPROTO_TCP)) {
		struct tcphdr *tcp = data + L4;
		__u32 header;

		if (unlikely((void *)(tcp + 1) > end))
			return MALFORMED;
		/* By its byte: a bit field would lie as on the machine that compiled this. */
		header = (((__u8 *)tcp)[12] >> 4) * 4;
		if (unlikely(header < sizeof(*tcp) || header > length))
			return MALFORMED;
		packet->source_port = tcp->source;
		packet->destination_port = tcp->dest;
		packet->port = bpf_ntohs(tcp->dest);
		packet->tcp_flags = ((__u8 *)tcp)[13];
	} else if (ip->protocol == IPPROTO_UDP) {
		struct udphdr *udp = data + L4;

		if (unlikely((void *)(udp + 1) > end || bpf_ntohs(udp->len) > length ||
			     bpf_ntohs(udp->len) < sizeof(*udp)))
			return MALFORMED;
		packet->source_port = udp->source;
		packet->destination_port = udp->dest;
		packet->port = bpf_ntohs(udp->dest);
	} else if (ip->protocol == IPPROTO_ICMP) {
		struct icmphdr *icmp = data + L4;
		int request;

		if (unlikely((void *)(icmp + 1) > end || length < sizeof(*icmp)))
			return MALFORMED;
		packet->port = icmp->type << 8 | icmp->code;
		request = icmp_request_of(icmp->type, &packet->turned);
		if (request >= 0) {
			packet->source_port = packet->destination_port = icmp->un.echo.id;
			packet->query = request;
		} else {
			packet->kind = OPENS_NOTHING;
			if (icmp_is_error(icmp->type))
				read_quotation(skb, packet);
		}
	}
	return PASSED;
}

#endif
