"""What enforces, held against what was applied, a little at a time.

Everything that we write is looked at: the records of endpoints, rule sets, every hash and trie, the host's record,
and the filters on devices. What differs is written again and said. Flows and counters are the programs' own.
"""

import errno
import time
from collections.abc import Callable, Iterator, Mapping

from stockade.datapath.contract import Audit
from stockade.datapath.ebpf import attach
from stockade.datapath.ebpf.attach import Hooks
from stockade.datapath.ebpf.endpoint_table import EndpointTable
from stockade.datapath.ebpf.layout import OURS
from stockade.datapath.ebpf.maps import KeptMap, SharedArray
from stockade.datapath.ebpf.rule_tables import RuleTables
from stockade.policy.entries import HostPolicy, RuleSetId

BUDGET_S = 0.003
"""For one call: what it was at when this had passed, it ends with. A change of rules may have to wait that long."""
_AT_ONCE = 256

Finding = tuple[int, list[str]]  # how much was looked at, and what was wrong


class Auditor:
    """Goes round and round over the tables of one datapath."""

    def __init__(
        self,
        tables: tuple[EndpointTable, RuleTables, Mapping[str, KeptMap]],
        hooks: Hooks,
        devices: Mapping[str, tuple[int, Mapping[int, str]]],
        host: tuple[SharedArray, Callable[[], bytes]],
    ) -> None:
        """`devices`: those of the host that have programs, their index, and which programs. `host`: its record, and
        what that should be.
        """
        self._endpoints, self._rules, self._kept = tables
        self._hooks = hooks
        self._devices = devices
        self._host, self._host_expected = host
        self._applied = HostPolicy()
        self._round: Iterator[Finding] = iter(())

    def step(self, applied: HostPolicy) -> Audit:
        """The next part, or all of it when that is quick; `applied` is the policy that should be enforced."""
        self._applied = applied
        compared, drift = 0, list[str]()
        until = time.perf_counter() + BUDGET_S
        for begin_anew in (False, True):
            if begin_anew:
                self._round = self._everything()
            # Not by a generator around it: closing that one would end the round where this call does.
            for count, said in self._round:
                compared += count
                drift += said
                if time.perf_counter() > until:
                    return Audit(compared, tuple(drift))
        return Audit(compared, tuple(drift))

    def _everything(self) -> Iterator[Finding]:
        yield from self._placed()
        for name, _ in list(self._endpoints.attached()):
            slot = self._endpoints.slot(name)
            if slot is not None and slot.ifindex:
                yield 1, self._endpoints.repair(name, slot)
                priority = attach.PRIORITY if slot.adopted == OURS else attach.FIRST
                yield 2, self._filters(slot.device, slot.ifindex, attach.ENDPOINT, priority)
        for rule_set in list(self._rules.loaded()):
            yield self._rule_set(rule_set)
        for table in self._kept.values():
            yield table.repair(_AT_ONCE)
            while not table.is_repaired:
                yield table.repair(_AT_ONCE)
        yield 1, self._host_record()
        for device, (index, hooks) in self._devices.items():
            yield len(hooks), self._filters(device, index, hooks)

    def _placed(self) -> Iterator[Finding]:
        """Every endpoint of the policy, attached or waiting, is in the table as the policy has it."""
        for name, endpoint in list(self._applied.endpoints.items()):
            slot = self._endpoints.slot(name)
            if self._applied.endpoints.get(name) is endpoint and (slot is None or slot.endpoint != endpoint):
                self._endpoints.place(endpoint, self._rules.find(endpoint.rule_set))
                yield 1, [f"map endpoints: {name} was not placed"]
            elif slot is not None and not slot.ifindex:
                yield 1, self._endpoints.repair(name, slot)

    def _filters(self, device: str, index: int, hooks: Mapping[int, str], priority: int = attach.PRIORITY) -> list[str]:
        try:
            return self._hooks.repair(device, index, hooks, priority)
        except OSError as err:
            # A device that went is told by the host's own events.
            return [] if err.errno == errno.ENODEV else [f"filters of {device}: {err}"]

    def _rule_set(self, name: RuleSetId) -> Finding:
        return (1, self._rules.repair(name)) if name in self._rules.loaded() else (0, [])

    def _host_record(self) -> list[str]:
        expected = self._host_expected()
        if self._host.get(0) == expected:
            return []
        self._host.put(0, expected)
        return ["map host: the record of the host is wrong"]
