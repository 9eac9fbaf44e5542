import json
import os
import socket
import subprocess
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from stockade.instances import record as records
from stockade.instances.console import open_console, tail, trim
from stockade.instances.container.bundle import Bundle, config_of, seccomp_profile
from stockade.instances.container.cgroups import Cgroups, parse_hierarchies, unified_beside_v1
from stockade.instances.container.host_keys import new_host_key
from stockade.instances.container.launch_mounts import place_beside
from stockade.instances.container.runtime import RuntimeFailed, find_runtime
from stockade.instances.contract import InstanceSpec, LaunchFailed
from stockade.instances.network.links import device_name
from stockade.instances.record import Record
from stockade.linux.processes import ProcessId
from stockade.model.addresses import mac_of
from stockade.model.ids import InstanceId, NetworkInterfaceId

SPEC = InstanceSpec(
    id=InstanceId("i-01000001"),
    interface=NetworkInterfaceId("eni-01000001"),
    number=1,
    recipe="micro",
    mac=mac_of(1),
    address=IPv4Address("10.0.0.4"),
    network=IPv4Network("10.0.0.0/8"),
    hostname="ip-10-0-0-4.stockade.internal",
)
BUNDLE = Bundle(
    root="/media/launch/root",
    hostname="ip-10-0-0-4.stockade.internal",
    services=("apache", "sshd"),
    first_id=0x20000000,
    user_namespace="/proc/1/fd/7",
    network_namespace="/proc/1/fd/8",
    cgroup="/stockade/i-01000001",
    memory_mb=512,
    pids=256,
)


def test_the_boot_agent_gets_the_services_of_the_manifest() -> None:
    assert config_of(BUNDLE)["process"]["args"] == ["/usr/lib/stockade/boot", "apache", "sshd"]


def test_user_and_network_namespace_are_joined_and_the_others_new() -> None:
    kinds = {one["type"]: one.get("path") for one in config_of(BUNDLE)["linux"]["namespaces"]}
    assert (kinds.pop("user"), kinds.pop("network")) == ("/proc/1/fd/7", "/proc/1/fd/8")
    assert kinds == dict.fromkeys(("pid", "ipc", "uts", "mount", "cgroup"))


def test_every_uid_inside_is_one_of_the_instances_own_outside() -> None:
    linux = config_of(BUNDLE)["linux"]
    assert linux["uidMappings"] == linux["gidMappings"] == [{"containerID": 0, "hostID": 0x20000000, "size": 65536}]


def test_root_inside_may_build_a_firewall_and_may_not_administer_the_system() -> None:
    for kind in ("bounding", "effective", "permitted"):
        granted = config_of(BUNDLE)["process"]["capabilities"][kind]
        assert {"CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_NET_BIND_SERVICE"} <= set(granted)
        assert not {"CAP_SYS_ADMIN", "CAP_SYS_MODULE", "CAP_SYS_PTRACE", "CAP_SYS_RAWIO"} & set(granted)


def test_devices_are_refused_but_for_the_harmless_ones() -> None:
    first, *others = config_of(BUNDLE)["linux"]["resources"]["devices"]
    assert first == {"allow": False, "access": "rwm"}
    assert {one["major"] for one in others} == {1, 5, 136}


def test_limits_are_told_where_there_are_any() -> None:
    limited = config_of(BUNDLE)["linux"]["resources"]
    assert (limited["memory"], limited["pids"]) == ({"limit": 512 << 20}, {"limit": 256})
    free = config_of(replace(BUNDLE, memory_mb=None, pids=None))["linux"]["resources"]
    assert set(free) == {"devices"}


def test_the_profile_lets_through_what_is_listed_and_nothing_that_reaches_the_kernels_inside() -> None:
    profile = seccomp_profile()
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
    allowed = set(profile["syscalls"][0]["names"])
    assert {"read", "execve", "accept4", "futex"} <= allowed
    reaching = {"bpf", "mount", "unshare", "setns", "kexec_load", "init_module", "perf_event_open", "keyctl", "clone"}
    reaching |= {"io_uring_setup", "userfaultfd", "open_by_handle_at", "pivot_root", "reboot", "swapon", "syslog"}
    assert not reaching & allowed


def test_sockets_are_of_families_that_a_network_namespace_holds() -> None:
    """Not AF_VSOCK (40) above all: it leads to the hypervisor, or from one instance to the next, past every gate."""
    families: dict[str, set[int]] = {"socket": set(), "socketpair": set()}
    for rule in seccomp_profile()["syscalls"]:
        for call in families.keys() & set(rule["names"]):
            (condition,) = rule["args"]
            assert (condition["index"], condition["op"]) == (0, "SCMP_CMP_EQ")
            families[call].add(condition["value"])
    local = {socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK, socket.AF_PACKET}
    assert families == {"socket": local, "socketpair": {socket.AF_UNIX}}


def test_a_config_is_json() -> None:
    assert json.loads(json.dumps(config_of(BUNDLE))) == config_of(BUNDLE)


def test_an_openssh_host_key_has_the_fingerprint_we_print(tmp_path: Path) -> None:
    key = new_host_key("sshd")
    file = tmp_path / "key"
    file.write_bytes(key.content)
    file.chmod(0o600)
    shown = subprocess.run(["ssh-keygen", "-lf", str(file)], capture_output=True, text=True, check=True).stdout
    assert key.fingerprint == shown.split()[1]


def test_a_dropbear_host_key_is_type_and_both_halves() -> None:
    content = new_host_key("dropbear").content
    assert content[:15] == b"\0\0\0\x0bssh-ed25519"
    assert (content[15:19], len(content)) == (b"\0\0\0\x40", 15 + 4 + 64)


def test_no_two_host_keys_are_the_same() -> None:
    assert new_host_key("sshd").fingerprint != new_host_key("sshd").fingerprint


V1 = "30 25 0:26 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory"
CPU = "31 25 0:27 / /sys/fs/cgroup/cpu,cpuacct rw shared:3 - cgroup cgroup rw,cpu,cpuacct"
UNIFIED = "40 25 0:36 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw"
ONLY_V2 = "41 25 0:37 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate"
OTHER = "20 1 0:5 / /proc rw - proc proc rw"


def offering(root: Path, place: str, controllers: str) -> None:
    (root / place).mkdir(parents=True)
    (root / place / "cgroup.controllers").write_text(controllers, encoding="ascii")


def test_a_hybrid_system_limits_by_its_v1_controllers(tmp_path: Path) -> None:
    offering(tmp_path, "sys/fs/cgroup/unified", "pids")
    found = parse_hierarchies([OTHER, V1, CPU, UNIFIED], tmp_path)
    groups = Cgroups("site", found)
    assert [str(top) for top in groups.tops] == [
        "/sys/fs/cgroup/memory/site",
        "/sys/fs/cgroup/cpu,cpuacct/site",
        "/sys/fs/cgroup/unified/site",
    ]
    assert groups.can_limit("memory")
    assert not groups.can_limit("pids")
    assert unified_beside_v1(found) == Path("/sys/fs/cgroup/unified")


def test_a_cgroup2_system_limits_by_what_it_offers(tmp_path: Path) -> None:
    offering(tmp_path, "sys/fs/cgroup", "cpuset cpu io memory pids")
    found = parse_hierarchies([OTHER, ONLY_V2], tmp_path)
    groups = Cgroups("site", found)
    assert groups.tops == [Path("/sys/fs/cgroup/site")]
    assert groups.can_limit("memory")
    assert groups.can_limit("pids")
    assert unified_beside_v1(found) is None


def test_a_record_comes_back_as_it_was_kept(tmp_path: Path) -> None:
    kept = Record(SPEC, "sk-i1", 0x20000000, ProcessId(4711, "123456"))
    records.save(tmp_path, kept)
    assert records.load(tmp_path) == kept
    records.save(tmp_path, replace(kept, process=None))
    assert records.load(tmp_path) == replace(kept, process=None)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"spec": {}}', '{"spec": {"id": "i-1"}, "device": "x"}'])
def test_half_a_record_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "record.json").write_text(text, encoding="utf-8")
    assert records.load(tmp_path) is None


def test_a_console_is_read_from_its_end(tmp_path: Path) -> None:
    (tmp_path / "console").write_bytes(b"a" * 100_000 + b"end")
    assert len(tail(tmp_path / "console")) == 64 << 10
    assert tail(tmp_path / "console").endswith(b"aend")
    assert tail(tmp_path / "none") == b""


def test_a_console_that_grows_is_cut_and_goes_on(tmp_path: Path) -> None:
    place = tmp_path / "console"
    fd = open_console(place)
    os.write(fd, b"x" * (5 << 20))
    trim(place)
    os.write(fd, b"after")
    os.close(fd)
    assert place.stat().st_size == (64 << 10) + 5
    assert tail(place).endswith(b"xafter")


def test_a_device_name_is_site_and_number_in_hex() -> None:
    assert device_name("stockade", 0x2A) == "stocka-i2a"
    assert len(device_name("stockade", 0xFFFFFFF)) == 15
    with pytest.raises(LaunchFailed):
        device_name("stockade", 0x10000000)


def test_images_are_mounted_where_nothing_needed_is_hidden() -> None:
    free = place_beside(Path("/var/lib/stockade"))
    assert place_beside(free / "state") != free


def test_without_a_runtime_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    with pytest.raises(RuntimeFailed, match=r"runc is not installed; crun is not installed.*apt-get install runc"):
        find_runtime(tmp_path)
