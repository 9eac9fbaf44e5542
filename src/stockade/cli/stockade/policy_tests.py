"""`stockade test`: policy tests in YAML, asked of the running daemon's engine."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import yaml  # type: ignore[import-untyped]  # its stubs would be one more thing to install

from stockade.cli.stockade.connection import calling_as, native
from stockade.cli.stockade.explain import explanation_lines
from stockade.cli.stockade.refusals import accepted
from stockade.cli.stockade.tables import coloured, print_json, unicode_marks
from stockade.daemon.problems import USAGE, Problem

PATTERN = "*.stockade.yaml"
_LONGEST = 60_000


@dataclass(frozen=True, slots=True)
class FileResults:
    """What the daemon found for one file."""

    path: Path
    results: Sequence[dict[str, Any]]

    @property
    def failed(self) -> int:
        return sum(not result["ok"] for result in self.results)


def test(files: Sequence[Path], junit: Path | None, as_json: bool) -> int:
    """0: all hold; 1: some do not."""
    paths = list(files) or sorted(Path.cwd().glob(PATTERN))
    if not paths:
        raise Problem(f"there is no {PATTERN} here", attempt="stockade test FILE", code=USAGE)
    documents = [(path, read(path)) for path in paths]
    caller = calling_as()
    found = [
        FileResults(path, accepted(native(caller, "POST", "test", document)).document["results"])
        for path, document in documents
    ]
    failed = sum(file.failed for file in found)
    if junit is not None:
        try:
            junit.write_bytes(junit_document(found))
        except OSError as err:
            raise Problem(f"cannot write {junit}", why=err.strerror or str(err), code=USAGE) from err
    if as_json:
        files_told = [{"path": str(file.path), "failed": file.failed, "results": file.results} for file in found]
        print_json({"mode": "model", "failed": failed, "files": files_told})
    else:
        for file in found:
            print("\n".join(lines_of(file, unicode_marks(sys.stdout))))
        print(f"{sum(len(file.results) for file in found) - failed} pass, {failed} fail (asked of the engine)")
    return 1 if failed else 0


def read(path: Path) -> Any:
    """The file's content. Raises Problem."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as err:
        raise Problem(f"cannot read {path}", why=str(err), code=USAGE) from err
    if len(text) > _LONGEST:
        raise Problem(f"{path} is longer than {_LONGEST} characters", attempt="split it", code=USAGE)
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as err:
        raise Problem(f"{path} is not YAML", why=str(err), code=USAGE) from err


def lines_of(file: FileResults, unicode: bool) -> list[str]:
    """Each expectation, and of those that do not hold the reason."""
    good, bad = ("✓", "✗") if unicode else ("ok", "XX")
    lines = [str(file.path)]
    for result in file.results:
        mark = coloured(good, "green", sys.stdout) if result["ok"] else coloured(bad, "red", sys.stdout)
        lines.append(f"  {mark} {result['test']}: {_said(result)}")
        if not result["ok"]:
            lines += [f"      {line}" for line in explanation_lines(result["answer"], unicode)]
    return lines


def junit_document(found: Sequence[FileResults]) -> bytes:
    """What CI systems read."""
    root = ElementTree.Element("testsuites")
    for file in found:
        counts = {"tests": str(len(file.results)), "failures": str(file.failed), "errors": "0"}
        suite = ElementTree.SubElement(root, "testsuite", {"name": str(file.path), **counts})
        for result in file.results:
            case = ElementTree.SubElement(suite, "testcase", classname=result["test"], name=_said(result))
            if not result["ok"]:
                message = f"expected {result['expected']}, found {result['verdict']}"
                failure = ElementTree.SubElement(case, "failure", message=message)
                failure.text = "\n".join(explanation_lines(result["answer"], unicode=False))
    document: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return document


def _said(result: dict[str, Any]) -> str:
    return f"{result['expected']} {result['source']} to {result['destination']} {result['traffic']}"
