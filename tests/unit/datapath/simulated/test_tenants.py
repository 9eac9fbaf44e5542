"""Two tenants with the same addresses talk at the same time, and a third party listens in on neither."""

from dataclasses import replace

import pytest

from kernel.judging import KernelJudge
from netns.frames import TCP, tcp
from scenarios.worlds import group, instance, world
from security.wire import PASSED, Wire, packet
from stockade.model.host_view import HostView

ACK = 0x10
CLIENT = group("client", egress=["all to 0.0.0.0/0", "all to ::/0"])
SERVER = group("server", ingress=["tcp/80 from client"], egress=[])
TENANTS = world(
    CLIENT,
    SERVER,
    *(instance(f"client-{tenant}", "client", network=tenant) for tenant in ("mine", "yours")),
    *(instance(f"server-{tenant}", "server", network=tenant) for tenant in ("mine", "yours")),
    instance("router", "client", network="mine", source_dest_check=False),
)


def without_rules(seen: HostView) -> HostView:
    return replace(seen, groups={name: replace(one, rules=()) for name, one in seen.groups.items()})


def frame(wire: Wire, tenant: str, flags: int, mac: str = "") -> bytes:
    """Of the one connection that both tenants have, by address and port; the MACs differ."""
    me, to = wire.face(f"client-{tenant}"), wire.face(f"server-{tenant}")
    return packet(me.four, to.four, TCP, tcp(me.four, to.four, 1024, 80, flags), mac or me.mac)


def two_conversations(wire: Wire) -> None:
    assert wire.face("client-mine").four == wire.face("client-yours").four
    for tenant in ("mine", "yours"):
        assert wire.send(frame(wire, tenant, 0x02), f"client-{tenant}") == PASSED
    wire.change(without_rules(wire.seen))
    for tenant in ("mine", "yours", "mine"):  # each goes on by its own entry: rules let nothing through any more
        assert wire.send(frame(wire, tenant, ACK), f"client-{tenant}") == PASSED
    # A SYN only looks like the old connection: it is judged.
    assert wire.send(frame(wire, "mine", 0x02), "client-mine") == "NO_EGRESS_RULE"


def a_third_party(wire: Wire) -> None:
    """A router may use the client's address, but neither its flow nor its group."""
    assert wire.send(frame(wire, "mine", 0x02), "client-mine") == PASSED
    router = wire.face("router")
    for flags in (ACK, 0x02, 0x04, 0x11):
        assert wire.send(frame(wire, "mine", flags, router.mac), "router") == "NO_INGRESS_RULE"
    assert wire.send(frame(wire, "mine", ACK), "client-mine") == PASSED


def test_equal_addresses_of_two_tenants_are_two_flows() -> None:
    two_conversations(Wire(TENANTS))


def test_who_may_use_the_address_is_no_party_to_the_flow() -> None:
    a_third_party(Wire(TENANTS))


@pytest.mark.root
@pytest.mark.xdist_group("kernel-judge")
def test_the_same_in_the_kernel() -> None:
    with KernelJudge() as judge:
        two_conversations(Wire(TENANTS, judge))
        a_third_party(Wire(TENANTS, judge))
