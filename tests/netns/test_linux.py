"""The kernel's own doors, tried on namespaces that nobody else is in."""

import contextlib
import errno
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from pathlib import Path

import pytest

from stockade.linux import links, mounts, namespaces
from stockade.linux.netlink import Netlink
from stockade.linux.processes import ProcessId
from stockade.linux.reuseport import sockets_by_source

pytestmark = pytest.mark.root


@pytest.fixture
def netns() -> Iterator[int]:
    fd = namespaces.new_netns()
    yield fd
    os.close(fd)


@pytest.fixture
def route(netns: int) -> Iterator[Netlink]:
    with Netlink(netns) as opened:
        yield opened


def test_a_veth_pair_has_the_names_addresses_and_mtu_it_was_given(route: Netlink) -> None:
    links.create_veth(route, "one", "two", mac="02:00:00:00:00:01", peer_mac="02:00:00:00:00:02", mtu=1400)
    one, two = links.find_link(route, "one"), links.find_link(route, "two")
    assert one is not None
    assert two is not None
    assert (one.mac, one.mtu, one.up, one.kind, one.peer) == ("02:00:00:00:00:01", 1400, False, "veth", two.index)
    assert (two.mac, two.mtu, two.up) == ("02:00:00:00:00:02", 1400, False)


def test_the_peer_is_born_in_another_namespace(route: Netlink) -> None:
    other = namespaces.new_netns()
    try:
        links.create_veth(route, "one", "eth0", peer_netns=other)
        with Netlink(other) as inside:
            assert links.find_link(inside, "eth0") is not None
        assert links.find_link(route, "eth0") is None
    finally:
        os.close(other)


def test_up_and_down_again_by_name_and_by_index(route: Netlink) -> None:
    links.set_up(route, "lo")
    assert [link.up for link in links.list_links(route)] == [True]
    links.set_up(route, 1, up=False)
    assert [link.up for link in links.list_links(route)] == [False]


def test_deleting_says_whether_there_was_anything(route: Netlink) -> None:
    links.create_veth(route, "one", "two")
    assert links.delete_link(route, "one")
    assert not links.delete_link(route, "two")


def test_addresses_come_and_go(route: Netlink) -> None:
    address = IPv4Interface("10.1.2.3/8")
    links.create_veth(route, "one", "two")
    index = links.index_of(route, "one")
    links.add_address(route, index, address)
    assert links.list_addresses(route) == [(index, address)]
    with pytest.raises(OSError, match="exists"):
        links.add_address(route, index, address)
    assert links.delete_address(route, index, address)
    assert not links.delete_address(route, index, address)


def test_an_address_may_come_without_a_route(route: Netlink) -> None:
    links.create_veth(route, "one", "two")
    index = links.index_of(route, "one")
    links.set_up(route, index)
    links.add_address(route, index, IPv4Interface("10.1.2.3/8"), prefix_route=False)
    assert links.list_routes(route) == []


def test_routes_come_and_go(route: Netlink) -> None:
    links.create_veth(route, "one", "two")
    index = links.index_of(route, "one")
    links.set_up(route, index)
    pool = IPv4Network("198.18.0.0/16")
    links.add_route(route, pool, index)
    links.add_route(route, IPv4Network("0.0.0.0/0"), index)
    assert {one.destination: (one.device, one.gateway) for one in links.list_routes(route)} == {
        pool: (index, None),
        IPv4Network("0.0.0.0/0"): (index, None),
    }
    assert links.delete_route(route, pool, index)
    assert not links.delete_route(route, pool, index)


def test_ipv6_addresses_routes_and_neighbours_come_and_go_alike(netns: int, route: Netlink) -> None:
    address, block, router = IPv6Interface("fd00:1::1/128"), IPv6Network("fd00:2::/64"), IPv6Address("fe80::1")
    links.create_veth(route, "one", "two")
    one = links.index_of(route, "one")
    links.set_up(route, "one")
    links.set_up(route, "two")
    links.add_address(route, one, address)
    assert (one, address) in links.list_addresses6(route)
    assert address.ip not in [each.ip for _, each in links.list_addresses(route)]
    links.set_neighbour(route, one, router, "02:00:00:00:00:09")
    links.add_route(route, block, one, gateway=router)
    links.add_route(route, IPv6Network("::/0"), one, gateway=router)
    found = {each.destination: each.gateway for each in links.list_routes(route, socket.AF_INET6)}
    assert (found[block], found[IPv6Network("::/0")]) == (router, router)
    assert links.delete_route(route, block, one, gateway=router)
    assert not links.delete_route(route, block, one, gateway=router)
    assert links.delete_address(route, one, address)
    assert not links.delete_address(route, one, address)


def test_the_kernel_says_why_it_refuses(route: Netlink) -> None:
    links.create_veth(route, "one", "two")
    with pytest.raises(OSError, match="Network is down") as refused:
        links.add_route(route, IPv4Network("10.0.0.0/8"), links.index_of(route, "one"))
    assert refused.value.errno == errno.ENETDOWN


def test_a_device_that_is_not_there_is_none_or_an_error(route: Netlink) -> None:
    assert links.find_link(route, "nosuch") is None
    with pytest.raises(OSError, match="nosuch"):
        links.index_of(route, "nosuch")


def test_a_known_neighbour_is_not_asked_for(route: Netlink) -> None:
    links.create_veth(route, "one", "two")
    index = links.index_of(route, "one")
    links.set_neighbour(route, index, IPv4Address("10.0.0.1"), "02:00:00:00:00:09")
    links.set_neighbour(route, index, IPv4Address("10.0.0.1"), "02:00:00:00:00:0a")


def test_one_socket_serves_many_threads(route: Netlink) -> None:
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for _ in range(20):
                links.create_veth(route, f"a{number}", f"b{number}")
                links.delete_link(route, f"a{number}")
        except BaseException as err:
            failures.append(err)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_a_socket_stays_in_the_namespace_it_was_opened_in(netns: int, route: Netlink) -> None:
    links.set_up(route, "lo")
    links.add_address(route, 1, IPv4Interface("192.0.2.1/32"))
    with namespaces.socket_in(netns, socket.AF_INET, socket.SOCK_STREAM) as opened:
        opened.bind(("192.0.2.1", 0))
    with pytest.raises(OSError, match="assign"), socket.socket() as here:
        here.bind(("192.0.2.1", 0))


@pytest.mark.parametrize(("family", "base"), [(socket.AF_INET, "127.0.0."), (socket.AF_INET6, "fd00:1::")])
def test_senders_next_to_each_other_have_queues_of_their_own(
    netns: int, route: Netlink, family: socket.AddressFamily, base: str
) -> None:
    links.set_up(route, "lo")
    if family is socket.AF_INET6:
        for last in range(1, 10):
            links.add_address(route, 1, IPv6Interface(f"{base}{last}/128"))

    def receiver() -> socket.socket:
        opened = socket.socket(family, socket.SOCK_DGRAM)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        opened.bind((base + "9", 53))
        return opened

    def heard() -> list[list[int]]:
        shared = sockets_by_source(receiver, 8)
        for last in (1, 2, 3, 1):
            with socket.socket(family, socket.SOCK_DGRAM) as sender:
                sender.bind((f"{base}{last}", 0))
                sender.sendto(bytes([last]), (base + "9", 53))
        found = []
        for each in shared:
            each.setblocking(False)
            found.append([])
            with contextlib.suppress(BlockingIOError):
                while True:
                    found[-1].append(each.recv(8)[0])
            each.close()
        return found

    assert namespaces.in_netns(netns, heard) == [[], [1, 1], [2], [3], [], [], [], []]


def test_the_calling_thread_stays_where_it_was(netns: int) -> None:
    before = os.readlink("/proc/thread-self/ns/net")
    inside = namespaces.in_netns(netns, lambda: os.readlink("/proc/thread-self/ns/net"))
    assert inside != before
    assert os.readlink("/proc/thread-self/ns/net") == before


def test_an_error_inside_comes_out(netns: int) -> None:
    with pytest.raises(ZeroDivisionError):
        namespaces.in_netns(netns, lambda: 1 // 0)


def test_a_named_namespace_outlives_its_descriptor(tmp_path: Path) -> None:
    path = str(tmp_path / "named")
    fd = namespaces.new_netns()
    inode = os.fstat(fd).st_ino
    namespaces.bind_netns(fd, path)
    os.close(fd)
    try:
        again = namespaces.open_netns(path)
        assert os.fstat(again).st_ino == inode
        os.close(again)
    finally:
        namespaces.unbind_netns(path)
    assert not Path(path).exists()
    namespaces.unbind_netns(path)


def test_a_user_namespace_maps_its_ids_and_owns_its_network() -> None:
    made = namespaces.new_user_namespace(0x20000000, 65536)
    try:
        command = ["nsenter", f"--user=/proc/self/fd/{made.user}", f"--net=/proc/self/fd/{made.network}"]
        script = "cat /proc/self/uid_map; ip link set lo up && echo mine"
        done = subprocess.run(
            [*command, "sh", "-c", script],
            pass_fds=[made.user, made.network],
            capture_output=True,
            text=True,
            check=True,
        )
    finally:
        made.close()
    assert done.stdout.split() == ["0", str(0x20000000), "65536", "mine"]


def test_a_private_mount_is_seen_by_nobody_else(tmp_path: Path) -> None:
    def inside() -> tuple[bool, str]:
        mounts.mount("here", str(tmp_path), "tmpfs", 0, "size=64k")
        (tmp_path / "file").touch()
        child = subprocess.run(["ls", str(tmp_path)], capture_output=True, text=True, check=True)
        return mounts.is_mount(str(tmp_path)), child.stdout

    assert namespaces.in_private_mounts(inside) == (True, "file\n")
    assert not mounts.is_mount(str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_what_is_mounted_in_a_base_is_seen_by_copies_of_it(tmp_path: Path) -> None:
    base = namespaces.new_mount_namespace()
    try:
        namespaces.in_mounts(base, lambda: mounts.mount("base", str(tmp_path), "tmpfs"))
        assert namespaces.in_private_mounts(lambda: mounts.is_mount(str(tmp_path)), base)
        assert not mounts.is_mount(str(tmp_path))
    finally:
        os.close(base)


def test_an_image_is_mounted_and_its_loop_device_frees_itself(tmp_path: Path) -> None:
    tree, packed, place = tmp_path / "tree", tmp_path / "packed", tmp_path / "place"
    tree.mkdir()
    place.mkdir()
    (tree / "file").write_text("inside", encoding="ascii")
    subprocess.run(["mksquashfs", str(tree), str(packed), "-quiet", "-no-progress"], check=True, capture_output=True)

    def inside() -> tuple[str, str]:
        device = mounts.mount_image(packed, place)
        text = (place / "file").read_text(encoding="ascii")
        assert mounts.unmount(str(place))
        return device, text

    device, text = namespaces.in_private_mounts(inside)
    assert text == "inside"
    backing = Path("/sys/class/block") / Path(device).name / "loop" / "backing_file"
    assert not backing.exists() or str(packed) not in backing.read_text(encoding="utf-8")


def test_a_loop_device_is_found_by_its_file_and_removed_once_it_is_free(tmp_path: Path) -> None:
    disk, place = tmp_path / "disk", tmp_path / "place"
    place.mkdir()
    disk.write_bytes(bytes(4 << 20))
    subprocess.run(["mkfs.ext4", "-q", str(disk)], check=True, capture_output=True)

    def inside() -> tuple[str, str | None, bool]:
        device = mounts.mount_image(disk, place, "ext4", writable=True)
        (place / "file").touch()
        found, removed = mounts.loop_over(disk), mounts.remove_loop(device)
        assert mounts.unmount(str(place))
        return device, found, removed

    device, found, removed = namespaces.in_private_mounts(inside)
    number = int(device.removeprefix("/dev/loop"))
    from_the_start = number < int(Path("/sys/module/loop/parameters/max_loop").read_text(encoding="ascii"))
    assert (found, removed) == (device, from_the_start)
    assert mounts.loop_over(disk) is None
    assert mounts.loop_over(tmp_path / "nosuch") is None


def test_unmounting_what_is_not_mounted_says_so(tmp_path: Path) -> None:
    assert not mounts.unmount(str(tmp_path))
    assert not mounts.unmount(str(tmp_path / "nosuch"))


def test_a_process_is_known_by_its_start_and_ends_when_told() -> None:
    with subprocess.Popen(["sleep", "100"]) as child:
        process = ProcessId.of(child.pid)
        assert process is not None
        assert process.alive
        assert not ProcessId(process.pid, "1").alive
        assert not ProcessId(process.pid, "1").signal(9)
        assert process.end(grace_s=2.0)
        assert not process.alive
    assert process.wait(0.0)


def test_a_process_that_ignores_term_is_killed() -> None:
    script = "trap '' TERM; echo ready; while :; do sleep 1; done"
    with subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        process = ProcessId.of(child.pid)
        assert process is not None
        assert process.end(grace_s=0.1)
