"""ARP and neighbour discovery of an endpoint. The slow spelling of bpf/neighbour.h."""

from ipaddress import IPv6Network

from stockade.model.addresses import Address, covers
from stockade.model.flow import DropReason
from stockade.policy.dissect import ADVERTISES, ADVERTISES_ROUTER, REDIRECTS, SOLICITS, SOLICITS_ROUTER, Neighbour
from stockade.policy.entries import Endpoint

LINK = IPv6Network("fe80::/10")


def refused_neighbour(self: Endpoint, said: Neighbour) -> DropReason | None:
    """Why this may not be said. A discovery message with a foreign MAC has been refused before."""
    if said.sender.version == 4:
        owned = said.sender.is_unspecified or said.sender in self.addresses or not self.source_dest_check
        return None if owned and said.source_mac == self.mac and said.claims <= {self.mac} else DropReason.SPOOFED_ARP
    if said.source_mac != self.mac:
        return DropReason.SPOOFED_MAC
    if said.type in (ADVERTISES_ROUTER, REDIRECTS):
        return DropReason.FOREIGN_REPLY
    if said.type == SOLICITS_ROUTER and not self.filtered:
        return None
    if said.hop_limit != 255 or said.is_strange or not said.claims <= {self.mac}:
        return DropReason.SPOOFED_ARP
    honest = said.sender.is_unspecified or _is_own(self, said.sender)
    if said.type != SOLICITS_ROUTER:
        honest = honest and said.target is not None and (said.type != ADVERTISES or _is_own(self, said.target))
    return None if honest else DropReason.SPOOFED_ARP


def is_answered(self: Endpoint, said: Neighbour) -> bool:
    """Everything but itself lives at the router's MAC; probes for its own addresses get no answer."""
    probes = said.sender.version == 6 and said.sender.is_unspecified
    return said.type == SOLICITS and said.target not in self.addresses and not probes


def _is_own(self: Endpoint, address: Address) -> bool:
    return covers(LINK, address) or address in self.addresses
