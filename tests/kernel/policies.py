"""Policies for guests of an EbpfHost, compiled from worlds by the product's own compiler."""

from collections.abc import Mapping, Sequence

from kernel.ebpf_host import EbpfHost, Guest
from scenarios.worlds import World, interface_id, private_address, view
from stockade.policy.compile import compile_host
from stockade.policy.entries import HostPolicy


def guests_of(host: EbpfHost, world: World) -> dict[str, Guest]:
    """A guest for each instance of the world, by its name, attached and up."""
    found = {}
    for number, guest in enumerate(world.guests, start=1):
        network = "10.0.0.0/8" if guest.network == "classic" else "172.31.0.0/16"
        found[guest.name] = host.add_guest(
            number, str(private_address(world, guest.name)), network=network, interface=interface_id(world, guest.name)
        )
    return found


def policy_of(world: World, without_rules: Sequence[str] = ()) -> HostPolicy:
    return compile_host(view(world, without_rules))


def rules_hit(host: EbpfHost) -> Mapping[int, int]:
    """Packets of each rule."""
    return {number: hits.packets for number, hits in host.datapath.counters().rules.items()}
