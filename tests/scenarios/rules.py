"""What rules mean: union, nesting, ranges, references, types and codes, protocol numbers, both gates."""

from scenarios.worlds import PASS, group, instance, scenario, world
from stockade.model.flow import DropReason

NO_IN, NO_OUT = DropReason.NO_INGRESS_RULE, DropReason.NO_EGRESS_RULE
OUTSIDE = "198.51.100.7"

WEB_ONLY = scenario(
    "web only",
    world("web", ingress=["tcp/80 from 0.0.0.0/0"]),
    [
        (OUTSIDE, "web", "tcp/80", PASS),
        (OUTSIDE, "web", "tcp/79", NO_IN),
        (OUTSIDE, "web", "tcp/81", NO_IN),
        (OUTSIDE, "web", "udp/80", NO_IN),
        (OUTSIDE, "198.18.200.1", "tcp/80", DropReason.NO_ROUTE),
    ],
)

NOTHING_ALLOWED = scenario(
    "no rules at all",
    world("closed", ingress=[], egress=[]),
    [
        (OUTSIDE, "closed", "tcp/80", NO_IN),
        ("closed", OUTSIDE, "tcp/80", NO_OUT),
        ("closed", "public closed", "tcp/80", NO_OUT),
    ],
)

# The longest prefix must not hide what the shorter ones allow (CVE-2024-47825).
NESTED_BLOCKS = scenario(
    "nested blocks are a union",
    world(
        "web",
        ingress=[
            "tcp/80 from 0.0.0.0/0",
            "tcp/443 from 198.51.0.0/16",
            "udp/53 from 198.51.100.0/24",
            "tcp/22 from 198.51.100.7/32",
            "tcp/25 from 203.0.113.0/24",
            "icmp from 128.0.0.0/1",
        ],
    ),
    [
        ("198.51.100.7", "web", "tcp/22", PASS),
        ("198.51.100.7", "web", "udp/53", PASS),
        ("198.51.100.7", "web", "tcp/443", PASS),
        ("198.51.100.7", "web", "tcp/80", PASS),
        ("198.51.100.7", "web", "icmp/8:0", PASS),
        ("198.51.100.7", "web", "tcp/25", NO_IN),
        ("198.51.100.8", "web", "tcp/22", NO_IN),
        ("198.51.100.8", "web", "udp/53", PASS),
        ("198.51.101.1", "web", "udp/53", NO_IN),
        ("198.51.101.1", "web", "tcp/443", PASS),
        ("198.52.0.1", "web", "tcp/443", NO_IN),
        ("198.52.0.1", "web", "tcp/80", PASS),
        ("203.0.113.9", "web", "tcp/25", PASS),
        ("9.9.9.9", "web", "icmp/8:0", NO_IN),
        ("9.9.9.9", "web", "tcp/80", PASS),
    ],
)

OVERLAPPING_RANGES = scenario(
    "overlapping ranges in several groups are a union",
    world(
        group("low", ingress=["tcp/20-30 from 0.0.0.0/0", "tcp/22 from 0.0.0.0/0"]),
        group("middle", ingress=["tcp/25-40 from 0.0.0.0/0", "tcp/41-50 from 0.0.0.0/0"]),
        group("edges", ingress=["tcp/0 from 0.0.0.0/0", "tcp/65535 from 0.0.0.0/0", "udp/0-65535 from 0.0.0.0/0"]),
        instance("all", "low", "middle", "edges"),
        instance("one", "low"),
        instance("none", "nowhere"),
    ),
    [
        *((OUTSIDE, "all", f"tcp/{port}", PASS) for port in (0, 20, 22, 25, 30, 31, 40, 41, 50, 65535)),
        *((OUTSIDE, "all", f"tcp/{port}", NO_IN) for port in (1, 19, 51, 65534)),
        *((OUTSIDE, "all", f"udp/{port}", PASS) for port in (0, 1, 65535)),
        (OUTSIDE, "one", "tcp/30", PASS),
        (OUTSIDE, "one", "tcp/31", NO_IN),
        (OUTSIDE, "one", "udp/31", NO_IN),
        (OUTSIDE, "none", "tcp/22", NO_IN),
        ("none", "all", "tcp/22", NO_OUT),
    ],
)

SELF_REFERENCE = scenario(
    "members reach one another only when a rule names the group itself",
    world(
        group("cluster", ingress=["all from cluster"]),
        group("crowd", ingress=[]),
        instance("c1", "cluster"),
        instance("c2", "cluster", "crowd"),
        instance("s1", "crowd"),
        instance("s2", "crowd"),
    ),
    [
        ("c1", "c2", "tcp/7000", PASS),
        ("c2", "c1", "47", PASS),
        ("c1", "c2", "icmp/13:0", PASS),
        ("s1", "s2", "tcp/7000", NO_IN),
        ("s1", "c2", "tcp/7000", NO_IN),
        ("c2", "s1", "tcp/7000", NO_IN),
        ("c1", "public c1", "tcp/7000", PASS),
        (OUTSIDE, "c1", "tcp/7000", NO_IN),
    ],
)

# An empty reference matches nothing: it must never widen to anybody (CVE-2025-64715).
EMPTY_REFERENCE = scenario(
    "a reference to nobody matches nothing",
    world(
        group("web", ingress=["all from empty", "all from vanished"], egress=["all to empty"]),
        group("empty", ingress=["all from 0.0.0.0/0"]),
        group("free"),
        instance("web"),
        instance("other", "free"),
    ),
    [
        (OUTSIDE, "web", "tcp/80", NO_IN),
        ("other", "web", "tcp/80", NO_IN),
        ("other", "web", "icmp/8:0", NO_IN),
        ("web", "other", "tcp/80", NO_OUT),
        ("web", OUTSIDE, "tcp/80", NO_OUT),
    ],
)

GROUP_BY_PRIVATE_ADDRESS = scenario(
    "a group means private addresses only",
    world(
        group("web", egress=["tcp/8080 to app", "tcp/9090 to 198.18.0.0/16"]),
        group("app", ingress=["tcp/8080-9090 from web"]),
        instance("web"),
        instance("app"),
        instance("far", "app", here=False),
    ),
    [
        ("web", "app", "tcp/8080", PASS),
        ("web", "public app", "tcp/8080", NO_OUT),
        ("web", "app", "tcp/9090", NO_OUT),
        ("web", "public app", "tcp/9090", PASS),
        ("web", "far", "tcp/8080", DropReason.NO_ROUTE),
        ("10.0.0.16", "app", "tcp/8080", DropReason.SPOOFED_ADDRESS),
    ],
)

EGRESS = scenario(
    "egress is a gate of its own",
    world(
        group("clerk", egress=["tcp/443 to 10.0.0.0/8", "udp/53 to server", "icmp/8 to 0.0.0.0/0"]),
        group("server", ingress=["tcp/443 from clerk", "udp/53-54 from 0.0.0.0/0", "icmp/8:0 from 10.0.0.0/8"]),
        instance("clerk"),
        instance("server"),
        instance("mute", "mute"),
    ),
    [
        ("clerk", "server", "tcp/443", PASS),
        ("clerk", "server", "udp/53", PASS),
        ("clerk", "server", "udp/54", NO_OUT),
        ("clerk", "server", "icmp/8:0", PASS),
        ("clerk", "server", "icmp/8:1", NO_IN),
        ("clerk", "server", "icmp/13:0", NO_OUT),
        ("clerk", "203.0.113.1", "tcp/443", NO_OUT),
        ("clerk", "203.0.113.1", "icmp/8:0", DropReason.NO_ROUTE),
        ("server", "clerk", "tcp/443", NO_IN),
        ("mute", "server", "udp/53", NO_OUT),
    ],
)

ICMP_TYPES = scenario(
    "icmp types and codes",
    world(
        group(
            "ping", ingress=["icmp/8:0 from 0.0.0.0/0", "icmp/3 from 198.51.100.0/24", "icmp/255:255 from 0.0.0.0/0"]
        ),
        group("any", ingress=["icmp from 0.0.0.0/0"]),
        instance("ping"),
        instance("any"),
    ),
    [
        (OUTSIDE, "ping", "icmp/8:0", PASS),
        (OUTSIDE, "ping", "icmp/8:1", NO_IN),
        (OUTSIDE, "ping", "icmp/3:4", PASS),
        (OUTSIDE, "ping", "icmp/3:255", PASS),
        ("203.0.113.5", "ping", "icmp/3:4", NO_IN),
        (OUTSIDE, "ping", "icmp/4:0", NO_IN),
        (OUTSIDE, "ping", "icmp/2:255", NO_IN),
        (OUTSIDE, "ping", "icmp/255:255", PASS),
        (OUTSIDE, "any", "icmp/13:7", PASS),
        (OUTSIDE, "any", "tcp/8", NO_IN),
        (OUTSIDE, "any", "icmp/5:1", DropReason.INVALID_STATE),
    ],
)

PROTOCOL_NUMBERS = scenario(
    "protocols by number, and all of them",
    world(
        group("tunnel", ingress=["47 from 0.0.0.0/0", "50 from 198.51.100.0/24", "255 from 0.0.0.0/0"]),
        group("open", ingress=["all from 198.51.100.0/24"]),
        group("mixed", ingress=["all from 198.51.100.0/25", "47 from 198.51.100.0/24", "tcp/22 from 0.0.0.0/0"]),
        instance("tunnel"),
        instance("open"),
        instance("mixed"),
    ),
    [
        (OUTSIDE, "tunnel", "47", PASS),
        ("203.0.113.5", "tunnel", "47", PASS),
        (OUTSIDE, "tunnel", "50", PASS),
        ("203.0.113.5", "tunnel", "50", NO_IN),
        (OUTSIDE, "tunnel", "51", NO_IN),
        (OUTSIDE, "tunnel", "255", PASS),
        (OUTSIDE, "tunnel", "tcp/47", NO_IN),
        *((OUTSIDE, "open", text, PASS) for text in ("tcp/0", "tcp/65535", "udp/9", "icmp/8:0", "47", "132", "0")),
        ("203.0.113.5", "open", "tcp/80", NO_IN),
        ("203.0.113.5", "open", "132", NO_IN),
        (OUTSIDE, "mixed", "132", PASS),
        (OUTSIDE, "mixed", "47", PASS),
        ("198.51.100.200", "mixed", "47", PASS),
        ("198.51.100.200", "mixed", "132", NO_IN),
        ("198.51.100.200", "mixed", "tcp/22", PASS),
        ("198.51.100.200", "mixed", "tcp/23", NO_IN),
        (OUTSIDE, "mixed", "tcp/23", PASS),
    ],
)

SCENARIOS = (
    *(WEB_ONLY, NOTHING_ALLOWED, NESTED_BLOCKS, OVERLAPPING_RANGES, SELF_REFERENCE, EMPTY_REFERENCE),
    *(GROUP_BY_PRIVATE_ADDRESS, EGRESS, ICMP_TYPES, PROTOCOL_NUMBERS),
)
