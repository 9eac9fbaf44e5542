"""Desired and observed policy -> ordered steps. Pure: the order is a property of policy, not of any kernel.

    load rule sets ─▶ place members ─▶ place endpoints ─▶ forget endpoints ─▶ forget members ─▶ retire rule sets
    └──────────────── make ─────────┘  └─ flip, each at once ─┘             └──────────── break ─────────────┘

Make before break: an endpoint is flipped to rules that are whole and to peers that are known, and what it
stood on before goes last. Fail closed: what an endpoint or member loses, it loses before the step after it;
nothing here ever opens a gate for the time between two steps.
"""

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from stockade.model.ids import NetworkInterfaceId
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

    A rule set is named by its content, so equal ids are equal rules. Linear in what changed, but for one
    look at every endpoint and member; mappings that are the same object are not looked into.
    """
    return (
        *(LoadRuleSet(rule_set) for _, rule_set in _missing(desired.rule_sets, observed.rule_sets)),
        *(PlaceMember(key, identity) for key, identity in _changed(desired.members, observed.members)),
        *(PlaceEndpoint(endpoint) for _, endpoint in _changed(desired.endpoints, observed.endpoints)),
        *(ForgetEndpoint(endpoint) for endpoint, _ in _missing(observed.endpoints, desired.endpoints)),
        *(ForgetMember(key) for key, _ in _missing(observed.members, desired.members)),
        *(RetireRuleSet(rule_set) for rule_set, _ in _missing(observed.rule_sets, desired.rule_sets)),
    )


def _changed(desired: Mapping[K, V], observed: Mapping[K, V]) -> Iterator[tuple[K, V]]:
    """What is new or different."""
    if desired is observed:
        return
    for key, value in desired.items():
        there = observed.get(key)
        if there is not value and there != value:
            yield key, value


def _missing(here: Mapping[K, V], there: Mapping[K, V]) -> Iterator[tuple[K, V]]:
    """What is here and not there."""
    if here is there:
        return
    for key, value in here.items():
        if key not in there:
            yield key, value
