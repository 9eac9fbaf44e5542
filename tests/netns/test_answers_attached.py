"""`stockade attach` as an operator uses it: two containers of somebody else's engine, on its bridge, under groups."""

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from netns.site import TestSite, until
from stockade.linux.namespaces import in_netns, open_netns

pytestmark = [pytest.mark.root, pytest.mark.alone]

DEVICES = ("veth1", "veth2")


class Engine:
    """A bridge with two containers: what a container engine makes, and Stockade does not."""

    def __init__(self, site: TestSite) -> None:
        self.site = site
        self.spaces = {device: f"{site.netns}{device}" for device in DEVICES}
        site.ip("link", "add", "eng0", "type", "bridge")
        site.ip("address", "add", "172.30.0.1/24", "dev", "eng0")
        site.ip("link", "set", "eng0", "up")
        for number, (device, space) in enumerate(self.spaces.items(), 11):
            subprocess.run(["ip", "netns", "add", space], check=True)
            site.ip("link", "add", device, "type", "veth", "peer", "name", "eth0", "netns", space)
            site.ip("link", "set", device, "master", "eng0", "up")
            for command in (
                ("link", "set", "eth0", "up"),
                ("address", "add", f"172.30.0.{number}/24", "dev", "eth0"),
                ("address", "add", f"fd00:30::{number}/64", "dev", "eth0", "nodad"),
                ("route", "add", "default", "via", "172.30.0.1"),
            ):
                subprocess.run(["ip", "-n", space, *command], check=True)

    def tc(self) -> str:
        commands = [["tc", "qdisc", "show", "dev", device] for device in DEVICES]
        commands += [
            ["tc", "filter", "show", "dev", device, way] for device in DEVICES for way in ("ingress", "egress")
        ]

        def told() -> str:
            return "".join(subprocess.run(one, capture_output=True, text=True, check=False).stdout for one in commands)

        return self.site.inside(told)

    def isolate(self, device: str, how: str) -> None:
        """As an engine does that lets no container speak to another."""
        command = ["bridge", "link", "set", "dev", device, "isolated", how]
        self.site.inside(lambda: subprocess.run(command, check=True))

    def end(self) -> None:
        for space in self.spaces.values():
            subprocess.run(["ip", "netns", "del", space], check=True)


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    site = TestSite()
    made = Engine(site)
    try:
        site.up()
        yield made
    finally:
        made.end()
        site.end()


def told(site: TestSite, *arguments: str) -> tuple[int, dict[str, Any]]:
    done = site.stockade(*arguments, "--json")
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def test_devices_are_attached_asked_about_cut_and_given_back(engine: Engine) -> None:
    site, before = engine.site, engine.tc()
    ec2 = site.client()
    web = ec2.create_security_group(GroupName="web", Description="test")["GroupId"]
    [default] = ec2.describe_security_groups(GroupNames=["default"])["SecurityGroups"]
    by_group = [{"GroupId": default["GroupId"]}]
    permission = {"IpProtocol": "tcp", "FromPort": 8080, "ToPort": 8080, "UserIdGroupPairs": by_group}
    ec2.authorize_security_group_ingress(GroupId=web, IpPermissions=[permission])

    code, first = told(site, "attach", "veth1", "-g", "default")
    assert (code, first["impaired"]) == (0, None)
    assert first["addresses"] == ["172.30.0.11", "fd00:30::11"]
    code, second = told(site, "attach", "veth2", "-g", "web", "--address", "172.30.0.12", "--address", "fd00:30::12")
    assert (code, [group["group_name"] for group in second["groups"]]) == (0, ["web"])
    assert engine.tc() != before

    for source, destination, traffic, expected in (
        ("veth1", "veth2", "tcp/8080", 0),
        ("veth1", "veth2", "tcp/8081", 1),
        ("veth1", "veth2", "udp/53", 1),
        ("veth2", "veth1", "icmp/8", 1),
        ("fd00:30::11", "fd00:30::12", "tcp/8080", 1),
    ):
        code, answer = told(site, "explain", source, destination, traffic, "--probe")
        assert (code, answer["probe"]["agrees"]) == (expected, True), (source, destination, traffic, answer)
    assert [hop["interface"]["device"] for hop in answer["hops"]] == ["veth1"]  # nothing leaves default over IPv6

    groups = {one["name"]: one["devices"] for one in told(site, "groups")[1]["groups"]}
    assert groups == {"default": "veth1", "web": "veth2"}
    assert "attached devices: 2 policed" in site.stockade("status").stdout
    assert "veth2" in site.stockade("group", "web").stdout

    code, cut = told(site, "cut", "web")
    assert (code, cut["interfaces"], cut["enforced"]) == (0, [second["interface_id"]], True)
    assert told(site, "cut", "veth1")[1]["interfaces"] == [first["interface_id"]]

    assert told(site, "detach", "veth1")[0] == 0
    assert told(site, "detach", second["interface_id"])[1]["device"] == "veth2"
    until(lambda: engine.tc() == before)


def test_a_cut_ends_a_tracked_connection_that_no_rule_allows_any_more(engine: Engine) -> None:
    """Revoked, it goes on; cut, it does not."""
    site = engine.site
    ec2 = site.client()
    group = ec2.create_security_group(GroupName="cut", Description="test")["GroupId"]
    permission = {"IpProtocol": "tcp", "FromPort": 9, "ToPort": 9, "IpRanges": [{"CidrIp": "172.30.0.11/32"}]}
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[permission])
    assert site.stockade("attach", "veth2", "-g", "cut", "--address", "172.30.0.12").returncode == 0
    near, far = (open_netns(f"/run/netns/{engine.spaces[device]}") for device in DEVICES)
    try:
        listening = in_netns(far, lambda: socket.create_server(("172.30.0.12", 9)))
        calling = in_netns(near, lambda: socket.create_connection(("172.30.0.12", 9), 2))
        answering, _ = listening.accept()
        with listening, calling, answering:
            answering.settimeout(0.5)
            ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=[permission])
            calling.send(b"revoked")
            assert answering.recv(16) == b"revoked"
            assert site.stockade("cut", "cut").returncode == 0
            calling.send(b"cut")
            with pytest.raises(TimeoutError):
                answering.recv(16)
    finally:
        os.close(near)
        os.close(far)
        assert site.stockade("detach", "veth2").returncode == 0


def test_what_somebody_else_did_not_forward_is_no_disagreement(engine: Engine) -> None:
    site = engine.site
    for number, device in enumerate(DEVICES, 11):
        assert site.stockade("attach", device, "-g", "default", "--address", f"172.30.0.{number}").returncode == 0
    try:
        code, answer = told(site, "explain", "veth1", "veth2", "tcp/80", "--probe")
        assert (code, answer["probe"]["agrees"]) == (0, True)
        for device in DEVICES:
            engine.isolate(device, "on")
        code, answer = told(site, "explain", "veth1", "veth2", "tcp/80", "--probe")
        assert (code, answer["verdict"], answer["probe"]["agrees"]) == (6, "pass", None)
        assert answer["probe"]["sent"] == 0 or "forwards" in answer["probe"]["undecided"]
        subprocess.run(["ip", "-n", engine.spaces["veth2"], "link", "set", "eth0", "down"], check=True)
        code, answer = told(site, "explain", "veth1", "veth2", "tcp/80", "--probe")
        assert (code, answer["probe"]["sent"]) == (6, 0)
        assert "has its device down" in answer["probe"]["undecided"]
    finally:
        for device in DEVICES:
            engine.isolate(device, "off")
            assert site.stockade("detach", device).returncode == 0


def test_what_cannot_be_attached_says_why(engine: Engine) -> None:
    site = engine.site
    for arguments, code, said in (
        (("lo", "-g", "default"), 5, "loopback"),
        (("nosuch0", "-g", "default"), 5, "no device nosuch0"),
        (("eng0", "-g", "default"), 2, "MAC address"),
        (("veth1", "-g", "nosuch"), 4, "No group of yours is called that"),
        (("veth1", "-g", "default", "--mac", "01:00:5e:00:00:01"), 4, "MAC address"),
        (("veth1", "-g", "default", "--address", "here"), 4, "addresses"),
    ):
        done = site.stockade("attach", *arguments)
        assert (done.returncode, said in done.stderr) == (code, True), done.stderr
    assert site.stockade("detach", "veth1").returncode == 4
    assert site.stockade("cut", "nosuch").returncode == 4
