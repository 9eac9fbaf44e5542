from ipaddress import IPv4Address, IPv4Network, IPv6Address

from stockade.instances.network.names import Names
from stockade.instances.network.services import Services
from stockade.model.change import Revision
from stockade.model.host_view import Frame, HostView, ViewGroup, apply_frame
from stockade.model.ids import HostId, NetworkInterfaceId
from unit.instances.subjects import GROUP, instance, interface

FIRST, SECOND = IPv4Address("100.64.0.1"), IPv4Address("100.64.0.2")
ONE, TWO = interface(1), interface(2)


class Datapath:
    """Which service address each attached interface has."""

    def __init__(self) -> None:
        self.attached: dict[NetworkInterfaceId, IPv4Address] = {}

    def __call__(self, interface: NetworkInterfaceId) -> IPv4Address | None:
        return self.attached.get(interface)


def services(datapath: Datapath, *items: object) -> Services:
    made = Services(names=Names(), public_pool=IPv4Network("198.18.0.0/16"), service_address=datapath)
    made.view_changed(view(*items))
    return made


def view(*items: object) -> HostView:
    return apply_frame(HostView(HostId("h")), Frame(Revision(1), put=items))  # type: ignore[arg-type]


def test_the_source_tells_who_asks() -> None:
    datapath = Datapath()
    datapath.attached = {ONE.id: FIRST, TWO.id: SECOND}
    made = services(datapath, ONE, TWO, instance(1), instance(2))
    found = made.subject_of(SECOND)
    assert found is not None
    assert found.instance.id == "i-01000002"


def test_a_source_that_nobody_has_is_nobody() -> None:
    assert services(Datapath(), ONE, instance(1)).subject_of(FIRST) is None


def test_an_address_given_out_again_is_the_new_one() -> None:
    datapath = Datapath()
    datapath.attached = {ONE.id: FIRST}
    made = services(datapath, ONE, TWO, instance(1), instance(2))
    assert made.subject_of(FIRST) is not None
    datapath.attached = {TWO.id: FIRST}
    found = made.subject_of(FIRST)
    assert found is not None
    assert found.instance.id == "i-01000002"


def test_an_instance_that_left_the_view_is_nobody() -> None:
    datapath = Datapath()
    datapath.attached = {ONE.id: FIRST}
    made = services(datapath, ONE, instance(1))
    assert made.subject_of(FIRST) is not None
    made.view_changed(view())
    assert made.subject_of(FIRST) is None


def test_group_names_come_from_the_view() -> None:
    datapath = Datapath()
    datapath.attached = {ONE.id: FIRST}
    found = services(datapath, ONE, instance(1), ViewGroup(GROUP, "web", ())).subject_of(FIRST)
    assert found is not None
    assert found.group_names == {GROUP: "web"}


def test_a_public_address_leads_to_the_private_one_in_the_askers_network_only() -> None:
    datapath = Datapath()
    elsewhere = interface(2, vpc=2)
    datapath.attached = {ONE.id: FIRST, elsewhere.id: SECOND}
    made = services(datapath, ONE, elsewhere, instance(1), instance(2))
    assert made.private_of(FIRST, IPv4Address("198.18.0.1")) == IPv4Address("10.0.0.1")
    assert made.private_of(FIRST, IPv4Address("198.18.0.2")) is None
    assert made.private_of(SECOND, IPv4Address("198.18.0.2")) == IPv4Address("10.0.0.2")


def test_addresses_are_found_by_any_of_them_and_by_instance_in_the_askers_network_only() -> None:
    datapath = Datapath()
    six = IPv6Address("fd00:1::1")
    both = interface(1, addresses=(IPv4Address("10.0.0.1"), six))
    elsewhere = interface(2, vpc=2)
    datapath.attached = {both.id: FIRST, elsewhere.id: SECOND}
    made = services(datapath, both, elsewhere, instance(1), instance(2))
    assert both.instance is not None
    assert made.addresses_of(FIRST, both.instance) == both.addresses
    assert made.addresses_of(FIRST, IPv4Address("10.0.0.1")) == both.addresses
    assert made.owner_of(FIRST, six) == IPv4Address("10.0.0.1")
    assert made.addresses_of(SECOND, both.instance) == ()
    assert made.owner_of(SECOND, six) is None
    assert made.owner_of(FIRST, IPv6Address("fd00:1::2")) is None


def test_answers_follow_addresses_that_go_from_one_to_another() -> None:
    datapath = Datapath()
    datapath.attached = {ONE.id: FIRST, TWO.id: SECOND}
    made = services(datapath, ONE, TWO)
    public = IPv4Address("198.18.0.1")
    taken = interface(2, public=public, addresses=(IPv4Address("10.0.0.9"),))
    for items in ((ONE, taken), (interface(1, public=None), taken)):  # told one after the other
        made.view_changed(view(*items))
        assert made.private_of(FIRST, public) == IPv4Address("10.0.0.9")
    assert made.addresses_of(FIRST, IPv4Address("10.0.0.2")) == ()
    assert made.private_of(FIRST, IPv4Address("198.18.0.2")) is None
    made.view_changed(view(ONE))
    assert made.private_of(FIRST, public) == IPv4Address("10.0.0.1")


def test_an_instance_is_called_by_its_private_name() -> None:
    assert services(Datapath()).hostname(ONE) == "ip-10-0-0-1.stockade.internal"
