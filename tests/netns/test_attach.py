"""Existing devices of a host put under groups: what is known of them, and that they are given back as they were."""

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from netns.agent_host import ACCOUNT, AgentHost, Machine, rule, view_items
from netns.site import TestSite, until
from stockade.agent.device_loop import HostDevices, refusal
from stockade.linux.namespaces import in_netns, open_netns, socket_in
from stockade.linux.netlink import Netlink
from stockade.linux.peers import peer_mac
from stockade.model.host_view import ViewGroup, ViewItem
from stockade.model.ids import SecurityGroupId
from stockade.model.ports import ANY, TCP
from stockade.model.rule import CidrPeer, Direction, GroupPeer

pytestmark = [pytest.mark.root, pytest.mark.alone]

GUEST_MAC = "02:aa:00:00:00:01"


@pytest.fixture
def site() -> Iterator[TestSite]:
    made = TestSite()
    yield made
    made.end()


class Guest:
    """What a container engine makes: a namespace whose eth0 is the far end of a veth on a bridge."""

    def __init__(self, site: TestSite, name: str, mac: str, address: str) -> None:
        self.name = f"{site.netns}{name}"
        self.device = f"veth-{name}"
        self._site = site
        subprocess.run(["ip", "netns", "add", self.name], check=True)
        site.ip(
            *("link", "add", self.device, "type", "veth", "peer", "name", "eth0"),
            *("netns", self.name, "address", mac),
        )
        site.ip("link", "set", self.device, "up")
        self.run("ip", "link", "set", "eth0", "up")
        self.run("ip", "address", "add", address, "dev", "eth0")

    def run(self, *command: str) -> "subprocess.CompletedProcess[bytes]":
        return subprocess.run(["nsenter", f"--net=/run/netns/{self.name}", *command], check=True, capture_output=True)

    def remove(self) -> None:
        subprocess.run(["ip", "netns", "del", self.name], check=True)


@pytest.fixture
def guest(site: TestSite) -> Iterator[Guest]:
    made = Guest(site, "a", GUEST_MAC, "172.30.0.2/24")
    yield made
    made.remove()


def test_the_mac_of_a_guest_is_read_across_namespaces(site: TestSite, guest: Guest) -> None:
    site.ip("link", "add", "left", "type", "veth", "peer", "name", "right", "address", "02:bb:00:00:00:02")
    site.ip("link", "add", "bridge0", "type", "bridge")

    def ask(device: str) -> str | None:
        with Netlink() as route:
            return peer_mac(route, device)

    assert site.inside(lambda: ask(guest.device)) == GUEST_MAC
    assert site.inside(lambda: ask("left")) == "02:bb:00:00:00:02"
    assert site.inside(lambda: ask("bridge0")) is None
    assert site.inside(lambda: ask("none")) is None


def test_the_way_out_of_a_host_is_not_adopted_but_a_bridge_port_is(site: TestSite, guest: Guest) -> None:
    site.ip("link", "add", "bridge0", "type", "bridge")
    site.ip("link", "set", "bridge0", "up")
    site.ip("address", "add", "172.30.0.1/24", "dev", "bridge0")
    site.ip("link", "set", guest.device, "master", "bridge0")
    site.ip("route", "add", "default", "via", "172.30.0.254", "dev", "bridge0")
    host = site.inside(HostDevices.now)

    def why(name: str) -> str | None:
        return refusal(name, host, lambda _name: False)

    assert "default route" in str(why("bridge0"))
    assert "loopback" in str(why("lo"))
    assert why(guest.device) is None


# --- policed where they are ---------------------------------------------------------------------------------

TRUSTED, GUARDED = SecurityGroupId("sg-00000001"), SecurityGroupId("sg-00000002")
ENGINE = """
ip link add name eng0 type bridge
ip link set eng0 up
ip address add 10.0.9.254/16 dev eng0
nft add table inet engine
nft add chain inet engine forward '{ type filter hook forward priority 0; policy accept; }'
nft add rule inet engine forward tcp dport 9 drop
"""


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[AgentHost]:
    """A host on which a container engine has made a bridge, two containers and a firewall of its own."""
    with AgentHost(tmp_path / "host") as made:
        made.inside(lambda: subprocess.run(["sh", "-euc", ENGINE], check=True))
        for name, number in (("veth1", 1), ("veth2", 2)):
            made.inside(lambda name=name, number=number: connect(name, number))  # type: ignore[misc]
        yield made


def connect(device: str, number: int) -> None:
    """A container, kept by a process in its namespace, whose eth0 is on the bridge."""
    address, mac = f"10.0.0.{number}/16", f"02:aa:00:00:00:{number:02x}"
    keeper = subprocess.Popen(["unshare", "--net", "sleep", "1000"])
    KEEPERS.append(keeper)
    until(lambda: os.readlink(f"/proc/{keeper.pid}/ns/net") != os.readlink("/proc/thread-self/ns/net"))
    inside = ["nsenter", f"--net=/proc/{keeper.pid}/ns/net", "ip"]
    make = ["ip", "link", "add", device, "type", "veth", "peer", "name", "eth0", "netns", str(keeper.pid)]
    for command in (
        [*make, "address", mac],
        ["ip", "link", "set", device, "master", "eng0"],
        ["ip", "link", "set", device, "up"],
        [*inside, "link", "set", "lo", "up"],
        [*inside, "link", "set", "eth0", "up"],
        [*inside, "address", "add", address, "dev", "eth0"],
    ):
        subprocess.run(command, check=True)


KEEPERS: list["subprocess.Popen[bytes]"] = []


def end(keeper: "subprocess.Popen[bytes]") -> None:
    keeper.kill()
    keeper.wait()


@pytest.fixture(autouse=True)
def no_keepers_left() -> Iterator[None]:
    yield
    while KEEPERS:
        end(KEEPERS.pop())


def adopted(*ports: int) -> tuple[ViewItem, ...]:
    """Both containers under groups: the second admits these ports from the first's group."""
    leave = rule(1, Direction.EGRESS, ANY, None, CidrPeer(IPv4Network("0.0.0.0/0")))
    admit = [rule(port, Direction.INGRESS, TCP, (port, port), GroupPeer(TRUSTED, ACCOUNT)) for port in ports]
    groups = [ViewGroup(TRUSTED, "trusted", (leave,)), ViewGroup(GUARDED, "guarded", (leave, *admit))]
    first = Machine(1, (TRUSTED,), device="veth1", mac="02:aa:00:00:00:01")
    second = Machine(2, (GUARDED,), device="veth2", mac="02:aa:00:00:00:02")
    return view_items(groups, [first, second])


def state_of_tc() -> str:
    """Every qdisc and filter of the engine's devices, as tc(8) tells them, its devices and its firewall."""
    names = ("eng0", "veth1", "veth2")
    commands = [["tc", "qdisc", "show", "dev", name] for name in names]
    commands += [["tc", "filter", "show", "dev", name, way] for name in names for way in ("ingress", "egress")]
    commands += [["ip", "link", "show", "dev", name] for name in names]
    commands += [["nft", "list", "ruleset"]]
    return "".join(subprocess.run(each, capture_output=True, text=True, check=False).stdout for each in commands)


def opens(port: int, number: int = 2) -> bool:
    """Whether the first container reaches the second there."""
    near, far = (open_netns(keeper.pid) for keeper in KEEPERS[:2])
    try:
        with (
            in_netns(far, lambda: socket.create_server((f"10.0.0.{number}", port))),
            socket_in(near, socket.AF_INET, socket.SOCK_STREAM) as calling,
        ):
            calling.settimeout(0.5)
            return calling.connect_ex((f"10.0.0.{number}", port)) == 0
    finally:
        os.close(near)
        os.close(far)


def test_containers_of_an_engine_are_judged_on_their_bridge_and_given_back_as_they_were(engine: AgentHost) -> None:
    assert opens(80)
    before = engine.inside(state_of_tc)
    revision = engine.tell(adopted(80))
    engine.start()
    engine.until_enforced(revision)
    assert opens(80)
    assert not opens(81)
    engine.until_enforced(engine.tell(adopted(81)))
    assert opens(81)
    assert not opens(80)
    engine.until_enforced(engine.tell(()))
    assert opens(80)
    assert engine.inside(state_of_tc) == before


def test_they_stay_judged_while_no_agent_lives_and_one_that_stops_gives_them_back(engine: AgentHost) -> None:
    before = engine.inside(state_of_tc)
    revision = engine.tell(adopted(80))
    engine.start()
    engine.until_enforced(revision)
    engine.kill()
    assert opens(80)
    assert not opens(81)
    engine.start()
    engine.until_said("enforced")
    assert not opens(81)
    engine.stop()
    assert opens(81)
    assert engine.inside(state_of_tc) == before


def test_removing_by_force_gives_them_back_too(engine: AgentHost) -> None:
    before = engine.inside(state_of_tc)
    revision = engine.tell(adopted(80))
    engine.start()
    engine.until_enforced(revision)
    engine.kill()
    engine.remove_by_force()
    assert opens(81)
    assert engine.inside(state_of_tc) == before


def test_a_filter_that_somebody_had_there_stays_and_is_given_back(engine: AgentHost) -> None:
    script = """
    tc qdisc add dev veth2 clsact
    tc filter add dev veth2 egress pref 49152 protocol ip u32 match ip dport 7 0xffff flowid 1:1
    """
    engine.inside(lambda: subprocess.run(["sh", "-euc", script], check=True))
    before = engine.inside(state_of_tc)
    revision = engine.tell(adopted(80))
    engine.start()
    engine.until_enforced(revision)
    assert opens(80)
    assert not opens(81)
    engine.until_enforced(engine.tell(()))
    assert engine.inside(state_of_tc) == before


def test_a_container_made_anew_is_judged_again_and_a_missing_one_holds_up_nobody(engine: AgentHost) -> None:
    revision = engine.tell(adopted(80))
    engine.start()
    engine.until_enforced(revision)
    engine.inside(lambda: subprocess.run(["ip", "link", "del", "veth2"], check=True))
    end(KEEPERS.pop())
    until(lambda: "eni-00000002" in engine.said("devices")[-1]["impaired"])
    engine.until_enforced(engine.tell(adopted(81)))
    engine.inside(lambda: connect("veth2", 2))
    until(lambda: engine.said("devices")[-1]["policed"] == ["eni-00000001", "eni-00000002"])
    assert opens(81)
    assert not opens(80)


def test_after_a_reboot_they_are_judged_as_soon_as_they_are_there(engine: AgentHost) -> None:
    revision = engine.tell(adopted(80))
    engine.start()
    engine.until_enforced(revision)
    engine.frames.unlink()  # from here on no control process
    engine.reboot()
    while KEEPERS:
        end(KEEPERS.pop())
    engine.start()
    engine.until_said("restored", lambda line: bool(line["revision"] == revision))
    engine.inside(lambda: subprocess.run(["sh", "-euc", ENGINE], check=True))
    engine.inside(lambda: connect("veth1", 1))
    engine.inside(lambda: connect("veth2", 2))
    until(lambda: engine.said("devices") and engine.said("devices")[-1]["policed"] == ["eni-00000001", "eni-00000002"])
    assert opens(80)
    assert not opens(81)


# --- with the command, as an operator does it ---------------------------------------------------------------


@pytest.fixture
def daemon(site: TestSite) -> TestSite:
    """The whole daemon on a host with two containers of somebody's engine."""
    site.inside(lambda: subprocess.run(["sh", "-euc", ENGINE], check=True))
    site.inside(lambda: connect("veth1", 1))
    site.inside(lambda: connect("veth2", 2))
    site.up()
    return site


def test_attach_and_detach_by_the_command(daemon: TestSite) -> None:
    before = daemon.inside(state_of_tc)
    ec2 = daemon.client()
    trusted, guarded = (
        ec2.create_security_group(GroupName=name, Description="test")["GroupId"] for name in ("trusted", "guarded")
    )
    for device, group in (("veth1", trusted), ("veth2", guarded)):
        done = daemon.stockade("attach", device, "--group", group)
        assert done.returncode == 0, f"{done.stdout}{done.stderr}{daemon.log()}"
    assert not opens(80)
    pair = {
        "UserId": ec2.describe_security_groups(GroupIds=[trusted])["SecurityGroups"][0]["OwnerId"],
        "GroupId": trusted,
    }
    ec2.authorize_security_group_ingress(
        GroupId=guarded, IpPermissions=[{"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "UserIdGroupPairs": [pair]}]
    )
    assert opens(80)
    assert not opens(81)
    assert json.loads(daemon.stockade("status", "--json").stdout)["devices"] == {"policed": 2, "impaired": {}}
    assert daemon.stockade("attach", "lo", "--group", guarded).returncode == 5
    assert daemon.stockade("detach", "veth1").returncode == 0
    assert daemon.stockade("detach", "veth2").returncode == 0
    assert opens(81)
    assert daemon.inside(state_of_tc) == before


@pytest.mark.parametrize("way", ["down", "down --force after kill -9"])
def test_a_daemon_that_ends_gives_every_device_back(daemon: TestSite, way: str) -> None:
    before = daemon.inside(state_of_tc)
    group = daemon.client().create_security_group(GroupName="guarded", Description="test")["GroupId"]
    assert daemon.stockade("attach", "veth2", "--group", group).returncode == 0
    assert not opens(80)
    if way == "down":
        assert daemon.stockade("down").returncode == 0
    else:
        daemon.kill_both()
        assert daemon.stockade("down", "--force").returncode == 0
    assert opens(80)
    assert daemon.inside(state_of_tc) == before
