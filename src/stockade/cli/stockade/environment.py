"""`stockade env` and `stockade shell`: other programs pointed at this daemon, and nothing else changed.

Only EC2's and STS's endpoint variables are set, never the general one: calls to other AWS services must not be sent
here, and calls to EC2 must not be sent to Amazon with keys that are not Amazon's.
"""

import json
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from stockade.cli import ec2
from stockade.cli.ec2.endpoint import ENDPOINT_VARIABLES
from stockade.cli.ec2.main import main as run_tool
from stockade.cli.stockade.connection import credentials, native
from stockade.daemon import settings
from stockade.daemon.problems import USAGE, Problem
from stockade.daemon.site import Credentials

TOOLS = Path(ec2.__file__).parent / "bin"


def env(shell: str) -> int:
    """Lines for eval on stdout."""
    for line in lines(variables(credentials()), shell):
        print(line)
    return 0


def variables(caller: Credentials) -> dict[str, str]:
    """What the environment of a client needs, PATH aside."""
    return {
        "AWS_ENDPOINT_URL_EC2": caller.endpoint,
        "AWS_ENDPOINT_URL_STS": caller.endpoint,
        "EC2_URL": caller.endpoint,
        "AWS_ACCESS_KEY_ID": caller.access_key,
        "AWS_SECRET_ACCESS_KEY": caller.secret_key,
        "AWS_ACCESS_KEY": caller.access_key,
        "AWS_SECRET_KEY": caller.secret_key,
        "AWS_DEFAULT_REGION": caller.region,
        "AWS_REGION": caller.region,
    }


def lines(values: Mapping[str, str], shell: str) -> list[str]:
    """Commands that set them and put the classic tools first in PATH. `shell`: sh, fish or json."""
    if shell == "sh":
        tools = shlex.quote(str(TOOLS))
        # A token of another cloud beside our keys would be sent along, and refused.
        return [
            *(f"export {name}={shlex.quote(value)}" for name, value in values.items()),
            "unset AWS_SESSION_TOKEN AWS_PROFILE",
            f'case ":$PATH:" in *:{tools}:*) ;; *) export PATH={tools}:"$PATH" ;; esac',
        ]
    if shell == "fish":
        return [
            *(f"set -gx {name} {shlex.quote(value)};" for name, value in values.items()),
            "set -e AWS_SESSION_TOKEN; set -e AWS_PROFILE;",
            f"contains {shlex.quote(str(TOOLS))} $PATH; or set -gx PATH {shlex.quote(str(TOOLS))} $PATH;",
        ]
    if shell == "json":
        return [json.dumps({**values, "PATH": f"{TOOLS}:{os.environ.get('PATH', '')}"}, indent=2)]
    raise Problem(f"--shell must be sh, fish or json, not {shell!r}", code=USAGE)


def classic_tool(tool: str, words: Sequence[str]) -> int:
    """Run it here; it calls this site unless the environment names an endpoint."""
    if not any(os.environ.get(name) for name in ENDPOINT_VARIABLES):
        os.environ.update(variables(credentials()))
    return run_tool(tool, list(words))


def shell(command: Sequence[str]) -> NoReturn:
    """Become a shell, or the command, in a private mount namespace whose resolv.conf names our resolver."""
    from stockade.daemon import resolving_shell  # noqa: PLC0415 - needs the kernel's doors, which nothing else here does

    chosen = settings.load()
    caller = credentials()
    own = variables(caller)
    environment = {**os.environ, **own, "PATH": f"{TOOLS}:{os.environ.get('PATH', '')}"}
    for name in ("AWS_SESSION_TOKEN", "AWS_PROFILE"):
        environment.pop(name, None)
    argv = list(command) or [os.environ.get("SHELL") or "/bin/sh"]
    if native(caller, "GET", "health").document["enforcement"]["mode"] == "none":
        print("nothing is enforced, so no instance runs and no name of one resolves", file=sys.stderr)
        resolving_shell.replace_process(argv, environment)
    resolving_shell.become(argv, environment, chosen)
