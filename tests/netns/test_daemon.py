"""The whole daemon on a host of its own: started, used, killed, started again, taken away."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from netns.host_inventory import settled_difference, take
from netns.site import MICRO, TestSite, build_micro, until
from stockade.linux.namespaces import in_netns

pytestmark = [pytest.mark.root, pytest.mark.alone]
ANYWHERE = "0.0.0.0/0"


@pytest.fixture(scope="module", autouse=True)
def micro() -> None:
    build_micro()


@pytest.fixture
def site() -> Iterator[TestSite]:
    made = TestSite()
    yield made
    made.end()


@pytest.fixture
def running(site: TestSite) -> TestSite:
    site.up()
    return site


def tcp(port: int) -> list[dict[str, Any]]:
    return [{"IpProtocol": "tcp", "FromPort": port, "ToPort": port, "IpRanges": [{"CidrIp": ANYWHERE}]}]


def launch(ec2: Any, count: int, *ports: int) -> tuple[str, list[dict[str, Any]]]:
    """A new group with these ports open, and so many running instances in it."""
    group = ec2.create_security_group(GroupName=f"g{time.monotonic_ns()}", Description="test")["GroupId"]
    for port in ports:
        ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=tcp(port))
    made = ec2.run_instances(ImageId=MICRO, MinCount=count, MaxCount=count, SecurityGroupIds=[group])["Instances"]
    ids = [one["InstanceId"] for one in made]
    return group, until(lambda: all_running(ec2, ids))


def all_running(ec2: Any, ids: list[str]) -> list[dict[str, Any]]:
    """Their descriptions once all run, else nothing."""
    told = ec2.describe_instances(InstanceIds=ids)["Reservations"]
    found = [one for reservation in told for one in reservation["Instances"]]
    assert all(one["State"]["Name"] in ("pending", "running") for one in found), found
    return found if all(one["State"]["Name"] == "running" for one in found) else []


def test_boto3_does_the_whole_story_with_nothing_but_stockade_env(running: TestSite) -> None:
    ec2 = running.client()
    assert running.client("sts").get_caller_identity()["Account"].isdigit()
    group, [instance] = launch(ec2, 1, 22)
    address = instance["PublicIpAddress"]
    assert until(lambda: running.opens(address, 22))
    assert not running.opens(address, 80)
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=tcp(8080))
    with running.network_of(instance["InstanceId"]) as space, _listen(space, 8080):
        assert running.opens(address, 8080)
        ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=tcp(8080))
        assert not running.opens(address, 8080)
    with pytest.raises(Exception, match=r"DependencyViolation|InvalidGroup.InUse"):
        ec2.delete_security_group(GroupId=group)
    ec2.terminate_instances(InstanceIds=[instance["InstanceId"]])
    until(lambda: _state(ec2, instance["InstanceId"]) == "terminated")
    ec2.delete_security_group(GroupId=group)


def test_status_health_and_metrics_say_that_the_kernel_enforces(running: TestSite) -> None:
    assert "enforcing: kernel (proven" in running.stockade("status").stdout
    told = json.loads(running.stockade("status", "--json").stdout)
    assert told["status"] == "ready"
    assert told["enforcement"]["proven_at"] is not None


def test_the_control_process_has_no_privileges(running: TestSite) -> None:
    status = Path(f"/proc/{running.control().pid}/status").read_text()
    fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    assert {int(part) for part in fields["Uid"].split()} & {0} == set()
    assert {int(part) for part in fields["Gid"].split()} & {0} == set()
    assert fields["Groups"].strip() == ""
    assert {fields[name].strip() for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert fields["NoNewPrivs"].strip() == "1"


def test_a_control_process_that_dies_is_replaced_and_nothing_stops(running: TestSite) -> None:
    ec2 = running.client()
    _, [instance] = launch(ec2, 1, 22)
    until(lambda: running.opens(instance["PublicIpAddress"], 22))  # its sshd may start later than it runs
    before = running.control()
    before.signal(signal.SIGKILL)
    assert before.wait(5)
    assert running.opens(instance["PublicIpAddress"], 22)
    until(lambda: running.stockade("status").returncode == 0)
    assert running.control() != before
    assert _state(ec2, instance["InstanceId"]) == "running"


def test_a_control_process_ends_with_its_agent(running: TestSite) -> None:
    control = running.control()
    running.agent().signal(signal.SIGKILL)
    assert control.wait(10)
    running.up()


def test_a_stream_goes_on_and_no_port_opens_while_both_are_killed_and_come_back(running: TestSite) -> None:
    ec2 = running.client()
    group, machines = launch(ec2, 2, 22)
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=tcp(7000))
    names = [one["InstanceId"] for one in machines]
    closed = machines[1]["PublicIpAddress"]
    with (
        running.network_of(names[0]) as near,
        running.network_of(names[1]) as far,
        _Scan(running, closed, 81) as scan,
        closing(_Stream(near, far, machines[1]["PrivateIpAddress"], 7000)) as stream,
    ):
        stream.must_flow()
        running.kill_both()
        stream.must_flow()
        assert running.opens(closed, 22)
        told = running.up()
        assert "2 instances found running and policed" in told
        stream.must_flow()
    assert scan.tries > 0
    assert scan.opened == 0
    again = running.client()
    assert [one["State"]["Name"] for one in all_running(again, names)] == ["running", "running"]
    again.revoke_security_group_ingress(GroupId=group, IpPermissions=tcp(22))
    assert not running.opens(closed, 22)


def test_names_resolve_in_the_shell_and_nowhere_else(running: TestSite) -> None:
    ec2 = running.client()
    _, [instance] = launch(ec2, 1, 22)
    before = Path("/etc/resolv.conf").read_bytes()
    told = running.stockade("shell", "--", "sh", "-c", 'getent hosts "$1"; exit 7', "sh", instance["PublicDnsName"])
    assert told.returncode == 7
    assert told.stdout.split() == [instance["PublicIpAddress"], instance["PublicDnsName"]]
    assert Path("/etc/resolv.conf").read_bytes() == before


def test_credentials_are_handed_to_whoever_called_sudo(site: TestSite) -> None:
    site.environment |= {"SUDO_UID": "61183", "SUDO_GID": "61183"}
    site.up()
    about = (Path("/run") / site.name / "credentials.json").stat()
    assert (about.st_uid, about.st_gid, about.st_mode & 0o777) == (61183, 61183, 0o600)


def test_kept_instances_stay_policed_and_are_found_again(running: TestSite) -> None:
    ec2 = running.client()
    _, [instance] = launch(ec2, 1, 22)
    assert running.stockade("down", "--keep").returncode == 0
    assert running.opens(instance["PublicIpAddress"], 22)
    assert not running.opens(instance["PublicIpAddress"], 23)
    assert "1 instance found running and policed" in running.up()
    assert _state(running.client(), instance["InstanceId"]) == "running"


def test_instances_are_launched_again_after_down_and_up(running: TestSite) -> None:
    ec2 = running.client()
    _, [instance] = launch(ec2, 1, 22)
    assert running.stockade("down").returncode == 0
    running.up()
    until(lambda: running.opens(instance["PublicIpAddress"], 22))


def test_an_instance_that_deletes_its_own_device_is_impaired_and_others_are_not(running: TestSite) -> None:
    ec2 = running.client()
    _, machines = launch(ec2, 2, 22)
    with running.network_of(machines[0]["InstanceId"]) as space:
        subprocess.run(
            ["nsenter", f"--net=/proc/self/fd/{space}", "ip", "link", "del", "eth0"], pass_fds=[space], check=True
        )
    until(lambda: "impaired" in running.log() or _reason(ec2, machines[0]["InstanceId"]))
    assert not running.opens(machines[0]["PublicIpAddress"], 22)
    assert running.opens(machines[1]["PublicIpAddress"], 22)


def test_after_a_power_cut_policy_is_restored_and_instances_are_launched_again(running: TestSite) -> None:
    ec2 = running.client()
    _, [instance] = launch(ec2, 1, 22)
    until(lambda: running.opens(instance["PublicIpAddress"], 22))
    running.lose_power()
    running.up()
    until(lambda: running.opens(instance["PublicIpAddress"], 22))
    assert not running.opens(instance["PublicIpAddress"], 23)
    assert _state(running.client(), instance["InstanceId"]) == "running"


def test_an_address_pool_that_overlaps_a_route_is_refused_by_name(site: TestSite) -> None:
    site.ip("link", "add", "left", "type", "veth", "peer", "name", "right")
    site.ip("link", "set", "left", "up")
    site.ip("route", "add", "198.18.4.0/24", "dev", "left")
    done = site.stockade("up", "-d")
    assert done.returncode == 5
    assert "198.18.4.0/24 dev left" in done.stderr
    assert "network.public_pool" in done.stderr
    assert not (Path("/run") / site.name).exists()


def test_a_port_that_is_taken_is_refused_by_name(site: TestSite) -> None:
    taken = site.inside(lambda: socket.create_server(("127.0.0.1", 8773)))
    done = site.stockade("up", "-d")
    taken.close()
    assert done.returncode == 5
    assert "cannot listen on 127.0.0.1:8773" in done.stderr
    assert not (Path("/run") / site.name).exists()


def test_a_control_process_that_cannot_open_its_state_says_why(site: TestSite) -> None:
    state = site.base / "state" / "state.db"
    state.parent.mkdir(mode=0o755)
    state.write_bytes(b"no database at all" * 1000)
    done = site.stockade("up", "-d", "--enforce=none")
    assert done.returncode == 70
    assert "the control process ended with status 1" in done.stderr
    assert "file is not a database" in done.stderr
    assert not (Path("/run") / site.name).exists()


def test_under_ip_netns_exec_it_says_what_to_use_instead(site: TestSite) -> None:
    command = ["ip", "netns", "exec", site.netns, sys.executable, "-P", "-m", "stockade", "up"]
    done = subprocess.run(command, env=site.environment, cwd="/", capture_output=True, text=True, check=False)
    assert done.returncode == 5
    assert "sees no cgroups" in done.stderr
    assert "nsenter --net=" in done.stderr
    assert not (Path("/run") / site.name).exists()


def test_removing_by_force_finds_instances_wherever_the_state_is(site: TestSite) -> None:
    elsewhere = Path("/opt") / f"stockade-test-{site.name}"
    site.environment["STOCKADE_STATE"] = str(elsewhere / "state.db")
    try:
        site.up()
        _, [instance] = launch(site.client(), 1, 22)
        assert (elsewhere / "instances" / instance["InstanceId"]).is_dir()
        site.kill_both()
        done = site.stockade("down", "--force")
        assert done.returncode == 0, done.stderr
        assert list((elsewhere / "instances").iterdir()) == []
        assert (elsewhere / "state.db").exists()
    finally:
        site.stockade("down", "--force")
        shutil.rmtree(elsewhere, ignore_errors=True)


FOREIGN = """
echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6
ip link add br-foreign type bridge
ip addr add 172.20.0.1/24 dev br-foreign
ip link set br-foreign up
ip link add up0 type veth peer name up1
ip link set up0 up
ip link set up1 up
ip route add 203.0.113.0/24 dev br-foreign
ip route add default via 172.20.0.254 dev br-foreign
tc qdisc add dev up0 clsact
tc filter add dev up0 ingress pref 10 protocol ip u32 match ip dst 203.0.113.9/32 flowid 1:1
tc qdisc add dev br-foreign root handle 7: pfifo
nft add table inet foreign
nft add chain inet foreign forward '{ type filter hook forward priority 0; policy drop; }'
"""


def foreigners(site: TestSite) -> None:
    """A bridge, routes, a qdisc, a filter and an nft table of somebody else, on the same host."""
    subprocess.run(["nsenter", f"--net=/run/netns/{site.netns}", "sh", "-euc", FOREIGN], check=True)


@pytest.mark.parametrize("way", ["down", "interrupt", "force after kill -9", "force after everything died"])
def test_it_leaves_nothing_behind_and_foreign_things_as_they_were(site: TestSite, way: str) -> None:
    foreigners(site)
    site.environment["STOCKADE_NETWORK_DEVICES"] = "up0"
    before = site.inside(take)
    foreground = None
    if way == "interrupt":
        foreground = subprocess.Popen(site.command("up"), env=site.environment, cwd="/", stderr=subprocess.DEVNULL)
        until(lambda: site.stockade("status").returncode == 0, 60)
    else:
        site.up()
    _, machines = launch(site.client(), 3, 22)
    assert until(lambda: site.opens(machines[0]["PublicIpAddress"], 22))

    if foreground is not None:
        foreground.send_signal(signal.SIGINT)
        assert foreground.wait(60) == 0
    elif way == "down":
        done = site.stockade("down")
        assert done.returncode == 0, done.stderr
    else:
        if way == "force after everything died":
            for one in machines:
                os.kill(site.first_process(one["InstanceId"]), signal.SIGKILL)
        site.kill_both()
        done = site.stockade("down", "--force")
        assert done.returncode == 0, done.stderr
    left = site.inside(lambda: settled_difference(before))
    assert [line for line in left if not line.startswith("- ")] == []
    assert left == []
    assert not (Path("/run") / site.name).exists()
    assert (site.base / "state" / "state.db").exists()


def test_an_interrupt_while_it_starts_undoes_what_was_half_made(site: TestSite) -> None:
    before = site.inside(take)
    for delay_s in (0.1, 0.4, 0.8):
        # Whoever runs the tests in the background ignores SIGINT, and so would this process from its first moment.
        command = ["env", "--default-signal=INT", *site.command("up")]
        starting = subprocess.Popen(command, env=site.environment, cwd="/", stderr=subprocess.DEVNULL)
        time.sleep(delay_s)  # wherever it happens to be by then
        starting.send_signal(signal.SIGINT)
        assert starting.wait(60) in (0, 130, -signal.SIGINT)
    assert site.inside(lambda: settled_difference(before)) == []


# --- traffic ------------------------------------------------------------------------------------------------


def _listen(space: int, port: int) -> socket.socket:
    return in_netns(space, lambda: socket.create_server(("0.0.0.0", port)))


def _state(ec2: Any, instance: str) -> str:
    told = ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]
    return str(told["State"]["Name"])


def _reason(ec2: Any, instance: str) -> str:
    told = ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]
    return str(told.get("StateReason", {}).get("Message", ""))


class _Stream:
    """A TCP connection between two instances, which echoes."""

    def __init__(self, near: int, far: int, address: str, port: int) -> None:
        self._listening = _listen(far, port)
        self._near = in_netns(near, lambda: socket.create_connection((address, port), 5))
        self._far, _ = self._listening.accept()
        for end in (self._near, self._far):
            end.settimeout(5)

    def must_flow(self) -> None:
        """Both ways, many times."""
        for number in range(50):
            for sender, receiver in ((self._near, self._far), (self._far, self._near)):
                said = f"{number:08d}".encode()
                sender.sendall(said)
                assert receiver.recv(8, socket.MSG_WAITALL) == said

    def close(self) -> None:
        for end in (self._near, self._far, self._listening):
            end.close()


class _Scan:
    """Tries a closed port from the host, again and again, until the block ends."""

    def __init__(self, site: TestSite, address: str, port: int) -> None:
        self._site = site
        self._target = (address, port)
        self._over = threading.Event()
        self._thread = threading.Thread(target=lambda: site.inside(self._scan))
        self.tries = 0
        self.opened = 0

    def _scan(self) -> None:
        while not self._over.is_set():
            with socket.socket() as tried:
                tried.settimeout(0.05)
                self.opened += tried.connect_ex(self._target) == 0
                self.tries += 1

    def __enter__(self) -> "_Scan":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def test_without_enforcement_root_serves_nothing_as_root_and_the_state_is_the_same(site: TestSite) -> None:
    started = site.stockade("up", "-d", "--enforce=none")
    assert started.returncode == 0, started.stderr
    assert (site.base / "state" / "state.db").stat().st_uid != 0
    group = site.client().create_security_group(GroupName="kept", Description="kept")["GroupId"]
    assert site.stockade("down").returncode == 0
    site.up()
    assert site.client().describe_security_groups(GroupIds=[group])["SecurityGroups"]
