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

#include "nat.h"
#include "packet.h"
#include "routes.h"

inlined int is_service(__be32 address, __u8 protocol, __be16 port)
{
	if (address == bpf_htonl(METADATA_ADDRESS))
		return protocol == IPPROTO_TCP && port == bpf_htons(METADATA_PORT);
	if (address == bpf_htonl(RESOLVER_ADDRESS))
		return (protocol == IPPROTO_TCP || protocol == IPPROTO_UDP) && port == bpf_htons(RESOLVER_PORT);
	return 0;
}

inlined __be32 service_address(__u32 slot, __u32 generation)
{
	return bpf_htonl(SERVICE_NETWORK | (generation & SERVICE_GENERATIONS) << 16 | slot);
}

inlined int to_service(struct __sk_buff *skb, const struct packet *packet, const struct endpoint *self,
		       __u32 slot)
{
	struct host *here = this_host();

	if (!here || !here->services)
		return TC_ACT_SHOT;
	set_source(skb, packet, packet->source, service_address(slot, self->generation));
	return into_peer(skb, here->services, here->services_mac);
}

/* The endpoint that an address of the services namespace stands for. */
inlined struct endpoint *service_client(__be32 address, __u32 *slot)
{
	__u32 number = bpf_ntohl(address);
	struct endpoint *endpoint;

	if (!IN_BLOCK(address, SERVICE_NETWORK, 10))
		return 0;
	*slot = number & 0xffff;
	endpoint = live_endpoint(*slot);
	if (!endpoint || (endpoint->generation & SERVICE_GENERATIONS) != (number >> 16 & SERVICE_GENERATIONS))
		return 0;
	return endpoint;
}

#endif
