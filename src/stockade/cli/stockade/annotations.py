"""What GitHub's runners read: a line for each test that fails, and a summary of the step."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stockade.daemon.problems import USAGE, Problem

if TYPE_CHECKING:
    from stockade.cli.stockade.policy_tests import FileResults

SUMMARY = "GITHUB_STEP_SUMMARY"


def tell(found: "Sequence[FileResults]", to_stderr: bool) -> None:
    """Annotations on stdout, where the runner looks (or on stderr when stdout is JSON); the summary in its file."""
    for line in annotation_lines(found):
        print(line, file=sys.stderr if to_stderr else sys.stdout)
    place = os.environ.get(SUMMARY)
    if place:
        try:
            with open(place, "a", encoding="utf-8") as summary:
                summary.write(summary_of(found))
        except OSError as err:
            raise Problem(f"cannot write the step summary {place}", why=err.strerror or str(err), code=USAGE) from err


def annotation_lines(found: "Sequence[FileResults]") -> list[str]:
    """One a test that does not hold. The line in the file is that of the target, where it can be told."""
    from stockade.cli.stockade.policy_tests import explanation_of, said  # noqa: PLC0415 - they import this module

    lines = []
    for file in found:
        for result in file.results:
            if not result["ok"]:
                text = f"{said(result)}: found {result['verdict']}\n" + "\n".join(explanation_of(result, unicode=False))
                place = f"file={_property(str(file.path))},line={line_of(file.path, result['traffic'], result['test'])}"
                lines.append(f"::error {place},title={_property(result['test'])}::{_data(text)}")
    return lines


def summary_of(found: "Sequence[FileResults]") -> str:
    """Markdown."""
    from stockade.cli.stockade.policy_tests import explanation_of, said  # noqa: PLC0415 - they import this module

    total, failed = sum(len(file.results) for file in found), sum(file.failed for file in found)
    lines = [f"### Policy tests: {total - failed} pass, {failed} fail", ""]
    lines += ["| file | pass | fail |", "| --- | --- | --- |"]
    lines += [f"| {_cell(str(file.path))} | {len(file.results) - file.failed} | {file.failed} |" for file in found]
    for file in found:
        for result in file.results:
            if not result["ok"]:
                explained = "\n".join(explanation_of(result, unicode=True))
                lines += ["", f"**{_cell(result['test'])}**: {_cell(said(result))}", "", "```", explained, "```"]
    return "\n".join(lines) + "\n"


def line_of(path: Path, traffic: str, test: str) -> int:
    """The line that names the test, or else the first."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return 1
    named = next((at for at, line in enumerate(lines, 1) if test in line), 1)
    after = (at for at, line in enumerate(lines[named - 1 :], named) if traffic in line)
    return next(after, named)


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
