"""IPv6 beside IPv4: the same rules, each family by itself; prefix lists; who is met from outside as it is."""

from scenarios.worlds import OPEN, OPEN_EGRESS, PASS, group, instance, prefix_list, scenario, world
from stockade.model.flow import DropReason

NO_IN, NO_OUT = DropReason.NO_INGRESS_RULE, DropReason.NO_EGRESS_RULE
SPOOFED, FOREIGN = DropReason.SPOOFED_ADDRESS, DropReason.FOREIGN_REPLY
NO_ROUTE, NO_PUBLIC = DropReason.NO_ROUTE, DropReason.NO_PUBLIC_ADDRESS
OUTSIDE, OUTSIDE6 = "198.51.100.7", "2001:db8:a::7"

UNION6 = scenario(
    "E1 union of all groups, nested IPv6 blocks too",
    world(
        group("base", ingress=["tcp/80 from ::/0", "tcp/443 from 2001:db8::/32"], egress=OPEN),
        group("more", ingress=["tcp/22 from 2001:db8:a::7/128", "udp/53 from 2001:db8:a::/48"], egress=OPEN),
        instance("web", "base", "more", network="mine", public6=True),
        instance("one", "base", network="mine", public6=True),
    ),
    [
        (OUTSIDE6, "web/6", "tcp/80", PASS),
        (OUTSIDE6, "web/6", "tcp/443", PASS),
        (OUTSIDE6, "web/6", "tcp/22", PASS),
        (OUTSIDE6, "web/6", "udp/53", PASS),
        ("2001:db8:a::8", "web/6", "tcp/22", NO_IN),
        ("2001:db8:a::8", "web/6", "udp/53", PASS),
        ("2600::1", "web/6", "tcp/443", NO_IN),
        ("2600::1", "web/6", "tcp/80", PASS),
        (OUTSIDE6, "one/6", "tcp/22", NO_IN),
        (OUTSIDE, "web", "tcp/80", NO_IN),
    ],
)

TWO_GATES6 = scenario(
    "E2 E3 both gates, none of them without a rule, over IPv6",
    world(
        group("client", egress=["tcp/80-443 to ::/0"]),
        group("server", ingress=["tcp/80 from client", "icmpv6/128 from client"], egress=[]),
        group("closed", egress=[]),
        instance("client", ipv6=True),
        instance("server", ipv6=True),
        instance("closed", ipv6=True),
    ),
    [
        ("client/6", "server/6", "tcp/80", PASS),
        ("client/6", "server/6", "tcp/443", NO_IN),
        ("client/6", "server/6", "tcp/22", NO_OUT),
        ("client/6", "server/6", "icmpv6/128:0", NO_OUT),
        ("client", "server", "tcp/80", NO_OUT),
        ("server/6", "client/6", "tcp/80", NO_OUT),
        ("closed/6", "server/6", "tcp/80", NO_OUT),
        ("client/6", "closed/6", "tcp/80", NO_IN),
    ],
)

REFERENCES6 = scenario(
    "E6 E7 E8 G1 G5 references by private address of either family",
    world(
        group("web", ingress=["all from nobody"], egress=OPEN),
        group("app", ingress=["tcp/8080 from web"], egress=OPEN),
        group("cluster", ingress=["all from cluster"], egress=OPEN),
        group("nobody", ingress=["all from ::/0"]),
        instance("web", ipv6=True),
        instance("app", ipv6=True),
        instance("c1", "cluster", ipv6=True),
        instance("c2", "cluster", ipv6=True),
    ),
    [
        ("web/6", "app/6", "tcp/8080", PASS),
        ("web", "app", "tcp/8080", PASS),
        ("app/6", "web/6", "tcp/8080", NO_IN),
        ("c1/6", "app/6", "tcp/8080", NO_IN),
        ("c1/6", "c2/6", "47", PASS),
        ("c1/6", "c2/6", "icmpv6/128:0", PASS),
        ("c1/6", "web/6", "tcp/80", NO_IN),
        ("web/6 as 2001:db8:5c::12", "app/6", "tcp/8080", SPOOFED),
    ],
)

MET_FROM_OUTSIDE6 = scenario(
    "G2 G4 IPv6 between networks: by the public way, as nobody's member",
    world(
        group("mine", ingress=["all from mine", "tcp/80 from 2001:db8:5c::/48"], egress=OPEN),
        group("yours", ingress=["tcp/80 from ::/0"], egress=OPEN),
        instance("m1", "mine", network="mine", public6=True),
        instance("m2", "mine", network="mine", public6=True),
        instance("shy", "mine", network="mine", ipv6=True),
        instance("y1", "yours", network="yours", public6=True),
        instance("hidden", "yours", network="yours", ipv6=True),
    ),
    [
        ("m1/6", "m2/6", "tcp/22", PASS),
        ("m1/6", "shy/6", "tcp/22", PASS),
        ("y1/6", "m1/6", "tcp/80", PASS),
        ("y1/6", "m1/6", "tcp/22", NO_IN),
        ("m1/6", "y1/6", "tcp/80", PASS),
        ("shy/6", "y1/6", "tcp/80", NO_PUBLIC),
        ("m1/6", "hidden/6", "tcp/80", NO_ROUTE),
        ("hidden/6", "m1/6", "tcp/80", NO_PUBLIC),
        (OUTSIDE6, "y1/6", "tcp/80", PASS),
        (OUTSIDE6, "hidden/6", "tcp/80", NO_ROUTE),
        ("m1/6", "2600::1", "tcp/80", NO_ROUTE),
        ("2001:db8:5c:1::10", "m1/6", "tcp/80", SPOOFED),
        ("2001:db8:5c:2::13", "y1/6", "tcp/80", SPOOFED),
    ],
)

ICMPV6 = scenario(
    "P1 icmpv6 by type and code, over IPv6 alone",
    world(
        group(
            "ping", ingress=["icmpv6/128:0 from ::/0", "icmpv6/2 from 2001:db8:a::/48", "icmp/8 from ::/0"], egress=OPEN
        ),
        group("any", ingress=["icmpv6 from ::/0"], egress=OPEN),
        instance("ping", network="mine", public6=True),
        instance("any", network="mine", public6=True),
    ),
    [
        (OUTSIDE6, "ping/6", "icmpv6/128:0", PASS),
        (OUTSIDE6, "ping/6", "icmpv6/128:1", NO_IN),
        (OUTSIDE6, "ping/6", "icmpv6/2:0", PASS),
        ("2600::1", "ping/6", "icmpv6/2:0", NO_IN),
        (OUTSIDE6, "ping/6", "icmpv6/8:0", NO_IN),
        (OUTSIDE6, "any/6", "icmpv6/1:4", PASS),
        (OUTSIDE6, "any/6", "icmpv6/255:255", PASS),
        (OUTSIDE6, "any/6", "icmpv6/137:0", DropReason.INVALID_STATE),
        (OUTSIDE6, "any/6", "tcp/128", NO_IN),
        (OUTSIDE, "any", "icmp/8:0", NO_IN),
    ],
)

SERVICES = scenario(
    "the host's services are exact over IPv6, and so is the time",
    world("web", instance("six", "web", ipv6=True), ingress=["all from ::/0"], egress=[]),
    [
        ("six/6", "fd00:ec2::254", "tcp/80", PASS),
        ("six/6", "fd00:ec2::253", "udp/53", PASS),
        ("six/6", "fd00:ec2::253", "tcp/53", PASS),
        ("six/6", "fd00:ec2::123", "udp/123", PASS),
        ("six", "169.254.169.123", "udp/123", PASS),
        ("six", "169.254.169.123", "tcp/123", NO_ROUTE),
        ("six/6", "fd00:ec2::123", "udp/124", NO_ROUTE),
        ("six/6", "fd00:ec2::254", "tcp/81", NO_ROUTE),
        ("six/6", "fd00:ec2::254", "icmpv6/128:0", NO_ROUTE),
        ("six/6", "fe80::1", "tcp/80", NO_ROUTE),
        ("six/6 as fd00:ec2::254", "fd00:ec2::253", "udp/53", FOREIGN),
        ("six/6 as fe80::9", "fd00:ec2::254", "tcp/80", FOREIGN),
    ],
)

FORGED6 = scenario(
    "S1 S2 S5 forged IPv6 sources, destinations for many",
    world(
        group("web", ingress=["all from ::/0", "all from 0.0.0.0/0"], egress=OPEN),
        instance("web", ipv6=True),
        instance("peer", "web", ipv6=True),
        instance("router", "web", ipv6=True, source_dest_check=False),
    ),
    [
        ("web/6", "peer/6", "tcp/80", PASS),
        ("web/6 as 2001:db8:5c::11", "peer/6", "tcp/80", SPOOFED),
        ("web/6 as ::1", "peer/6", "tcp/80", SPOOFED),
        ("web/6 as ::", "peer/6", "tcp/80", SPOOFED),
        ("router/6 as 2600::9", "peer/6", "tcp/80", PASS),
        ("router as 9.9.9.9", "peer", "tcp/80", PASS),
        ("router/6 as ::ffff:9.9.9.9", "peer/6", "tcp/80", SPOOFED),
        ("router/6 as ff02::1", "peer/6", "tcp/80", SPOOFED),
        ("router as 127.0.0.1", "peer", "tcp/80", SPOOFED),
        ("web/6", "ff02::1", "udp/5353", DropReason.MULTICAST),
        ("web/6", "ff0e::1", "icmpv6/128:0", DropReason.MULTICAST),
    ],
)

PREFIX_LISTS = scenario(
    "G6 prefix lists are their blocks, of one family each",
    world(
        prefix_list("offices", "198.51.100.0/24", "203.0.113.5/32"),
        prefix_list("offices6", "2001:db8:a::/48"),
        prefix_list("everybody", "0.0.0.0/0"),
        prefix_list("empty"),
        group("web", ingress=["tcp/22 from pl:offices", "tcp/22 from pl:offices6", "tcp/25 from pl:empty"]),
        group(
            "open", ingress=["tcp/80 from pl:everybody", "tcp/443 from pl:vanished"], egress=["tcp/22 to pl:offices6"]
        ),
        instance("web", network="mine", public6=True),
        instance("open", network="mine", public6=True),
    ),
    [
        ("198.51.100.9", "web", "tcp/22", PASS),
        ("203.0.113.5", "web", "tcp/22", PASS),
        ("203.0.113.6", "web", "tcp/22", NO_IN),
        (OUTSIDE6, "web/6", "tcp/22", PASS),
        ("2600::1", "web/6", "tcp/22", NO_IN),
        ("198.51.100.9", "web", "tcp/25", NO_IN),
        ("9.9.9.9", "open", "tcp/80", PASS),
        ("9.9.9.9", "open", "tcp/443", NO_IN),
        (OUTSIDE6, "open/6", "tcp/80", NO_IN),
        ("open/6", OUTSIDE6, "tcp/22", NO_ROUTE),
        ("open", OUTSIDE, "tcp/22", NO_OUT),
    ],
)

FAMILIES_APART = scenario(
    "families never mix",
    world(
        group("four", ingress=["all from 0.0.0.0/0"], egress=OPEN_EGRESS),
        group("six", ingress=["all from ::/0"], egress=["all to ::/0"]),
        instance("four", ipv6=True),
        instance("six", ipv6=True),
    ),
    [
        ("four", "four", "tcp/80", PASS),
        ("four/6", "six/6", "tcp/80", NO_OUT),
        ("six/6", "four/6", "tcp/80", NO_IN),
        ("six/6", "six/6", "tcp/80", PASS),
        ("six", "four", "tcp/80", NO_OUT),
        ("four", "six", "tcp/80", NO_IN),
    ],
)

UNADDRESSED = scenario(
    "S1 who has no address of a family has not the unspecified one either",
    world(
        group("open", ingress=["all from 0.0.0.0/0", "all from ::/0"], egress=OPEN),
        instance("four", "open"),
        instance("both", "open", ipv6=True),
    ),
    [
        ("both/6", "both/6", "tcp/80", PASS),
        ("four as ::", "both/6", "tcp/80", SPOOFED),
        ("four as ::", "fd00:ec2::254", "tcp/80", SPOOFED),
        ("both as ::", "both/6", "tcp/80", SPOOFED),
        ("four as 0.0.0.0", "both", "tcp/80", SPOOFED),
    ],
)

BORROWED6 = scenario(
    "S2 a router speaks for others in its own network, and to other networks for itself alone",
    world(
        group("open", egress=OPEN),
        group("inside", ingress=["udp/53 from 2001:db8:5c::/48", "udp/53 from 2600::/16"], egress=OPEN),
        instance("router", "open", network="theirs", source_dest_check=False, public6=True),
        instance("beside", "inside", network="theirs", public6=True),
        instance("victim", "inside", network="mine", public6=True),
        instance("friend", "inside", network="mine", public6=True),
    ),
    [
        ("friend/6", "victim/6", "udp/53", PASS),
        ("router/6", "victim/6", "udp/53", PASS),
        ("router/6 as 2600::9", "beside/6", "udp/53", PASS),
        ("router/6 as 2600::9", "victim/6", "udp/53", DropReason.NO_PUBLIC_ADDRESS),
        ("router/6 as 2001:db8:5c:2::13", "victim/6", "udp/53", DropReason.NO_PUBLIC_ADDRESS),
    ],
)

SCENARIOS = (
    *(UNION6, TWO_GATES6, REFERENCES6, MET_FROM_OUTSIDE6, ICMPV6, SERVICES, FORGED6, PREFIX_LISTS, FAMILIES_APART),
    *(UNADDRESSED, BORROWED6),
)
