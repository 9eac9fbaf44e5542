"""What this kernel can do: each ability probed once, with the release that brought it.

The only file that looks at a kernel release, and only to say it in a message: what counts is the probe.
"""

import os
import platform
from collections.abc import Callable
from dataclasses import dataclass

from stockade.datapath.ebpf import syscall


class DatapathUnavailable(Exception):
    """This host cannot enforce. `missing` says what lacks, `remedy` what to do about it."""

    def __init__(self, missing: str, remedy: str) -> None:
        super().__init__(f"{missing}. {remedy}")
        self.missing = missing
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class Feature:
    """Something the datapath needs."""

    name: str
    since: str
    probe: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of one probe; `why` None when the kernel has it."""

    name: str
    since: str
    why: str | None


def _map_of(kind: int, key: int, value: int, entries: int, flags: int) -> Callable[[], None]:
    def probe() -> None:
        os.close(syscall.create_map(kind, key, value, entries, flags, "probe"))

    return probe


def _program() -> None:
    # return bpf_redirect_peer(0, 0): refused by a kernel that does not know the helper
    code = bytes.fromhex("b701000000000000b702000000000000850000009b0000009500000000000000")
    if platform.machine() == "s390x":
        code = bytes.fromhex("b710000000000000b720000000000000850000000000009b9500000000000000")
    os.close(syscall.load_program(code, "Dual BSD/GPL", "probe"))


def _run_by_us() -> None:
    # return 0
    code = bytes.fromhex("b7000000000000009500000000000000")
    os.close(syscall.load_program(code, "Dual BSD/GPL", "probe", syscall.SYSCALL))


FEATURES = (
    Feature("programs at tc that hand packets to a peer", "5.10", _program),
    Feature("arrays mapped into memory", "5.5", _map_of(syscall.ARRAY, 4, 8, 1, syscall.MMAPABLE)),
    Feature("programs that user space runs", "5.14", _run_by_us),
    Feature("longest-prefix tables", "4.11", _map_of(syscall.LPM_TRIE, 8, 8, 1, 1)),
    Feature("ring buffers", "5.8", _map_of(syscall.RINGBUF, 0, 0, os.sysconf("SC_PAGE_SIZE"), 0)),
)


def probe_features() -> tuple[Finding, ...]:
    """Every feature with what the kernel said to it. Needs the rights that the datapath needs."""
    return tuple(Finding(each.name, each.since, _reason(each)) for each in FEATURES)


def _reason(feature: Feature) -> str | None:
    try:
        feature.probe()
    except OSError as err:
        return err.strerror or str(err)
    return None


def require_host() -> None:
    """Raise DatapathUnavailable unless this process may load programs and the kernel knows all we use."""
    missing = [finding for finding in probe_features() if finding.why is not None]
    if not missing:
        return
    if os.geteuid() != 0:
        raise DatapathUnavailable("this process may not load kernel programs", "Run as root (CAP_BPF, CAP_NET_ADMIN)")
    first = missing[0]
    raise DatapathUnavailable(
        f"kernel {platform.release()} has no {first.name} ({first.why})", f"Use Linux {first.since} or later"
    )
