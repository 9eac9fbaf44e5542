"""Form parameters of a Query request become a nested dict in the model's member names.

    GroupId=sg-1&IpPermissions.1.IpRanges.2.CidrIp=10.0.0.0/8
    -> {"GroupId": "sg-1", "IpPermissions": [{"IpRanges": [{"CidrIp": "10.0.0.0/8"}]}]}

EC2 flattens every list: `Name.1`, `Name.2`, in the order of the numbers, whatever the order on the wire.
A number that is missing leaves no hole.
"""

import binascii
from base64 import b64decode
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote_plus

from stockade.api.aws.wire.faults import Fault
from stockade.api.aws.wire.service_model import ListOf, Scalar, ServiceModel, Structure

COMMON = frozenset({
    "Action", "Operation", "Version", "AWSAccessKeyId", "SignatureVersion", "SignatureMethod", "Signature",
    "Timestamp", "Expires", "SecurityToken", "X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date",
    "X-Amz-Expires", "X-Amz-SignedHeaders", "X-Amz-Signature", "X-Amz-Security-Token", "X-Amz-Content-Sha256",
})  # fmt: skip
"""Parameters every action takes; they say who asks and how it is signed, never what is asked."""

MAX_PARAMETERS = 20_000
MAX_DEPTH = 12


def parse_form(text: str) -> list[tuple[str, str]]:
    """Name and value pairs of a query string or a form body, in order, percent signs and plus signs decoded.

    A name may stand once only: two readers of a request that has it twice (one that checks the signature,
    one that acts) could each take a different one.
    """
    pairs: list[tuple[str, str]] = []
    for part in text.split("&"):
        if not part:
            continue
        name, _, value = part.partition("=")
        try:
            pairs.append((unquote_plus(name, errors="strict"), unquote_plus(value, errors="strict")))
        except UnicodeDecodeError:
            raise Fault("MalformedQueryString", "The query string is not UTF-8") from None
    if len(pairs) > MAX_PARAMETERS:
        raise Fault("MalformedQueryString", f"The request has more than {MAX_PARAMETERS} parameters")
    return pairs


def single_valued(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The pairs as a dict; a name given twice is refused."""
    named: dict[str, str] = {}
    for name, value in pairs:
        if name in named:
            raise Fault("InvalidParameterCombination", f"The parameter {name} was given more than once")
        named[name] = value
    return named


def decode(model: ServiceModel, shape: str | None, parameters: Mapping[str, str]) -> dict[str, Any]:
    """The parameters that are not COMMON, by the input shape; raises Fault with AWS's code and text."""
    tree: dict[str, Any] = {}
    for name, value in parameters.items():
        if name not in COMMON:
            _plant(tree, name, value)
    if shape is None:
        if tree:
            raise _unknown(next(iter(tree)))
        return {}
    return _structure(model, shape, tree, "")


class _Leaf(str):
    """A value, told apart from a branch."""

    __slots__ = ()


def _plant(tree: dict[str, Any], name: str, value: str) -> None:
    steps = name.split(".")
    if len(steps) > MAX_DEPTH or "" in steps:
        raise _unknown(name)
    node = tree
    for step in steps[:-1]:
        below = node.setdefault(step, {})
        if isinstance(below, _Leaf):
            raise _unknown(name)
        node = below
    if steps[-1] in node:
        raise _unknown(name)
    node[steps[-1]] = _Leaf(value)


def _value(model: ServiceModel, shape: str, node: Any, path: str) -> Any:
    match model.shape(shape):
        case Structure():
            if isinstance(node, _Leaf):
                raise _unknown(path)
            return _structure(model, shape, node, path)
        case ListOf(member, _):
            if isinstance(node, _Leaf):
                if node == "":
                    return []
                raise _unknown(path)
            return [_value(model, member, node[key], f"{path}.{key}") for key in _in_order(node, path)]
        case Scalar(kind):
            if not isinstance(node, _Leaf):
                raise _unknown(f"{path}.{next(iter(node))}")
            return _scalar(kind, str(node), path)


def _structure(model: ServiceModel, shape: str, node: dict[str, Any], path: str) -> dict[str, Any]:
    view = model.shape(shape)
    if not isinstance(view, Structure):
        raise _unknown(path)
    by_parameter = {member.parameter: member for member in view.members}
    decoded: dict[str, Any] = {}
    for parameter, below in node.items():
        here = f"{path}.{parameter}" if path else parameter
        member = by_parameter.get(parameter)
        if member is None:
            raise _unknown(here)
        decoded[member.name] = _value(model, member.shape, below, here)
    for name in view.required:
        if name not in decoded:
            missing = next(m.parameter for m in view.members if m.name == name)
            raise Fault("MissingParameter", f"The request must contain the parameter {missing}")
    return decoded


def _in_order(node: dict[str, Any], path: str) -> list[str]:
    for key in node:
        if not (key.isascii() and key.isdigit() and len(key) <= 6):
            raise _unknown(f"{path}.{key}")
    return sorted(node, key=int)


def _scalar(kind: str, text: str, path: str) -> Any:
    match kind:
        case "integer" | "long":
            digits = text.removeprefix("-")
            if not (digits.isascii() and digits.isdigit() and len(digits) <= 18):
                raise _invalid(text, path, "an integer")
            return int(text)
        case "boolean":
            if text.lower() not in {"true", "false", "1", "0"}:
                raise _invalid(text, path, "true or false")
            return text.lower() in {"true", "1"}
        case "double" | "float":
            try:
                return float(text)
            except ValueError:
                raise _invalid(text, path, "a number") from None
        case "blob":
            try:
                return b64decode(text, validate=True)
            except (binascii.Error, ValueError):
                raise _invalid(text, path, "base64") from None
        case _:
            return text


def _unknown(name: str) -> Fault:
    return Fault("UnknownParameter", f"The parameter {name} is not recognized")


def _invalid(text: str, path: str, wanted: str) -> Fault:
    return Fault("InvalidParameterValue", f"Value ({text}) for parameter {path} is invalid. It must be {wanted}.")
