"""What comes by way of a middlebox is judged by the address it comes from (semantics G4): a group is its members'."""

from ipaddress import ip_address

import pytest

from scenarios.worlds import group, instance, interface_id, parse_packet, private_address, view, world
from stockade.model.flow import DropReason, Verdict
from stockade.policy.evaluate import evaluate

WORLD = world(
    group("web", ingress=["tcp/80 from 10.0.0.0/8"]),
    group("nat"),
    group("app", ingress=["tcp/8080 from web", "tcp/9090 from 10.0.0.17/32"]),
    instance("web"),
    instance("nat", source_dest_check=False),
    instance("app"),
)


def forwarded(source: str, port: int) -> Verdict:
    """By the middlebox, in the name of this source, to the application server."""
    packet = parse_packet(f"tcp/{port}", ip_address(source), private_address(WORLD, "app"))
    return evaluate(view(WORLD), packet, interface_id(WORLD, "nat"))


@pytest.mark.parametrize("source", ["10.0.0.17", "198.51.100.7"])
def test_a_middlebox_is_not_a_member_for_whom_it_speaks(source: str) -> None:
    assert forwarded(source, 8080).reason is DropReason.NO_INGRESS_RULE


def test_a_members_address_behind_a_middlebox_is_not_the_member() -> None:
    """The middlebox says it is the web server; only the web server's own interface is in the group."""
    assert forwarded(str(private_address(WORLD, "web")), 8080).reason is DropReason.NO_INGRESS_RULE


def test_a_rule_by_address_does_match() -> None:
    assert forwarded("10.0.0.17", 9090).passed
