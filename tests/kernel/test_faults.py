"""The kernel says no, at every step of an apply in turn: what was enforced before stands, whole.

The faults are the kernel's own (ENOMEM, E2BIG) at the system call, so that whatever lies above it is tried too; a
refused batch has done half of its work.
"""

import errno
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import IPv4Address
from random import Random

import pytest

from kernel.ebpf_host import EbpfHost
from scenarios.random_worlds import random_history
from scenarios.worlds import group, instance, view, world
from stockade.datapath.contract import ApplyFailed, DeviceName
from stockade.datapath.ebpf import auditor, syscall
from stockade.datapath.ebpf.attach import ENDPOINT
from stockade.linux import links, traffic_control
from stockade.linux.netlink import Netlink
from stockade.model.tracking import ConnectionTracking
from stockade.policy.compile import compile_host
from stockade.policy.entries import HostPolicy

pytestmark = [pytest.mark.root, pytest.mark.xdist_group("kernel-datapath")]

WRITES = (syscall.UPDATE, syscall.DELETE, syscall.UPDATE_BATCH, syscall.DELETE_BATCH)
BATCHES = (syscall.UPDATE_BATCH, syscall.DELETE_BATCH)
_COUNT_AT = 32  # of a batch's attributes


@pytest.fixture
def host() -> Iterator[EbpfHost]:
    with EbpfHost() as made:
        yield made


class Refusing:
    """Counts what is written to maps, and refuses the one call of that number, from 1. 0: none."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._real = syscall.bpf
        self._fail_at, self._with, self.writes = 0, 0, 0
        monkeypatch.setattr(syscall, "bpf", self._bpf)

    @contextmanager
    def at(self, number: int, code: int = errno.ENOMEM) -> Iterator["Refusing"]:
        self._fail_at, self._with, self.writes = number, code, 0
        yield self
        self._fail_at = 0

    def _bpf(self, command: int, attributes: bytes, what: str) -> tuple[int, bytes]:
        if command in WRITES:
            self.writes += 1
            if self.writes == self._fail_at:
                if command in BATCHES:
                    self._half(command, attributes, what)
                raise OSError(self._with, f"{what}: {os.strerror(self._with)}")
        return self._real(command, attributes, what)

    def _half(self, command: int, attributes: bytes, what: str) -> None:
        (count,) = struct.unpack_from("=I", attributes, _COUNT_AT)
        half = bytearray(attributes)
        struct.pack_into("=I", half, _COUNT_AT, count // 2)
        self._real(command, bytes(half), what)


def attach_all(host: EbpfHost, policies: tuple[HostPolicy, ...]) -> None:
    """A device for every other endpoint; the others wait for theirs."""
    names = sorted({name for policy in policies for name in policy.endpoints})
    with Netlink(host.netns) as route:
        for number, name in enumerate(names[::2]):
            links.create_veth(route, f"t{number}", f"p{number}")
            host.datapath.attach(name, DeviceName(f"t{number}"))


def changes() -> dict[str, tuple[HostPolicy, HostPolicy]]:
    """Pairs of policies, of which the second differs in everything that a policy has."""
    one, *_, two, three = [compile_host(seen) for seen in random_history(Random("faults/7"), length=8)]
    ports = [f"tcp/{port} from 10.0.0.0/8" for port in range(1000, 1100, 3)]
    small = compile_host(view(world(group("web", ingress=["tcp/80 from 0.0.0.0/0"]), instance("web1", "web"))))
    crowd = [instance(f"web{number}", "web") for number in range(1, 8)]
    big = compile_host(view(world(group("web", ingress=[*ports, "tcp/22 from 2001:db8::/32", "all from web"]), *crowd)))
    name, web1 = next(iter(small.endpoints.items()))
    moved = replace(
        web1,
        addresses=(IPv4Address("10.99.0.1"), IPv4Address("10.99.0.2")),
        public=IPv4Address("198.18.99.1"),
        tracking=ConnectionTracking(60, 60, 60),
        cuts=3,
    )
    heir = big.endpoints[min(big.endpoints.keys() - {name})]
    left = replace(web1, addresses=(IPv4Address("10.99.0.1"),), public=None)
    taken = replace(heir, addresses=web1.addresses, public=web1.public)
    passed_on = {**big.endpoints, heir.id: taken, name: replace(left, rule_set=heir.rule_set, identity=heir.identity)}
    return {
        "a history": (one, two),
        "the rest of it": (two, three),
        "backwards": (three, one),
        "all goes": (two, HostPolicy()),
        "growth": (small, big),
        "shrinking": (big, small),
        "an address passed on": (big, replace(big, endpoints=passed_on)),
        "an address given back": (replace(big, endpoints=passed_on), big),
        "another place": (small, replace(small, endpoints={name: moved})),
    }


CHANGES = changes()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("change", CHANGES)
def test_whichever_write_is_refused_the_old_policy_stands_and_the_next_apply_succeeds(
    host: EbpfHost, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    old, new = CHANGES[change]
    attach_all(host, (old, new))
    refusing = Refusing(monkeypatch)
    host.datapath.apply(old)
    with refusing.at(0):
        host.datapath.apply(new)
        total = refusing.writes
    assert total > 4
    refused = 0
    for number in range(1, total + 1):
        host.datapath.apply(old)
        try:
            with refusing.at(number, errno.E2BIG if number % 2 else errno.ENOMEM):
                host.datapath.apply(new)
        except ApplyFailed as err:
            refused += 1
            assert "writing" in str(err) or "deleting" in str(err)
            assert host.datapath.observe() == old, number
            assert host.datapath.audit().drift == (), number
        else:
            # Nothing that the policy needs: the remains of a former one, which go another time.
            assert host.datapath.observe() == new, number
        host.datapath.apply(new)
        assert host.datapath.observe() == new, number
    assert refused > total // 4
    assert audited(host) == ()


def audited(host: EbpfHost) -> tuple[str, ...]:
    """What a whole round of the auditor says."""
    return tuple(line for _ in range(40) for line in host.datapath.audit().drift)


@pytest.mark.parametrize("change", ["a history", "growth"])
def test_a_process_that_dies_at_any_write_leaves_nothing_half_done_to_the_next(
    host: EbpfHost, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """The next one finds each endpoint by its old rules or by its new ones, and gets to the new policy."""
    old, new = CHANGES[change]
    attach_all(host, (old, new))
    refusing = Refusing(monkeypatch)
    host.datapath.apply(old)
    with refusing.at(0):
        host.datapath.apply(new)
        total = refusing.writes
    undo = type(host.datapath._target)._undo
    for number in range(1, total + 1, max(1, total // 12)):
        host.datapath.apply(old)
        with monkeypatch.context() as dying, refusing.at(number):
            dying.setattr(type(host.datapath._target), "_undo", lambda *_: True)
            with pytest.raises(ApplyFailed):
                host.datapath.apply(new)
        assert type(host.datapath._target)._undo is undo
        host.run(host.datapath._target._opened.close)
        host.datapath = host.start()
        found = host.datapath.observe()
        for name, endpoint in found.endpoints.items():
            assert endpoint.rule_set in {each.endpoints[name].rule_set for each in (old, new) if name in each.endpoints}
            assert found.rule_sets[endpoint.rule_set] in (
                *(each.rule_sets.get(endpoint.rule_set) for each in (old, new)),
            )
        host.datapath.apply(new)
        assert host.datapath.observe() == new, number
        assert audited(host) == ()


# ── drift ─────────────────────────────────────────────────────────────────────────────────────────────


def first_of(host: EbpfHost, name: str) -> tuple[bytes, bytes]:
    table = host.datapath._kernel.kept[name]
    return next(iter(table.items()))


def spoil(host: EbpfHost, name: str) -> None:
    """Somebody else writes to a map of ours."""
    table = host.datapath._kernel.kept[name]
    key, value = first_of(host, name)
    super(type(table), table).put(key, bytes(byte ^ 0x5C for byte in value))


def lose(host: EbpfHost, name: str) -> None:
    table = host.datapath._kernel.kept[name]
    super(type(table), table).remove(first_of(host, name)[0])


def intrude(host: EbpfHost, name: str) -> None:
    table = host.datapath._kernel.kept[name]
    key, value = first_of(host, name)
    at = min(4, len(key) - 1)  # prefixes begin with their length, which has limits
    super(type(table), table).put(key[:at] + bytes([key[at] ^ 0x80]) + key[at + 1 :], value)


@pytest.mark.parametrize("how", [spoil, lose, intrude])
@pytest.mark.parametrize(
    "name", ["addresses", "addresses6", "publics", "publics6", "rule_sets", "prefixes", "prefixes6"]
)
def test_what_differs_in_a_map_is_found_said_and_put_right(
    host: EbpfHost, how: Callable[[EbpfHost, str], None], name: str
) -> None:
    policy = CHANGES["a history"][0]
    attach_all(host, (policy,))
    host.datapath.apply(policy)
    assert audited(host) == ()
    if not list(host.datapath._kernel.kept[name].items()):
        pytest.fail(f"the policy puts nothing into {name}")
    how(host, name)
    said = audited(host)
    assert len(said) == 1
    assert f"map {name}:" in said[0]
    assert host.datapath.observe() == policy
    assert audited(host) == ()


def test_an_audit_goes_on_where_the_last_one_ended(host: EbpfHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auditor, "BUDGET_S", 0.0)
    policy = CHANGES["a history"][0]
    attach_all(host, (policy,))
    host.datapath.apply(policy)
    lose(host, "prefixes6")
    assert [line for _ in range(200) for line in host.datapath.audit().drift] != []


@pytest.mark.parametrize(
    "name", ["endpoints", "endpoint_names", "devices", "policies", "intervals", "rule_numbers", "host"]
)
def test_what_differs_in_an_array_is_found_said_and_put_right(host: EbpfHost, name: str) -> None:
    ports = [f"tcp/{port} from 10.0.0.0/8" for port in range(1000, 1100, 3)]
    policy = compile_host(view(world(group("web", ingress=ports), instance("web1", "web"))))
    attach_all(host, (policy,))
    host.datapath.apply(policy)
    assert audited(host) == ()
    array = host.datapath._kernel.shared[name]
    # The place that is certainly in use: the first behind nobody's, or for the host's record the only one.
    where = next(
        place
        for place in range(array.info.max_entries)
        if any(array.get(place)) and (place or name in ("host", "intervals"))
    )
    before = array.get(where)
    array.put(where, bytes([before[0] ^ 0x5C]) + before[1:])
    said = audited(host)
    assert len(said) == 1
    assert f"map {name}:" in said[0]
    assert array.get(where) == before
    assert host.datapath.observe() == policy


def test_a_filter_that_somebody_took_off_is_put_back(host: EbpfHost) -> None:
    policy = CHANGES["growth"][0]
    attach_all(host, (policy,))
    host.datapath.apply(policy)
    assert audited(host) == ()
    hooks = host.datapath._hooks
    with Netlink(host.netns) as route:
        index = links.index_of(route, "t0")
    host.run(lambda: hooks.detach("t0", index, ENDPOINT))
    said = audited(host)
    assert sorted(said) == ["filter from_endpoint is not on t0", "filter to_endpoint is not on t0"]
    assert audited(host) == ()


def test_a_rule_set_that_was_changed_while_nobody_looked_is_loaded_anew(host: EbpfHost) -> None:
    policy = CHANGES["growth"][1]
    host.datapath.apply(policy)
    spoil(host, "rule_sets")
    host.restart()
    assert host.datapath.observe() != policy
    host.datapath.apply(policy)
    assert host.datapath.observe() == policy


def test_an_audit_of_many_entries_is_done_a_little_at_a_time(host: EbpfHost) -> None:
    policy = HostPolicy(members={(1, IPv4Address("10.0.0.0") + number): 1 << 40 for number in range(100_000)})
    host.datapath.apply(policy)
    compared, largest = 0, 0
    while compared < 100_000:
        slice_ = host.datapath.audit().compared
        compared, largest = compared + slice_, max(largest, slice_)
    assert largest < 20_000
    spoil(host, "addresses")
    assert [line for _ in range(20) for line in host.datapath.audit().drift] != []


# ── attaching ─────────────────────────────────────────────────────────────────────────────────────────


class RefusingNetlink:
    """Counts what is asked of routing netlink, and refuses the one request of that number, from 1. 0: none."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fail_at, self.asked = 0, 0
        real = Netlink.request

        def request(route: Netlink, kind: int, flags: int, payload: bytes) -> list[tuple[int, bytes]]:
            self.asked += 1
            if self.asked == self.fail_at:
                raise OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS))
            return real(route, kind, flags, payload)

        monkeypatch.setattr(Netlink, "request", request)

    def at(self, number: int) -> None:
        self.fail_at, self.asked = number, 0


def hooks_of(host: EbpfHost, device: str) -> list[str]:
    """The programs at a device, by name."""
    with Netlink(host.netns) as route:
        index = links.index_of(route, device)
        return [
            each.name
            for hook in (traffic_control.INGRESS, traffic_control.EGRESS)
            for each in traffic_control.list_filters(route, index, hook)
        ]


@pytest.mark.parametrize("adopted", [False, True])
def test_whatever_netlink_refuses_a_device_is_policed_or_not_ours(
    host: EbpfHost, monkeypatch: pytest.MonkeyPatch, adopted: bool
) -> None:
    """One of ours drops all until it is attached; one of somebody else's is as it was."""
    policy = CHANGES["growth"][0]
    (name,) = policy.endpoints
    policy = replace(policy, endpoints={name: replace(policy.endpoints[name], filtered=adopted)})
    host.datapath.apply(policy)
    refusing = RefusingNetlink(monkeypatch)
    number, succeeded = 0, False
    while not succeeded:
        number += 1
        device = DeviceName(f"t{number}")
        with Netlink(host.netns) as route:
            refusing.at(0)
            links.create_veth(route, device, f"p{number}")
        refusing.at(number)
        try:
            host.datapath.attach(name, device)
            succeeded = refusing.asked < number
        except OSError as err:
            assert err.errno == errno.ENOBUFS
        refusing.at(0)
        if adopted and not succeeded and not host.datapath.endpoint_alive(name):
            assert hooks_of(host, device) == []
        host.datapath.attach(name, device)
        assert sorted(hooks_of(host, device)) == ["from_endpoint", "to_endpoint"]
        assert host.datapath.endpoint_alive(name)
        assert host.datapath.observe() == policy
        host.datapath.detach(name)
    assert number > 4
