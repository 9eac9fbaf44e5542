"""The Datapath contract on Linux: joins the loader, the maps, the hooks and the host's links.

    datapath = EbpfDatapath(settings, journal)      # links made, programs loaded or found again, gateway policed
    datapath.attach(interface, device); datapath.apply(policy); ...
    datapath.close()                                # enforcement goes on; the next EbpfDatapath adopts it

Called from one thread at a time.
"""

import errno
import socket
import struct
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import assert_never

from stockade.datapath.contract import Applied, ApplyFailed, Audit, Counters, DeviceName, RuleHits, Usage
from stockade.datapath.ebpf import attach, layout, syscall
from stockade.datapath.ebpf.attach import Hooks
from stockade.datapath.ebpf.auditor import Auditor
from stockade.datapath.ebpf.endpoint_table import EndpointTable, Slot
from stockade.datapath.ebpf.features import DatapathUnavailable
from stockade.datapath.ebpf.host_links import HostLinks, make_host_links, remove_host_links
from stockade.datapath.ebpf.kernel_objects import KernelObjects
from stockade.datapath.ebpf.pins import Pins
from stockade.datapath.ebpf.rule_tables import RuleTables, TableFull
from stockade.datapath.ebpf.settings import EbpfSettings
from stockade.datapath.plan import (
    ForgetEndpoint,
    ForgetMember,
    LoadRuleSet,
    PlaceEndpoint,
    PlaceMember,
    RetireRuleSet,
    Step,
    plan,
)
from stockade.linux import links
from stockade.linux.netlink import Netlink
from stockade.model.flow import DropReason, FlowEvent
from stockade.model.ids import NetworkInterfaceId
from stockade.model.journal import Journal, NoJournal
from stockade.policy.entries import HostPolicy

GRACE_S = 0.05
"""For how long a packet may still hold what a step has replaced. Programs run for microseconds."""

SWEEP_S = 1.0
"""How often flows that nobody waits for any more are forgotten."""

_LINK_EVENTS = 1
_NO_JOURNAL = NoJournal()


@dataclass(frozen=True, slots=True)
class Swept:
    """What one look at the flow tables found: flows that were forgotten, and what is in memory."""

    forgotten: int
    live_tcp: int
    live_other: int


class EbpfDatapath:
    """Enforces policy on the veth devices of the network namespace it is constructed in."""

    def __init__(self, settings: EbpfSettings, journal: Journal = _NO_JOURNAL, *, program: bytes | None = None) -> None:
        """Adopts what a former one left under `settings.pins`, makes what is missing.

        Not in the contract but offered: `devices_gone()` marks endpoints dead whose device vanished and names them,
        `endpoint_alive(interface)`, `sweep()` forgets flows (`flows` does it by itself), `remove()` takes away all
        that was made, links and namespace included,
        `settings.services_namespace` is where the services (metadata, DNS) are to listen.
        `program`: the object file to load instead of the one shipped for this byte order.
        Raises DatapathUnavailable (features.py) with what is missing and how to fix it.
        """
        self._settings = settings
        self._journal = journal
        self._pins = Pins(settings.pins, journal)
        with ExitStack() as opened:
            self._route = opened.enter_context(Netlink())
            self._link_events = opened.enter_context(_link_events())
            self._kernel = kernel = opened.enter_context(closing(KernelObjects(settings, self._pins, program)))
            self._rules = RuleTables(kernel.maps, kernel.shared, kernel.hits)
            self._endpoints = EndpointTable(kernel.maps, kernel.shared)
            self._hooks = Hooks(self._route, journal, kernel.programs)
            self._applied = HostPolicy()
            self._checked = False
            self._swept_at = 0.0
            self._adopt()
            self._made = self._join_host()
            self._auditor = self._make_auditor()
            self._opened = opened.pop_all()

    # ── the contract ──────────────────────────────────────────────────────────────────────────────────

    def attach(self, endpoint: NetworkInterfaceId, device: DeviceName) -> None:
        link = links.find_link(self._route, device)
        if link is None:
            raise OSError(errno.ENODEV, f"no device {device}")
        slot = self._endpoints.slot(endpoint)
        if slot is not None and slot.ifindex == link.index and slot.device == device:
            priority = attach.PRIORITY if slot.adopted == layout.OURS else attach.FIRST
            self._hooks.repair(device, link.index, attach.ENDPOINT, priority)
            return
        if slot is not None and slot.ifindex:
            self.detach(endpoint)
        # Programs first: until the device is somebody's, they drop all it sends.
        adopted = layout.OURS
        if self._is_somebodys(link, endpoint):
            adopted = self._hooks.adopt(device, link.index)
        else:
            self._hooks.attach(device, attach.ENDPOINT)
            self._hooks.make_router_end(link)
        self._endpoints.attach(endpoint, device, link.index, adopted)
        self._share_out()

    def _is_somebodys(self, link: links.Link, endpoint: NetworkInterfaceId) -> bool:
        """Whether somebody else forwards for the device: as the policy says; before it does, by how it is found."""
        slot = self._endpoints.slot(endpoint)
        if slot is not None and slot.endpoint is not None:
            return slot.endpoint.filtered
        return (link.up or link.master != 0) and not self._hooks.is_attached(link.index, attach.ENDPOINT)

    def detach(self, endpoint: NetworkInterfaceId) -> None:
        slot = self._endpoints.slot(endpoint)
        if slot is not None and slot.ifindex and slot.adopted != layout.OURS:
            self._release(slot)
        self._endpoints.detach(endpoint)
        self._share_out()

    def _release(self, slot: Slot) -> None:
        """A device that was there before us goes on without us."""
        link = links.find_link(self._route, slot.device)
        if link is not None and link.index == slot.ifindex:
            self._hooks.release(slot.device, slot.ifindex, slot.adopted)

    def apply(self, desired: HostPolicy) -> Applied:
        started = time.perf_counter()
        self._rules.sweep(time.monotonic())
        if not self._checked:
            self._applied = self._without_damage(desired)
            self._checked = True
        for endpoint in desired.endpoints.values():
            if endpoint.rule_set not in desired.rule_sets:
                raise ApplyFailed(f"endpoint {endpoint.id} names rule set {endpoint.rule_set:x}, which is not given")
        steps = plan(desired, self._applied)
        done: list[Step] = []
        try:
            for step in steps:
                done.append(step)
                self._take(step)
        except (OSError, TableFull) as err:
            failed = type(done[-1]).__name__
            if not self._undo(done):
                # Twice refused. What stands is between the two, and what the next apply starts from.
                self._applied = self.observe()
            raise ApplyFailed(f"{failed}: {err}") from err
        self._applied = desired
        return Applied(len(steps), (time.perf_counter() - started) * 1000)

    def observe(self) -> HostPolicy:
        endpoints, members = self._endpoints.observe()
        rule_sets = self._rules.observe()
        current = self._rules.loaded()
        return HostPolicy(endpoints, members, {name: each for name, each in rule_sets.items() if name in current})

    def flows(self) -> Iterator[FlowEvent]:
        if time.monotonic() - self._swept_at >= SWEEP_S:
            self.sweep()
        return self._kernel.ring.events(self._rules.rule_number)

    def counters(self) -> Counters:
        rules = {}
        for number, place in self._rules.known_rules():
            packets, size = self._kernel.hits.get(place)
            if packets:
                rules[number] = RuleHits(packets, size)
        drops = {reason: self._sum("drops", reason) for reason in DropReason}
        endpoint_drops: dict[NetworkInterfaceId, dict[DropReason, int]] = {}
        for key, raw in self._kernel.maps["endpoint_drops"].items():
            slot, reason = layout.ENDPOINT_DROP_KEY.unpack(key)
            name = self._endpoints.name_of(slot)
            if name is not None:
                endpoint_drops.setdefault(name, {})[DropReason(reason)] = layout.COUNT.unpack(raw)[0]
        return Counters(
            rules=rules,
            drops={reason: count for reason, count in drops.items() if count},
            endpoint_drops=endpoint_drops,
            lost_events=self._sum("lost_events", 0),
        )

    def service_address(self, endpoint: NetworkInterfaceId) -> IPv4Address:
        slot = self._endpoints.slot(endpoint)
        if slot is None or not slot.ifindex:
            raise KeyError(endpoint)
        return layout.service_address(slot.number, slot.generation)

    def audit(self) -> Audit:
        return self._auditor.step(self._applied)

    def usage(self) -> Mapping[NetworkInterfaceId, Usage]:
        allowance = self._settings.allowance
        return {name: Usage(*self._endpoints.usage(slot), allowance) for name, slot in self._endpoints.attached()}

    def close(self) -> None:
        self._rules.sweep(float("inf"))
        self._opened.close()

    # ── beyond the contract ───────────────────────────────────────────────────────────────────────────

    def sweep(self) -> Swept:
        """Forget flows whose time is over, so that they count against nobody."""
        self._swept_at = time.monotonic()
        raw = syscall.run(self._kernel.programs["sweep"], bytes(layout.SWEEP.size))
        tcp, other, _ = layout.USAGE.unpack(self._kernel.shared["usages"].get(0))
        return Swept(layout.SWEEP.unpack(raw)[1], tcp, other)

    def fileno(self) -> int:
        """Readable when devices of the host came or went: time for `devices_gone`."""
        return self._link_events.fileno()

    def devices_gone(self) -> tuple[NetworkInterfaceId, ...]:
        """Endpoints whose device vanished since the last call; each is detached as it is named.

        Costs one system call while no device of the host came or went.
        """
        if not _drained(self._link_events):
            return ()
        present = {link.index: link.name for link in links.list_links(self._route)}
        gone = [name for name, slot in self._endpoints.attached() if present.get(slot.ifindex) != slot.device]
        for name in gone:
            self._endpoints.detach(name)
        return tuple(gone)

    def endpoint_alive(self, endpoint: NetworkInterfaceId) -> bool:
        """Whether it is attached and its device is still the one that was attached."""
        slot = self._endpoints.slot(endpoint)
        if slot is None or not slot.ifindex:
            return False
        link = links.find_link(self._route, slot.device)
        return link is not None and link.index == slot.ifindex

    def remove(self) -> None:
        """Take away all that was made on this host, and close. Instances lose their network."""
        for name, slot in list(self._endpoints.attached()):
            index = slot.ifindex
            self.detach(name)
            if slot.adopted == layout.OURS and links.find_link(self._route, slot.device) is not None:
                self._hooks.detach(slot.device, index, attach.ENDPOINT)
        for uplink in self._settings.uplinks:
            found = links.find_link(self._route, uplink)
            if found is not None:
                self._hooks.detach(uplink, found.index, attach.GATEWAY)
        remove_host_links(self._route, self._settings, self._journal)
        self.close()
        self._pins.remove()

    # ── start ─────────────────────────────────────────────────────────────────────────────────────────

    def _adopt(self) -> None:
        self._rules.adopt()
        self._endpoints.adopt()
        endpoints, _ = self._endpoints.observe()
        for rule_set in self._rules.loaded() - {each.rule_set for each in endpoints.values()}:
            self._rules.retire(rule_set, time.monotonic() + GRACE_S)
        self._applied = self.observe()
        present = {link.index: link.name for link in links.list_links(self._route)}
        for name, slot in list(self._endpoints.attached()):
            if present.get(slot.ifindex) == slot.device:
                self._hooks.replace(slot.device, slot.ifindex, slot.adopted)
            else:
                self._endpoints.detach(name)

    def _without_damage(self, desired: HostPolicy) -> HostPolicy:
        """What was found applied, but for rule sets that are not what their number promises, and who has them.

        Once after a start: from then on the auditor knows what it should find.
        """
        found = self._applied
        damaged = {name for name, each in found.rule_sets.items() if desired.rule_sets.get(name, each) != each}
        for name in damaged:
            self._rules.retire(name, time.monotonic() + GRACE_S)
        if not damaged:
            return found
        endpoints = {name: each for name, each in found.endpoints.items() if each.rule_set not in damaged}
        return HostPolicy(
            endpoints, found.members, {name: each for name, each in found.rule_sets.items() if name not in damaged}
        )

    def _make_auditor(self) -> Auditor:
        settings = self._settings
        devices = {
            name: (links.index_of(self._route, name), hooks)
            for name, hooks in (
                (settings.gateway_peer, attach.GATEWAY),
                (settings.services_device, attach.SERVICES),
                *((uplink, attach.GATEWAY) for uplink in settings.uplinks),
            )
        }
        tables = (self._endpoints, self._rules, self._kernel.kept)
        return Auditor(tables, self._hooks, devices, (self._kernel.shared["host"], self._host_record))

    def _join_host(self) -> HostLinks:
        made = make_host_links(self._route, self._settings, self._journal)
        self._made = made
        self._share_out()
        self._hooks.attach(self._settings.gateway_peer, attach.GATEWAY)
        self._hooks.attach(self._settings.services_device, attach.SERVICES)
        for uplink in self._settings.uplinks:
            try:
                self._hooks.attach(uplink, attach.GATEWAY)
            except OSError as err:
                if err.errno == errno.ENODEV:
                    raise DatapathUnavailable(f"uplink {uplink} is not there", "Correct [network] devices") from err
                raise
        return made

    def _share_out(self) -> None:
        """Write the host's record; what an endpoint may have of crowded tables depends on how many there are."""
        self._kernel.shared["host"].put(0, self._host_record())

    def _host_record(self) -> bytes:
        made, settings = self._made, self._settings
        pool, pool6 = settings.public_pool, settings.public_pool6
        sizes = (settings.flows_tcp, settings.flows_other)
        return layout.HOST.pack(
            *(pool.network_address.packed, pool.netmask.packed, made.gateway, made.services),
            *(bytes.fromhex(made.gateway_mac.replace(":", "")), bytes.fromhex(made.services_mac.replace(":", ""))),
            settings.event_limit,
            pool6.network_address.packed if pool6 is not None else bytes(16),
            pool6.netmask.packed if pool6 is not None else bytes(16),
            settings.allowance,
            max(1, min(sizes) // max(1, sum(1 for _ in self._endpoints.attached()))),
            struct.pack("=II", *(size * 3 // 4 for size in sizes)),
            settings.strict_icmp_errors,
        )

    # ── steps ─────────────────────────────────────────────────────────────────────────────────────────

    def _take(self, step: Step) -> None:
        match step:
            case LoadRuleSet(rule_set):
                self._rules.load(rule_set)
            case PlaceMember(key, identity):
                self._endpoints.place_member(key, identity)
            case PlaceEndpoint(endpoint):
                self._endpoints.place(endpoint, self._rules.find(endpoint.rule_set))
            case ForgetEndpoint(name):
                self._endpoints.forget(name)
            case ForgetMember(key):
                self._endpoints.forget_member(key)
            case RetireRuleSet(name):
                self._rules.retire(name, time.monotonic() + GRACE_S)
            case _:
                assert_never(step)

    def _undo(self, done: list[Step]) -> bool:
        """Back to the policy that was applied, the last step first. The failed step, too, may have begun.

        False when the kernel refused that as well.
        """
        old, whole = self._applied, True
        for step in reversed(done):
            for inverse in _inverse(step, old):
                try:
                    self._take(inverse)
                except KeyError:
                    continue  # the step failed before it had done anything to take back
                except (OSError, TableFull):
                    whole = False
        return whole

    def _sum(self, name: str, index: int) -> int:
        return sum(layout.COUNT.unpack(each)[0] for each in self._kernel.per_cpu[name].get(index))


def _inverse(step: Step, old: HostPolicy) -> tuple[Step, ...]:
    """The steps that make what `step` changed as it is in `old`."""
    match step:
        case LoadRuleSet(rule_set):
            return (RetireRuleSet(rule_set.id),)
        case PlaceMember(key, _) | ForgetMember(key):
            identity = old.members.get(key)
            return (ForgetMember(key),) if identity is None else (PlaceMember(key, identity),)
        case PlaceEndpoint(endpoint):
            former = old.endpoints.get(endpoint.id)
            return (ForgetEndpoint(endpoint.id),) if former is None else (PlaceEndpoint(former),)
        case ForgetEndpoint(name):
            return (PlaceEndpoint(old.endpoints[name]),)
        case RetireRuleSet(name):
            return (LoadRuleSet(old.rule_sets[name]),)
        case _:
            assert_never(step)


def _link_events() -> socket.socket:
    """Hears of every device that comes or goes. Overruns are as good as news: then all are looked at."""
    events = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, 0)
    events.bind((0, _LINK_EVENTS))
    return events


def _drained(events: socket.socket) -> bool:
    heard = False
    while True:
        try:
            events.recv(1 << 16)
        except BlockingIOError:
            return heard
        except OSError as err:
            if err.errno != errno.ENOBUFS:
                raise
        heard = True
