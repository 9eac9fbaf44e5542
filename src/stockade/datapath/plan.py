"""Desired and observed policy -> ordered steps. Pure: the order is a property of policy, not of any kernel.

    load rule sets ─▶ place members ─▶ place endpoints ─▶ forget endpoints ─▶ forget members ─▶ retire rule sets
    └──────────────── make ─────────┘  └─ flip, each at once ─┘             └──────────── break ─────────────┘

Make before break: an endpoint is flipped to rules that are whole and to peers that are known, and what it
stood on before goes last. Fail closed: what an endpoint or member loses, it loses before the step after it;
nothing here ever opens a gate for the time between two steps.
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from stockade.model.ids import NetworkInterfaceId
from stockade.model.persistent_map import changed_keys
from stockade.policy.entries import Endpoint, HostPolicy, Identity, MemberKey, RuleSet, RuleSetId

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class LoadRuleSet:
    """Build these rules whole, under a number that no endpoint points at yet."""

    rule_set: RuleSet


@dataclass(frozen=True, slots=True)
class PlaceMember:
    """This address is this identity from now on."""

    key: MemberKey
    identity: Identity


@dataclass(frozen=True, slots=True)
class PlaceEndpoint:
    """Police this endpoint so from now on; its rule set has been loaded."""

    endpoint: Endpoint


@dataclass(frozen=True, slots=True)
class ForgetEndpoint:
    """No policy for this endpoint any more: it drops everything."""

    id: NetworkInterfaceId


@dataclass(frozen=True, slots=True)
class ForgetMember:
    """This address is nobody's."""

    key: MemberKey


@dataclass(frozen=True, slots=True)
class RetireRuleSet:
    """No endpoint points at these rules any more; a packet under way may still read them for a moment."""

    id: RuleSetId


Step: TypeAlias = LoadRuleSet | PlaceMember | PlaceEndpoint | ForgetEndpoint | ForgetMember | RetireRuleSet


def plan(desired: HostPolicy, observed: HostPolicy) -> tuple[Step, ...]:
    """The steps from what is enforced to what shall be, in the order in which they are safe. () when equal.

    A rule set is named by its content, so equal ids are equal rules. Between two versions of the same
    persistent maps, as a Compiler gives them, it costs what changed and not what there is.
    """
    loaded, _, retired = _difference(desired.rule_sets, observed.rule_sets)
    known, moved, unknown = _difference(desired.members, observed.members)
    new, altered, gone = _difference(desired.endpoints, observed.endpoints)
    return (
        *(LoadRuleSet(desired.rule_sets[name]) for name in loaded),
        *(PlaceMember(key, desired.members[key]) for key in (*known, *moved)),
        *(PlaceEndpoint(desired.endpoints[name]) for name in (*new, *altered)),
        *map(ForgetEndpoint, gone),
        *map(ForgetMember, unknown),
        *map(RetireRuleSet, retired),
    )


def _difference(desired: Mapping[K, V], observed: Mapping[K, V]) -> tuple[list[K], list[K], list[K]]:
    """Keys that are new, that have another value, and that are gone."""
    new: list[K] = []
    altered: list[K] = []
    gone: list[K] = []
    for key in changed_keys(observed, desired):
        kind = gone if key not in desired else altered if key in observed else new
        kind.append(key)
    return new, altered, gone
