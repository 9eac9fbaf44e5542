"""OVN-Kubernetes, CVE-2021-3499: with several DNS rules in an egress firewall, some were not reliably applied.

However many rules there are, of which kind and in whatever order they were written, each is in force: the union never
depends on the order, and services stay exact beside any number of rules about their addresses and ports.
"""

from dataclasses import replace
from ipaddress import ip_address
from random import Random

import pytest

from kernel.judging import KernelJudge, ruling
from scenarios.worlds import World, group, instance, interface_id, parse_packet, private_address, view, world
from security.engines import simulated
from stockade.model.flow import DropReason
from stockade.model.host_view import HostView
from stockade.policy.compile import compile_host
from stockade.policy.evaluate import evaluate

NAMES = [f"{protocol}/53 to 10.0.{place}.0/24" for place in range(12) for protocol in ("udp", "tcp")]
SPECIAL = [
    *NAMES,
    *(f"udp/53 to 169.254.169.{last}/32" for last in (252, 253, 254)),
    *("udp/123 to 0.0.0.0/0", "tcp/80 to 169.254.169.254/32", "tcp/53 to resolvers", "icmp/8 to 10.0.3.0/24"),
]
WORLD = world(group("guest", egress=SPECIAL), group("resolvers", ingress=["all from 0.0.0.0/0"]),
              instance("guest"), instance("r", "resolvers"))  # fmt: skip
PROBES = [
    *((f"10.0.{place}.9", traffic) for place in (0, 5, 11, 12) for traffic in ("udp/53", "tcp/53", "udp/54")),
    *(("169.254.169.253", traffic) for traffic in ("udp/53", "tcp/53", "udp/54", "tcp/80")),
    *(("169.254.169.254", traffic) for traffic in ("tcp/80", "udp/53")),
    *(("169.254.169.252", "udp/53"), ("10.0.3.9", "icmp/8:0"), ("10.0.4.9", "icmp/8:0"), ("9.9.9.9", "udp/123")),
]


def shuffled(chance: Random, kept: int) -> HostView:
    """The same rules with other numbers, in another order, written more than once or only some of them."""
    seen = view(WORLD)
    name = next(name for name, one in seen.groups.items() if one.name == "guest")
    rules = chance.sample(seen.groups[name].rules, kept)
    numbers = chance.sample(range(1, 10_000), kept)
    renumbered = tuple(replace(rule, number=number) for rule, number in zip(rules, numbers, strict=True))
    return replace(seen, groups={**seen.groups, name: replace(seen.groups[name], rules=renumbered)})


def outcomes(seen: HostView, of: World) -> list[DropReason]:
    datapath, sender = simulated(seen), interface_id(of, "guest")
    told = []
    for address, traffic in (*PROBES, (str(private_address(of, "r")), "tcp/53")):
        packet = parse_packet(traffic, private_address(of, "guest"), ip_address(address))
        verdict = evaluate(seen, packet, sender)
        assert datapath.judge(packet, sender) == verdict
        told.append(verdict.reason or DropReason.NONE)
    return told


@pytest.mark.parametrize("seed", range(20))
def test_the_order_of_rules_changes_nothing(seed: int) -> None:
    everything = outcomes(view(WORLD), WORLD)
    assert outcomes(shuffled(Random(f"order/{seed}"), len(SPECIAL)), WORLD) == everything
    # A way that a rule opens leads nowhere here; a way that none opens ends at the gate.
    assert set(everything) == {DropReason.NONE, DropReason.NO_ROUTE, DropReason.NO_EGRESS_RULE}


@pytest.mark.parametrize("kept", [0, 1, 2, 7, len(SPECIAL) - 1])
def test_services_are_exact_beside_any_number_of_rules(kept: int) -> None:
    seen, sender = shuffled(Random(f"kept/{kept}"), kept), interface_id(WORLD, "guest")
    for address, traffic, passes in (
        *(("169.254.169.253", "udp/53", True), ("169.254.169.253", "tcp/53", True)),
        *(("169.254.169.254", "tcp/80", True), ("169.254.169.254", "udp/53", False)),
        *(("169.254.169.252", "udp/53", False), ("169.254.169.253", "udp/54", False)),
    ):
        packet = parse_packet(traffic, private_address(WORLD, "guest"), ip_address(address))
        assert evaluate(seen, packet, sender).passed is passes
        assert simulated(seen).judge(packet, sender).passed is passes


@pytest.mark.root
@pytest.mark.xdist_group("kernel-judge")
def test_the_kernel_applies_them_all_in_any_order(judge: KernelJudge) -> None:
    sender = interface_id(WORLD, "guest")
    packets = [
        (parse_packet(traffic, private_address(WORLD, "guest"), ip_address(address)), sender)
        for address, traffic in PROBES
    ]
    for seed in range(5):
        seen = shuffled(Random(f"kernel/{seed}"), len(SPECIAL))
        judge.enforce(compile_host(seen))
        assert judge.judge_all(packets) == [ruling(evaluate(seen, packet, sender)) for packet, _ in packets]
