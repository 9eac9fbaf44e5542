"""A process in which instance names resolve: its own mount namespace, its own resolv.conf, nothing else changed.

As root the namespace is made directly; as a user it comes with a user namespace in which the user keeps its own
number. What runs inside ends with its own privileges as they were.
"""

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from stockade.daemon.problems import Problem
from stockade.daemon.settings import Settings
from stockade.linux import mounts, namespaces

RESOLV_CONF = Path("/etc/resolv.conf")


def become(argv: Sequence[str], environment: Mapping[str, str], settings: Settings) -> NoReturn:
    """Replaces this process; returns only as an exception. Raises Problem when the namespace cannot be made."""
    if not settings.resolver:
        raise Problem("no resolver listens on this host", why="network.resolver is empty", see="stockade config")
    try:
        _enter()
        _bind_over(RESOLV_CONF, resolv_conf(settings))
    except OSError as err:
        raise Problem(
            "a private mount namespace cannot be made here",
            why=str(err),
            attempt='sudo stockade shell         (or without names: eval "$(stockade env)")',
        ) from err
    replace_process(argv, environment)


def replace_process(argv: Sequence[str], environment: Mapping[str, str]) -> NoReturn:
    """The command in our place, with this environment. Raises Problem when there is no such command."""
    try:
        os.execvpe(argv[0], list(argv), dict(environment))
    except FileNotFoundError:
        raise Problem(f"there is no command {argv[0]}", code=127) from None


def resolv_conf(settings: Settings) -> str:
    """Our resolver answers instance names and asks the host's own resolvers for all others."""
    return "".join(
        (
            "# This file is seen by `stockade shell` alone.\n",
            *(f"nameserver {address}\n" for address in settings.resolver),
            f"search {settings['network.dns_suffix']}\n",
        )
    )


def _enter() -> None:
    user, group = os.getuid(), os.getgid()
    if user == 0:
        namespaces.unshare(namespaces.NEWNS)
    else:
        namespaces.unshare(namespaces.NEWNS | namespaces.NEWUSER)
        Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1", encoding="ascii")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1", encoding="ascii")
    mounts.mount("none", "/", None, mounts.REC | mounts.PRIVATE)


def _bind_over(place: Path, text: str) -> None:
    """Cover the file with these lines. What we write to is unlinked at once: the mount keeps it."""
    target = place.resolve() if place.exists() else place
    with tempfile.NamedTemporaryFile("w", encoding="ascii", prefix="stockade-resolv-") as file:
        file.write(text)
        file.flush()
        os.fchmod(file.fileno(), 0o644)
        mounts.mount(file.name, str(target), None, mounts.BIND)
