"""Instances as their owners meet them: banner, login by the key from the metadata service, user-data, tiers, limits.

A bridge in a host namespace stands for the datapath, and a metadata server for the agent.
"""

import asyncio
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path

import pytest

from stockade.instances.container.driver import ContainerDriver
from stockade.instances.container.launch_mounts import LaunchMounts
from stockade.instances.container.runtime import RuntimeFailed, find_runtime
from stockade.instances.contract import InstanceSpec, LaunchFailed
from stockade.instances.images.build import Images, ImageUnavailable
from stockade.instances.images.recipes import MICRO
from stockade.instances.network.items import Subject
from stockade.instances.network.metadata import MetadataServer
from stockade.instances.network.names import Names
from stockade.linux import links, mounts, namespaces
from stockade.linux.namespaces import in_netns, new_netns
from stockade.linux.netlink import Netlink
from stockade.model.addresses import mac_of
from stockade.model.host_view import ViewInstance, ViewInterface
from stockade.model.ids import AccountId, InstanceId, NetworkInterfaceId
from stockade.model.instance import Observed
from stockade.model.journal import NoJournal

pytestmark = pytest.mark.root

LIBRARY = Path("/var/lib/stockade/images")
HOST = IPv4Address("10.0.0.1")
FIRST = IPv4Address("10.0.1.0")
NETWORK = IPv4Network("10.0.0.0/8")


@dataclass
class Region:
    """A host with a bridge, a metadata service, and the means to look at instances from outside."""

    netns: int
    route: Netlink
    driver: ContainerDriver
    images: Images
    key: Path
    folder: Path
    user_data: dict[int, bytes] = field(default_factory=dict)
    keys: dict[int, str | None] = field(default_factory=dict)

    def launch(self, number: int, recipe: str = "micro", **changes: int) -> IPv4Address:
        made = replace(spec(number, recipe), **changes)
        device = self.driver.create(made)
        self.put_on_bridge(device)
        self.driver.start(made.id)
        return made.address

    def put_on_bridge(self, device: str) -> None:
        command = ["ip", "link", "set", device, "master", "br0"]
        in_netns(self.netns, lambda: subprocess.run(command, check=True))

    def first_line(self, address: IPv4Address, port: int, say: bytes = b"", within_s: float = 10.0) -> bytes:
        """What a connection is told first; keeps trying until then."""
        end = time.monotonic() + within_s
        while True:
            try:
                opened = in_netns(self.netns, lambda: socket.create_connection((str(address), port), 1.0))
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.01)
                continue
            with opened:
                opened.settimeout(within_s)
                opened.sendall(say)
                return opened.makefile("rb").readline()

    def ssh(self, address: IPv4Address, command: str) -> str:
        self.first_line(address, 22)
        options = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR", "BatchMode=yes")
        full = ["ssh", "-i", str(self.key), *(word for one in options for word in ("-o", one)), f"root@{address}"]
        done = in_netns(
            self.netns,
            lambda: subprocess.run([*full, command], capture_output=True, text=True, timeout=30, check=False),
        )
        return done.stdout + done.stderr

    def subject_of(self, source: IPv4Address) -> Subject | None:
        number = int(source) - int(FIRST)
        made = spec(number, "micro")
        account = AccountId("111122223333")
        interface = ViewInterface(
            made.interface, number, account, 1, True, NETWORK, made.mac, (source,), (), None, True, made.id
        )
        instance = ViewInstance(
            *(made.id, account, made.interface, True, "ami-eca54085", "micro", "m1.small", "us-east-1a", "us-east-1"),
            *("r-01000001", 0, "default", self.keys.get(number, public_half(self.key)), self.user_data.get(number)),
            ("default",),
        )
        return Subject(instance, interface, Names(), {})


def public_half(key: Path) -> str:
    return key.with_suffix(".pub").read_text(encoding="ascii")


def spec(number: int, recipe: str) -> InstanceSpec:
    return InstanceSpec(
        id=InstanceId(f"i-{0x01000000 + number:08x}"),
        interface=NetworkInterfaceId(f"eni-{0x01000000 + number:08x}"),
        number=number,
        recipe=recipe,
        mac=mac_of(number),
        address=FIRST + number,
        network=NETWORK,
        hostname=f"ip-10-0-1-{number}.stockade.internal",
    )


@pytest.fixture
def region(tmp_path: Path) -> Iterator[Region]:
    netns = new_netns()
    route = Netlink(netns)
    in_netns(netns, lambda: subprocess.run(["ip", "link", "add", "br0", "type", "bridge"], check=True))
    bridge = links.index_of(route, "br0")
    for address in (f"{HOST}/8", "169.254.169.254/32"):
        links.add_address(route, bridge, IPv4Interface(address))
    links.set_up(route, "br0")
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    images = Images(LIBRARY, NoJournal())
    images.ensure(MICRO)
    driver = in_netns(
        netns,
        lambda: ContainerDriver(
            f"sknet{os.getpid() % 10000}",
            directory=tmp_path / "instances",
            runtime=find_runtime(tmp_path / "oci"),
            images=images,
            journal=NoJournal(),
        ),
    )
    made = Region(netns, route, driver, images, key, tmp_path)
    end = serve_metadata(netns, made)
    yield made
    for instance in driver.observe():
        driver.destroy(instance)
    driver.close()
    end()
    route.close()
    os.close(netns)


def serve_metadata(netns: int, region: Region) -> Callable[[], None]:
    """In a thread with a loop of its own; call what it returns to end it."""
    listening = in_netns(netns, lambda: socket.create_server(("169.254.169.254", 80)))
    server = MetadataServer(region.subject_of)
    loop = asyncio.new_event_loop()
    ended = asyncio.Event()

    async def serve() -> None:
        await server.serve(listening)
        await ended.wait()
        await server.close()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()

    def end() -> None:
        loop.call_soon_threadsafe(ended.set)
        thread.join()
        loop.close()

    return end


def test_micro_shows_its_banner(region: Region) -> None:
    assert region.first_line(region.launch(1), 22).startswith(b"SSH-2.0-dropbear")


def test_whoever_has_the_key_logs_in_as_root_once_the_port_is_open(region: Region) -> None:
    assert "uid=0(root)" in region.ssh(region.launch(1), "id")


def test_without_a_key_nobody_logs_in(region: Region) -> None:
    region.keys[1] = None
    assert "Permission denied" in region.ssh(region.launch(1), "id")


def test_the_console_shows_the_host_key_that_the_server_has(region: Region) -> None:
    address = region.launch(1)
    region.first_line(address, 22)
    command = ["ssh-keyscan", "-t", "ed25519", str(address)]
    scanned = in_netns(region.netns, lambda: subprocess.run(command, capture_output=True, text=True, check=True))
    known = region.folder / "scanned"
    known.write_text(scanned.stdout, encoding="ascii")
    shown = subprocess.run(["ssh-keygen", "-lf", str(known)], capture_output=True, text=True, check=True).stdout
    fingerprint = shown.split()[1]
    assert fingerprint.encode() in region.driver.console(spec(1, "micro").id)


def test_two_instances_have_different_host_keys(region: Region) -> None:
    contents = []
    for number in (1, 2):
        region.launch(number)
        process = region.driver.process(spec(number, "micro").id)
        assert process is not None
        place = Path(f"/proc/{process.pid}/root/etc/dropbear")
        contents.append(next(place.iterdir()).read_bytes())
    assert contents[0] != contents[1]


def test_user_data_runs_once_as_root_and_its_output_is_on_the_console(region: Region) -> None:
    region.user_data[1] = b"#!/bin/sh\necho ran by $(id -u); echo x >> /root/runs\n"
    address = region.launch(1)
    region.first_line(address, 22)
    console = until(lambda: region.driver.console(spec(1, "micro").id), lambda text: b"ended with status 0" in text)
    assert b"ran by 0" in console
    assert region.ssh(address, "cat /root/runs").strip() == "x"


def test_user_data_that_is_no_script_is_kept_and_not_run(region: Region) -> None:
    region.user_data[1] = b"touch /root/ran\n"
    address = region.launch(1)
    assert "touch" in until(
        lambda: region.ssh(address, "cat /var/lib/stockade/user-data; ls /root"), lambda text: "touch" in text
    )
    assert "ran" not in region.ssh(address, "ls /root").split()


def test_the_instance_knows_its_name_and_its_resolver(region: Region) -> None:
    shown = region.ssh(region.launch(1), "hostname; cat /etc/hosts /etc/resolv.conf")
    assert "ip-10-0-1-1\n" in shown
    assert "10.0.1.1 ip-10-0-1-1.stockade.internal ip-10-0-1-1" in shown
    assert "nameserver 169.254.169.253" in shown


def test_root_inside_owns_its_network_and_nothing_of_the_host(region: Region) -> None:
    address = region.launch(1)
    inside = region.ssh(
        address,
        "ip addr add 192.0.2.1/32 dev lo && echo address; mknod /root/disk b 8 0; mount -t tmpfs none /mnt; dmesg; "
        "echo 0 > /proc/sys/kernel/panic; cat /proc/self/uid_map; grep Seccomp: /proc/self/status",
    )
    assert "address" in inside
    assert inside.lower().count("permitted") + inside.lower().count("denied") == 4
    assert "Seccomp:\t2" in inside
    process = region.driver.process(spec(1, "micro").id)
    assert process is not None
    owner = Path(f"/proc/{process.pid}").stat().st_uid
    assert owner >= 0x20000000
    assert str(owner) in inside


def test_two_instances_have_different_uids_on_the_host(region: Region) -> None:
    owners = set()
    for number in (1, 2):
        region.launch(number)
        process = region.driver.process(spec(number, "micro").id)
        assert process is not None
        owners.add(Path(f"/proc/{process.pid}").stat().st_uid)
    assert len(owners) == 2


def test_no_mount_of_an_instance_is_visible_on_the_host(region: Region) -> None:
    before = list(mounts.mount_table())
    region.first_line(region.launch(1), 22)
    assert list(mounts.mount_table()) == before


def test_an_instance_does_not_see_the_files_of_another(region: Region) -> None:
    region.ssh(region.launch(1), "echo secret > /root/mine")
    assert "mine" not in region.ssh(region.launch(2), "ls -a /root")


def test_a_fork_bomb_ends_at_the_limit_of_processes(region: Region) -> None:
    address = region.launch(1, pids=40)
    region.ssh(address, "for i in $(seq 100); do sleep 100 & done")
    cgroup = cgroup_of(region, 1, "pids")
    assert int((cgroup / "pids.max").read_text()) == 40
    assert int((cgroup / "pids.current").read_text()) <= 40


def test_memory_beyond_the_limit_is_not_to_be_had(region: Region) -> None:
    address = region.launch(1, memory_mb=64)
    region.ssh(address, "dd if=/dev/zero of=/dev/null bs=200M count=1")
    cgroup = cgroup_of(region, 1, "memory")
    limit = next(cgroup / name for name in ("memory.limit_in_bytes", "memory.max") if (cgroup / name).exists())
    assert int(limit.read_text()) == 64 << 20
    assert "alive" in region.ssh(address, "echo alive")


def test_what_is_written_beyond_the_disk_is_refused_and_the_host_has_room(region: Region) -> None:
    address = region.launch(1, disk_mb=16)
    told = region.ssh(address, "dd if=/dev/zero of=/root/big bs=1M count=64; df -m / | tail -1; echo alive")
    assert "No space left on device" in told
    assert "alive" in told
    disk = region.folder / "instances" / spec(1, "micro").id / "disk"
    assert 8 << 20 < disk.stat().st_blocks * 512 <= 16 << 20
    assert "again" in region.ssh(address, "rm /root/big && echo again > /root/small && cat /root/small")


def test_a_disk_takes_what_is_written_and_not_what_may_be(region: Region) -> None:
    region.first_line(region.launch(1), 22)
    disk = region.folder / "instances" / spec(1, "micro").id / "disk"
    assert disk.stat().st_size == 2048 << 20
    assert disk.stat().st_blocks * 512 < 8 << 20


def test_without_a_limit_or_the_means_an_instance_writes_into_a_directory(
    region: Region, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = region.folder / "instances"
    assert "uid=0" in region.ssh(region.launch(1, disk_mb=0), "id; echo mine > /root/mine")
    assert (folder / spec(1, "micro").id / "disk" / "upper" / "root" / "mine").read_text() == "mine\n"
    monkeypatch.setattr(region.driver, "_can_make_disks", False)
    assert "uid=0" in region.ssh(region.launch(2), "id")
    assert (folder / spec(2, "micro").id / "disk").is_dir()


def test_the_loop_device_of_a_disk_goes_with_its_instance(region: Region) -> None:
    disk = region.folder / "instances" / spec(1, "micro").id / "disk"
    region.first_line(region.launch(1), 22)
    device = mounts.loop_over(disk)
    assert device is not None
    region.driver.destroy(spec(1, "micro").id)
    assert mounts.loop_over(disk) is None
    # Free at the least, and gone unless it was there from the start or is another's by now.
    assert mounts.remove_loop(device) or Path("/sys/block", Path(device).name, "loop").exists()


def test_an_instance_ends_in_less_than_its_grace(region: Region) -> None:
    region.first_line(region.launch(1), 22)
    begun = time.monotonic()
    region.driver.stop(spec(1, "micro").id)
    assert time.monotonic() - begun < 2.0


def test_an_instance_that_deletes_its_device_is_impaired(region: Region) -> None:
    address = region.launch(1)
    region.first_line(address, 22)
    process = region.driver.process(spec(1, "micro").id)
    assert process is not None
    with Netlink(f"/proc/{process.pid}/ns/net") as inside:
        links.delete_link(inside, "eth0")
    status = region.driver.observe()[spec(1, "micro").id]
    assert (status.observed.value, status.reason) == ("impaired", "its network device is gone")


def test_an_unknown_recipe_is_refused_by_name(region: Region) -> None:
    with pytest.raises(LaunchFailed, match="no image recipe 'nosuch'"):
        region.driver.create(spec(1, "nosuch"))
    assert region.driver.observe() == {}


def test_a_missing_image_offline_says_what_helps_and_leaves_nothing(tmp_path: Path) -> None:
    images = Images(tmp_path / "images", NoJournal())
    nowhere = new_netns()
    try:
        with pytest.raises(ImageUnavailable, match="go online once"):
            in_netns(nowhere, lambda: images.ensure(MICRO))
        assert [place.name for place in images.directory.iterdir()] == [".micro.lock"]
    finally:
        os.close(nowhere)


def test_a_launch_without_its_image_is_refused_with_the_reason(region: Region, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> Path:
        raise ImageUnavailable("the package sources cannot be reached")

    monkeypatch.setattr(region.images, "ensure", refuse)
    with pytest.raises(LaunchFailed, match="cannot be reached"):
        region.driver.create(spec(1, "micro"))
    assert region.driver.observe() == {}


@pytest.mark.images
@pytest.mark.parametrize(
    ("recipe", "port", "say", "heard"),
    [
        ("web", 80, b"GET / HTTP/1.0\r\n\r\n", b"HTTP/1.1 200"),
        ("app", 8080, b"GET / HTTP/1.0\r\n\r\n", b"HTTP/1.1 200"),
        ("database", 3306, b"", b"MariaDB"),
    ],
)
def test_each_tier_serves_on_its_port_beside_ssh(
    images: Path, region: Region, recipe: str, port: int, say: bytes, heard: bytes
) -> None:
    address = region.launch(1, recipe)
    assert heard in region.first_line(address, port, say)
    assert region.first_line(address, 22).startswith(b"SSH-2.0-OpenSSH")


@pytest.mark.images
def test_the_tools_of_the_walkthrough_work_inside(images: Path, region: Region) -> None:
    address = region.launch(1, "web")
    rules = "add table inet mine; add chain inet mine in { type filter hook input priority 0; }"
    more = "add rule inet mine in tcp dport 80 drop"
    shown = region.ssh(
        address,
        f"nft '{rules}; {more}' && nft list ruleset; ping -c 1 -W 2 {HOST}; telnet {address} 22 </dev/null; "
        "tcpdump --version; ip route; curl --version; nc -h 2>&1 | head -1",
    )
    for sign in ("tcp dport 80 drop", "1 received", "Connected to 10.0.1.1", "libpcap", "default dev eth0", "curl 7"):
        assert sign in shown
    # Its own firewall acts on what the network would let through.
    with pytest.raises(TimeoutError):
        in_netns(region.netns, lambda: socket.create_connection((str(address), 80), 1.0))


@pytest.mark.images
def test_no_socket_leads_around_the_instances_network(images: Path, region: Region) -> None:
    tried = 'for (0..50) { print "$_ " if socket(my $s, $_, 1, 0) or socket($s, $_, 2, 0) or socket($s, $_, 3, 0) }'
    opened = region.ssh(region.launch(1, "base"), f"perl -e '{tried}'")
    assert {int(number) for number in opened.split()} <= {1, 2, 10, 16, 17}
    assert "2 " in opened


def until(look: Callable[[], str], enough: Callable[[str], bool]) -> str:
    """What is seen once it is enough, or after ten seconds."""
    end = time.monotonic() + 10
    while not enough(seen := look()) and time.monotonic() < end:
        time.sleep(0.02)
    return seen


def cgroup_of(region: Region, number: int, controller: str) -> Path:
    process = region.driver.process(spec(number, "micro").id)
    assert process is not None
    lines = Path(f"/proc/{process.pid}/cgroup").read_text(encoding="ascii").splitlines()
    fields = [line.split(":", 2) for line in lines]
    v1 = [path for _, names, path in fields if controller in names.split(",")]
    if v1:
        return Path("/sys/fs/cgroup") / controller / v1[0].lstrip("/")
    return Path("/sys/fs/cgroup") / next(path for _, names, path in fields if not names).lstrip("/")


def test_instances_run_on_a_system_with_nothing_but_cgroup2(tmp_path: Path) -> None:
    """This machine's own v1 hierarchies are out of sight of one thread and what it starts.

    What cgroup2 cannot offer here, since v1 holds it (memory, pids), is left out of the limits; the rest of the
    path is the one of such a system: one tree, the device filter as a program, removal.
    """
    netns = new_netns()

    def only_cgroup2() -> None:
        for place, kind, _ in list(mounts.mount_table()):
            if kind in ("cgroup", "cgroup2"):
                mounts.unmount(place, detach=True)
        mounts.unmount("/sys/fs/cgroup", detach=True)
        mounts.mount("cgroup2", "/sys/fs/cgroup", "cgroup2")

    def launch() -> None:
        only_cgroup2()
        namespaces.setns(netns, namespaces.NEWNET)
        site = f"skcg{os.getpid() % 10000}"
        driver = ContainerDriver(
            site,
            directory=tmp_path / "instances",
            runtime=find_runtime(tmp_path / "oci", ["runc"]),
            images=Images(LIBRARY, NoJournal()),
            journal=NoJournal(),
        )
        made = spec(1, "micro")
        try:
            driver.create(made)
            driver.start(made.id)
            process = driver.process(made.id)
            assert process is not None
            assert Path(f"/proc/{process.pid}/cgroup").read_text().splitlines()[-1] == f"0::/{site}/{made.id}"
            driver.stop(made.id)
            assert driver.observe()[made.id].observed is Observed.GONE
        finally:
            driver.destroy(made.id)
            driver.close()
        assert not Path(f"/sys/fs/cgroup/{site}").exists()

    Images(LIBRARY, NoJournal()).ensure(MICRO)
    try:
        namespaces.in_private_mounts(launch)
    finally:
        os.close(netns)


def test_crun_runs_instances_too_where_its_self_test_passes(region: Region) -> None:
    try:
        crun = find_runtime(region.folder / "crun", ["crun"])
    except RuntimeFailed as err:
        pytest.skip(f"{err}")
    driver = in_netns(
        region.netns,
        lambda: ContainerDriver(
            f"skcrun{os.getpid() % 1000}",
            directory=region.folder / "by-crun",
            runtime=crun,
            images=region.images,
            journal=NoJournal(),
        ),
    )
    made = spec(9, "micro")
    try:
        region.put_on_bridge(driver.create(made))
        driver.start(made.id)
        assert region.first_line(made.address, 22).startswith(b"SSH-2.0-dropbear")
    finally:
        driver.destroy(made.id)
        driver.close()


def test_a_kernel_that_cannot_map_squashfs_uses_the_unpacked_image(
    region: Region, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = region.folder / "own"
    place.mkdir()
    packed = region.images.ensure(MICRO)
    shutil.copy(packed, place)
    images = Images(place, NoJournal())
    monkeypatch.setattr(LaunchMounts, "_can_map", lambda *_: False)
    driver = in_netns(
        region.netns,
        lambda: ContainerDriver(
            f"sktree{os.getpid() % 1000}",
            directory=region.folder / "unpacked",
            runtime=find_runtime(region.folder / "oci3"),
            images=images,
            journal=NoJournal(),
        ),
    )
    made = spec(9, "micro")
    try:
        region.put_on_bridge(driver.create(made))
        driver.start(made.id)
        assert region.first_line(made.address, 22).startswith(b"SSH-2.0-dropbear")
        assert (place / packed.name).with_suffix(".tree").is_dir()
    finally:
        driver.destroy(made.id)
        driver.close()
