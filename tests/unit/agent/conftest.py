"""The fake host as a fixture."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from unit.agent.host import FakeHost


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[FakeHost]:
    """An agent whose loops run, without a stream yet."""
    made = FakeHost(tmp_path)
    made.agent.start()
    yield made
    await made.stop()
