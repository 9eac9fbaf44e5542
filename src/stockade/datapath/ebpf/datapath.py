"""The Datapath contract on Linux: joins the loader, the maps, the hooks and the host's links.

    datapath = EbpfDatapath(settings, journal)      # links made, programs loaded or found again, gateway policed
    datapath.attach(interface, device); datapath.apply(policy); ...
    datapath.close()                                # enforcement goes on; the next EbpfDatapath adopts it

Called from one thread at a time.
"""

import errno
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from ipaddress import IPv4Address
from typing import assert_never

from stockade.datapath.contract import Applied, ApplyFailed, Counters, DeviceName, RuleHits
from stockade.datapath.ebpf import attach, layout
from stockade.datapath.ebpf.attach import Hooks
from stockade.datapath.ebpf.endpoint_table import EndpointTable
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

EVENT_LIMIT = 500
"""Flow events of one endpoint in 67 ms."""

_LINK_EVENTS = 1
_NO_JOURNAL = NoJournal()


class EbpfDatapath:
    """Enforces policy on the veth devices of the network namespace it is constructed in."""

    def __init__(self, settings: EbpfSettings, journal: Journal = _NO_JOURNAL, *, program: bytes | None = None) -> None:
        """Adopts what a former one left under `settings.pins`, makes what is missing.

        Not in the contract but offered: `devices_gone()` marks endpoints dead whose device vanished and names them,
        `endpoint_alive(interface)`, `remove()` takes away all that was made, links and namespace included,
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
            self._adopt()
            self._join_host()
            self._opened = opened.pop_all()

    # ── the contract ──────────────────────────────────────────────────────────────────────────────────

    def attach(self, endpoint: NetworkInterfaceId, device: DeviceName) -> None:
        index = links.index_of(self._route, device)
        slot = self._endpoints.slot(endpoint)
        if slot is not None and slot.ifindex == index and self._hooks.is_attached(index, attach.ENDPOINT):
            return
        # Programs first: until the device is somebody's, they drop all it sends.
        self._hooks.attach(device, attach.ENDPOINT)
        self._hooks.make_router_end(index)
        self._endpoints.attach(endpoint, device, index)

    def detach(self, endpoint: NetworkInterfaceId) -> None:
        self._endpoints.detach(endpoint)

    def apply(self, desired: HostPolicy) -> Applied:
        started = time.perf_counter()
        self._rules.sweep(time.monotonic())
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
            self._undo(done)
            raise ApplyFailed(f"{type(done[-1]).__name__}: {err}") from err
        self._applied = desired
        return Applied(len(steps), (time.perf_counter() - started) * 1000)

    def observe(self) -> HostPolicy:
        endpoints, members = self._endpoints.observe()
        rule_sets = self._rules.observe()
        current = self._rules.loaded()
        return HostPolicy(endpoints, members, {name: each for name, each in rule_sets.items() if name in current})

    def flows(self) -> Iterator[FlowEvent]:
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

    def close(self) -> None:
        self._rules.sweep(float("inf"))
        self._opened.close()

    # ── beyond the contract ───────────────────────────────────────────────────────────────────────────

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
            self._endpoints.detach(name)
            if links.find_link(self._route, slot.device) is not None:
                self._hooks.detach(slot.device, slot.ifindex, attach.ENDPOINT)
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
                self._hooks.attach(slot.device, attach.ENDPOINT)
            else:
                self._endpoints.detach(name)

    def _join_host(self) -> None:
        made = make_host_links(self._route, self._settings, self._journal)
        self._write_host(made)
        self._hooks.attach(self._settings.gateway_peer, attach.GATEWAY)
        self._hooks.attach(self._settings.services_device, attach.SERVICES)
        for uplink in self._settings.uplinks:
            try:
                self._hooks.attach(uplink, attach.GATEWAY)
            except OSError as err:
                if err.errno == errno.ENODEV:
                    raise DatapathUnavailable(f"uplink {uplink} is not there", "Correct [network] devices") from err
                raise

    def _write_host(self, made: HostLinks) -> None:
        pool = self._settings.public_pool
        raw = layout.HOST.pack(
            *(pool.network_address.packed, pool.netmask.packed, made.gateway, made.services),
            *(bytes.fromhex(made.gateway_mac.replace(":", "")), bytes.fromhex(made.services_mac.replace(":", ""))),
            EVENT_LIMIT,
        )
        self._kernel.maps["host"].put(layout.NUMBER.pack(0), raw)

    # ── steps ─────────────────────────────────────────────────────────────────────────────────────────

    def _take(self, step: Step) -> None:
        match step:
            case LoadRuleSet(rule_set):
                self._rules.load(rule_set)
            case PlaceMember(key, identity):
                self._endpoints.place_member(key, identity)
            case PlaceEndpoint(endpoint):
                self._endpoints.place(endpoint, self._rules.index_of(endpoint.rule_set))
            case ForgetEndpoint(name):
                self._endpoints.forget(name)
            case ForgetMember(key):
                self._endpoints.forget_member(key)
            case RetireRuleSet(name):
                self._rules.retire(name, time.monotonic() + GRACE_S)
            case _:
                assert_never(step)

    def _undo(self, done: list[Step]) -> None:
        """Back to the policy that was applied, the last step first. The failed step, too, may have begun."""
        old = self._applied
        for step in reversed(done):
            for inverse in _inverse(step, old):
                try:
                    self._take(inverse)
                except KeyError:
                    continue  # the step failed before it had done anything to take back

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
