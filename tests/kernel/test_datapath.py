"""The life of a datapath: attach, apply, fail, restart, devices that vanish, and what it costs."""

import errno
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from kernel.ebpf_host import EbpfHost, Guest
from kernel.policies import guests_of, policy_of, rules_hit
from scenarios.worlds import group, instance, private_address, public_address, world
from stockade.datapath.contract import ApplyFailed, DeviceName
from stockade.datapath.ebpf import layout
from stockade.datapath.ebpf.features import DatapathUnavailable, probe_features
from stockade.linux import links, namespaces, traffic_control
from stockade.linux.netlink import Netlink
from stockade.model.flow import DropReason
from stockade.policy.entries import HostPolicy

pytestmark = [pytest.mark.root, pytest.mark.xdist_group("kernel-datapath")]

WORLD = world(
    group("web", ingress=["tcp/80 from 0.0.0.0/0", "icmp from web"]),
    instance("web1", "web"),
    instance("web2", "web"),
)
WITHOUT_WEB = ("web",)


@pytest.fixture
def host() -> Iterator[EbpfHost]:
    with EbpfHost() as made:
        yield made


@pytest.fixture
def guests(host: EbpfHost) -> dict[str, Guest]:
    made = guests_of(host, WORLD)
    host.datapath.apply(policy_of(WORLD))
    return made


def private(name: str) -> str:
    return str(private_address(WORLD, name))


def public(name: str) -> str:
    return str(public_address(WORLD, name))


def connection(guests: dict[str, Guest]) -> tuple[socket.socket, socket.socket]:
    listening = guests["web2"].listen(80)
    client = guests["web1"].connect(private("web2"), 80)
    accepted, _ = guests["web2"].accept(listening)
    listening.close()
    return client, accepted


def is_alive(client: socket.socket, server: socket.socket) -> bool:
    server.settimeout(0.5)
    client.sendall(b"x")
    try:
        return server.recv(1) == b"x"
    except TimeoutError:
        return False


# ── attach and detach ─────────────────────────────────────────────────────────────────────────────────


def test_an_attached_device_drops_everything_until_there_is_policy(host: EbpfHost) -> None:
    made = guests_of(host, WORLD)
    assert not made["web1"].ping(private("web2"))
    host.datapath.apply(policy_of(WORLD))
    assert made["web1"].ping(private("web2"), patience=3.0)


def test_policy_may_come_before_the_device(host: EbpfHost) -> None:
    policy = policy_of(WORLD)
    host.datapath.apply(policy)
    assert host.datapath.observe() == policy
    made = guests_of(host, WORLD)
    assert made["web1"].ping(private("web2"))


def test_attaching_again_changes_nothing(host: EbpfHost, guests: dict[str, Guest]) -> None:
    client, server = connection(guests)
    host.datapath.attach(guests["web1"].interface, guests["web1"].device)
    assert is_alive(client, server)


def test_a_detached_endpoint_drops_all_and_its_flows_are_cut(host: EbpfHost, guests: dict[str, Guest]) -> None:
    client, server = connection(guests)
    before = host.datapath.service_address(guests["web1"].interface)
    host.datapath.detach(guests["web1"].interface)
    assert not is_alive(client, server)
    assert not guests["web1"].ping(private("web2"))
    assert not host.datapath.endpoint_alive(guests["web1"].interface)
    with pytest.raises(KeyError):
        host.datapath.service_address(guests["web1"].interface)
    host.datapath.attach(guests["web1"].interface, guests["web1"].device)
    assert guests["web1"].ping(private("web2"))
    assert host.datapath.service_address(guests["web1"].interface) != before


def test_attaching_another_device_lets_go_of_the_first(host: EbpfHost, guests: dict[str, Guest]) -> None:
    with Netlink(host.netns) as route:
        links.create_veth(route, "other0", "other1")
    host.datapath.attach(guests["web1"].interface, DeviceName("other0"))
    assert not guests["web1"].ping(private("web2"))
    host.datapath.attach(guests["web1"].interface, guests["web1"].device)
    assert guests["web1"].ping(private("web2"), patience=3.0)


def test_a_device_that_is_not_there_is_an_error_with_its_name(host: EbpfHost, guests: dict[str, Guest]) -> None:
    with pytest.raises(OSError, match="nowhere0") as refusal:
        host.datapath.attach(guests["web1"].interface, DeviceName("nowhere0"))
    assert refusal.value.errno == errno.ENODEV


def test_a_guest_that_deletes_its_own_device_is_named_once_and_dead(host: EbpfHost, guests: dict[str, Guest]) -> None:
    assert host.datapath.devices_gone() == ()
    guests["web1"].delete_device()
    assert not host.datapath.endpoint_alive(guests["web1"].interface)
    deadline = time.monotonic() + 5
    gone: tuple[str, ...] = ()
    while not gone and time.monotonic() < deadline:
        gone = host.datapath.devices_gone()
    assert gone == (guests["web1"].interface,)
    assert host.datapath.devices_gone() == ()
    assert not guests["web2"].ping(private("web1"))
    assert host.datapath.counters().drops[DropReason.ENDPOINT_UNKNOWN] >= 1


def test_an_index_that_the_kernel_used_again_belongs_to_the_new_endpoint_alone(
    host: EbpfHost, guests: dict[str, Guest]
) -> None:
    """The worst case: the other tenant's device has the index before anybody heard that the first one went."""
    with Netlink(host.netns) as route:
        index = links.index_of(route, guests["web1"].device)
    guests["web1"].delete_device()
    heir = host.add_guest(9, "10.0.0.99", attach=False, index=index)
    host.datapath.attach(heir.interface, heir.device)
    sniffer = heir.raw()
    assert not guests["web2"].ping(private("web1"))
    with pytest.raises(TimeoutError):
        while b"stockade" not in sniffer.recv(2048):
            pass
    sniffer.close()


def test_endpoints_whose_index_is_beyond_the_array_work_too(host: EbpfHost) -> None:
    made = {
        name: host.add_guest(number, private(name), index=layout.MAX_NEAR + number)
        for number, name in enumerate(("web1", "web2"), start=1)
    }
    policy = policy_of(WORLD)
    by_name = dict(zip(made, sorted(policy.endpoints), strict=True))
    for name, guest in made.items():
        host.datapath.attach(by_name[name], guest.device)
    host.datapath.apply(policy)
    assert made["web1"].ping(private("web2"), patience=3.0)
    host.datapath.detach(by_name["web1"])
    assert not made["web1"].ping(private("web2"))


# ── apply ─────────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_observed_is_what_was_applied(host: EbpfHost, guests: dict[str, Guest]) -> None:
    assert host.datapath.observe() == policy_of(WORLD)
    assert host.datapath.apply(policy_of(WORLD)).steps == 0


def test_a_revoked_rule_for_everybody_refuses_new_connections_and_cuts_old_ones(
    host: EbpfHost, guests: dict[str, Guest]
) -> None:
    client, server = connection(guests)
    host.datapath.apply(policy_of(WORLD, WITHOUT_WEB))
    assert not is_alive(client, server)
    guests["web2"].listen(80)
    assert not guests["web1"].can_connect(private("web2"), 80)
    host.datapath.apply(policy_of(WORLD))
    assert guests["web1"].can_connect(private("web2"), 80)


def test_three_syns_after_a_revoke_are_three_drops_and_none_arrives(host: EbpfHost, guests: dict[str, Guest]) -> None:
    host.datapath.apply(policy_of(WORLD, WITHOUT_WEB))
    before = host.datapath.counters()
    arrived = namespaces.socket_in(guests["web2"].netns, socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
    arrived.settimeout(0.2)
    for port in (41001, 41002, 41003):
        client = guests["web1"].open_socket(socket.SOCK_STREAM, ("0.0.0.0", port))
        client.setblocking(False)
        with pytest.raises(BlockingIOError):
            client.connect((private("web2"), 80))
        client.close()
    after = host.datapath.counters()
    assert after.drops[DropReason.NO_EGRESS_RULE] - before.drops.get(DropReason.NO_EGRESS_RULE, 0) == 3
    with pytest.raises(TimeoutError):
        arrived.recv(2048)
    arrived.close()


def test_a_policy_that_is_taken_away_cuts_everything(host: EbpfHost, guests: dict[str, Guest]) -> None:
    client, server = connection(guests)
    host.datapath.apply(HostPolicy())
    assert host.datapath.observe() == HostPolicy()
    assert not is_alive(client, server)
    assert not guests["web1"].ping(private("web2"))


def test_an_endpoint_that_names_a_missing_rule_set_is_refused_before_anything_changes(
    host: EbpfHost, guests: dict[str, Guest]
) -> None:
    policy = policy_of(WORLD)
    with pytest.raises(ApplyFailed):
        host.datapath.apply(replace(policy, rule_sets={}))
    assert host.datapath.observe() == policy


@pytest.mark.parametrize(
    ("table", "after"),
    [
        *(("rule_sets", after) for after in (0, 1, 4)),
        *(("prefixes", after) for after in (0, 1)),
        *(("addresses", after) for after in (0, 1, 2)),
        *(("publics", after) for after in (0, 1)),
    ],
)
def test_a_failed_apply_leaves_the_old_policy_whole(
    host: EbpfHost, guests: dict[str, Guest], monkeypatch: pytest.MonkeyPatch, table: str, after: int
) -> None:
    """The kernel says no to the n-th write to one map, whichever it is."""
    old = policy_of(WORLD)
    bigger = world(
        group("web", ingress=["tcp/80 from 10.0.0.0/8", "tcp/443 from 0.0.0.0/0", "icmp from db"]),
        group("db", ingress=["tcp/3306 from web"]),
        instance("web1", "db"),
        instance("web2", "web"),
        instance("db1", "db"),
        instance("db2", "db"),
    )
    failing = host.datapath._kernel.maps[table]
    real, writes = failing.put, [0]

    def put(key: bytes, value: bytes, flags: int = 0) -> None:
        writes[0] += 1
        if writes[0] == after + 1:
            raise OSError(errno.ENOSPC, f"writing to map {table}: {os.strerror(errno.ENOSPC)}")
        real(key, value, flags)

    def put_all(items: dict[bytes, bytes]) -> None:
        for key, value in items.items():
            put(key, value)

    with monkeypatch.context() as patched:
        patched.setattr(failing, "put", put)
        patched.setattr(failing, "put_all", put_all)
        with pytest.raises(ApplyFailed, match=table):
            host.datapath.apply(policy_of(bigger))
    assert host.datapath.observe() == old
    assert guests["web1"].ping(private("web2"))
    host.datapath.apply(policy_of(bigger))
    assert host.datapath.observe() == policy_of(bigger)


@pytest.mark.parametrize("table", ["addresses", "publics"])
def test_an_endpoint_that_could_not_be_moved_is_where_it_was(
    host: EbpfHost, guests: dict[str, Guest], monkeypatch: pytest.MonkeyPatch, table: str
) -> None:
    """Not half there: its old rules must not judge a record that has the new address already."""
    old = policy_of(WORLD)
    name = guests["web1"].interface
    there = old.endpoints[name]
    moved = replace(there, addresses=(IPv4Address("10.99.0.1"),), public=IPv4Address("198.18.99.1"))
    failing = host.datapath._kernel.maps[table]
    real = failing.put

    def put(key: bytes, value: bytes, flags: int = 0) -> None:
        if IPv4Address("10.99.0.1").packed in key or IPv4Address("198.18.99.1").packed in key:
            raise OSError(errno.ENOSPC, f"writing to map {table}: {os.strerror(errno.ENOSPC)}")
        real(key, value, flags)

    with monkeypatch.context() as patched:
        patched.setattr(failing, "put", put)
        with pytest.raises(ApplyFailed, match=table):
            host.datapath.apply(replace(old, endpoints={**old.endpoints, name: moved}))
    assert host.datapath.observe() == old
    assert guests["web2"].ping(private("web1"))


def test_many_intervals_and_many_rules_are_found_and_read_back(host: EbpfHost) -> None:
    ports = range(1000, 1000 + 3 * 200, 3)
    many = world(
        group("web", ingress=[f"tcp/{port} from 10.0.0.0/8" for port in ports]),
        instance("web1", "web"),
        instance("web2", "web"),
    )
    made = guests_of(host, many)
    host.datapath.apply(policy_of(many))
    assert host.datapath.observe() == policy_of(many)
    for port in (ports[0], ports[101], ports[-1]):
        made["web2"].listen(port)
        assert made["web1"].can_connect(private("web2"), port)
        assert not made["web1"].can_connect(private("web2"), port + 1)


def test_hits_are_credited_to_the_rule_that_let_packets_through(host: EbpfHost, guests: dict[str, Guest]) -> None:
    before = rules_hit(host)
    assert guests["web1"].ping(private("web2"))
    after = rules_hit(host)
    rules = {each.rules for each in host.datapath.flows() if each.packet.protocol == 1 and each.passed}
    assert len(rules) == 1
    for rule in rules.pop():
        assert after[rule] - before.get(rule, 0) == 2  # request and reply


def test_counts_of_a_revoked_rule_are_kept(host: EbpfHost, guests: dict[str, Guest]) -> None:
    assert guests["web1"].ping(private("web2"))
    counted = rules_hit(host)
    host.datapath.apply(policy_of(WORLD, WITHOUT_WEB))
    host.datapath.apply(policy_of(WORLD))
    assert rules_hit(host) == counted


def test_new_flows_never_see_a_half_changed_policy(host: EbpfHost, guests: dict[str, Guest]) -> None:
    """Both policies allow port 80; while they alternate, every connection gets through."""
    other = world(
        group("web", ingress=["tcp/22-90 from 0.0.0.0/0"]),
        instance("web1", "web"),
        instance("web2", "web"),
    )
    policies = (policy_of(other), policy_of(WORLD))
    listening = guests["web2"].listen(80)
    for turn in range(100):
        host.datapath.apply(policies[turn % 2])
        guests["web1"].connect(private("web2"), 80).close()
        guests["web2"].accept(listening)[0].close()


def test_one_changed_rule_costs_little(host: EbpfHost) -> None:
    crowd = [instance(f"web{number}", "web") for number in range(20)]
    before = world(group("web", ingress=["tcp/80 from 0.0.0.0/0", "all from web"]), *crowd)
    after = world(group("web", ingress=["tcp/80 from 0.0.0.0/0", "all from web", "tcp/22 from 10.0.0.0/8"]), *crowd)
    policies = (policy_of(before), policy_of(after))
    took = [host.datapath.apply(policies[turn % 2]).took_ms for turn in range(20)]
    assert min(took) < 3.0, took


# ── restart ───────────────────────────────────────────────────────────────────────────────────────────


def test_enforcement_and_flows_survive_the_process(host: EbpfHost, guests: dict[str, Guest]) -> None:
    client, server = connection(guests)
    addresses = {name: host.datapath.service_address(guest.interface) for name, guest in guests.items()}
    host.datapath.close()
    assert is_alive(client, server)
    assert not guests["web1"].can_connect(private("web2"), 81)
    guests["web2"].listen(80)
    assert guests["web1"].can_connect(private("web2"), 80)
    host.datapath = host.start()
    assert is_alive(client, server)
    assert host.datapath.observe() == policy_of(WORLD)
    assert host.datapath.apply(policy_of(WORLD)).steps == 0
    assert {name: host.datapath.service_address(guest.interface) for name, guest in guests.items()} == addresses
    host.datapath.apply(policy_of(WORLD, WITHOUT_WEB))
    assert not guests["web1"].can_connect(private("web2"), 80)


def test_no_packet_is_lost_while_programs_are_replaced(host: EbpfHost, guests: dict[str, Guest]) -> None:
    server = guests["web2"].open_socket(socket.SOCK_STREAM, ("0.0.0.0", 80))
    server.listen()
    client = guests["web1"].connect(private("web2"), 80)
    accepted, _ = guests["web2"].accept(server)
    for _ in range(3):
        host.restart()
        assert is_alive(client, accepted)
    assert DropReason.ENDPOINT_UNKNOWN not in host.datapath.counters().drops


def test_a_device_that_vanished_while_nobody_looked_is_dead_after_the_restart(
    host: EbpfHost, guests: dict[str, Guest]
) -> None:
    host.datapath.close()
    guests["web1"].delete_device()
    host.datapath = host.start()
    assert not host.datapath.endpoint_alive(guests["web1"].interface)
    assert host.datapath.endpoint_alive(guests["web2"].interface)


def test_maps_of_another_version_are_refused_with_the_remedy(host: EbpfHost) -> None:
    host.datapath.close()
    host.settings = replace(host.settings, flows_tcp=8192)
    with pytest.raises(DatapathUnavailable, match="another version"):
        host.start()
    host.settings = replace(host.settings, flows_tcp=4096)
    host.datapath = host.start()


def test_everything_that_was_made_is_removed(host: EbpfHost, guests: dict[str, Guest]) -> None:
    host.datapath.remove()
    with Netlink(host.netns) as route:
        names = {link.name for link in links.list_links(route)}
        assert names == {"lo", *(guest.device for guest in guests.values())}
        assert [each.destination for each in links.list_routes(route)] == []
        assert all(traffic_control.is_idle(route, links.index_of(route, guest.device)) for guest in guests.values())
    assert not host.settings.services_namespace.exists()
    assert not host.run(host.settings.pins.exists)


def test_another_programs_filters_on_an_uplink_stay() -> None:
    with EbpfHost(uplink=True) as host:
        with Netlink(host.netns) as route:
            index = links.index_of(route, "uplink0")
            before = traffic_control.list_filters(route, index, traffic_control.INGRESS)
            program = host.datapath._kernel.programs["to_endpoint"]
            traffic_control.replace_filter(route, index, traffic_control.INGRESS, 7, program, "foreign")
        assert [each.name for each in before] == ["from_gateway"]
        host.datapath.remove()
        with Netlink(host.netns) as route:
            left = traffic_control.list_filters(route, index, traffic_control.INGRESS)
        assert [each.name for each in left] == ["foreign"]


def test_this_kernel_has_every_feature() -> None:
    assert [finding for finding in probe_features() if finding.why is not None] == []
