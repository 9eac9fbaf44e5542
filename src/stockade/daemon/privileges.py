"""Becoming nobody in particular: the control process keeps no user, group or capability of root's."""

import ctypes
import os
import zlib
from pathlib import Path

_FIRST, _COUNT = 61184, 4336  # what Linux distributions leave for services without an entry in passwd
_PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 24, 38, 47, 4
_NET_ADMIN, _SYS_ADMIN = 12, 21
_libc = ctypes.CDLL(None, use_errno=True)


def control_user(site: str) -> int:
    """The uid and gid of this site's control process: always the same, different for most other sites."""
    return _FIRST + zlib.crc32(site.encode()) % _COUNT


def drop(user: int) -> None:
    """Give up everything, for good. Whatever this process may still need to import or open must be loaded by now."""
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text(encoding="ascii"))
    for capability in range(last + 1):
        _prctl(_PR_CAPBSET_DROP, capability)
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)  # clears the permitted and effective sets
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def may_enforce() -> bool:
    """Whether this process has the capabilities of an agent."""
    return _effective() & (1 << _NET_ADMIN | 1 << _SYS_ADMIN) == (1 << _NET_ADMIN | 1 << _SYS_ADMIN)


def _effective() -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16)
    return 0


def _prctl(option: int, argument: int) -> None:
    if _libc.prctl(option, argument, 0, 0, 0) < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"prctl {option}: {os.strerror(code)}")
