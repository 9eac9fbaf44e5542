"""Writes docs/reference/ from the code: `./dev golden` runs it, and a test compares.

settings.md from the table of keys, actions.md from the registry of actions and the service model, drop-reasons.md
from the model, with the comment behind each number, commands.md from the command line's own help.
"""

import importlib
import inspect
import json
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from typer.main import get_command

from stockade.api.aws import actions as action_modules
from stockade.api.aws.registry import Built, built
from stockade.cli.stockade.main import app
from stockade.daemon.settings import KEYS, Value
from stockade.model import flow

REFERENCE = Path(__file__).resolve().parents[1] / "docs" / "reference"
EXIT_CODES = {
    0: "Done; explain: it passes; test: all hold.",
    1: "A clear no: blocked, a test does not hold.",
    2: "Wrong usage or configuration.",
    3: "No daemon can be reached.",
    4: "The API refused; its code is printed.",
    5: "This host cannot do it: kernel, rights, a tool is missing.",
    6: "Partly done or degraded; the rest is listed.",
    70: "A bug of Stockade: engine and kernel disagree, or a crash.",
    124: "A wait ran out.",
    130: "Interrupted; what was half made is removed.",
}
MADE = "\n*Made from the code by `./dev golden`; not edited by hand.*\n"


def settings() -> str:
    rows = [f"| `{key.name}` | `{_toml(key.default)}` | {key.purpose}{_choices(key.choices)} |" for key in KEYS]
    return "\n".join(
        [
            "# Settings",
            MADE,
            "Taken from, the strongest first: an option of the command, the environment (`STOCKADE_<SECTION>_<KEY>`),",
            "`./stockade.toml`, `~/.config/stockade/config.toml`, `/etc/stockade/stockade.toml`, the default. As root",
            "only files are read that root owns and nobody else may write, or one named with `--config`.",
            "`stockade config` prints each value in force and where it came from; an unknown key is an error.",
            "",
            "| key | default | what for |",
            "|---|---|---|",
            *rows,
            "",
        ]
    )


def actions() -> str:
    """Every action that is built. `documents` has imported them."""
    lines = [
        "# EC2 and STS actions",
        MADE,
        "*Obeyed* parameters do what AWS says. *Inert* ones cannot change how packets are treated; they are taken, and",
        "stored where AWS shows them. Any other parameter of an action is refused by name, any other action answers",
        "`UnsupportedOperation`. `DryRun` is honoured everywhere.",
    ]
    for title, actions_of in (("EC2", built(sts=False)), ("STS", built(sts=True))):
        lines += ["", f"## {title}", "", "| action | obeyed | inert |", "|---|---|---|"]
        lines += [_action_row(name, known) for name, known in sorted(actions_of.items())]
    return "\n".join([*lines, ""])


def drop_reasons() -> str:
    """The reasons with their numbers; the comment beside each is its explanation."""
    source = inspect.getsource(flow.DropReason)
    said = dict(re.findall(r"^    (\w+) = \d+(?:  # (.*))?$", source, flags=re.MULTILINE))
    rows = [f"| {reason.value} | `{reason.name}` | {said[reason.name]} |" for reason in flow.DropReason]
    return "\n".join(
        [
            "# Why a packet went no further",
            MADE,
            "The numbers are those of the programs in `bpf/`.",
            "",
            "| number | reason | when |",
            "|---|---|---|",
            *rows,
            "",
        ]
    )


def commands() -> str:
    """Every command with its arguments and options, as its own --help has them."""
    lines = [
        "# Commands of `stockade`",
        MADE,
        "The classic tools (`ec2-authorize`, ...) have the options of the classic reference: see `TOOL --help`.",
    ]
    for name, command in _leaves("stockade", get_command(app)):
        lines += ["", f"## {name}", "", _help_of(command)]
        rows = [_parameter_row(parameter) for parameter in command.params if "--help" not in parameter.opts]
        if rows:
            lines += ["", "| | |", "|---|---|", *rows]
    return "\n".join([*lines, ""])


def manual() -> str:
    """The same as a page for man(1)."""
    lines = ['.\\" Made from the code by ./dev golden; not edited by hand.', ".TH STOCKADE 1", ".SH NAME"]
    lines += ["stockade \\- EC2's distributed firewall for Linux", ".SH SYNOPSIS", ".B stockade", ".I COMMAND", "[...]"]
    lines += [".SH COMMANDS"]
    for name, command in _leaves("stockade", get_command(app)):
        lines += [f".SS {_roff(name.removeprefix('stockade '))}", _roff(_help_of(command))]
        for parameter in command.params:
            if "--help" not in parameter.opts:
                names, said = _parameter(parameter)
                lines += [".TP", f".B {_roff(', '.join(names))}", _roff(said)]
    lines += [".SH EXIT STATUS"]
    lines += [f".TP\n.B {code}\n{meaning}" for code, meaning in EXIT_CODES.items()]
    return "\n".join(line for line in lines if line) + "\n"


def _roff(text: str) -> str:
    """Plain text for roff: no line of it is a request."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace("`", "")
    return "\\&" + escaped if escaped.startswith((".", "'")) else escaped


def _help_of(command: Any) -> str:
    return re.sub(r"\s*\n\s*", " ", (command.help or "").strip())


def _leaves(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    inner = getattr(command, "commands", None)
    if inner is None:
        yield name, command
    else:
        for word, each in sorted(inner.items()):
            yield from _leaves(f"{name} {word}", each)


def _parameter_row(parameter: Any) -> str:
    names, said = _parameter(parameter)
    shown = " ".join(f"`{name}`" for name in names)
    return f"| {shown} | {said} |".replace("  ", " ")


def _parameter(parameter: Any) -> tuple[list[str], str]:
    """How an argument or option is written, and what it is for."""
    is_argument = parameter.param_type_name == "argument"
    names = [str(parameter.name).upper()] if is_argument else [*parameter.opts, *parameter.secondary_opts]
    said = getattr(parameter, "help", None) or ""
    if isinstance(parameter.default, str) and parameter.default:
        said += f" Default: `{parameter.default}`."
    return names, said.strip()


def documents() -> dict[Path, str]:
    """Each page of the reference with its text."""
    for module in pkgutil.iter_modules(action_modules.__path__, action_modules.__name__ + "."):
        importlib.import_module(module.name)  # actions register themselves
    pages = {"settings": settings(), "actions": actions(), "drop-reasons": drop_reasons(), "commands": commands()}
    return {REFERENCE / f"{name}.md": text for name, text in pages.items()} | {REFERENCE / "stockade.1": manual()}


def _action_row(name: str, known: Built) -> str:
    return f"| `{name}` | {_names(known.reads)} | {_names(known.inert)} |"


def _names(parameters: frozenset[str]) -> str:
    return " ".join(f"`{parameter}`" for parameter in sorted(parameters))


def _choices(choices: tuple[str, ...] | None) -> str:
    return f" ({' or '.join(f'`{choice}`' for choice in choices)})" if choices and len(choices) > 1 else ""


def _toml(value: Value) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(inner)}" for key, inner in value.items()) + "}"
    return json.dumps(value)


if __name__ == "__main__":
    for path, text in documents().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
