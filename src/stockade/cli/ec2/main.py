"""Tool name -> command: reads the arguments, makes the call, prints the records."""

import os
import sys

from stockade.cli.ec2 import versions
from stockade.cli.ec2.options import ArgumentProblem, Arguments, Command, check_parameters, read_arguments, usage

# Long name -> module and command in it. Imported when the tool runs, since only one of them ever does.
TOOLS = {
    "ec2-add-group": ("groups", "ADD_GROUP"),
    "ec2-describe-group": ("groups", "DESCRIBE_GROUP"),
    "ec2-delete-group": ("groups", "DELETE_GROUP"),
    "ec2-authorize": ("groups", "AUTHORIZE"),
    "ec2-revoke": ("groups", "REVOKE"),
    "ec2-run-instances": ("instances", "RUN_INSTANCES"),
    "ec2-describe-instances": ("instances", "DESCRIBE_INSTANCES"),
    "ec2-terminate-instances": ("instances", "TERMINATE_INSTANCES"),
    "ec2-add-keypair": ("keys", "ADD_KEYPAIR"),
    "ec2-describe-keypairs": ("keys", "DESCRIBE_KEYPAIRS"),
    "ec2-delete-keypair": ("keys", "DELETE_KEYPAIR"),
    "ec2-describe-images": ("images", "DESCRIBE_IMAGES"),
    "ec2-describe-regions": ("regions", "DESCRIBE_REGIONS"),
    "ec2-describe-availability-zones": ("regions", "DESCRIBE_AVAILABILITY_ZONES"),
}
ALIASES = {
    "ec2addgrp": "ec2-add-group",
    "ec2-create-group": "ec2-add-group",
    "ec2dgrp": "ec2-describe-group",
    "ec2delgrp": "ec2-delete-group",
    "ec2auth": "ec2-authorize",
    "ec2revoke": "ec2-revoke",
    "ec2run": "ec2-run-instances",
    "ec2din": "ec2-describe-instances",
    "ec2kill": "ec2-terminate-instances",
    "ec2addkey": "ec2-add-keypair",
    "ec2-create-keypair": "ec2-add-keypair",
    "ec2dkey": "ec2-describe-keypairs",
    "ec2delkey": "ec2-delete-keypair",
    "ec2dim": "ec2-describe-images",
    "ec2dre": "ec2-describe-regions",
    "ec2daz": "ec2-describe-availability-zones",
}


def main(tool: str, words: "list[str]") -> int:
    """Run a tool; its exit status. `tool` is a long or short name, with or without a directory before it."""
    words = _default_words() + words
    try:
        return _run(os.path.basename(tool), words)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read the records has seen enough; Python would complain once more at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def find_command(tool: str) -> "Command | None":
    """The command of a tool's long or short name; `authorize` finds ec2-authorize, for `stockade ec2 authorize`."""
    name = next((name for name in (tool, f"ec2-{tool}", f"ec2{tool}") if name in TOOLS or name in ALIASES), None)
    if name is None:
        return None
    import importlib

    module, attribute = TOOLS[ALIASES.get(name, name)]
    command = getattr(importlib.import_module(f"stockade.cli.ec2.{module}"), attribute)
    assert isinstance(command, Command)
    return command


def _run(tool: str, words: "list[str]") -> int:
    command = find_command(tool)
    if command is None:
        return _fail(f"No such tool: '{tool}'. There are: {', '.join(TOOLS)}")
    debug = "--debug" in words
    try:
        arguments = read_arguments(command, words)
        if arguments.has("help"):
            sys.stdout.write(usage(tool, command))
            return 0
        warning = check_parameters(arguments)
        if warning:
            sys.stderr.write(warning + "\n")
        return _call(command, arguments)
    except ArgumentProblem as problem:
        return _fail(str(problem), debug=debug)


def _call(command: Command, arguments: Arguments) -> int:
    from stockade.cli.ec2.connection import ANSWER_S, CONNECT_S, Service, ServiceProblem
    from stockade.cli.ec2.endpoint import choose_endpoint, choose_keys
    from stockade.cli.ec2.records import lines

    environ = dict(os.environ)
    service = Service(
        choose_endpoint(arguments, environ),
        choose_keys(arguments, environ),
        _version(arguments, environ),
        verbose=arguments.has("verbose"),
        connect_s=_seconds(arguments, "connection-timeout", CONNECT_S),
        answer_s=_seconds(arguments, "request-timeout", ANSWER_S),
    )
    try:
        # All of it before the first line: a call that fails prints nothing on standard output.
        records = list(command.run(service, arguments))
    except ServiceProblem as problem:
        return _fail(str(problem), debug=arguments.has("debug"))
    shown = lines(records, headings=arguments.has("headers"), show_empty=arguments.has("show-empty-fields"))
    sys.stdout.write("".join(f"{line}\n" for line in shown))
    sys.stdout.flush()
    return 0


def _version(arguments: Arguments, environ: "dict[str, str]") -> str:
    version = arguments.one("api-version") or environ.get("EC2_API_VERSION") or versions.DEFAULT
    if version not in versions.VERSIONS:
        raise arguments.refuse("api-version", version)
    return version


def _seconds(arguments: Arguments, key: str, default: float) -> float:
    text = arguments.one(key)
    if text and (not text.isdecimal() or not int(text)):
        raise arguments.refuse(key, text)
    return float(text) if text else default


def _default_words() -> "list[str]":
    """EC2_DEFAULT_ARGS: words that stand before the user's."""
    text = os.environ.get("EC2_DEFAULT_ARGS", "")
    if not text.strip():
        return []
    import shlex

    return shlex.split(text)


def _fail(line: str, *, debug: bool = False) -> int:
    if debug and sys.exc_info()[0] is not None:
        import traceback

        traceback.print_exc()
    sys.stderr.write(line + "\n")
    return 1
