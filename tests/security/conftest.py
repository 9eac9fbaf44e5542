"""Two tenants at a running control plane, and the programs in the kernel: what others got wrong, tried on us."""

from collections.abc import Iterator
from typing import Any

import pytest

from conformance.conftest import client
from kernel.judging import KernelJudge
from serving import ControlPlane, control_plane
from stockade.model.account import Platform


@pytest.fixture(scope="module")
def plane() -> Iterator[ControlPlane]:
    with control_plane() as running:
        yield running


@pytest.fixture
def mary(plane: ControlPlane) -> Any:
    """A client of a VPC account of its own."""
    return client(plane, plane.account(Platform.VPC))


@pytest.fixture
def mallory(plane: ControlPlane) -> Any:
    """A client of another VPC account, who means harm."""
    return client(plane, plane.account(Platform.VPC))


@pytest.fixture
def albert(plane: ControlPlane) -> Any:
    """A client of a classic account."""
    return client(plane, plane.account(Platform.CLASSIC))


@pytest.fixture(scope="module")
def judge() -> Iterator[KernelJudge]:
    with KernelJudge() as made:
        yield made
