"""Who may have how many flows in memory. The slow spelling of bpf/allowance.h.

Each flow counts for the endpoints at both its ends. One that has used up its allowance loses half-open flows of
its own (of untracked ones any), never those of others; when the tables are nearly full nobody may have more than
a fair share.
"""

from dataclasses import dataclass

from stockade.datapath.contract import Usage
from stockade.datapath.simulated.conntrack import Conntrack, End, Flow
from stockade.model.ids import NetworkInterfaceId
from stockade.model.ports import TCP

CROWDED = 3 / 4


@dataclass(frozen=True, slots=True)
class Allowance:
    """`flows`: of one endpoint, tracked and untracked each. `table`: of all, TCP and others each."""

    flows: int = 65_536
    table: int = 131_072

    def usage(self, conntrack: Conntrack, endpoint: NetworkInterfaceId) -> Usage:
        tracked = untracked = 0
        for _, _, end in conntrack.of(endpoint):
            tracked, untracked = tracked + (not end.untracked), untracked + end.untracked
        return Usage(tracked, untracked, self.flows)

    def take_room(self, conntrack: Conntrack, flow: Flow, endpoints: int) -> bool:
        """Whether there is room for this new flow at every end; half-open ones may have to go for it."""
        conntrack.sweep()
        is_tcp = flow.first.protocol == TCP
        used = conntrack.count(is_tcp)
        limit = min(self.flows, self.table // max(endpoints, 1)) if used >= self.table * CROWDED else self.flows
        return used < self.table and all(self._has_room(conntrack, end, limit) for end in flow.ends)

    @staticmethod
    def _has_room(conntrack: Conntrack, end: End, limit: int) -> bool:
        alike = [each for each in conntrack.of(end.endpoint) if each[2].untracked == end.untracked]
        if len(alike) < limit:
            return True
        expendable = [key for key, flow, _ in alike if end.untracked or _is_half_open(flow)]
        if not expendable:
            return False
        conntrack.forget(expendable[0])
        return True


def _is_half_open(flow: Flow) -> bool:
    """A TCP flow whose initiator has not answered the answer, too: else a listening victim would fill the tables."""
    return flow.reset or not (flow.established if flow.first.protocol == TCP else flow.replied)
