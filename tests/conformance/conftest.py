"""Clients of a running control plane. Every answer to boto3 is held against botocore's own description."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import boto3
import pytest
from botocore.config import Config
from botocore.model import ListShape, OperationModel, Shape, StructureShape

from serving import ControlPlane, control_plane
from stockade.model.account import Platform
from stockade.service.accounts import CreatedAccount

AWS = Path(sys.executable).parent / "aws"


@pytest.fixture(scope="module")
def plane() -> Iterator[ControlPlane]:
    with control_plane() as running:
        yield running


@pytest.fixture
def mary(plane: ControlPlane) -> CreatedAccount:
    """A new account of the VPC platform."""
    return plane.account(Platform.VPC)


@pytest.fixture
def albert(plane: ControlPlane) -> CreatedAccount:
    """A new account of the classic platform."""
    return plane.account(Platform.CLASSIC)


@pytest.fixture
def ec2(plane: ControlPlane, mary: CreatedAccount) -> Any:
    return client(plane, mary)


@pytest.fixture
def classic(plane: ControlPlane, albert: CreatedAccount) -> Any:
    return client(plane, albert)


def client(plane: ControlPlane, who: CreatedAccount, service: str = "ec2", secret: str | None = None) -> Any:
    """A boto3 client that fails on any element of an answer that botocore does not know."""
    made = boto3.client(
        service,
        endpoint_url=plane.url,
        region_name="us-east-1",
        aws_access_key_id=who.key.id,
        aws_secret_access_key=secret or who.key.secret,
        config=Config(retries={"max_attempts": 0}),
    )
    made.meta.events.register(f"before-parse.{service}", _check_answer)
    return made


def _check_answer(operation_model: OperationModel, response_dict: dict[str, Any], **kwargs: Any) -> None:
    if response_dict["status_code"] >= 300:
        return
    root = ElementTree.fromstring(response_dict["body"])
    assert _name(root) == f"{operation_model.name}Response"
    shape = operation_model.output_shape
    if operation_model.service_model.protocol == "query":
        result, metadata = root
        assert (_name(result), _name(metadata)) == (f"{operation_model.name}Result", "ResponseMetadata")
        _check_element(result, shape, operation_model.name)
        return
    request_id, *members = root
    assert _name(request_id) == "requestId"
    if shape is None:
        assert [_name(member) for member in members] == ["return"]
    else:
        _check_members(members, shape, operation_model.name)


def _check_element(element: ElementTree.Element, shape: Shape, path: str) -> None:
    if isinstance(shape, StructureShape):
        _check_members(list(element), shape, path)
    elif isinstance(shape, ListShape):
        item = shape.member.serialization.get("name", "member")
        for child in element:
            assert _name(child) == item, f"{path}: {_name(child)} where {item} belongs"
            _check_element(child, shape.member, f"{path}[]")
    else:
        assert not list(element), f"{path} has elements"


def _check_members(elements: list[ElementTree.Element], shape: StructureShape, path: str) -> None:
    known = {member.serialization.get("name", name): member for name, member in shape.members.items()}
    names = [_name(element) for element in elements]
    assert len(set(names)) == len(names), f"{path}: an element stands twice"
    for element in elements:
        assert _name(element) in known, f"{path}: unknown element {_name(element)}"
        _check_element(element, known[_name(element)], f"{path}.{_name(element)}")


def _name(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


@pytest.fixture
def aws(plane: ControlPlane, mary: CreatedAccount, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """The aws command line with nothing but what `stockade env` exports."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "AWS_ENDPOINT_URL_EC2": plane.url,
        "AWS_ENDPOINT_URL_STS": plane.url,
        "AWS_ACCESS_KEY_ID": mary.key.id,
        "AWS_SECRET_ACCESS_KEY": mary.key.secret,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_MAX_ATTEMPTS": "1",
    }

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(AWS), *words], env=environment, capture_output=True, text=True, timeout=60, check=False
        )

    return run
