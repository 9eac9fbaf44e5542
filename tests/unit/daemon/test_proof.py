"""The part of the packet proof that needs no kernel: the world it makes has exactly the verdicts it claims."""

from ipaddress import IPv4Address

from stockade.daemon import proof
from stockade.model.flow import DropReason, Packet
from stockade.model.host_view import HostView
from stockade.model.ids import HostId, NetworkInterfaceId, SecurityGroupId
from stockade.model.ports import UDP
from stockade.policy.evaluate import evaluate

SENDER = proof._Actor(
    NetworkInterfaceId("eni-00000001"), 1, IPv4Address("192.0.2.1"), SecurityGroupId("sg-00000001"), "pa"
)
RECEIVER = proof._Actor(
    NetworkInterfaceId("eni-00000002"), 2, IPv4Address("192.0.2.2"), SecurityGroupId("sg-00000002"), "pb"
)
VIEW = proof._with_actors(HostView(HostId("h")), SENDER, RECEIVER)


def test_the_oracle_passes_one_port_and_refuses_the_other() -> None:
    allowed = evaluate(VIEW, Packet(SENDER.address, RECEIVER.address, UDP, proof._ALLOWED), SENDER.interface)
    refused = evaluate(VIEW, Packet(SENDER.address, RECEIVER.address, UDP, proof._REFUSED), SENDER.interface)
    assert allowed.passed
    assert refused.reason is DropReason.NO_INGRESS_RULE
