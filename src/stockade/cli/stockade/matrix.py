"""`stockade matrix`: who can reach whom, as a table. Rows send, columns receive."""

import sys
from typing import Any

from stockade.cli.stockade.connection import calling_as, native
from stockade.cli.stockade.refusals import accepted
from stockade.cli.stockade.tables import print_json, print_table, unicode_marks

_MOST = 4


def matrix(traffic: str | None, as_json: bool, headers: bool) -> int:
    """Without traffic, each cell names what is open; with it, whether that is."""
    told = accepted(native(calling_as(), "POST", "matrix", {"traffic": traffic or "all"})).document
    if as_json:
        print_json(told)
        return 0
    columns, rows = table(told, traffic is not None, unicode_marks(sys.stdout))
    print_table(columns, rows, headers)
    return 0


def table(told: dict[str, Any], asked: bool, unicode: bool) -> tuple[list[str], list[tuple[str, ...]]]:
    """Header and rows. Parties that share a name are told apart by their ids."""
    names = [party["name"] for party in told["parties"]]
    shown = [
        name if names.count(name) == 1 else f"{name} {party['group_id']}"
        for name, party in zip(names, told["parties"], strict=True)
    ]
    receivers = [name for name, party in zip(shown, told["parties"], strict=True) if party["group_id"] is not None]
    width = len(receivers)  # nobody asks who reaches the world
    cells = [_cell(cell, asked, unicode) for cell in told["cells"]]
    rows = [(name, *cells[at * width : (at + 1) * width]) for at, name in enumerate(shown)]
    return ["from \\ to", *receivers], rows


def _cell(cell: dict[str, Any], asked: bool, unicode: bool) -> str:
    if asked:
        signs = ("✓ yes", "✗ no", "~ partly") if unicode else ("yes", "no", "partly")
        return signs[("pass", "blocked", "partly").index(cell["verdict"])]
    parts = cell["open"]
    more = f" +{len(parts) - _MOST}" if len(parts) > _MOST else ""
    return " ".join(parts[:_MOST]) + more or "-"
