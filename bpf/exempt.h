/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/*
 * The host's own services, which no rule is asked about: metadata and names. Exact in address,
 * protocol and port; whatever merely looks like them goes nowhere. Only reached by packets that
 * passed the spoof checks.
 *
 * The services namespace sees each endpoint under an address of its own (types.h, SERVICE_NETWORK),
 * so the server knows who asks without trusting a byte of the question. Stateless both ways.
 */
#ifndef STOCKADE_EXEMPT_H
#define STOCKADE_EXEMPT_H

#include "fragment.h"
#include "nat.h"
#include "packet.h"
#include "routes.h"

/* The last part of a service's address is the same in both families. */
inlined __u32 service_at(int family, const __be32 *address)
{
	if (family == V4) {
		switch (bpf_ntohl(address[0])) {
		case METADATA_ADDRESS:
			return METADATA_LAST6;
		case RESOLVER_ADDRESS:
			return RESOLVER_LAST6;
		case TIME_ADDRESS:
			return TIME_LAST6;
		}
		return 0;
	}
	return address[0] == bpf_htonl(SERVICE_PREFIX6) && !address[1] && !address[2] ? bpf_ntohl(address[3])
										      : 0;
}

inlined int is_service(int family, const __be32 *address, __u8 protocol, __be16 port)
{
	switch (service_at(family, address)) {
	case METADATA_LAST6:
		return protocol == IPPROTO_TCP && port == bpf_htons(METADATA_PORT);
	case RESOLVER_LAST6:
		return (protocol == IPPROTO_TCP || protocol == IPPROTO_UDP) && port == bpf_htons(RESOLVER_PORT);
	case TIME_LAST6:
		return protocol == IPPROTO_UDP && port == bpf_htons(TIME_PORT);
	}
	return 0;
}

/* The resolver under the network's own name for it. */
inlined int is_own_resolver(const struct packet *packet, const struct endpoint *self)
{
	return packet->family == V4 && self->resolver && packet->destination[0] == self->resolver &&
	       (packet->protocol == IPPROTO_TCP || packet->protocol == IPPROTO_UDP) &&
	       packet->destination_port == bpf_htons(RESOLVER_PORT);
}

separate int to_service(struct __sk_buff *skb, __u32 flag)
{
	struct work *work = desk();
	struct endpoint *self = work ? live_endpoint(work->slot) : 0;
	struct host *here = this_host();
	const struct packet *packet;
	__u32 number;

	if (!self || !here || !here->services)
		return TC_ACT_SHOT;
	packet = &work->packet;
	number = (self->generation & SERVICE_GENERATIONS) << 16 | flag | work->slot;
	if (unlikely(packet->fragment == FIRST_FRAGMENT))
		note_first();
	if (packet->family == V4) {
		replace_ipv4(skb, packet, IP_SOURCE_FIELD, packet->source[0],
			     bpf_htonl(SERVICE_NETWORK | number));
		if (flag)
			replace_ipv4(skb, packet, IP_DESTINATION_FIELD, packet->destination[0],
				     bpf_htonl(RESOLVER_ADDRESS));
	} else {
		__be32 client[4] = {bpf_htonl(SERVICE_PREFIX6), bpf_htonl(SERVICE_ENDPOINTS6), 0,
				    bpf_htonl(number)};

		replace_ipv6(skb, packet, IPV6_SOURCE_FIELD, packet->source, client);
	}
	return into_peer(skb, here->services, here->services_mac);
}

/* The endpoint that an address of the services namespace stands for. */
inlined struct endpoint *service_client(int family, const __be32 *address, __u32 *number)
{
	struct endpoint *endpoint;

	if (family == V4) {
		if (!IN_BLOCK(address[0], SERVICE_NETWORK, 10))
			return 0;
		*number = bpf_ntohl(address[0]);
	} else {
		if (address[0] != bpf_htonl(SERVICE_PREFIX6) || address[1] != bpf_htonl(SERVICE_ENDPOINTS6))
			return 0;
		*number = bpf_ntohl(address[3]);
	}
	endpoint = live_endpoint(*number & (SERVICE_BY_NETWORK - 1));
	if (!endpoint || (endpoint->generation & SERVICE_GENERATIONS) != (*number >> 16 & SERVICE_GENERATIONS))
		return 0;
	return endpoint;
}

/* An answer of a service, to the endpoint it is for. */
inlined int from_service(struct __sk_buff *skb, const struct packet *packet, const struct endpoint *client,
			 __u32 number)
{
	if (packet->family == V4) {
		if (number & SERVICE_BY_NETWORK)
			replace_ipv4(skb, packet, IP_SOURCE_FIELD, packet->source[0], client->resolver);
		replace_ipv4(skb, packet, IP_DESTINATION_FIELD, packet->destination[0], client->address);
	} else {
		replace_ipv6(skb, packet, IPV6_DESTINATION_FIELD, packet->destination, client->address6);
	}
	return deliver(skb, client);
}

#endif
