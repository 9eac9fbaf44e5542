/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/*
 * Later fragments have no ports, so they follow their first: what passed is noted, and what comes later is taken
 * for a packet of the same flow. Without its first a fragment is nobody's; one that overlaps what came could
 * rewrite it, so nothing more of that datagram passes. A few datagrams for each sender, the oldest give way.
 */
#ifndef STOCKADE_FRAGMENT_H
#define STOCKADE_FRAGMENT_H

#include "allowance.h"
#include "maps.h"
#include "packet.h"

#define DATAGRAM_LIFE SECONDS(30)

inlined void datagram_place(struct fragment_key *key, const struct packet *packet, __u32 slot)
{
	__u32 mixed = packet->id ^ packet->source[0] ^ packet->source[3] ^ packet->destination[0] ^
		      packet->destination[3] ^ packet->carrier;

	key->slot = slot;
	key->place = (mixed * 0x9e3779b1) >> 27; /* DATAGRAMS of them */
}

inlined int is_of(const struct datagram *datagram, const struct packet *packet, __u32 link, __u32 now)
{
	return datagram->id == packet->id && datagram->protocol == packet->carrier &&
	       datagram->family == packet->family && datagram->link == link &&
	       same_address(V6, datagram->source, packet->source) &&
	       same_address(V6, datagram->destination, packet->destination) &&
	       now - datagram->seen < DATAGRAM_LIFE;
}

/* A first fragment that passed. */
separate int note_first(void)
{
	const struct packet *packet;
	struct work *work = desk();
	struct datagram datagram = {};
	struct fragment_key key;

	if (!work)
		return 0;
	packet = &work->packet;
	datagram.id = packet->id;
	datagram.seen = work->now;
	datagram.link = work->fragment_link;
	datagram_place(&key, packet, work->slot);
	copy_address(datagram.source, packet->source);
	copy_address(datagram.destination, packet->destination);
	datagram.protocol = packet->carrier;
	datagram.family = packet->family;
	datagram.source_port = packet->source_port;
	datagram.destination_port = packet->destination_port;
	datagram.port = packet->port;
	datagram.kind = packet->kind;
	datagram.turned = packet->turned;
	datagram.query = packet->query;
	datagram.islands[0].high = packet->high;
	bpf_map_update_elem(&datagrams, &key, &datagram, BPF_ANY);
	return 0;
}

/* Where [low, high) goes among what has come: 0 overlaps or does not fit. Neighbours grow together at one end. */
inlined int take_in(struct datagram *datagram, __u16 low, __u16 high)
{
	int place, grown = -1, free = -1;

	for (place = 0; place < ISLANDS; place++) {
		__u16 from = datagram->islands[place].low, to = datagram->islands[place].high;

		if (!to) {
			free = place;
			continue;
		}
		if (low < to && from < high) {
			datagram->bad = 1;
			return 0;
		}
		if (low == to || high == from)
			grown = place;
	}
	for (place = 0; place < ISLANDS; place++) {
		if (grown >= 0 && place == grown) {
			if (low == datagram->islands[place].high)
				datagram->islands[place].high = high;
			else
				datagram->islands[place].low = low;
			return 1;
		}
		if (grown < 0 && place == free) {
			datagram->islands[place].low = low;
			datagram->islands[place].high = high;
			return 1;
		}
	}
	return 0;
}

/* Makes a later fragment the packet that its first was, or says why not. */
separate int follow_first(void)
{
	struct work *work = desk();
	struct datagram *datagram;
	struct fragment_key key;
	struct packet *packet;

	if (!work)
		return FRAGMENT;
	packet = &work->packet;
	datagram_place(&key, packet, work->slot);
	datagram = bpf_map_lookup_elem(&datagrams, &key);
	if (!datagram || !is_of(datagram, packet, work->fragment_link, work->now) || datagram->bad ||
	    !take_in(datagram, packet->low, packet->high))
		return FRAGMENT;
	packet->source_port = datagram->source_port;
	packet->destination_port = datagram->destination_port;
	packet->port = datagram->port;
	packet->kind = datagram->kind;
	packet->turned = datagram->turned;
	packet->query = datagram->query;
	packet->tcp_flags = TCP_ACK; /* what its first's flags asked for has been done */
	return PASSED;
}

#endif
