"""A site of each test's own, and a daemon there that stores and enforces nothing."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from commanding import stockade


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A site of this test's own."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "EC2_", "STOCKADE_"))}
    return {
        **kept,
        "PYTHONPATH": str(Path(__file__).parents[3] / "src"),
        "HOME": str(tmp_path),
        "STOCKADE_SITE": f"t{os.getpid()}x{port}",
        "STOCKADE_API_LISTEN": f"127.0.0.1:{port}",
        "STOCKADE_STATE": str(tmp_path / "state" / "state.db"),
        "STOCKADE_ENFORCE": "none",
    }


@pytest.fixture
def daemon(environment: dict[str, str]) -> Iterator[dict[str, str]]:
    """Its environment, while it runs."""
    started = stockade(environment, "up", "-d")
    assert started.returncode == 0, started.stderr
    yield environment
    assert stockade(environment, "down").returncode == 0
