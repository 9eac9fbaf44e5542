"""What the OCI runtime is told of an instance: config.json. Pure but for reading our own profile."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

IDS = 65536
"""Uids and gids an instance has: 0..65535 inside."""

_BOOT = "/usr/lib/stockade/boot"
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# What root may do inside. All of it counts only in the instance's own user namespace; NET_ADMIN over its own
# network, so that a firewall of its own works (architecture I4).
_CAPABILITIES = [
    f"CAP_{name}"
    for name in (
        *("AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_ADMIN"),
        *("NET_BIND_SERVICE", "NET_RAW", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"),
    )
]

_MASKED = [
    f"/proc/{name}"
    for name in ("acpi", "asound", "kcore", "keys", "latency_stats", "sched_debug", "scsi", "timer_list")
] + ["/sys/firmware", "/sys/kernel"]
# /proc/sys stays writable: the user namespace lets root change only what belongs to its own network.
_READ_ONLY = [f"/proc/{name}" for name in ("bus", "fs", "irq", "sysrq-trigger")]

# default pts, null, zero, full, random, urandom, tty come with every OCI runtime
_DEVICES: list[dict[str, Any]] = [
    {"allow": False, "access": "rwm"},
    *(
        {"allow": True, "type": "c", "major": major, "minor": minor, "access": "rwm"}
        for major, minor in ((1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2))
    ),
    {"allow": True, "type": "c", "major": 136, "access": "rwm"},
]


@dataclass(frozen=True, slots=True)
class Bundle:
    """What differs between instances. Namespaces are paths that the runtime can open; None is no limit."""

    root: str
    hostname: str
    services: tuple[str, ...]
    first_id: int
    user_namespace: str
    network_namespace: str
    cgroup: str
    memory_mb: int | None
    pids: int | None


def config_of(bundle: Bundle) -> dict[str, Any]:
    """config.json, as the OCI runtime specification 1.0 has it."""
    return {
        "ociVersion": "1.0.2",
        "hostname": bundle.hostname.partition(".")[0],
        "root": {"path": bundle.root, "readonly": False},
        "process": {
            "terminal": False,
            "user": {"uid": 0, "gid": 0},
            "args": [_BOOT, *bundle.services],
            "env": [_PATH, "HOME=/root", "container=stockade"],
            "cwd": "/",
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), _CAPABILITIES),
            "noNewPrivileges": False,
        },
        "mounts": _mounts(),
        "linux": {
            "namespaces": [
                {"type": "user", "path": bundle.user_namespace},
                {"type": "network", "path": bundle.network_namespace},
                *({"type": kind} for kind in ("pid", "ipc", "uts", "mount", "cgroup")),
            ],
            "uidMappings": [{"containerID": 0, "hostID": bundle.first_id, "size": IDS}],
            "gidMappings": [{"containerID": 0, "hostID": bundle.first_id, "size": IDS}],
            "cgroupsPath": bundle.cgroup,
            "resources": _resources(bundle),
            "maskedPaths": _MASKED,
            "readonlyPaths": _READ_ONLY,
            "seccomp": seccomp_profile(),
        },
    }


def _resources(bundle: Bundle) -> dict[str, Any]:
    limits: dict[str, Any] = {"devices": _DEVICES}
    if bundle.memory_mb is not None:
        limits["memory"] = {"limit": bundle.memory_mb << 20}
    if bundle.pids is not None:
        limits["pids"] = {"limit": bundle.pids}
    return limits


def _mounts() -> list[dict[str, Any]]:
    def one(place: str, kind: str, *options: str, source: str | None = None) -> dict[str, Any]:
        return {"destination": place, "type": kind, "source": source or kind, "options": list(options)}

    return [
        one("/proc", "proc", "nosuid", "noexec", "nodev"),
        one("/dev", "tmpfs", "nosuid", "strictatime", "mode=755", "size=1m"),
        one("/dev/pts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"),
        one("/dev/shm", "tmpfs", "nosuid", "noexec", "nodev", "mode=1777", "size=64m"),
        one("/sys", "sysfs", "nosuid", "noexec", "nodev", "ro"),
        one("/run", "tmpfs", "nosuid", "nodev", "mode=755", "size=64m"),
    ]


@cache
def seccomp_profile() -> dict[str, Any]:
    """Our profile, in the specification's own format."""
    profile: dict[str, Any] = json.loads((Path(__file__).parent / "seccomp.json").read_text(encoding="ascii"))
    return profile
