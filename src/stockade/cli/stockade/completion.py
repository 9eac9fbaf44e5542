"""`stockade completion`: what the shell asks when Tab is pressed, and the names that the running daemon knows."""

import os

from typer import Typer
from typer.completion import (  # type: ignore[attr-defined]  # its documents name them, its types do not
    completion_init,
    get_completion_script,
    shell_complete,
)
from typer.main import get_command

from stockade.cli.stockade.connection import calling_as, native
from stockade.daemon.problems import USAGE, Problem

PROGRAM, VARIABLE = "stockade", "_STOCKADE_COMPLETE"
SHELLS = ("bash", "zsh", "fish")
_WITHIN_S = 1.0
_TRAFFIC = ("tcp/", "udp/", "icmp", "icmpv6", "all")


def script(shell: str) -> str:
    """What a shell has to evaluate. Raises Problem."""
    if shell not in SHELLS:
        raise Problem(f"completion is for {', '.join(SHELLS)}, not {shell!r}", code=USAGE)
    return get_completion_script(prog_name=PROGRAM, complete_var=VARIABLE, shell=shell)


def answer(app: Typer) -> int | None:
    """When a shell asks for completions: print them, and the exit code. None: it does not ask."""
    asked = os.environ.get(VARIABLE)
    if not asked:
        return None
    completion_init()
    return shell_complete(get_command(app), {}, PROGRAM, VARIABLE, asked)


def names(incomplete: str) -> list[str]:
    """Instances, groups, interfaces, prefix lists and devices that begin so. Nothing when no daemon answers."""
    return _told("names", incomplete)


def groups(incomplete: str) -> list[str]:
    """Groups that begin so."""
    return _told("groups", incomplete)


def devices(incomplete: str) -> list[str]:
    """Attached devices that begin so."""
    return _told("devices", incomplete)


def traffic(incomplete: str) -> list[str]:
    """How traffic is spelled."""
    return [each for each in _TRAFFIC if each.startswith(incomplete)]


def _told(kind: str, incomplete: str) -> list[str]:
    try:
        told = native(calling_as(), "GET", "names", query={"prefix": incomplete}, timeout_s=_WITHIN_S).document
    except Problem:
        return []
    return [str(name) for name in told.get(kind, [])]
