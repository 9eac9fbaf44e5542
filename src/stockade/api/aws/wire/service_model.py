"""The EC2 and STS service descriptions: actions, shapes, names on the wire.

The files are written by tools/generate_service_model.py. Shapes are looked up by name and stay in the
compact form they are kept in, behind three small views, so that loading costs one JSON parse (7 ms for
all 830 actions) and nothing more.
"""

import json
import zlib
from dataclasses import dataclass
from typing import Any, TypeAlias


@dataclass(frozen=True, slots=True)
class Member:
    """One member of a structure: its name for actions, in requests and in responses, and its shape's name."""

    name: str
    parameter: str
    element: str
    shape: str


@dataclass(frozen=True, slots=True)
class Structure:
    """Members in the model's order; `required` are member names."""

    members: tuple[Member, ...]
    required: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ListOf:
    """A list: requests number its items after the list's own name, responses wrap each in `element`."""

    shape: str
    element: str


@dataclass(frozen=True, slots=True)
class Scalar:
    """string, integer, long, boolean, double, float, timestamp or blob."""

    kind: str


Shape: TypeAlias = Structure | ListOf | Scalar


@dataclass(frozen=True, slots=True)
class Action:
    """An operation; a shape's name is None where there is nothing to say."""

    name: str
    input: str | None
    output: str | None


class ServiceModel:
    """Everything a service's callers may say and hear, by name."""

    def __init__(self, packed: bytes) -> None:
        raw = json.loads(zlib.decompress(packed, wbits=31))
        self.namespace: str = raw["namespace"]
        self._actions: dict[str, list[str | None]] = raw["actions"]
        self._raw: dict[str, Any] = raw["shapes"]
        self._shapes: dict[str, Shape] = {}

    def actions(self) -> frozenset[str]:
        """Every action's name."""
        return frozenset(self._actions)

    def action(self, name: str) -> Action | None:
        """The action of this name; None when the service has none."""
        row = self._actions.get(name)
        return None if row is None else Action(name, row[0], row[1])

    def shape(self, name: str) -> Shape:
        """The shape of this name, which must exist in the model."""
        known = self._shapes.get(name)
        if known is None:
            known = self._shapes[name] = _view(self._raw[name])
        return known


def _view(raw: Any) -> Shape:
    if isinstance(raw, str):
        return Scalar(raw)
    if "l" in raw:
        return ListOf(raw["l"], raw["n"])
    return Structure(tuple(_member(*row) for row in raw["m"]), tuple(raw.get("r", ())))


def _member(name: str, shape: str, element: str | None = None, parameter: str | None = None) -> Member:
    spelled = element or name
    return Member(name, parameter or spelled[0].upper() + spelled[1:], spelled, shape)
