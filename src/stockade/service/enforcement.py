"""Waiting until a revision is enforced: what services need of the feed, which they do not import."""

from typing import Protocol

from stockade.model.change import Revision
from stockade.model.ids import HostId


class Enforcement(Protocol):
    """Knows which revision each host enforces. daemon/wiring.py hands the feed in."""

    async def wait(self, revision: Revision, timeout_s: float) -> tuple[HostId, ...]:
        """Return when every host enforces `revision`, or after the time-out with those that do not.

        A host that is not affected by anything up to `revision` never lags.
        """


class NoEnforcement:
    """--enforce=none: nothing enforces, so nothing is waited for. Shown everywhere by its name."""

    async def wait(self, revision: Revision, timeout_s: float) -> tuple[HostId, ...]:
        return ()
