"""Policies for guests of an EbpfHost, compiled from worlds by the product's own compiler."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv6Address, IPv6Network

from kernel.ebpf_host import EbpfHost, Guest
from scenarios.worlds import World, interface_id, private_address, public_address, view
from stockade.model.host_view import HostView
from stockade.policy.compile import compile_host
from stockade.policy.entries import HostPolicy


def private_address6(world: World, name: str) -> IPv6Address:
    """As `private_address` counts, in a network of its own for each VPC."""
    network = next(each.network for each in world.guests if each.name == name)
    number = world.networks.index(network) + 1
    return IPv6Network(f"2001:db8:5c:{number}::/64")[int(private_address(world, name)) & 0xFFFF]


def own_address(world: World, name: str, family: int) -> str:
    """Where its neighbours find it."""
    return str(private_address(world, name) if family == 4 else private_address6(world, name))


def outer_address(world: World, name: str, family: int) -> str:
    """Where others find it: translated, or over IPv6 as it is."""
    return str(public_address(world, name) if family == 4 else private_address6(world, name))


def dual_view(world: World, without_rules: Sequence[str] = ()) -> HostView:
    """The world's view, and everybody has an IPv6 address beside; whoever has a public address is met by it."""
    seen = view(world, without_rules)
    own = {interface_id(world, each.name): private_address6(world, each.name) for each in world.guests}
    return replace(
        seen,
        members={name: replace(each, addresses=(*each.addresses, own[name])) for name, each in seen.members.items()},
        interfaces={
            name: replace(each, addresses=(*each.addresses, own[name]), public6=each.public is not None)
            for name, each in seen.interfaces.items()
        },
    )


def guests_of(host: EbpfHost, world: World) -> dict[str, Guest]:
    """A guest for each instance of the world, by its name, attached and up, with addresses of both families."""
    found = {}
    for number, guest in enumerate(world.guests, start=1):
        network = "10.0.0.0/8" if guest.network == "classic" else "172.31.0.0/16"
        found[guest.name] = host.add_guest(
            number,
            str(private_address(world, guest.name)),
            network=network,
            interface=interface_id(world, guest.name),
            address6=str(private_address6(world, guest.name)),
        )
    return found


def policy_of(world: World, without_rules: Sequence[str] = ()) -> HostPolicy:
    return compile_host(dual_view(world, without_rules))


def rules_hit(host: EbpfHost) -> Mapping[int, int]:
    """Packets of each rule."""
    return {number: hits.packets for number, hits in host.datapath.counters().rules.items()}
