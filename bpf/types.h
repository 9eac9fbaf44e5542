/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/*
 * Every struct that the programs share with user space. datapath/ebpf/layout.py mirrors this file
 * field for field; a test compares the two through the object's BTF. Numbers are in host byte order
 * unless the type is
 * __be16 or __be32. Padding is explicit and zero: keys are compared as bytes.
 */
#ifndef STOCKADE_TYPES_H
#define STOCKADE_TYPES_H

#include <linux/types.h>

/*
 * Slots. An endpoint (a network interface as policed here) owns a slot for as long as it is known
 * here. Slot 0 is nobody. Whoever remembers a slot remembers its generation too; they differ once
 * the slot changed hands.
 */
#define MAX_SLOTS    16384
#define MAX_NEAR     65536 /* devices whose index is below are found in an array, the others in a hash */
#define MAX_FAR	     65536
#define MAX_POLICIES 8192
#define MAX_RULES    32768
#define MAX_REASONS  256

enum endpoint_flags {
	CHECK_SOURCE = 1, /* may only send from its own addresses */
	CLASSIC = 2,	  /* keeps its private source towards public addresses of its own network */
	FILTERED = 4,	  /* somebody else forwards for its device: judge there, redirect nothing */
	PUBLIC6 = 8,	  /* outsiders may meet its IPv6 addresses */
};

/* IP versions, as indices. */
enum family { V4 = 0, V6 = 1, FAMILIES = 2 };

/*
 * Two cache lines, what established IPv4 flows need in the first. Written by user space, one aligned
 * field at a time when it is live. `policy` and `epoch` are what a policy change flips, with one
 * 64-bit store, so a packet sees the old rule set or the new one and never a mixture.
 *
 * `epoch` goes up by one with every flip. A flow remembers the epoch it was judged in; in a later one its
 * next packet asks again (conntrack.h). `opened`: the last epoch, of each family and of TCP and UDP, whose rules
 * let everybody have every port both ways, so that flows judged before it became untracked in it. `cut`: flows judged
 * before this epoch are to be judged anew whatever they are.
 */
struct endpoint {
	__u32 generation; /* never 0 once the slot was used */
	__u32 ifindex;	  /* 0: known, but without a device (not yet, or no longer) */
	__u32 policy;	  /* index into `policies`; 0: drop everything */
	__u32 epoch;	  /* never 0 once placed */
	__u64 identity;	  /* as `addresses` has it for the primary address; 0: none */
	__be32 address;	  /* the primary private one; 0: it has none */
	__be32 public_address;
	__u8 mac[6];
	__u16 flags;
	__u32 vpc;
	__u32 tcp_established; /* idle timers, in ticks */
	__u32 udp_stream;
	__u32 udp_single;
	__u32 opened[FAMILIES][2]; /* by TCP, UDP */
	__u32 cut;
	__be32 address6[4]; /* the primary one; all 0: it has none */
	__be32 resolver;    /* the network's own name for the resolver; 0: none */
	__u32 zero[8];
};

/* Who an endpoint is to people. */
struct endpoint_name {
	char id[32]; /* eni-..., zero-filled */
	__u64 identity;
	__u64 rule_set;	 /* 0: attached, but not in the applied policy */
	char device[16]; /* name of its device, as attached */
	__u64 cuts;
	__u32 adopted; /* enum adopted: how we found the device */
	__u32 zero;
};

enum adopted {
	OURS = 0,	      /* made for the endpoint: it goes with it */
	SOMEBODYS = 1,	      /* it stays when we let go, */
	SOMEBODYS_CLSACT = 2, /* with the hooks that it had before */
};

/* An address of a VPC: somebody's identity, and the slot if that somebody is here. */
struct address_key {
	__u32 vpc;
	__be32 address;
};

struct address6_key {
	__u32 vpc;
	__be32 address[4];
};

struct address {
	__u64 identity; /* 0: member of no group that any rule here names */
	__u32 slot;	/* 0: not on this host */
	__u32 zero;
};

/*
 * A rule set as loaded: `policies[index]`. Immutable while any endpoint points at it. `gates` saves
 * lookups: what user space knows about the whole set, the packet need not find out.
 */
enum gate { EGRESS = 0, INGRESS = 1, GATES = 2, SPOOF = 2, ROUTE = 3 };

enum gate_flags {
	GATE_IDENTITIES = 1,  /* some rule names a group */
	GATE_PREFIXES_V4 = 2, /* some rule names an IPv4 block other than 0.0.0.0/0 */
	GATE_PREFIXES_V6 = 4, /* the same of IPv6 */
	/* One rule lets everybody of the family have every port of the protocol (GateRules.all_ports). */
	GATE_ALL_TCP_V4 = 16,
	GATE_ALL_TCP_V6 = 32,
	GATE_ALL_UDP_V4 = 64,
	GATE_ALL_UDP_V6 = 128,
};

struct gate_summary {
	__u64 everybody[FAMILIES]; /* the class of 0.0.0.0/0 and of ::/0; 0: no rule names it */
	__u32 any[FAMILIES];	   /* this rule passes all traffic of the family, whoever the peer; 0: look */
	__u32 flags;
	__u32 zero;
};

struct policy {
	__u64 rule_set; /* RuleSetId; 0: index not in use */
	__u64 zero;
	struct gate_summary gates[GATES];
};

/*
 * What a peer may do at a gate. `peer` first and widest: it is what spreads the hash. An entry for
 * the packet's protocol is conclusive; only without one is ANY_PROTOCOL asked.
 */
#define ANY_PROTOCOL 256

struct policy_key {
	__u64 peer; /* identity, or class with the top bit set */
	__u32 policy;
	__u16 protocol;
	__u16 gate;
};

/* Ports low..high, both included. `rule` is an index into `rules` and `rule_numbers`, never 0. */
struct interval {
	__u16 low;
	__u16 high;
	__u32 rule;
};

/* Sorted and disjoint. Up to four in place, more in `intervals` from `offset` on. */
#define INLINE_INTERVALS 4
#define MAX_INTERVALS	 262144
#define MAX_PROBES	 17 /* halvings of 65,536 possible intervals, and the last look */

struct interval_set {
	__u32 count;
	__u32 offset;
	struct interval first[INLINE_INTERVALS];
};

/* Longest prefix first 32 bits exact: `length` counts the 32 bits of `scope` too. */
struct prefix_key {
	__u32 length;
	__u32 scope; /* policy << 1 | gate */
	__be32 address;
};

struct prefix6_key {
	__u32 length;
	__u32 scope;
	__be32 address[4];
};

/*
 * A flow as its responder sees it, ends sorted, so both directions and the header quoted in an ICMP
 * error give one key. Ports: TCP, UDP; ICMP queries: identifier and request type; others: 0.
 * The zone keeps flows apart that may have equal addresses: the VPC, or for an endpoint in filter mode, where
 * each device judges for itself, FILTER_ZONE and its slot.
 */
#define FILTER_ZONE 0x800000 /* VPC numbers are below */

struct flow_key {
	__be32 address[2];
	__be16 port[2];
	__u32 scope; /* zone << 8 | protocol */
};

struct flow6_key {
	__be32 address[2][4];
	__be16 port[2];
	__u32 scope;
};

enum flow_flags {
	FLOW_REPLIED = 1,
	FLOW_ESTABLISHED = 2,
	FLOW_FIN_SENT = 4,    /* by the initiator */
	FLOW_FIN_REPLIED = 8, /* by the responder */
	FLOW_RESET = 16,
	FLOW_VIA_PUBLIC = 32, /* the initiator called the responder by its public address */
	FLOW_MEMBER = 64, /* the responder's gate takes the initiator for who has `judged_source` in its VPC */
	FLOW_EGRESS_UNTRACKED = 128,  /* the initiator's side: as good as its rules, packet by packet */
	FLOW_INGRESS_UNTRACKED = 256, /* the responder's side */
	FLOW_TURNED =
		512, /* the key has the responder's end first; told for flows with oneself, where nobody else can */
	FLOW_STALE = 1024, /* the timers of its ends may be others now: its next packet looks them up */
};

/*
 * Has passed every gate on its way. One cache line. Times are in ticks of coarse monotonic time (see
 * conntrack.h). `patience`: how long it may be idle in its present state.
 */
struct flow {
	__u32 seen;
	__u32 patience;
	__u32 flags;
	__u32 initiator; /* slot; 0: outside the region, or another device (filter mode) */
	__u32 initiator_generation;
	__u32 responder; /* the same */
	__u32 responder_generation;
	__u32 egress_rule; /* 0: no gate there */
	__u32 ingress_rule;
	__u32 egress_epoch; /* of the initiator, when its gate spoke last */
	__u32 ingress_epoch;
	__be32 initiator_address; /* its own; the key has what the responder sees; IPv4 only */
	__be32 responder_address; /* as the initiator calls it */
	__be32 judged_source;	  /* whom the responder's gate was asked about; IPv6: see the key */
	__u32 link;		  /* the device an outside initiator came by */
	__u32 port;		  /* what rules saw of its first packet: the key has no ICMP code */
};

/*
 * What an endpoint has in memory. Each flow counts for both its ends, tracked or not as it is at that end.
 * Slot 0 counts the tables: TCP as tracked, others as untracked.
 */
struct usage {
	__u32 tracked;
	__u32 untracked;
	__u32 next[2]; /* where the next candidate goes: tracked, untracked */
};

/*
 * Flows that may be forgotten when their endpoint has used up its allowance: noted only once three quarters
 * of it are used. Half-open ones of the tracked, any of the untracked.
 */
#define CANDIDATES 64

struct candidate_key {
	__u32 slot;
	__u32 place; /* 0..CANDIDATES-1 tracked, CANDIDATES.. untracked */
};

struct candidate {
	struct flow6_key key; /* IPv4: the shorter key lies at its beginning */
	__u32 family;
};

/*
 * A datagram of which fragments are under way: DATAGRAMS for each sender, a new one takes an old one's place.
 * `islands`: what has come, as offsets [low, high) in units of 8 bytes, so that an overlap is seen.
 */
#define DATAGRAMS 32
#define ISLANDS	  4

struct fragment_key {
	__u32 slot; /* the sender's; from outside the receiver's */
	__u32 place;
};

struct datagram {
	__be32 source[4]; /* IPv4 in the first word, the others 0 */
	__be32 destination[4];
	__u32 id;
	__u32 seen; /* ticks */
	__u32 link; /* the device they come by */
	__u8 protocol;
	__u8 family;
	__u8 bad; /* something overlapped: nothing more of it passes */
	__u8 zero;
	__be16 source_port; /* from here on as struct packet has it */
	__be16 destination_port;
	__u16 port;
	__u8 kind;
	__u8 turned;
	__u8 query;
	__u8 zero2[3];
	struct {
		__u16 low;
		__u16 high; /* 0: none */
	} islands[ISLANDS];
};

struct hits {
	__u64 packets;
	__u64 bytes;
};

/* Drops of one endpoint, for one reason. */
struct endpoint_drop_key {
	__u32 slot;
	__u32 reason;
};

/* Flow events an endpoint may still cause in this window. */
struct event_budget {
	__u32 window;
	__u32 spent;
};

/* A new flow, or a packet that was dropped. Addresses and ports as the last gate that spoke saw them. */
struct flow_event {
	__u64 at;	  /* nanoseconds, CLOCK_MONOTONIC */
	__be32 source[4]; /* IPv4 in the first word, the others 0 */
	__be32 destination[4];
	__u32 vpc;
	__u32 slot; /* whose gate spoke, or who sent */
	__u32 egress_rule;
	__u32 ingress_rule;
	__u16 port; /* host order; ICMP: type << 8 | code */
	__u16 source_port;
	__u8 protocol;
	__u8 gate;
	__u8 reason;
	__u8 family;
};

/* What a sweep is asked and answers (the program `sweep`, run by user space, walks the flow tables). */
struct sweep {
	__u32 now; /* out: ticks */
	__u32 forgotten;
	__u32 family; /* in the making */
	__u32 zero;
};

/* The host's links, one element. Written at start; the programs read it off the short path. */
struct host {
	__be32 pool;
	__be32 pool_mask;
	__u32 gateway; /* the gateway link's peer, where from_gateway sits */
	__u32 services;
	__u8 gateway_mac[6];  /* of the end that the host's stack uses */
	__u8 services_mac[6]; /* of the end inside the services namespace */
	__u32 event_limit;    /* an endpoint's flow events a window */
	__be32 pool6[4];
	__be32 pool6_mask[4]; /* all 0: nobody here is met over IPv6 from outside */
	__u32 allowance;      /* flows of one endpoint, tracked and untracked each */
	__u32 fair;	      /* what an endpoint may have when the tables are nearly full */
	__u32 crowded[2];     /* flows of TCP, of others, from which on they are */
	__u32 strict;	      /* ICMP errors need a rule, also those about a tracked flow */
	__u32 zero;
};

/* 0e:5c:00:00:00:01, answered to every ARP request of an endpoint, and the source of every frame it gets. */
#define ROUTER_MAC_0 0x0e5c
#define ROUTER_MAC_2 0x0000
#define ROUTER_MAC_4 0x0001

/*
 * The services namespace sees an endpoint as 100.64.0.0/10 with the generation's low six bits, then
 * the slot: all 22 bits are used, and a connection left over by a slot's former owner is not taken
 * for its successor's.
 */
#define SERVICE_NETWORK	    0x64400000
#define SERVICE_GENERATIONS 63
#define SERVICE_BY_NETWORK                                                                                     \
	0x8000 /* in the slot's half: the resolver was called by the network's own name for it */
#define METADATA_ADDRESS 0xa9fea9fe
#define RESOLVER_ADDRESS 0xa9fea9fd
#define TIME_ADDRESS	 0xa9fea97b
#define METADATA_PORT	 80
#define RESOLVER_PORT	 53
#define TIME_PORT	 123
/* The same over IPv6: fd00:ec2::254, ::253, ::123. Endpoints are fd00:ec2:0:1::/64, then as above in the last word. */
#define SERVICE_PREFIX6	   0xfd000ec2
#define SERVICE_ENDPOINTS6 0x00000001 /* second word */
#define METADATA_LAST6	   0x00000254
#define RESOLVER_LAST6	   0x00000253
#define TIME_LAST6	   0x00000123
#define ROUTER6		   "fe80::1" /* answered to neighbour solicitations like any other address */

/* The numbers of model/flow.py's DropReason. */
enum drop_reason {
	PASSED = 0,
	MALFORMED = 1,
	UNSUPPORTED = 2,
	FRAGMENT = 3,
	OPTIONS = 4,
	SPOOFED_MAC = 10,
	SPOOFED_ADDRESS = 11,
	SPOOFED_ARP = 12,
	FOREIGN_REPLY = 13,
	NO_EGRESS_RULE = 20,
	NO_INGRESS_RULE = 21,
	INVALID_STATE = 22,
	CONNTRACK_FULL = 23,
	MULTICAST = 24,
	ENDPOINT_UNKNOWN = 30,
	NO_POLICY = 31,
	NOT_OURS = 32,
	NO_ROUTE = 100,
	NO_PUBLIC_ADDRESS = 101,
	NO_FLOW = 255, /* inside the programs only: judge it as if it were of none */
};

/*
 * BTF describes a type only where something of that type is. This is that something: it is compiled
 * so that the test can compare, and never loaded.
 */
union layouts {
	struct endpoint endpoint;
	struct endpoint_name endpoint_name;
	struct address_key address_key;
	struct address6_key address6_key;
	struct address address;
	struct policy policy;
	struct policy_key policy_key;
	struct interval_set interval_set;
	struct prefix_key prefix_key;
	struct prefix6_key prefix6_key;
	struct flow_key flow_key;
	struct flow6_key flow6_key;
	struct flow flow;
	struct usage usage;
	struct candidate_key candidate_key;
	struct candidate candidate;
	struct fragment_key fragment_key;
	struct datagram datagram;
	struct sweep sweep;
	struct hits hits;
	struct endpoint_drop_key endpoint_drop_key;
	struct flow_event flow_event;
	struct host host;
	enum endpoint_flags endpoint_flags;
	enum gate_flags gate_flags;
	enum adopted adopted;
	enum drop_reason drop_reason;
};

#endif
