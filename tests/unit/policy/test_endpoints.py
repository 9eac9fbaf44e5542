"""An endpoint is its interface, switch for switch: what the compiler drops, no datapath can know."""

from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from scenarios.worlds import instance, interface_id, view, world
from stockade.model.tracking import ConnectionTracking
from stockade.policy.compile import compile_host
from stockade.policy.entries import Endpoint

WORLD = world("web", instance("other", "web", network="vpc", source_dest_check=False))


def endpoint(name: str, **changed: object) -> Endpoint:
    seen = view(WORLD)
    interface = replace(seen.interfaces[interface_id(WORLD, name)], **changed)  # type: ignore[arg-type]
    return compile_host(replace(seen, interfaces={**seen.interfaces, interface.id: interface})).endpoints[interface.id]


@pytest.mark.parametrize("name", ["web", "other"])
@pytest.mark.parametrize("switch", ["source_dest_check", "classic", "public6"])
@pytest.mark.parametrize("way", [True, False])
def test_every_switch_is_passed_on(name: str, switch: str, way: bool) -> None:
    assert getattr(endpoint(name, **{switch: way}), switch) is way


def test_timers_cuts_resolver_and_whose_device_it_is_are_passed_on() -> None:
    timers = ConnectionTracking(tcp_established=350)
    resolver = IPv4Address("10.0.0.2")
    made = endpoint("web", tracking=timers, cuts=3, resolver=resolver, device="veth-theirs")
    assert (made.tracking, made.cuts, made.resolver, made.filtered) == (timers, 3, resolver, True)
    assert not endpoint("web").filtered


@pytest.mark.parametrize("vpc", [1, 2, 77])
def test_its_network_is_the_interfaces(vpc: int) -> None:
    assert endpoint("other", vpc=vpc).vpc == vpc
