"""`stockade doctor`: what this host can do, and a fix for each lack. Changes nothing."""

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from stockade.cli.stockade.tables import coloured, print_json, unicode_marks
from stockade.daemon import preflight, privileges, settings
from stockade.daemon.problems import CANNOT, Problem
from stockade.daemon.settings import Settings
from stockade.daemon.site import Site
from stockade.daemon.wiring.features import kernel_lacks
from stockade.daemon.wiring.names import host_devices


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. `fix`: what to do when it is not fine."""

    what: str
    fine: bool
    told: str
    fix: str = ""


def doctor(as_json: bool) -> int:
    """0: this host can enforce; 5: it cannot, and the lines say what to do."""
    found = list(findings(settings.load()))
    fine = all(one.fine for one in found)
    if as_json:
        print_json({"fine": fine, "findings": [asdict(one) for one in found]})
        return 0 if fine else CANNOT
    good, bad = ("✓", "✗") if unicode_marks(sys.stdout) else ("ok", "XX")
    for one in found:
        print(f"{coloured(good, 'green') if one.fine else coloured(bad, 'red')} {one.what}: {one.told}")
        if not one.fine and one.fix:
            print(f"    try:  {one.fix}")
    return 0 if fine else CANNOT


def findings(chosen: Settings) -> Iterator[Finding]:
    """Everything `up` will need, each looked at by itself."""
    yield _rights()
    yield from _kernel()
    yield from _tools()
    yield _cgroups()
    yield _addresses(chosen)
    yield _port(chosen)


def _rights() -> Finding:
    fine = privileges.may_enforce()
    told = "may load kernel programs" if fine else f"running as uid {os.geteuid()} without CAP_NET_ADMIN, CAP_SYS_ADMIN"
    return Finding("rights", fine, told, "sudo stockade up        (or: stockade up --enforce=none)")


def _kernel() -> Iterator[Finding]:
    release = platform.release()
    if not privileges.may_enforce():
        yield Finding("kernel", True, f"{release} (its BPF can only be tried as root)")
        return
    lacks = kernel_lacks()
    if not lacks:
        yield Finding("kernel", True, f"{release} has all that the programs need")
    for what, fix in lacks:
        yield Finding("kernel", False, f"{release}: {what}", fix)


def _tools() -> Iterator[Finding]:
    runtime = preflight.runtime()
    yield Finding("container runtime", runtime is not None, runtime or "neither runc nor crun", "apt-get install runc")
    for tool, package in preflight.TOOLS.items():
        path = shutil.which(tool)
        yield Finding(tool, path is not None, path or "not found", f"apt-get install {package}")


def _cgroups() -> Finding:
    unified = Path("/sys/fs/cgroup/cgroup.controllers").exists()
    hybrid = Path("/sys/fs/cgroup/memory").is_dir() and Path("/sys/fs/cgroup/pids").is_dir()
    told = "version 2" if unified else "version 1 (hybrid)" if hybrid else "no memory and pids controllers"
    return Finding("cgroups", unified or hybrid, told, "mount cgroup2 on /sys/fs/cgroup")


def _addresses(chosen: Settings) -> Finding:
    taken = preflight.overlaps(chosen, host_devices(chosen.site))
    return Finding(
        "addresses",
        not taken,
        f"network.public_pool {chosen.public_pool} "
        + (f"overlaps {taken[0].what}" if taken else "is used by nothing else"),
        "STOCKADE_NETWORK_PUBLIC_POOL=198.19.0.0/16        (any free block of private use)",
    )


def _port(chosen: Settings) -> Finding:
    if Site.to_ask(chosen).agent() is not None:
        return Finding("endpoint", True, f"{chosen.endpoint} is served by this site's daemon")
    try:
        preflight.listener(chosen).close()
    except Problem as problem:
        return Finding("endpoint", False, f"{problem.what}: {problem.why}", problem.attempt)
    return Finding("endpoint", True, f"{chosen.endpoint} is free")
