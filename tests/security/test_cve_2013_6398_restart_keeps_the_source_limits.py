"""CloudStack, CVE-2013-6398: after a restart of the virtual router, rules had lost their source limits.

The process that enforces goes and comes back: what the kernel holds is the same bit for bit, what it lets through is
the same before, meanwhile and after, and there is nothing to apply anew. Also through the agent's own file.
"""

import json
from collections.abc import Iterator
from ipaddress import IPv4Address

import pytest

from kernel.ebpf_host import EbpfHost, Guest
from kernel.policies import guests_of, policy_of
from scenarios.worlds import group, instance, private_address, view, world
from stockade.agent.view_file import whole_frame
from stockade.datapath.ebpf import syscall
from stockade.datapath.ebpf.maps import Map
from stockade.model.host_view import Frame, HostView, apply_frame
from stockade.model.plain import from_plain, to_plain
from stockade.policy.compile import compile_host

WORLD = world(
    group("limited", ingress=["tcp/80 from 10.0.0.17/32", "tcp/81 from friends", "tcp/82 from 10.0.0.16/31"]),
    group("friends"),
    group("strangers"),
    instance("guarded", "limited"),
    instance("friend", "friends"),
    instance("stranger", "strangers"),
)
LIMITS = {("friend", 80): True, ("friend", 81): True, ("friend", 82): True}
LIMITS |= {("stranger", port): False for port in (80, 81, 82)}
POLICY_MAPS = ("endpoints", "members", "members6", "prefixes", "prefixes6", "intervals", "rule_sets")


@pytest.fixture
def host() -> Iterator[EbpfHost]:
    with EbpfHost() as made:
        yield made


@pytest.fixture
def guests(host: EbpfHost) -> dict[str, Guest]:
    made = guests_of(host, WORLD)
    host.datapath.apply(policy_of(WORLD))
    for port in (80, 81, 82):
        made["guarded"].listen(port)
    return made


def opened(guests: dict[str, Guest]) -> dict[tuple[str, int], bool]:
    to = str(private_address(WORLD, "guarded"))
    return {(name, port): guests[name].can_connect(to, port) for name, port in LIMITS}


def contents(host: EbpfHost) -> dict[str, object]:
    """Every map of policy that there is, byte for byte."""

    def read() -> dict[str, object]:
        found: dict[str, object] = {}
        for pin in sorted(host.settings.pins.iterdir()):
            if pin.name in POLICY_MAPS:
                table = Map(pin.name, syscall.open_pinned(str(pin)))
                found[pin.name] = {bytes(key): table.get(key) for key in table}
                table.close()
        return found

    return dict(host.run(read))


@pytest.mark.root
@pytest.mark.xdist_group("kernel-restart")
def test_limits_hold_before_during_and_after_a_restart(host: EbpfHost, guests: dict[str, Guest]) -> None:
    assert opened(guests) == LIMITS
    before = contents(host)
    assert len(before) >= 2
    host.datapath.close()
    assert opened(guests) == LIMITS
    host.datapath = host.start()
    assert contents(host) == before
    assert host.datapath.observe() == policy_of(WORLD)
    assert host.datapath.apply(policy_of(WORLD)).steps == 0
    assert contents(host) == before
    assert opened(guests) == LIMITS


def test_the_agents_own_file_keeps_every_limit() -> None:
    seen = view(WORLD)
    text = json.dumps(to_plain(whole_frame(seen), Frame))
    again = apply_frame(HostView(seen.host), from_plain(json.loads(text), Frame))
    assert compile_host(again) == compile_host(seen)
    blocks = {str(block) for rules in compile_host(again).rule_sets.values() for block in rules.ingress.prefixes}
    assert blocks == {"10.0.0.17/32", "10.0.0.16/31"}
    assert IPv4Address("10.0.0.17") == private_address(WORLD, "friend")
