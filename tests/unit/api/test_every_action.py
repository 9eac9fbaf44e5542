"""All 830 actions: what botocore would send is read back as what was asked, and nothing makes the reader fall over."""

import contextlib
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore.model import ListShape, Shape, StructureShape
from botocore.serialize import EC2Serializer
from hypothesis import given, settings
from hypothesis import strategies as st

from stockade.api.aws.wire.faults import Fault
from stockade.api.aws.wire.query import decode, parse_form, single_valued
from stockade.api.aws.wire.service_model import ServiceModel

WIRE = Path(__file__).parents[3] / "src" / "stockade" / "api" / "aws" / "wire"
EC2 = ServiceModel((WIRE / "ec2_model.json.gz").read_bytes())
BOTOCORE = botocore.session.get_session().get_service_model("ec2", "2016-11-15")
SCALARS = {
    "string": "text",
    "integer": 7,
    "long": 7,
    "boolean": True,
    "double": 1.5,
    "float": 1.5,
    "blob": b"\x00bytes",
}
DEEPEST = 8


def example(shape: Shape, depth: int = 0) -> Any:
    """A value with every member in it, two items in every list."""
    if isinstance(shape, StructureShape):
        if depth > DEEPEST:
            return {}
        return {name: example(member, depth + 1) for name, member in shape.members.items()}
    if isinstance(shape, ListShape):
        return [example(shape.member, depth + 1), example(shape.member, depth + 1)]
    return SCALARS.get(shape.type_name, "2026-11-22T12:00:00Z")


def without_empty(value: Any) -> Any:
    """What the wire can hold: a structure without members leaves no trace."""
    if isinstance(value, dict):
        kept = {name: without_empty(below) for name, below in value.items()}
        return {name: below for name, below in kept.items() if below not in ({}, [])}
    if isinstance(value, list):
        return [below for below in map(without_empty, value) if below not in ({}, [])]
    return value


@pytest.mark.parametrize("letter", sorted({name[0] for name in EC2.actions()}))
def test_what_botocore_sends_is_what_was_asked(letter: str) -> None:
    for name in sorted(EC2.actions()):
        operation = BOTOCORE.operation_model(name)
        if name[0] != letter or operation.input_shape is None:
            continue
        asked = example(operation.input_shape)
        sent = EC2Serializer().serialize_to_request(asked, operation)["body"]
        found = EC2.action(name)
        assert found is not None
        assert decode(EC2, found.input, {key: str(value) for key, value in sent.items()}) == without_empty(asked), name


WORD = r"(Value|Name|IpPermissions|IpRanges|CidrIp|Groups|Filter|GroupId|TagSpecification|[A-Za-z]{0,4}|[0-9]{1,7}|)"
NAMES = st.from_regex(rf"{WORD}(\.{WORD})*", fullmatch=True)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(NAMES, st.text(max_size=8)), max_size=6))
def test_any_parameters_are_read_or_refused(pairs: list[tuple[str, str]]) -> None:
    found = EC2.action("AuthorizeSecurityGroupIngress")
    assert found is not None
    with contextlib.suppress(Fault):
        decode(EC2, found.input, single_valued(pairs))


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="aA=&%+.19fF;é\x00", max_size=40))
def test_any_form_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(Fault):
        single_valued(parse_form(text))
