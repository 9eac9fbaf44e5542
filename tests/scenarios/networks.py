"""Where packets may go at all: several networks with equal addresses, services, forged and odd addresses."""

from scenarios.worlds import PASS, group, instance, scenario, world
from stockade.model.flow import DropReason

NO_IN = DropReason.NO_INGRESS_RULE
SPOOFED = DropReason.SPOOFED_ADDRESS

TENANTS = scenario(
    "two tenants with the same addresses never meet",
    world(
        group("mine", ingress=["all from mine", "tcp/80 from 198.18.0.0/16"]),
        group("yours", ingress=["all from yours"]),
        instance("m1", "mine", network="mine"),
        instance("m2", "mine", network="mine"),
        instance("y1", "yours", network="yours"),
        instance("y2", "yours", network="yours"),
        instance("hidden", "yours", network="yours", public=False),
        instance("old", "mine"),
    ),
    [
        ("m1", "m2", "tcp/22", PASS),
        ("y1", "y2", "tcp/22", PASS),
        ("y1", "public m1", "tcp/80", PASS),
        ("y1", "public m1", "tcp/22", NO_IN),
        ("m1", "public m2", "tcp/22", NO_IN),
        ("m1", "public m2", "tcp/80", PASS),
        ("old", "public m2", "tcp/80", PASS),
        ("old", "public m2", "tcp/22", NO_IN),
        ("old", "172.31.0.16", "tcp/80", DropReason.NO_ROUTE),
        ("m1", "10.0.0.16", "tcp/80", DropReason.NO_ROUTE),
        ("hidden", "public m1", "tcp/80", DropReason.NO_PUBLIC_ADDRESS),
        ("hidden", "y1", "tcp/80", PASS),
        ("172.31.0.16", "m1", "tcp/80", SPOOFED),
        ("198.18.1.2", "m1", "tcp/80", SPOOFED),
        ("172.31.0.40", "m1", "tcp/80", NO_IN),
    ],
)

SERVICES = scenario(
    "the host's services are exact",
    world("web", ingress=["all from 0.0.0.0/0"], egress=[]),
    [
        ("web", "169.254.169.254", "tcp/80", PASS),
        ("web", "169.254.169.253", "udp/53", PASS),
        ("web", "169.254.169.253", "tcp/53", PASS),
        ("web", "169.254.169.254", "tcp/81", DropReason.NO_ROUTE),
        ("web", "169.254.169.254", "udp/80", DropReason.NO_ROUTE),
        ("web", "169.254.169.254", "icmp/8:0", DropReason.NO_ROUTE),
        ("web", "169.254.169.253", "tcp/80", DropReason.NO_ROUTE),
        ("web", "169.254.1.1", "udp/53", DropReason.NO_ROUTE),
        ("web as 10.9.9.9", "169.254.169.254", "tcp/80", SPOOFED),
        ("web as 169.254.169.254", "169.254.169.253", "udp/53", DropReason.FOREIGN_REPLY),
        ("169.254.169.254", "web", "tcp/80", DropReason.FOREIGN_REPLY),
        ("web", "public web", "tcp/80", DropReason.NO_EGRESS_RULE),
    ],
)

FORGED = scenario(
    "forged sources and destinations for many",
    world("web", instance("peer", "web"), ingress=["all from 0.0.0.0/0"]),
    [
        ("web", "peer", "tcp/80", PASS),
        ("web as 10.0.0.17", "peer", "tcp/80", SPOOFED),
        ("web as 0.0.0.0", "peer", "tcp/80", SPOOFED),
        ("web as 127.0.0.1", "peer", "tcp/80", SPOOFED),
        ("web as 224.0.0.1", "peer", "tcp/80", SPOOFED),
        ("web", "224.0.0.251", "udp/5353", DropReason.MULTICAST),
        ("web", "255.255.255.255", "udp/67", DropReason.MULTICAST),
        ("web", "10.255.255.255", "udp/9", DropReason.NO_ROUTE),
        ("127.0.0.1", "web", "tcp/80", SPOOFED),
        ("224.0.0.1", "web", "udp/80", SPOOFED),
    ],
)

SCENARIOS = (TENANTS, SERVICES, FORGED)
