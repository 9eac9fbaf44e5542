"""The rules that groups are born with."""

from collections.abc import Iterable
from dataclasses import replace

from stockade.model import keys, ports
from stockade.model.account import Account
from stockade.model.addresses import EVERYWHERE_V4, EVERYWHERE_V6, Cidr
from stockade.model.change import Revision
from stockade.model.ids import RuleId, SecurityGroupId
from stockade.model.resources import Change, put
from stockade.model.rule import CidrPeer, Direction, GroupPeer, Peer, Rule, RuleIdentity
from stockade.model.security_group import DEFAULT_NAME, SecurityGroup
from stockade.model.vpc import Vpc
from stockade.service.cell import Cell
from stockade.service.numbers import RULE
from stockade.store.contract import AtRevision, Guard

CLASSIC_DESCRIPTION = "default group"
VPC_DESCRIPTION = "default VPC security group"

CLASSIC_GRANT = ((ports.TCP, 1, ports.LAST), (ports.UDP, 1, ports.LAST), (ports.ICMP, ports.ANY, ports.ANY))
"""What a grant to a whole group stands for on classic (protocol, from, to): the data of 2007 to 2010."""


def new_rule(
    cell: Cell,
    account: Account,
    direction: Direction,
    traffic: tuple[int, int | None, int | None],
    peer: Peer,
    description: str | None = None,
) -> Rule:
    """A rule with an id and a number of its own. Takes one rule number."""
    id = RuleId(cell.mint("sgr", account))
    return Rule(id, cell.numbers.take(RULE), direction, *traffic, peer, description)


def renumbered(cell: Cell, rule: Rule, identity: RuleIdentity, description: str | None) -> Rule:
    """The rule as it is asked to be, under its id. Takes at most one rule number.

    If it allows something else its number is new: flows and counts that name the old one mean the old rule.
    """
    if identity == rule.identity:
        return replace(rule, description=description)
    number = cell.numbers.take(RULE)
    return Rule(rule.id, number, *identity, description)


def open_egress(cell: Cell, account: Account, vpc: Vpc) -> tuple[Rule, ...]:
    """Everything out, over IPv6 too where the VPC has it. Takes at most two rule numbers.

    On classic it is stored like any rule and never shown: there it cannot be changed.
    """
    blocks = (EVERYWHERE_V4,) if vpc.ipv6 is None else (EVERYWHERE_V4, EVERYWHERE_V6)
    return tuple(open_to(cell, account, block) for block in blocks)


def open_to(cell: Cell, account: Account, block: Cidr) -> Rule:
    """Everything out to this block. Takes one rule number."""
    return new_rule(cell, account, Direction.EGRESS, (ports.ANY, None, None), CidrPeer(block))


def default_group(cell: Cell, account: Account, vpc: Vpc) -> tuple[list[Guard], list[Change]]:
    """The group `default`: everything from its own members, everything out. Takes at most five rule numbers."""
    id = SecurityGroupId(cell.mint("sg", account))
    myself = GroupPeer(id, account.id)
    traffic: Iterable[tuple[int, int | None, int | None]] = (
        CLASSIC_GRANT if vpc.is_classic else ((ports.ANY, None, None),)
    )
    rules = [new_rule(cell, account, Direction.INGRESS, each, myself) for each in traffic]
    rules += open_egress(cell, account, vpc)
    description = CLASSIC_DESCRIPTION if vpc.is_classic else VPC_DESCRIPTION
    return created(SecurityGroup(id, account.id, vpc.id, DEFAULT_NAME, description, tuple(rules)), vpc)


def created(group: SecurityGroup, vpc: Vpc) -> tuple[list[Guard], list[Change]]:
    """A new group with the claim on its name."""
    name = keys.group_name(vpc.id, group.account, group.name, vpc.is_classic)
    return [AtRevision(name, Revision(0))], [put(group), Change(name, group.id)]
