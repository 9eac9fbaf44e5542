"""Which actions are built: name -> function, with the parameters it reads and those it takes but does not use.

A function declares every parameter it looks at (`reads`), and those that cannot change how packets are
treated and so may be accepted without effect (`inert`). Any other parameter that AWS has is refused by
name: nothing is taken and then not done (architecture C8). The reference of actions is made from this.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from stockade.api.aws.wire.faults import Fault
from stockade.model.account import Platform
from stockade.service.accounts import Accounts
from stockade.service.caller import Caller
from stockade.service.images import Images
from stockade.service.instances import Instances
from stockade.service.key_pairs import KeyPairs
from stockade.service.membership import Interfaces
from stockade.service.networks import Networks
from stockade.service.prefix_lists import PrefixLists
from stockade.service.rule_edits import RuleEdits
from stockade.service.rules import Rules
from stockade.service.security_groups import SecurityGroups
from stockade.service.tags import Tags
from stockade.service.vpcs import Vpcs


@dataclass(frozen=True, slots=True)
class Services:
    """The use cases that actions call. Made by daemon/wiring.py."""

    accounts: Accounts
    groups: SecurityGroups
    rules: Rules
    rule_edits: RuleEdits
    instances: Instances
    images: Images
    key_pairs: KeyPairs
    tags: Tags
    vpcs: Vpcs
    networks: Networks
    interfaces: Interfaces
    prefix_lists: PrefixLists


@dataclass(frozen=True, slots=True)
class Asked:
    """One call of an action. `input` is in the model's member names.

    `classic_version`: a version of 2006 to 2009 was asked for. `old`: parameters of those versions that
    today's model has not. `authority`: the Host that was called.
    """

    caller: Caller
    services: Services
    input: Mapping[str, Any]
    classic_version: bool = False
    old: Mapping[str, str] = field(default_factory=dict)
    authority: str = ""

    @property
    def classic(self) -> bool:
        """Whether calls that name no network mean the classic one."""
        return self.caller.account.platform is Platform.CLASSIC


ActionFunction: TypeAlias = Callable[[Asked], Awaitable[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Built:
    """An action that is built."""

    function: ActionFunction
    reads: frozenset[str]
    inert: frozenset[str]


_EC2: dict[str, Built] = {}
_STS: dict[str, Built] = {}


def action(
    name: str, reads: tuple[str, ...] = (), inert: tuple[str, ...] = (), sts: bool = False
) -> Callable[[ActionFunction], ActionFunction]:
    """Registers a function under an action's name. DryRun is honoured for every EC2 action."""

    def register(function: ActionFunction) -> ActionFunction:
        (_STS if sts else _EC2)[name] = Built(function, frozenset(reads), frozenset(inert))
        return function

    return register


def built(sts: bool) -> Mapping[str, Built]:
    """Every action that is built, by name."""
    return _STS if sts else _EC2


def check_parameters(name: str, known: Built, given: Mapping[str, Any]) -> None:
    """Refuses a parameter that is AWS's but not ours, and ends a dry run. Raises Fault."""
    for parameter in given:
        if parameter not in known.reads and parameter not in known.inert and parameter != "DryRun":
            raise Fault("UnsupportedOperation", f"The parameter {parameter} of {name} is not supported by Stockade.")
    if given.get("DryRun"):
        raise Fault("DryRunOperation", "Request would have succeeded, but DryRun flag is set.", 412)
