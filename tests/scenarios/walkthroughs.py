"""The two walk-throughs: Albert modifies the default group; Mary's three tiers; a VLAN by groups."""

from itertools import permutations

from scenarios.worlds import PASS, World, group, instance, scenario, world
from stockade.model.flow import DropReason

ADMIN = "192.168.1.130"
STRANGER = "192.168.1.131"
FILTERED = DropReason.NO_INGRESS_RULE
AMONG_THEMSELVES = ("tcp/1-65535 from default", "udp/1-65535 from default", "icmp from default")


def _from_all(name: str) -> list[str]:
    """What a classic group grant means: three rules."""
    return [f"tcp/1-65535 from {name}", f"udp/1-65535 from {name}", f"icmp from {name}"]


ALBERT_BEFORE = scenario(
    "A3 the default group as it starts",
    world(group("default", ingress=AMONG_THEMSELVES), instance("i1", "default"), instance("i2", "default")),
    [
        (ADMIN, "i1", "tcp/22", FILTERED),
        (ADMIN, "i1", "tcp/80", FILTERED),
        ("i2", "i1", "tcp/22", PASS),
        ("i2", "i1", "udp/65535", PASS),
        ("i2", "i1", "icmp/8:0", PASS),
        ("i2", "public i1", "tcp/22", PASS),
        ("i2", "i1", "47", FILTERED),
    ],
)

ALBERT_AFTER = scenario(
    "A5 ssh from one address",
    world(
        group("default", ingress=[*AMONG_THEMSELVES, f"tcp/22 from {ADMIN}/32"]),
        instance("i1", "default"),
    ),
    [
        (ADMIN, "i1", "tcp/22", PASS),
        (ADMIN, "i1", "tcp/21", FILTERED),
        (ADMIN, "i1", "tcp/23", FILTERED),
        (ADMIN, "i1", "udp/22", FILTERED),
        (ADMIN, "i1", "icmp/8:0", FILTERED),
        (STRANGER, "i1", "tcp/22", FILTERED),
    ],
)


def mary(web_ssh: bool, masters_meet: bool) -> World:
    """Mary's world: with the ssh rule of B9a-b or without, with the self grant of B10 or without."""
    return world(
        group("apache", ingress=["tcp/80 from 0.0.0.0/0", *([f"tcp/22 from {ADMIN}/32"] if web_ssh else [])]),
        group("appserver", ingress=_from_all("apache")),
        group("database", ingress=[*_from_all("appserver"), *(_from_all("database") if masters_meet else [])]),
        group("default", ingress=AMONG_THEMSELVES),
        *(instance(f"web{n}", "apache") for n in range(3)),
        *(instance(f"app{n}", "appserver") for n in range(3)),
        *(instance(f"db{n}", "database") for n in range(2)),
        instance("other", "default"),
    )


MARY = scenario(
    "B3-B10 three tiers",
    mary(web_ssh=False, masters_meet=False),
    [
        (ADMIN, "web0", "tcp/80", PASS),
        (STRANGER, "web2", "tcp/80", PASS),
        (ADMIN, "web0", "tcp/22", FILTERED),
        (ADMIN, "web0", "tcp/81", FILTERED),
        (ADMIN, "app0", "tcp/80", FILTERED),
        (ADMIN, "app0", "tcp/8080", FILTERED),
        (ADMIN, "db0", "tcp/3306", FILTERED),
        ("web0", "app0", "tcp/8080", PASS),
        ("web2", "app2", "tcp/22", PASS),
        ("web0", "public app0", "tcp/8080", PASS),
        ("web0", "app0", "icmp/8:0", PASS),
        ("web0", "db0", "tcp/3306", FILTERED),
        ("app0", "db1", "tcp/3306", PASS),
        ("app1", "web0", "tcp/80", PASS),
        ("app1", "web0", "tcp/22", FILTERED),
        ("app0", "app1", "tcp/8080", FILTERED),
        ("other", "app0", "tcp/8080", FILTERED),
        ("other", "web0", "tcp/80", PASS),
        ("db0", "db1", "tcp/3306", FILTERED),
        ("web0", "192.168.1.130", "tcp/80", DropReason.NO_ROUTE),
    ],
)

MARY_SSH = scenario(
    "B9a ssh to the web servers",
    mary(web_ssh=True, masters_meet=True),
    [
        (ADMIN, "web0", "tcp/22", PASS),
        (ADMIN, "web0", "tcp/80", PASS),
        (STRANGER, "web0", "tcp/22", FILTERED),
        ("db0", "db1", "tcp/3306", PASS),
        ("db1", "public db0", "tcp/3306", PASS),
        ("web0", "db1", "tcp/3306", FILTERED),
    ],
)

MARY_SPOOF = scenario(
    "B14 a web server pretends to be an application server",
    mary(web_ssh=False, masters_meet=False),
    [
        ("web0 as 10.0.0.19", "db0", "tcp/3306", DropReason.SPOOFED_ADDRESS),
        ("web0 as 10.0.0.17", "app0", "tcp/8080", DropReason.SPOOFED_ADDRESS),
        ("web0 as 198.18.1.0", "app0", "tcp/8080", DropReason.SPOOFED_ADDRESS),
        ("web0 as 169.254.169.254", "app0", "tcp/8080", DropReason.FOREIGN_REPLY),
    ],
)

VLANS = scenario(
    "B12 a VLAN by groups",
    world(
        group("red", ingress=_from_all("red")),
        group("blue", ingress=_from_all("blue")),
        *(instance(f"{colour}{n}", colour) for colour in ("red", "blue") for n in range(2)),
    ),
    [
        (one, other, "tcp/22", PASS if one[:-1] == other[:-1] else FILTERED)
        for one, other in permutations(("red0", "red1", "blue0", "blue1"), 2)
    ]
    + [(ADMIN, name, "tcp/22", FILTERED) for name in ("red0", "red1", "blue0", "blue1")],
)

SCENARIOS = (ALBERT_BEFORE, ALBERT_AFTER, MARY, MARY_SSH, MARY_SPOOF, VLANS)
