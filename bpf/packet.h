/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/*
 * Reads a packet once: Ethernet, IPv4 without options, IPv6 with at most a fragment header, TCP, UDP, ICMP.
 * Decides nothing but well-formedness. Trusts no length field: each is held against what is there. Whatever
 * is not understood whole is refused here, so that no later part judges half a packet.
 */
#ifndef STOCKADE_PACKET_H
#define STOCKADE_PACKET_H

#include <linux/bpf.h>
#include <linux/icmp.h>
#include <linux/icmpv6.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
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
 * A function that the verifier walks once, on its own, and not once for each way to get there: numbers and the
 * context in, a number out. What else it needs lies on the desk (maps.h, struct work).
 */
#define separate __attribute__((noinline))

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

#define L3	    ETH_HLEN
#define L4	    (ETH_HLEN + 20) /* IPv4 */
#define L4_V6	    (ETH_HLEN + 40) /* IPv6 without a fragment header */
#define FRAGMENT_V6 8		    /* the length of one */
#define HEADERS                                                                                                \
	(L4_V6 + FRAGMENT_V6 + 8 + 40 +                                                                        \
	 8) /* the most that is ever looked at: an ICMPv6 error and what it quotes */
#define IP_MORE	      0x2000
#define IP_FRAGMENTED 0x3fff /* more-fragments bit and offset */

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

#define ICMP_REDIRECT_TYPE     5
#define ICMPV6_FIRST_NEIGHBOUR 133 /* router solicitation and advertisement, neighbour the same, redirect */
#define ICMPV6_REDIRECT_TYPE   137

enum packet_kind {
	OPENS_NOTHING, /* judged each time: ICMP that is neither a query nor about a flow */
	OF_A_FLOW,
	ABOUT_A_FLOW, /* an ICMP error; addresses and ports are the quoted packet's, turned round */
};

enum fragment { WHOLE, FIRST_FRAGMENT, LATER_FRAGMENT };

/*
 * What the rest of the program needs to know. Ports are those of the flow key, `port` is what rules see.
 * Of an IPv4 address the first word counts, the others are 0.
 */
struct packet {
	__be32 source[4];
	__be32 destination[4];
	__be32 complainer[4]; /* ABOUT_A_FLOW: who sent the error */
	__be16 source_port;
	__be16 destination_port;
	__u16 port;
	__u8 protocol; /* of the flow: quoted one's for ABOUT_A_FLOW */
	__u8 carrier;  /* of the packet itself */
	__u8 kind;
	__u8 tcp_flags;
	__u8 turned; /* an ICMP reply: its destination asked */
	__u8 query;  /* ICMP: the request type, of a reply too */
	__u8 family;
	__u8 known; /* the addresses have been read */
	__u8 fragment;
	__u8 l4;   /* where the headers begin that NAT may have to correct */
	__u32 id;  /* of the datagram that it is a fragment of */
	__u16 low; /* and which part: units of 8 bytes, up to but without `high` */
	__u16 high;
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

inlined int is_icmp(int family, __u8 protocol)
{
	return protocol == (family == V4 ? IPPROTO_ICMP : IPPROTO_ICMPV6);
}

/* Queries are echo and, of IPv4, the pairs 13-18 (timestamp, information, address mask); others: -1. */
inlined int icmp_request_of(int family, __u8 type, __u8 *is_reply)
{
	if (family == V6) {
		*is_reply = type == ICMPV6_ECHO_REPLY;
		return type == ICMPV6_ECHO_REQUEST || *is_reply ? ICMPV6_ECHO_REQUEST : -1;
	}
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
inlined int icmp_is_error(int family, __u8 type)
{
	if (family == V6)
		return type >= ICMPV6_DEST_UNREACH && type <= ICMPV6_PARAMPROB;
	return type == ICMP_DEST_UNREACH || type == ICMP_TIME_EXCEEDED || type == ICMP_PARAMETERPROB;
}

inlined int is_redirect(const struct packet *packet)
{
	__u8 type = packet->port >> 8;

	return is_icmp(packet->family, packet->carrier) &&
	       type == (packet->family == V4 ? ICMP_REDIRECT_TYPE : ICMPV6_REDIRECT_TYPE);
}

inlined void copy_address(__be32 *to, const __be32 *from)
{
	to[0] = from[0];
	to[1] = from[1];
	to[2] = from[2];
	to[3] = from[3];
}

inlined int same_address(int family, const __be32 *one, const __be32 *other)
{
	return one[0] == other[0] &&
	       (family == V4 || (one[1] == other[1] && one[2] == other[2] && one[3] == other[3]));
}

/* IPv6 headers that are neither a transport nor a fragment's: what is behind them is not looked for. */
inlined int is_extension(__u8 next)
{
	return next == IPPROTO_HOPOPTS || next == IPPROTO_ROUTING || next == IPPROTO_DSTOPTS ||
	       next == IPPROTO_FRAGMENT || next == IPPROTO_MH || next == 139 || next == 140;
}

/*
 * The packet that an ICMP error quotes, turned round: what its receiver would send back. Leaves
 * `packet` as it was when the quotation is too short or too strange to name a flow; the error is
 * then judged like any ICMP.
 */
inlined void read_quotation(struct __sk_buff *skb, struct packet *packet, const int family, __u32 error)
{
	const __u32 l3 = error + 8, l4 = l3 + (family == V4 ? 20 : 40);
	void *data, *end;
	__be32 there[4] = {};
	__be16 *ports;
	__u8 protocol;

	if (!reach(skb, l4 + 8))
		return;
	data = frame_start(skb);
	end = frame_end(skb);
	ports = data + l4;
	if ((void *)(ports + 4) > end)
		return;
	if (family == V4) {
		struct iphdr *quoted = data + l3;

		if (*(__u8 *)quoted != 0x45 || quoted->frag_off & bpf_htons(IP_FRAGMENTED) ||
		    quoted->saddr != packet->destination[0])
			return;
		protocol = quoted->protocol;
		there[0] = quoted->daddr;
	} else {
		struct ipv6hdr *quoted = data + l3;

		if (*(__u8 *)quoted >> 4 != 6 || is_extension(quoted->nexthdr) ||
		    !same_address(V6, quoted->saddr.in6_u.u6_addr32, packet->destination))
			return;
		protocol = quoted->nexthdr;
		copy_address(there, quoted->daddr.in6_u.u6_addr32);
	}
	if (protocol == IPPROTO_TCP || protocol == IPPROTO_UDP) {
		packet->source_port = ports[1];
		packet->destination_port = ports[0];
	} else if (is_icmp(family, protocol)) {
		__u8 is_reply = 0;
		int request = icmp_request_of(family, *(__u8 *)ports, &is_reply);

		if (request < 0)
			return;
		packet->source_port = packet->destination_port = ports[2];
		packet->query = request;
		packet->turned = !is_reply;
	}
	packet->kind = ABOUT_A_FLOW;
	packet->protocol = protocol;
	copy_address(packet->complainer, packet->source);
	copy_address(packet->source, there);
}

/* The error turned out to be about no flow of its sender's: an ICMP packet like any other. */
inlined void forget_quotation(struct packet *packet)
{
	if (packet->kind != ABOUT_A_FLOW)
		return;
	packet->kind = OPENS_NOTHING;
	packet->protocol = packet->carrier;
	copy_address(packet->source, packet->complainer);
}

/*
 * Whether a flow begins with this packet if the gates let it through. A reset ends what is not there, and an
 * ICMP reply that nobody asked for must not let its receiver ask back.
 */
inlined int opens_flow(const struct packet *packet)
{
	return packet->kind == OF_A_FLOW && !packet->turned && !(packet->tcp_flags & TCP_RST);
}

/* TCP, UDP, ICMP from `l4` on, of which there are `length` bytes; a first fragment must have its whole header. */
inlined enum drop_reason read_transport(struct __sk_buff *skb, struct packet *packet, const int family,
					__u32 l4, __u32 length)
{
	const int whole = packet->fragment == WHOLE;
	const enum drop_reason torn = whole ? MALFORMED : FRAGMENT;
	void *data, *end;

	/* An L4 header may be shorter: then reach() costs a helper call, and the checks below decide. */
	reach(skb, l4 + sizeof(struct tcphdr));
	data = frame_start(skb) + l4;
	end = frame_end(skb);
	if (likely(packet->protocol == IPPROTO_TCP)) {
		struct tcphdr *tcp = data;
		__u32 header;

		if (unlikely((void *)(tcp + 1) > end))
			return torn;
		/* By its byte: a bit field would lie as on the machine that compiled this. */
		header = (((__u8 *)tcp)[12] >> 4) * 4;
		if (unlikely(header < sizeof(*tcp)))
			return MALFORMED;
		if (unlikely(header > length))
			return torn;
		packet->source_port = tcp->source;
		packet->destination_port = tcp->dest;
		packet->port = bpf_ntohs(tcp->dest);
		packet->tcp_flags = ((__u8 *)tcp)[13];
	} else if (packet->protocol == IPPROTO_UDP) {
		struct udphdr *udp = data;

		if (unlikely((void *)(udp + 1) > end || length < sizeof(*udp)))
			return torn;
		if (unlikely(bpf_ntohs(udp->len) < sizeof(*udp) || (whole && bpf_ntohs(udp->len) > length)))
			return MALFORMED;
		packet->source_port = udp->source;
		packet->destination_port = udp->dest;
		packet->port = bpf_ntohs(udp->dest);
	} else if (is_icmp(family, packet->protocol)) {
		struct icmphdr *icmp = data;
		int request;

		if (unlikely((void *)(icmp + 1) > end || length < sizeof(*icmp)))
			return torn;
		packet->port = icmp->type << 8 | icmp->code;
		request = icmp_request_of(family, icmp->type, &packet->turned);
		if (request >= 0) {
			packet->source_port = packet->destination_port = icmp->un.echo.id;
			packet->query = request;
		} else {
			packet->kind = OPENS_NOTHING;
			if (icmp_is_error(family, icmp->type)) {
				if (!whole)
					return FRAGMENT;
				read_quotation(skb, packet, family, l4);
			}
		}
	}
	return PASSED;
}

/* Which part of a datagram it is, `length` bytes from `offset` (in units of 8) on. */
inlined enum drop_reason read_fragment(struct packet *packet, __u32 id, __u32 offset, int more, __u32 length)
{
	if (!length || (more && length & 7) || offset * 8 + length > 0xffff)
		return FRAGMENT;
	packet->fragment = offset ? LATER_FRAGMENT : FIRST_FRAGMENT;
	packet->id = id;
	packet->low = offset;
	packet->high = offset + (length + 7) / 8;
	return PASSED;
}

/* Fills `packet`, or says what is wrong with it. Expects an IPv4 frame (skb->protocol). */
inlined enum drop_reason read_ipv4(struct __sk_buff *skb, struct packet *packet)
{
	struct iphdr *ip;
	__u32 length;

	if (skb->vlan_present)
		return UNSUPPORTED;
	if (!reach(skb, L4))
		return MALFORMED;
	ip = frame_start(skb) + L3;
	if ((void *)(ip + 1) > frame_end(skb))
		return MALFORMED;
	if (unlikely(*(__u8 *)ip != 0x45))
		return (*(__u8 *)ip >> 4) == 4 && (*(__u8 *)ip & 15) > 5 ? OPTIONS : MALFORMED;
	length = bpf_ntohs(ip->tot_len);
	if (unlikely(length < sizeof(*ip) || length > skb->len - L3))
		return MALFORMED;
	length -= sizeof(*ip);
	packet->source[0] = ip->saddr;
	packet->destination[0] = ip->daddr;
	packet->protocol = packet->carrier = ip->protocol;
	packet->known = 1;
	packet->kind = OF_A_FLOW;
	packet->l4 = L4;
	if (unlikely(ip->frag_off & bpf_htons(IP_FRAGMENTED))) {
		__u32 field = bpf_ntohs(ip->frag_off);
		enum drop_reason reason =
			read_fragment(packet, ip->id, field & 0x1fff, field & IP_MORE, length);

		if (reason || packet->fragment == LATER_FRAGMENT)
			return reason;
	}
	return read_transport(skb, packet, V4, L4, length);
}

/* The same for IPv6. */
inlined enum drop_reason read_ipv6(struct __sk_buff *skb, struct packet *packet)
{
	struct ipv6hdr *ip;
	__u32 length;
	__u8 next;

	if (skb->vlan_present)
		return UNSUPPORTED;
	if (!reach(skb, L4_V6))
		return MALFORMED;
	ip = frame_start(skb) + L3;
	if ((void *)(ip + 1) > frame_end(skb))
		return MALFORMED;
	if (unlikely(*(__u8 *)ip >> 4 != 6))
		return MALFORMED;
	length = bpf_ntohs(ip->payload_len);
	if (unlikely(length > skb->len - L4_V6))
		return MALFORMED;
	copy_address(packet->source, ip->saddr.in6_u.u6_addr32);
	copy_address(packet->destination, ip->daddr.in6_u.u6_addr32);
	next = ip->nexthdr;
	packet->family = V6;
	packet->known = 1;
	packet->protocol = packet->carrier = next;
	packet->kind = OF_A_FLOW;
	packet->l4 = L4_V6;
	if (unlikely(next == IPPROTO_FRAGMENT)) {
		struct ipv6_fragment {
			__u8 next;
			__u8 reserved;
			__be16 field;
			__be32 id;
		} * header;
		enum drop_reason reason;
		__u32 field, id;

		if (length < FRAGMENT_V6 || !reach(skb, L4_V6 + FRAGMENT_V6))
			return MALFORMED;
		header = frame_start(skb) + L4_V6;
		if ((void *)(header + 1) > frame_end(skb))
			return MALFORMED;
		length -= FRAGMENT_V6;
		field = bpf_ntohs(header->field);
		id = header->id;
		next = header->next;
		if (is_extension(next))
			return OPTIONS;
		packet->protocol = packet->carrier = next;
		packet->l4 = L4_V6 + FRAGMENT_V6;
		/* Offset 0 and nothing more to come: a whole packet that merely says so. */
		if (field >> 3 || field & 1) {
			reason = read_fragment(packet, id, field >> 3, field & 1, length);
			if (reason || packet->fragment == LATER_FRAGMENT)
				return reason;
		}
		return read_transport(skb, packet, V6, L4_V6 + FRAGMENT_V6, length);
	}
	if (unlikely(is_extension(next)))
		return OPTIONS;
	return read_transport(skb, packet, V6, L4_V6, length);
}

#endif
