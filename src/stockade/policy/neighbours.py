"""ARP and IPv6 neighbour discovery of an interface: what it says must be true, what it asks is answered here.

Everything but itself lives at the router's MAC, so nothing of the kind is ever passed on.
"""

from ipaddress import IPv6Network

from stockade.model.addresses import covers
from stockade.model.flow import DropReason, Gate, Hop, Verdict
from stockade.model.host_view import ViewInterface
from stockade.policy.dissect import ADVERTISES, ADVERTISES_ROUTER, REDIRECTS, SOLICITS, SOLICITS_ROUTER, Neighbour

LINK = IPv6Network("fe80::/10")


def judge_neighbour(own: ViewInterface, said: Neighbour) -> Verdict:
    """Passed: answered. DropReason.NONE: heard and left at that."""
    forged = _forged_arp(own, said) if said.sender.version == 4 else _forged_discovery(own, said)
    if forged is not None:
        return Verdict((Hop(Gate.SPOOF, own.id, reason=forged),))
    asks = said.type == SOLICITS and said.target not in own.addresses
    if asks and (said.sender.version == 4 or not said.sender.is_unspecified):
        return Verdict((Hop(Gate.SPOOF, own.id, rule=0),))
    return Verdict((Hop(Gate.SPOOF, own.id, reason=DropReason.NONE),))


def _forged_arp(own: ViewInterface, said: Neighbour) -> DropReason | None:
    if {said.source_mac, *said.claims} != {own.mac}:
        return DropReason.SPOOFED_ARP
    foreign = not said.sender.is_unspecified and said.sender not in own.addresses
    return DropReason.SPOOFED_ARP if foreign and own.source_dest_check else None


def _forged_discovery(own: ViewInterface, said: Neighbour) -> DropReason | None:
    if said.source_mac != own.mac:
        return DropReason.SPOOFED_MAC
    if said.type in (ADVERTISES_ROUTER, REDIRECTS):
        return DropReason.FOREIGN_REPLY
    if said.type == SOLICITS_ROUTER:
        return None
    strange = said.target is None or said.hop_limit != 255 or said.is_strange or said.claims - {own.mac}
    foreign = not said.sender.is_unspecified and not covers(LINK, said.sender) and said.sender not in own.addresses
    about_others = said.type == ADVERTISES and (
        said.target is None or (not covers(LINK, said.target) and said.target not in own.addresses)
    )
    return DropReason.SPOOFED_ARP if strange or foreign or about_others else None
