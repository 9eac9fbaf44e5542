"""A Terraform plan (`terraform show -json`) as described rules.

A plan has what will be, but not the ids of what is not made yet. There, the configuration says which resource an
attribute refers to, and a resource's address stands for its id.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_address
from typing import Any

from stockade.model.addresses import parse_cidr
from stockade.model.errors import ParameterInvalid
from stockade.model.ids import AccountId, PrefixListId, SecurityGroupId
from stockade.model.rule import CidrPeer, Direction, GroupPeer, Peer, PrefixListPeer
from stockade.service.described import READER, Described, Grant, Guest

_GROUPS = ("aws_security_group", "aws_default_security_group")
_LISTS = ("aws_ec2_managed_prefix_list",)
_NETWORKS = ("aws_vpc", "aws_default_vpc")
_WAYS = {"ingress": Direction.INGRESS, "egress": Direction.EGRESS}
_GENERATED = IPv6Network("2001:db8:5c::/56")


@dataclass(frozen=True, slots=True)
class Planned:
    """A resource as it will be. `refers` gives the references of its configuration, attribute by attribute."""

    address: str
    kind: str
    index: str  # of count or for_each, as the address ends with it
    module: str
    values: Mapping[str, Any]
    expressions: Mapping[str, Any]


def is_plan(document: Mapping[str, Any]) -> bool:
    """Whether it is what Terraform (or OpenTofu) shows of a plan or of its state."""
    return "planned_values" in document or ("terraform_version" in document and "values" in document)


def read_plan(document: Mapping[str, Any], found: Described) -> None:
    """Its groups, rules, instances and prefix lists. Raises InvalidInput."""
    values = document.get("planned_values") or document.get("values") or {}
    root = (document.get("configuration") or {}).get("root_module") or {}
    resources = list(_resources(values.get("root_module") or {}, root, ""))
    plan = _Plan(resources)
    for one in resources:
        if one.kind in _NETWORKS:
            _network(one, plan, found)
        elif one.kind in _LISTS:
            blocks = [parse_cidr(entry["cidr"]) for entry in one.values.get("entry") or ()]
            found.lists[plan.id_of(one)] = (str(one.values.get("name") or one.address), blocks)
        elif one.kind in _GROUPS:
            _group(one, plan, found)
    for one in resources:
        if one.kind == "aws_security_group_rule":
            _rule(one, plan, found)
        elif one.kind in ("aws_vpc_security_group_ingress_rule", "aws_vpc_security_group_egress_rule"):
            _single_rule(one, plan, found)
        elif one.kind == "aws_instance":
            _instance(one, plan, found)


class _Plan:
    """Which resource an attribute means."""

    def __init__(self, resources: Sequence[Planned]) -> None:
        self._resources = resources

    def id_of(self, one: Planned) -> str:
        """Its own id where it has one already, else one that its address gives."""
        known = one.values.get("id")
        prefix = "pl" if one.kind in _LISTS else "vpc" if one.kind in _NETWORKS else "sg"
        return str(known) if known else f"{prefix}-{one.address}"

    def ids(
        self, one: Planned, attribute: str, kinds: Sequence[str], value: Any = None, expression: Any = None
    ) -> list[str]:
        """The ids that the attribute holds: those known, and those of the resources that it refers to."""
        told = one.values.get(attribute) if value is None else value
        known = [str(item) for item in (told if isinstance(told, list) else [told]) if item]
        written = one.expressions.get(attribute) if expression is None else expression
        referred = [self.id_of(other) for other in self._referred(one, written, kinds)]
        return list(dict.fromkeys(known + referred))

    def _referred(self, one: Planned, expression: Any, kinds: Sequence[str]) -> Iterator[Planned]:
        references = expression.get("references", ()) if isinstance(expression, Mapping) else ()
        for other in self._resources:
            if other.kind not in kinds or other.module != one.module:
                continue
            bare = other.address.removeprefix(f"{other.module}.").removesuffix(other.index)
            for reference in references:
                named = reference.removesuffix(".id")
                if named == bare + other.index or (named == bare and other.index in ("", one.index)):
                    yield other
                    break


def _resources(module: Mapping[str, Any], configuration: Mapping[str, Any], path: str) -> Iterator[Planned]:
    written = {one["address"]: one.get("expressions") or {} for one in configuration.get("resources") or ()}
    for one in module.get("resources") or ():
        if one.get("mode") == "data":
            continue
        address = str(one["address"])
        bare = f"{one['type']}.{one['name']}"
        index = address[address.index(bare) + len(bare) :]
        yield Planned(address, str(one["type"]), index, path, one.get("values") or {}, written.get(bare) or {})
    calls = configuration.get("module_calls") or {}
    for child in module.get("child_modules") or ():
        place = str(child["address"])
        name = place.removeprefix(f"{path}.").removeprefix("module.").partition("[")[0]
        yield from _resources(child, (calls.get(name) or {}).get("module") or {}, place)


def _network(one: Planned, plan: _Plan, found: Described) -> None:
    block6 = one.values.get("ipv6_cidr_block")
    generated = one.values.get("assign_generated_ipv6_cidr_block")
    block = IPv4Network(one.values.get("cidr_block") or "172.31.0.0/16")
    found.networks[plan.id_of(one)] = (block, IPv6Network(block6) if block6 else _GENERATED if generated else None)


def _group(one: Planned, plan: _Plan, found: Described) -> None:
    id = plan.id_of(one)
    name = one.values.get("name") or one.values.get("name_prefix") or one.address.rpartition(".")[2]
    vpc = next(iter(plan.ids(one, "vpc_id", _NETWORKS)), None)
    found.groups[id] = (str(name), READER.id, vpc)
    grants = found.grants.setdefault(id, [])
    for attribute, direction in _WAYS.items():
        blocks = one.values.get(attribute) or ()
        expressions = one.expressions.get(attribute)
        for at, block in enumerate(blocks):
            written = (
                expressions[at] if isinstance(expressions, list) and len(expressions) == len(blocks) else expressions
            )
            grants += _grants(one, plan, direction, block, written, id)


def _grants(
    one: Planned, plan: _Plan, direction: Direction, block: Mapping[str, Any], written: Any, own: str
) -> Iterator[Grant]:
    """A block with several peers is a rule for each. Raises ParameterInvalid when it has none that is known."""
    peers: list[Peer] = [
        CidrPeer(parse_cidr(text))
        for attribute in ("cidr_blocks", "ipv6_cidr_blocks")
        for text in block.get(attribute) or ()
    ]
    for attribute, kinds in (
        ("security_groups", _GROUPS),
        ("source_security_group_id", _GROUPS),
        ("prefix_list_ids", _LISTS),
    ):
        # An attribute written as one expression for all blocks says only that some block refers to it.
        expression = (
            (written or {}).get(attribute, {})
            if isinstance(written, Mapping) and "references" not in written
            else written
        )
        if attribute == "source_security_group_id" and attribute not in block and attribute not in one.expressions:
            continue
        for id in plan.ids(one, attribute, kinds, block.get(attribute) or [], expression or {}):
            peers.append(_named(id, kinds))
    if block.get("self"):
        peers.append(_named(own, _GROUPS))
    if not peers:
        raise ParameterInvalid("model-from", one.address, "Whom this rule lets through is known only after apply.")
    traffic = (str(block["protocol"]), _port(block.get("from_port")), _port(block.get("to_port")))
    for peer in dict.fromkeys(peers):
        yield Grant(direction, *traffic, peer)


def _rule(one: Planned, plan: _Plan, found: Described) -> None:
    direction = _WAYS[str(one.values["type"])]
    for id in plan.ids(one, "security_group_id", _GROUPS):
        found.groups.setdefault(id, (id, READER.id, None))
        found.grants.setdefault(id, []).extend(_grants(one, plan, direction, one.values, one.expressions, id))


def _single_rule(one: Planned, plan: _Plan, found: Described) -> None:
    direction = Direction.INGRESS if "ingress" in one.kind else Direction.EGRESS
    peers: list[Peer] = [
        CidrPeer(parse_cidr(text)) for name in ("cidr_ipv4", "cidr_ipv6") if (text := one.values.get(name))
    ]
    for attribute, kinds in (("referenced_security_group_id", _GROUPS), ("prefix_list_id", _LISTS)):
        peers += (_named(id, kinds) for id in plan.ids(one, attribute, kinds))
    if not peers:
        raise ParameterInvalid("model-from", one.address, "Whom this rule lets through is known only after apply.")
    traffic = (str(one.values["ip_protocol"]), _port(one.values.get("from_port")), _port(one.values.get("to_port")))
    for id in plan.ids(one, "security_group_id", _GROUPS):
        found.groups.setdefault(id, (id, READER.id, None))
        found.grants.setdefault(id, []).extend(Grant(direction, *traffic, peer) for peer in peers)


def _instance(one: Planned, plan: _Plan, found: Described) -> None:
    groups = plan.ids(one, "vpc_security_group_ids", _GROUPS)
    addresses = [text for text in (one.values.get("private_ip"), *(one.values.get("ipv6_addresses") or ())) if text]
    public = one.values.get("public_ip")
    found.guests.append(
        Guest(
            str(one.values.get("id") or f"i-{one.address}"),
            next((found.groups[group][2] for group in groups if group in found.groups), None),
            tuple(groups),
            (one.values.get("tags") or {}).get("Name") or one.address.rpartition(".")[2],
            tuple(ip_address(text) for text in addresses),
            IPv4Address(public) if public else None,
            to_be_public=not public and one.values.get("associate_public_ip_address") is not False,
            source_dest_check=one.values.get("source_dest_check") is not False,
        )
    )


def _named(id: str, kinds: Sequence[str]) -> Peer:
    if kinds is _LISTS:
        return PrefixListPeer(PrefixListId(id))
    # Another account's group is written account/sg-...
    account, _, group = id.rpartition("/")
    return GroupPeer(SecurityGroupId(group), AccountId(account or READER.id))


def _port(value: Any) -> int | None:
    return None if value is None else int(value)
