"""Neutron's Open vSwitch firewall, CVE-2021-20267: neighbour advertisements for another's IPv6 address were let out,
so an instance could draw its neighbours' traffic to itself.

The whole matrix of neighbour and router messages by source, target, claimed MAC and hop limit: none is ever passed on
to anybody, what is not true of the sender is dropped and counted, and router messages are nobody's to send.
"""

import pytest

from kernel.judging import KernelJudge
from security.neighbour_matrix import (
    ADVERTISE,
    ADVERTISE_ROUTER,
    REDIRECT,
    SOLICIT,
    SOLICIT_ROUTER,
    WORLD,
    is_honest,
    messages,
)
from security.wire import IGNORED, PASSED, Wire

ALL = (SOLICIT_ROUTER, ADVERTISE_ROUTER, SOLICIT, ADVERTISE, REDIRECT)


def holds(wire: Wire, kind: int) -> None:
    own = wire.face("attacker").mac
    told = {said: wire.send(said.frame(own), "attacker") for said in messages(wire, (kind,))}
    refused = {said for said, what in told.items() if what not in (PASSED, IGNORED)}
    assert refused == {said for said in told if not is_honest(wire, said)}
    # The one thing that is answered, by the router itself, is the question for somebody else's address.
    answered = {said for said, what in told.items() if what == PASSED}
    assert all(said.kind == SOLICIT and said.target != str(wire.face("attacker").six) for said in answered)


@pytest.mark.parametrize("kind", ALL)
def test_an_instance_speaks_for_itself_alone(kind: int) -> None:
    holds(Wire(WORLD), kind)


@pytest.mark.parametrize("kind", [ADVERTISE_ROUTER, REDIRECT])
def test_router_messages_are_nobodys(kind: int) -> None:
    wire = Wire(WORLD)
    own = wire.face("attacker").mac
    assert {wire.send(said.frame(own), "attacker") for said in messages(wire, (kind,))} == {"FOREIGN_REPLY"}


@pytest.mark.root
@pytest.mark.xdist_group("kernel-judge")
@pytest.mark.parametrize("kind", ALL)
def test_the_same_in_the_kernel(judge: KernelJudge, kind: int) -> None:
    holds(Wire(WORLD, judge), kind)
