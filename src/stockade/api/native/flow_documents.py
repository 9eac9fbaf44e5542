"""Flow events as JSON: whom, what, and which rule or gate decided."""

from datetime import UTC
from typing import Any

from stockade.model import ports
from stockade.model.addresses import Address
from stockade.model.flow import DropReason, Gate
from stockade.model.network_interface import NetworkInterface
from stockade.model.resources import Resources
from stockade.model.traffic import traffic_text
from stockade.service.directory import Directory
from stockade.service.flows import ShownFlow
from stockade.service.rule_names import NamedRule

_NO_RULE = (DropReason.NO_EGRESS_RULE, DropReason.NO_INGRESS_RULE)


class FlowDocuments:
    """Makes them for one caller."""

    def __init__(self, resources: Resources, directory: Directory) -> None:
        self._resources = resources
        self._directory = directory

    def flow(self, flow: ShownFlow) -> dict[str, Any]:
        """One event."""
        event, packet = flow.event, flow.event.packet
        logged = self._logged_at(flow)
        typed = packet.protocol in ports.TYPED
        return {
            "number": flow.number,
            "at": event.at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "verdict": "ACCEPT" if event.passed else "REJECT",
            "source": self._side(flow.source, packet.source),
            "destination": self._side(flow.destination, packet.destination),
            "protocol": packet.protocol,
            "source_port": None if typed else packet.source_port,
            "destination_port": None if typed else packet.port,
            "icmp_type": packet.port >> 8 if typed else None,
            "icmp_code": packet.port & 0xFF if typed else None,
            "traffic": traffic_text(packet.protocol, packet.port, packet.port),
            "gate": event.gate.value,
            "reason": None if event.reason is DropReason.NONE else event.reason.name,
            "rules": {"egress": self._rule(flow.egress), "ingress": self._rule(flow.ingress)},
            "why": self._why(flow),
            "account_id": logged.account if logged is not None else None,
            "interface_id": logged.id if logged is not None else None,
            "instance_id": logged.instance if logged is not None else None,
            "subnet_id": logged.subnet if logged is not None else None,
            "vpc_id": flow.vpc.id if flow.vpc is not None else None,
            "region": flow.vpc.region if flow.vpc is not None else None,
            "direction": "egress" if logged is not None and logged is flow.source else "ingress",
        }

    def _logged_at(self, flow: ShownFlow) -> NetworkInterface | None:
        """The interface whose record this is: where it ended, if that is the caller's to see."""
        ends = (flow.source, flow.destination) if flow.event.gate is Gate.EGRESS else (flow.destination, flow.source)
        return next((one for one in ends if one is not None and self._directory.sees_account(one.account)), None)

    def _side(self, interface: NetworkInterface | None, address: Address) -> dict[str, Any]:
        document: dict[str, Any] = {"address": str(address), "name": None, "instance_id": None, "interface_id": None}
        if interface is None or not self._directory.sees_account(interface.account):
            return document
        return document | {
            "name": self._directory.name_of(interface),
            "instance_id": interface.instance,
            "interface_id": interface.id,
        }

    def _rule(self, named: NamedRule | None) -> dict[str, Any] | None:
        if named is None or not self._directory.sees_account(named.account):
            return None
        return {"rule_id": named.rule.id, "group_id": named.group, "group_name": named.group_name}

    def _why(self, flow: ShownFlow) -> str:
        event = flow.event
        if event.passed:
            deciding = [(way, named) for way, named in (("ingress", flow.ingress), ("egress", flow.egress)) if named]
            shown = [(way, named) for way, named in deciding if self._directory.sees_account(named.account)]
            if shown:
                way, named = shown[0]
                return f"{way}: {named.rule.id} of {named.group_name}"
            return "a service of the host" if not any(event.rules) else "rules of another account, or long revoked"
        if event.reason not in _NO_RULE:
            return f"{event.gate.value}: {event.reason.name.lower().replace('_', ' ')}"
        closed = flow.source if event.gate is Gate.EGRESS else flow.destination
        if closed is None or not self._directory.sees_account(closed.account):
            return f"{event.gate.value}: no match"
        names = [self._resources.groups[group].name for group in closed.groups if group in self._resources.groups]
        return f"{event.gate.value}: no match in {', '.join(names)}"
