"""Everything on a host that Stockade might leave behind, as text lines that two moments can be compared by.

    before = take()
    ...
    assert difference(before, take()) == []

A counter, a time stamp or a kernel-chosen handle is left out of the lines, so that an untouched foreign bridge or
nft table is equal to itself. Other programs' processes and cgroups come and go, so only those are listed that could
be ours: in another network namespace than the caller, or with one of the marks in their command line.
"""

import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MARKS = ("stockade", "runc", "crun")
_ENDS_BY_ITSELF = {"processes", "cgroups", "loop devices", "programs"}
_VOLATILE_NFT = ("handle", "counter")


@dataclass(frozen=True, slots=True)
class Inventory:
    """kind of object -> its lines."""

    lines: dict[str, frozenset[str]]


def take(only: Iterable[str] | None = None) -> Inventory:
    """The host of the calling process as it is now; `only` names the kinds wanted."""
    wanted = set(only) if only is not None else set(_KINDS)
    return Inventory({kind: frozenset(read()) for kind, read in _KINDS.items() if kind in wanted})


def difference(before: Inventory, after: Inventory) -> list[str]:
    """`+ kind: line` for what is new, `- kind: line` for what is gone; empty when nothing changed.

    Of what other programs end by themselves (_ENDS_BY_ITSELF) only the new is told.
    """
    found = []
    for kind, was in before.lines.items():
        now = after.lines.get(kind, frozenset())
        found += [f"+ {kind}: {line}" for line in sorted(now - was)]
        if kind not in _ENDS_BY_ITSELF:
            found += [f"- {kind}: {line}" for line in sorted(was - now)]
    return found


def settled_difference(before: Inventory, within_s: float = 10.0) -> list[str]:
    """The difference once the kernel has finished what it frees late (namespaces, mounts, loop devices)."""
    deadline = time.monotonic() + within_s
    while True:
        found = difference(before, take(before.lines))
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.1)


def _links() -> list[str]:
    """Name, kind, state, master and addresses; ifindex and counters left out."""
    lines = []
    for link in _json("ip", "-json", "-details", "address", "show"):
        kind = link.get("linkinfo", {}).get("info_kind", "")
        addresses = " ".join(f"{a['local']}/{a['prefixlen']}" for a in link.get("addr_info", []) if "local" in a)
        up = "UP" in link.get("flags", [])
        lines.append(f"{link['ifname']} {kind} up={up} mtu={link['mtu']} master={link.get('master', '-')} {addresses}")
    return lines


def _routes() -> list[str]:
    lines = []
    for family in ("-4", "-6"):
        lines += [f"{family} {line.strip()}" for line in _text("ip", family, "route", "show", "table", "all")]
        lines += [f"{family} rule {line.strip()}" for line in _text("ip", family, "rule", "show")]
    # A lifetime counts down by itself.
    return [re.sub(r"expires \d+sec", "", line) for line in lines]


def _neighbours() -> list[str]:
    """Only those that somebody set: the kernel's own come and go."""
    return [line.strip() for line in _text("ip", "neigh", "show", "nud", "permanent")]


def _tc() -> list[str]:
    lines = [line.strip() for line in _text("tc", "qdisc", "show")]
    for name in sorted(os.listdir("/sys/class/net")):
        for side in ("ingress", "egress"):
            filters = _text("tc", "filter", "show", "dev", name, side, check=False)
            lines += [f"{name} {side} {re.sub(r' (id|tag|jited|handle) ?[0-9a-fx]*', '', f)}" for f in filters]
    return lines


def _nft() -> list[str]:
    document = _json("nft", "--json", "list", "ruleset") or {"nftables": []}
    return [json.dumps(_steady(entry), sort_keys=True) for entry in document["nftables"] if "metainfo" not in entry]


def _steady(value: object) -> object:
    """Without handles and counters."""
    if isinstance(value, dict):
        return {key: _steady(inner) for key, inner in value.items() if key not in _VOLATILE_NFT}
    if isinstance(value, list):
        return [_steady(inner) for inner in value]
    return value


def _named_namespaces() -> list[str]:
    return [line.split()[0] for line in _text("ip", "netns", "list") if line.strip()]


def _pins() -> list[str]:
    root = Path("/sys/fs/bpf")
    return [str(path) for path in root.rglob("*")] if root.is_dir() else []


def _programs() -> list[str]:
    """Loaded BPF programs by name: one that outlives its pin and filter is held by somebody."""
    if not _has("bpftool"):
        return []
    found = _json("bpftool", "--json", "prog", "show")
    return [f"{p.get('type')} {p.get('name', '')}" for p in found if p.get("type") in ("sched_cls", "sched_act")]


def _mounts() -> list[str]:
    """Mount point, type and source of this mount namespace, without ids."""
    lines = []
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        left, _, right = line.partition(" - ")
        lines.append(f"{left.split()[4]} {' '.join(right.split()[:2])}")
    return [line for line in lines if not line.startswith("/run/netns ")]  # ip(8)'s own, made once


def _loops() -> list[str]:
    lines = []
    for backing in Path("/sys/block").glob("loop*/loop/backing_file"):
        lines.append(f"{backing.parts[3]} {backing.read_text(encoding='utf-8').strip()}")
    return lines


def _cgroups() -> list[str]:
    """All but those that hold only other people's processes."""
    lines = []
    for folder, _, _ in os.walk("/sys/fs/cgroup"):
        try:
            pids = Path(folder, "cgroup.procs").read_text(encoding="utf-8").split()
        except OSError:
            continue
        if not pids or any(_could_be_ours(pid) for pid in pids):
            lines.append(folder)
    return lines


def _run_directory() -> list[str]:
    """/run/netns itself belongs to ip(8), which makes it once and keeps it."""
    return [str(path) for path in Path("/run").iterdir() if path.name != "netns"]


def _hosts_files() -> list[str]:
    return [f"{path} {Path(path).read_text(encoding='utf-8')}" for path in ("/etc/hosts", "/etc/resolv.conf")]


def _sysctls() -> list[str]:
    names = ("ipv4/ip_forward", "ipv4/conf/all/rp_filter", "ipv4/conf/all/forwarding", "ipv6/conf/all/forwarding")
    paths = [Path("/proc/sys/net") / name for name in names]
    return [f"{path} {path.read_text(encoding='utf-8').strip()}" for path in paths if path.exists()]


def _processes() -> list[str]:
    """This process and its ancestors apart."""
    family = _ancestors()
    pids = [folder.name for folder in Path("/proc").iterdir() if folder.name.isdigit()]
    return [f"{pid} {_command(pid)}" for pid in pids if int(pid) not in family and _could_be_ours(pid)]


def _could_be_ours(pid: str) -> bool:
    try:
        elsewhere = os.readlink(f"/proc/{pid}/ns/net") != os.readlink("/proc/self/ns/net")
    except OSError:  # it ended, or is a zombie that its parent has not collected
        return False
    return elsewhere or any(mark in _command(pid) for mark in MARKS)


def _command(pid: str) -> str:
    try:
        return Path("/proc", pid, "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def _ancestors() -> set[int]:
    family = {os.getpid()}
    pid = os.getpid()
    while pid > 1:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
        pid = int(stat.rpartition(")")[2].split()[1])
        family.add(pid)
    return family


def _has(tool: str) -> bool:
    return any(Path(folder, tool).exists() for folder in os.get_exec_path())


def _text(*command: str, check: bool = True) -> list[str]:
    return subprocess.run(command, capture_output=True, text=True, check=check).stdout.splitlines()


def _json(*command: str) -> Any:
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return json.loads(output) if output.strip() else []


_KINDS: dict[str, Callable[[], Iterable[str]]] = {
    "links": _links,
    "routes": _routes,
    "neighbours": _neighbours,
    "tc": _tc,
    "nft": _nft,
    "named namespaces": _named_namespaces,
    "pins": _pins,
    "programs": _programs,
    "mounts": _mounts,
    "loop devices": _loops,
    "cgroups": _cgroups,
    "run directory": _run_directory,
    "hosts files": _hosts_files,
    "sysctls": _sysctls,
    "processes": _processes,
}
