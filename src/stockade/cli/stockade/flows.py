"""`stockade flows`: what was let through, what was not, and by which rule."""

import json
import sys
from collections.abc import Mapping

from stockade.cli.stockade.connection import Answer, calling_as, native_lines
from stockade.cli.stockade.durations import seconds
from stockade.cli.stockade.flow_formats import COLUMNS, Flow, Line, aws_line, formatted, padded, row
from stockade.cli.stockade.refusals import accepted
from stockade.cli.stockade.tables import coloured, print_table
from stockade.daemon.problems import INTERRUPTED, USAGE, Problem


def flows(
    filters: Mapping[str, str | None],
    *,
    since: str | None,
    last: int | None,
    follow: bool,
    output: str | None,
    template: str | None,
    headers: bool,
    utc: bool = False,
) -> int:
    """Until all are printed, or with `follow` until interrupted."""
    line = _line(output, template)
    query = {name: value for name, value in filters.items() if value is not None}
    if since is not None:
        query["since"] = str(max(1, round(seconds(since))))
    if last is not None:
        query["last"] = str(last)
    if follow:
        query["follow"] = "1"
    as_table = line is None
    rows: list[tuple[str, ...]] = []
    if as_table and follow and headers:
        print(padded(tuple(column.upper() for column in COLUMNS), utc), flush=True)
    try:
        for told in native_lines(calling_as(), "flows", query):
            if isinstance(told, Answer):
                accepted(told)
            elif "missed" in told:
                print(coloured(f"{told['missed']} flows were missed", "yellow"), file=sys.stderr)
            elif line is not None:
                print(line(told), flush=follow)
            elif follow:
                print(_coloured(told, padded(row(told, utc), utc)), flush=True)
            else:
                rows.append(row(told, utc))
    except KeyboardInterrupt:
        return INTERRUPTED
    if as_table and not follow:
        print_table(COLUMNS, rows, headers)
    return 0


def _line(output: str | None, template: str | None) -> Line | None:
    """How a flow is printed; None: as a row of the table."""
    if template is not None:
        if output is not None:
            raise Problem("-o and --format exclude each other", code=USAGE)
        return formatted(template)
    match output:
        case None | "table":
            return None
        case "json":
            return lambda flow: json.dumps({"schema": 1, **flow})
        case "aws":
            return aws_line
        case _:
            raise Problem(f"-o must be table, json or aws, not {output!r}", code=USAGE)


def _coloured(flow: Flow, line: str) -> str:
    return coloured(line, "green" if flow["verdict"] == "ACCEPT" else "red", sys.stdout)
