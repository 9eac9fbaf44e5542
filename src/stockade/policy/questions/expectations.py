"""Policy tests: what is expected to get through, and what is not, against what does."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stockade.model.errors import ParameterInvalid
from stockade.model.traffic import Traffic, parse_traffic
from stockade.policy.questions.reach import Reach

VERSION = 1
_TARGET = re.compile(r"(.+?):([a-zA-Z0-9-]+(?:/[0-9:/-]+)?)")


@dataclass(frozen=True, slots=True)
class Expectation:
    """All of this traffic is to pass (`accept`), or none of it. `test` is the name of the test it belongs to."""

    test: str
    source: str
    destination: str
    traffic: Traffic
    accept: bool

    def holds(self, reach: Reach) -> bool:
        """Whether what was found is what was expected."""
        return reach.all_pass if self.accept else reach.none_pass


def read_expectations(document: Any) -> tuple[Expectation, ...]:
    """The expectations of a test file's content (ux.md, "Policy tests"), names replaced. Raises InvalidInput."""
    content = _mapping("the file", document, {"version", "names", "tests"})
    if content.get("version") != VERSION:
        raise ParameterInvalid("version", str(content.get("version")), f"The version of a test file is {VERSION}.")
    names = {key: _text("names", value) for key, value in _mapping("names", content.get("names") or {}, None).items()}
    found: list[Expectation] = []
    for number, entry in enumerate(_sequence("tests", content.get("tests")), 1):
        test = _mapping("tests", entry, {"name", "from", "accept", "deny"})
        source = _text("from", test.get("from"))
        name = _text("name", test["name"]) if "name" in test else f"{number}: from {source}"
        for key in ("accept", "deny"):
            for target in _sequence(key, test.get(key) or ()):
                destination, traffic = _target(key, target)
                from_, to = names.get(source, source), names.get(destination, destination)
                found.append(Expectation(name, from_, to, traffic, key == "accept"))
    return tuple(found)


def _target(key: str, target: Any) -> tuple[str, Traffic]:
    parts = _TARGET.fullmatch(_text(key, target))
    if parts is None:
        raise ParameterInvalid(key, str(target), "It must be NAME:PORT, such as web:tcp/80.")
    return parts[1], parse_traffic(parts[2])


def _mapping(name: str, value: Any, known: set[str] | None) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ParameterInvalid(name, str(value), "It must be a mapping.")
    unknown = value.keys() - known if known is not None else ()
    for key in unknown:
        raise ParameterInvalid(name, str(key), "No such key is known here.")
    return value


def _sequence(name: str, value: Any) -> Sequence[Any]:
    if not isinstance(value, list | tuple):
        raise ParameterInvalid(name, str(value), "It must be a list.")
    return value


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ParameterInvalid(name, str(value), "It must be a text.")
    return value
