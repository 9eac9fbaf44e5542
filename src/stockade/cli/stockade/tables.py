"""Everything that is printed as data: tables, ids, JSON. Columns go from the right when the terminal is narrow."""

import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import Any

SCHEMA = 1


def print_json(document: Mapping[str, Any]) -> None:
    """One document, with the version of its shape."""
    print(json.dumps({"schema": SCHEMA, **document}, indent=2 if sys.stdout.isatty() else None, default=str))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], headers: bool = True) -> None:
    """Left-aligned; whole when it is piped, and no wider than the terminal when it is not."""
    width = shutil.get_terminal_size((100, 24)).columns if sys.stdout.isatty() else None
    for line in table_lines(columns, rows, headers, width):
        print(line)


def table_lines(columns: Sequence[str], rows: Sequence[Sequence[str]], headers: bool, width: int | None) -> list[str]:
    """The lines. Too wide: columns are dropped from the right, never the first, and nothing is wrapped."""
    shown = ([tuple(column.upper() for column in columns)] if headers else []) + [tuple(row) for row in rows]
    widths = [max((len(row[number]) for row in shown), default=0) for number in range(len(columns))]
    count = len(widths)
    while width is not None and count > 1 and sum(widths[:count]) + 2 * (count - 1) > width:
        count -= 1
    return ["  ".join(cell.ljust(widths[at]) for at, cell in enumerate(row[:count])).rstrip() for row in shown]


def unicode_marks(stream: Any = sys.stderr) -> bool:
    """Whether ✓ and ✗ can be written there."""
    return (getattr(stream, "encoding", "") or "").lower().replace("-", "") == "utf8"


def coloured(text: str, colour: str, stream: Any = sys.stderr) -> str:
    """Green, red, yellow or dim, where colour is wanted: on a terminal, or when FORCE_COLOR says so."""
    codes = {"green": 32, "red": 31, "yellow": 33, "dim": 2}
    forced = bool(os.environ.get("FORCE_COLOR"))
    refused = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
    if refused or not (forced or stream.isatty()):
        return text
    return f"\033[{codes[colour]}m{text}\033[0m"
