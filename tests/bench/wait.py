"""`./dev bench wait`: what is answered is enforced.

A round: authorize a port and connect at once, which must succeed; revoke it and send three SYNs at once, of which a
sniffer inside the instance must see none, while the kernel's count of refusals rises by three. Then the same with 20 ms
of delay in the feed: calls take longer, and nothing else changes.
"""

import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.harness import Options, Report, progress, run
from netns.site import MICRO, SOURCES, TestSite, build_micro, until
from stockade.datapath.ebpf import syscall
from stockade.datapath.ebpf.maps import PerCpuMap
from stockade.linux.namespaces import in_netns
from stockade.model.flow import DropReason

_PORT = 9000
_LATE_S = 0.020
_SYNS = 3
_PERMISSION = [
    {"IpProtocol": "tcp", "FromPort": _PORT, "ToPort": _PORT, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
]  # fmt: skip


@dataclass(slots=True)
class Seen:
    """What all rounds of one way gave."""

    authorize_ms: list[float] = field(default_factory=list)
    revoke_ms: list[float] = field(default_factory=list)
    refused_too_long: int = 0
    let_in_too_long: int = 0
    uncounted: int = 0


def measure(options: Options) -> Report:
    """Both ways, `rounds` times each."""
    build_micro()
    count = options.rounds(full=1000, quick=50)
    report = Report(count)
    for way, late_s in (("", 0.0), ("_late_feed", _LATE_S)):
        with _running(late_s) as site:
            seen = _rounds(site, count, f"wait{way}")
        report.spread(f"authorize{way}.stockade", seen.authorize_ms)
        report.spread(f"revoke{way}.stockade", seen.revoke_ms)
        report.figure(f"refused_after_authorize{way}", seen.refused_too_long, "connections", at_most=0)
        report.figure(f"seen_after_revoke{way}", seen.let_in_too_long, "SYNs", at_most=0)
        report.figure(f"not_counted_as_dropped{way}", seen.uncounted, "SYNs", at_most=0)
    return report


@contextmanager
def _running(late_s: float) -> Iterator[TestSite]:
    site = TestSite()
    daemon = None
    try:
        if late_s:
            daemon = _start_late(site, late_s)
        else:
            site.up()
        yield site
        if daemon is not None:
            daemon.send_signal(signal.SIGTERM)
            daemon.wait(60)
    finally:
        if daemon is not None and daemon.poll() is None:
            daemon.kill()
            daemon.wait()
        site.end()


def _start_late(site: TestSite, late_s: float) -> "subprocess.Popen[str]":
    site.environment["PYTHONPATH"] = f"{SOURCES}:{Path(__file__).parents[1]}"
    daemon = subprocess.Popen(
        ["nsenter", f"--net=/run/netns/{site.netns}", sys.executable, "-P", "-m", "bench.late_daemon", str(late_s)],
        env=site.environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert daemon.stdout is not None
    if daemon.stdout.readline() != "ready\n":
        raise RuntimeError("the daemon with a late feed did not start")
    return daemon


@dataclass(frozen=True, slots=True)
class Ground:
    """What a round needs: whom to call, what to open, where to listen, sniff and count."""

    ec2: Any
    group: str
    address: str
    listening: socket.socket
    sniffer: socket.socket
    drops: PerCpuMap


def _rounds(site: TestSite, count: int, what: str) -> Seen:
    ec2 = site.client()
    group = ec2.create_security_group(GroupName="wait", Description="wait")["GroupId"]
    made = ec2.run_instances(ImageId=MICRO, MinCount=1, MaxCount=1, SecurityGroupIds=[group])["Instances"][0]
    instance = until(lambda: _running_instance(ec2, made["InstanceId"]))
    seen = Seen()
    with site.network_of(instance["InstanceId"]) as space, ExitStack() as closing:
        ground = Ground(
            ec2.plain,
            group,
            instance["PublicIpAddress"],
            closing.enter_context(in_netns(space, lambda: socket.create_server(("0.0.0.0", _PORT), backlog=128))),
            closing.enter_context(in_netns(space, _sniffer)),
            PerCpuMap("drops", syscall.open_pinned(f"/sys/fs/bpf/{site.name}/drops")),
        )
        closing.callback(ground.drops.close)
        ground.listening.setblocking(False)

        def all_rounds() -> None:
            for number in range(count):
                _round(ground, seen)
                if (number + 1) % 100 == 0:
                    progress(f"{what} {number + 1}/{count}")

        # One thread inside the host namespace does it all: entering it again and again is not what is measured.
        site.inside(all_rounds)
    return seen


def _round(ground: Ground, seen: Seen) -> None:
    began = time.perf_counter()
    ground.ec2.authorize_security_group_ingress(GroupId=ground.group, IpPermissions=_PERMISSION)
    seen.authorize_ms.append((time.perf_counter() - began) * 1000)
    with socket.socket() as tried:
        tried.settimeout(0.5)
        seen.refused_too_long += tried.connect_ex((ground.address, _PORT)) != 0
        _take_all(ground.listening)
    began = time.perf_counter()
    ground.ec2.revoke_security_group_ingress(GroupId=ground.group, IpPermissions=_PERMISSION)
    seen.revoke_ms.append((time.perf_counter() - began) * 1000)
    _drain(ground.sniffer)
    before = _refusals(ground.drops)
    _send_syns(ground.address)
    counted = _counted(ground.drops, before)
    seen.let_in_too_long += _drain(ground.sniffer)
    seen.uncounted += abs(_SYNS - counted)


def _take_all(listening: socket.socket) -> None:
    """Or the queue of connections fills up, and the kernel of the instance refuses in our place."""
    with suppress(BlockingIOError):
        while True:
            listening.accept()[0].close()


def _send_syns(address: str) -> None:
    """Each socket sends one SYN, and is gone long before it would send another."""
    for _ in range(_SYNS):
        with socket.socket() as tried:
            tried.setblocking(False)
            tried.connect_ex((address, _PORT))


def _counted(drops: PerCpuMap, before: int) -> int:
    deadline = time.monotonic() + 0.5
    while (counted := _refusals(drops) - before) < _SYNS and time.monotonic() < deadline:
        time.sleep(0.001)
    return counted


def _refusals(drops: PerCpuMap) -> int:
    return sum(struct.unpack("=Q", value)[0] for value in drops.get(DropReason.NO_INGRESS_RULE))


def _sniffer() -> socket.socket:
    """Sees every packet that reaches the instance's own device."""
    sniffing = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
    sniffing.bind(("eth0", 0x0800))
    sniffing.setblocking(False)
    return sniffing


def _drain(sniffer: socket.socket) -> int:
    """How many connection requests for our port had arrived."""
    found = 0
    while True:
        try:
            frame, (_, _, direction, *_) = sniffer.recvfrom(2048)
        except BlockingIOError:
            return found
        incoming = direction != socket.PACKET_OUTGOING
        is_tcp = len(frame) >= 54 and frame[23] == socket.IPPROTO_TCP
        if incoming and is_tcp and struct.unpack_from("!H", frame, 36)[0] == _PORT and frame[47] & 0x12 == 0x02:
            found += 1


def _running_instance(ec2: Any, instance: str) -> Any:
    told = ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]
    return told if told["State"]["Name"] == "running" else None


if __name__ == "__main__":
    run("wait", measure)
