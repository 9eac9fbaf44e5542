"""Neutron's Open vSwitch firewall, CVE-2019-10876: overlapping port ranges in two groups raised a KeyError, and no
further port of that host could be configured.

Ranges by chance in several groups of one interface, added and removed in every order: nothing fails, what is enforced
never depends on the order, and each port is open exactly when some rule of some group covers it.
"""

from dataclasses import replace
from ipaddress import ip_address
from itertools import permutations
from random import Random

import pytest

from kernel.judging import KernelJudge, ruling
from scenarios.worlds import World, group, instance, interface_id, parse_packet, public_address, view, world
from security.engines import simulated
from stockade.model.flow import DropReason
from stockade.model.host_view import HostView
from stockade.policy.compile import Compiler, compile_host
from stockade.policy.evaluate import evaluate

OUTSIDER = ip_address("198.51.100.7")
PORTS = (0, 19, 20, 21, 22, 23, 24, 25, 26, 29, 30, 31, 65535)


def ranges_by_chance(chance: Random) -> tuple[list[str], list[str]]:
    """Rules of two groups: apart, touching, nested, equal, overlapping."""
    drawn = [sorted(chance.choice(PORTS) for _ in range(2)) for _ in range(6)]
    texts = [f"{chance.choice(('tcp', 'udp'))}/{low}-{high} from 0.0.0.0/0" for low, high in drawn]
    return texts[:3], texts[3:]


def two_groups(one: list[str], other: list[str]) -> World:
    return world(group("one", ingress=one), group("other", ingress=other), instance("guest", "one", "other"))


def open_ports(seen: HostView, of: World) -> set[str]:
    datapath, found = simulated(seen), set()
    for protocol in ("tcp", "udp"):
        for port in PORTS:
            packet = parse_packet(f"{protocol}/{port}", OUTSIDER, public_address(of, "guest"))
            verdict = datapath.judge(packet, None)
            assert verdict == evaluate(seen, packet, None)
            found |= {f"{protocol}/{port}"} if verdict.passed else set()
    return found


def covered(texts: list[str]) -> set[str]:
    """Straight from the text of the rules."""
    found = set()
    for text in texts:
        protocol, _, bounds = text.split(" ")[0].partition("/")
        low, high = map(int, bounds.split("-"))
        found |= {f"{protocol}/{port}" for port in PORTS if low <= port <= high}
    return found


@pytest.mark.parametrize("seed", range(40))
def test_a_port_is_open_when_any_range_of_any_group_covers_it(seed: int) -> None:
    one, other = ranges_by_chance(Random(f"ranges/{seed}"))
    made = two_groups(one, other)
    assert open_ports(view(made), made) == covered(one + other)


@pytest.mark.parametrize("seed", range(8))
def test_the_order_of_adding_and_removing_leaves_no_trace(seed: int) -> None:
    one, other = ranges_by_chance(Random(f"orders/{seed}"))
    made = two_groups(one, other)
    whole = view(made)
    names = list(whole.groups)
    compiler = Compiler()
    for order in permutations(range(3)):
        for step in range(len(order) + 1):
            kept = set(order[:step])
            groups = {
                name: replace(whole.groups[name], rules=tuple(
                    rule for place, rule in enumerate(whole.groups[name].rules) if place in kept or place >= 3
                ))
                for name in names
            }  # fmt: skip
            seen = replace(whole, groups=groups)
            assert compiler(seen) == compile_host(seen)
        for name in names:  # and away again, group by group
            seen = replace(seen, groups={**seen.groups, name: replace(seen.groups[name], rules=())})
            assert compiler(seen) == compile_host(seen)
        assert open_ports(seen, made) == set()


@pytest.mark.root
@pytest.mark.xdist_group("kernel-judge")
def test_the_kernel_opens_the_same_ports(judge: KernelJudge) -> None:
    for seed in range(6):
        one, other = ranges_by_chance(Random(f"kernel/{seed}"))
        made = two_groups(one, other)
        seen = view(made)
        judge.enforce(compile_host(seen))
        texts = [f"{protocol}/{port}" for protocol in ("tcp", "udp") for port in PORTS]
        packets = [(parse_packet(text, OUTSIDER, public_address(made, "guest")), None) for text in texts]
        given = judge.judge_all(packets)
        assert given == [ruling(evaluate(seen, packet, None)) for packet, _ in packets]
        passed = {text for text, told in zip(texts, given, strict=True) if told.reason is DropReason.NONE}
        assert passed == covered(one + other)
        assert interface_id(made, "guest") in judge.datapath.observe().endpoints
