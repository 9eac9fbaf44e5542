"""A host for an agent that may be killed at any moment: namespaces, a bpffs, and the agent as a process inside.

    with AgentHost(tmp_path) as host:
        host.tell(view_of(machines))             # as a control process would
        host.start(); host.until_running(machines)
        host.kill(); host.start(program=other)   # an upgrade: the same host, another build of the programs
        host.reboot()                            # kernel and processes are new, files are kept

Instances are processes in namespaces of their own and outlive the agent. Needs root.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from kernel.ebpf_host import NamespaceThread
from stockade.agent.journal import FileJournal
from stockade.agent.undo import Own, undo
from stockade.linux import links, mounts, namespaces, traffic_control
from stockade.linux.netlink import Netlink
from stockade.linux.processes import ProcessId
from stockade.linux.traffic_control import EGRESS, INGRESS
from stockade.model.addresses import mac_of
from stockade.model.change import Revision
from stockade.model.host_view import Frame, ViewGroup, ViewInstance, ViewInterface, ViewItem, ViewMember
from stockade.model.ids import AccountId, HostId, InstanceId, NetworkInterfaceId, RuleId, SecurityGroupId
from stockade.model.journal import PLACE, HostObject
from stockade.model.plain import to_plain
from stockade.model.rule import Direction, Peer, Rule

T = TypeVar("T")
TESTS = Path(__file__).parents[1]
NETWORK = IPv4Network("10.0.0.0/16")
NETWORK6 = IPv6Network("fd5c:ec2:0:100::/64")
ACCOUNT = AccountId("111122223333")


@dataclass(frozen=True, slots=True)
class Machine:
    """An instance-to-be. `device`: an existing device in its place, which somebody else made."""

    number: int
    groups: tuple[SecurityGroupId, ...]
    device: str | None = None
    mac: str | None = None

    @property
    def instance(self) -> InstanceId:
        return InstanceId(f"i-{self.number:08x}")

    @property
    def interface(self) -> NetworkInterfaceId:
        return NetworkInterfaceId(f"eni-{self.number:08x}")

    @property
    def address(self) -> IPv4Address:
        return NETWORK[self.number]

    @property
    def address6(self) -> IPv6Address:
        return NETWORK6[self.number]


def rule(number: int, direction: Direction, protocol: int, ports: tuple[int, int] | None, peer: Peer) -> Rule:
    low, high = ports or (None, None)
    return Rule(RuleId(f"sgr-{number:08x}"), number, direction, protocol, low, high, peer)


def view_items(groups: Iterable[ViewGroup], machines: Iterable[Machine]) -> tuple[ViewItem, ...]:
    """The whole view of a host with these on it."""
    items: list[ViewItem] = list(groups)
    for one in machines:
        addresses: tuple[IPv4Address | IPv6Address, ...] = (one.address, one.address6)
        items.append(ViewMember(one.interface, 1, addresses, one.groups, HostId("host-1")))
        items.append(
            ViewInterface(
                id=one.interface,
                number=one.number,
                account=ACCOUNT,
                vpc=1,
                classic=False,
                network=NETWORK,
                mac=one.mac or mac_of(one.number),  # type: ignore[arg-type]
                addresses=addresses,
                groups=one.groups,
                public=None,
                source_dest_check=True,
                instance=None if one.device else one.instance,
                device=one.device,
            )
        )
        if one.device is None:
            items.append(
                ViewInstance(
                    id=one.instance,
                    account=ACCOUNT,
                    interface=one.interface,
                    running=True,
                    image="ami-1",
                    recipe="micro",
                    type="m1.small",
                    zone="us-east-1a",
                    region="us-east-1",
                    reservation="r-01000001",
                    launch_index=0,
                    key_name=None,
                    public_key=None,
                    user_data=None,
                    group_names=("test",),
                )
            )
    return tuple(items)


class AgentHost:
    """One host; one agent at a time."""

    def __init__(self, directory: Path, *, settings: dict[str, Any] | None = None) -> None:
        self._directory = directory
        self._settings = settings or {}
        self._agent: subprocess.Popen[bytes] | None = None
        self._revision = 0
        self._boots = 0
        for name in ("run", "instances", "bpf"):
            (directory / name).mkdir(parents=True)
        self.frames = directory / "frames"
        self._heard = directory / "heard"
        self._said_before = 0
        self._boot()

    def _boot(self) -> None:
        self._boots += 1
        self._thread = NamespaceThread(self._enter)
        self.netns = self._thread.run(lambda: os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC))

    def _enter(self) -> None:
        namespaces.unshare(namespaces.NEWNS | namespaces.NEWNET)
        mounts.mount("none", "/", None, mounts.REC | mounts.PRIVATE)
        mounts.mount("bpf", str(self._directory / "bpf"), "bpf")
        with Netlink() as route:
            links.set_up(route, "lo")

    # --- the agent --------------------------------------------------------------------------------------------

    def start(self, *, program: Path | None = None) -> None:
        """Begin; `until_...` waits for what it does."""
        assert self._agent is None
        self._said_before = len(self._lines())
        config = self._directory / "config.json"
        config.write_text(json.dumps(self._config(program)))
        self._agent = self._thread.run(lambda: self._spawn(config))

    def _config(self, program: Path | None) -> dict[str, Any]:
        return {
            "run": str(self._directory / "run"),
            "instances": str(self._directory / "instances"),
            "frames": str(self.frames),
            "heard": str(self._heard),
            "program": None if program is None else str(program),
            "agent": {"boot": f"boot-{self._boots}"},
            "settings": {
                "site": "test",
                "pins": str(self._directory / "bpf" / "test"),
                "public_pool": "198.18.0.0/16",
                "services_namespace": str(self._directory / "services.netns"),
                **self._settings,
            },
        }

    def _spawn(self, config: Path) -> "subprocess.Popen[bytes]":
        with open(self._directory / "log", "ab") as log:
            return subprocess.Popen(
                [sys.executable, "-P", "-m", "netns.agent_process", str(config)],
                env=os.environ | {"PYTHONPATH": f"{TESTS.parent / 'src'}:{TESTS}"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
            )

    def kill(self) -> None:
        """kill -9: it has no last word."""
        assert self._agent is not None
        self._agent.kill()
        self._agent.wait()
        self._agent = None

    def stop(self) -> None:
        """As `stockade down` ends it: nothing of it stays."""
        assert self._agent is not None
        self._agent.send_signal(signal.SIGTERM)
        assert self._agent.wait(20) == 0, self.log()[-4000:]
        self._agent = None

    def remove_by_force(self) -> None:
        """As `stockade down --force` does, when nobody is left to ask."""
        own = Own("test", "test", self._directory / "run")
        places = [HostObject(PLACE, str(self._directory / name)) for name in ("", "instances")]

        def undoing() -> None:
            journal = FileJournal(self._directory / "run" / "journal")
            assert undo(journal, (*places, *journal.present), lambda _thing: None, own) == []
            journal.close()

        self.inside(undoing)

    def log(self) -> str:
        return (self._directory / "log").read_text()

    def tell(self, items: tuple[ViewItem, ...]) -> int:
        """What the control process says from now on: a whole view. Its revision."""
        self._revision += 1
        frame = Frame(Revision(self._revision), items, whole=True)
        fresh = self.frames.with_suffix(".new")
        fresh.write_text(json.dumps(to_plain(frame, Frame)))
        os.replace(fresh, self.frames)
        return self._revision

    def said(self, what: str) -> list[dict[str, Any]]:
        """What this agent said of this kind, in order."""
        return [line for line in self._lines()[self._said_before :] if line["what"] == what]

    def until_said(self, what: str, holds: Callable[[dict[str, Any]], bool] = lambda _line: True) -> dict[str, Any]:
        """The first line of this kind for which it holds."""
        return self._until(lambda: next(filter(holds, self.said(what)), None), what)

    def until_enforced(self, revision: int) -> None:
        self.until_said("enforced", lambda line: bool(line["revision"] >= revision))

    def until_running(self, machines: Iterable[Machine]) -> None:
        for one in machines:
            wanted = one.instance
            self.until_said("instance", lambda line, wanted=wanted: line["id"] == wanted and line["state"] == "running")

    def _lines(self) -> list[dict[str, Any]]:
        text = self._heard.read_text() if self._heard.exists() else ""
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def _until(self, found: Callable[[], T | None], what: str, within_s: float = 30.0) -> T:
        deadline = time.monotonic() + within_s
        while (answer := found()) is None:
            assert self._agent is None or self._agent.poll() is None, f"the agent ended\n{self.log()[-4000:]}"
            assert time.monotonic() < deadline, f"never said: {what}\n{self.log()[-4000:]}"
            time.sleep(0.02)
        return answer

    # --- the host ---------------------------------------------------------------------------------------------

    def process(self, machine: Machine) -> ProcessId:
        """The instance's first process."""
        record = json.loads((self._directory / "instances" / machine.instance / "record.json").read_text())
        return ProcessId(*record["process"])

    def network_of(self, machine: Machine) -> int:
        """A descriptor of the instance's network namespace; the caller closes it."""
        return namespaces.open_netns(self.process(machine).pid)

    def inside(self, function: Callable[[], T]) -> T:
        """Run it in the host's namespaces."""
        return self._thread.run(function)

    def programs(self) -> dict[str, tuple[int, ...]]:
        """The kernel's numbers of the programs on each instance's device: another build has others."""
        with Netlink(self.netns) as route:
            return {
                link.name: tuple(
                    each.program
                    for hook in (INGRESS, EGRESS)
                    for each in traffic_control.list_filters(route, link.index, hook)
                )
                for link in links.list_links(route)
                if link.name.startswith("test-i")
            }

    def reboot(self) -> None:
        """Power off and on: nothing of the kernel and no process is left, the files are."""
        if self._agent is not None:
            self.kill()
        self._end_instances()
        self._end_kernel()
        self._boot()

    def _end_instances(self) -> None:
        for folder in (self._directory / "instances").glob("i-*"):
            record = json.loads((folder / "record.json").read_text())
            if record["process"] is not None:
                ProcessId(*record["process"]).end(grace_s=0)

    def _end_kernel(self) -> None:
        os.close(self.netns)
        self._thread.run(lambda: mounts.unmount(str(self._directory / "services.netns"), detach=True))
        self._thread.run(lambda: mounts.unmount(str(self._directory / "bpf"), detach=True))
        self._thread.close()

    def close(self) -> None:
        if self._agent is not None:
            self.kill()
        self._end_instances()
        self._end_kernel()

    def __enter__(self) -> "AgentHost":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
