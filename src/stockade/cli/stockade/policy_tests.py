"""`stockade test`: policy tests in YAML, asked of the running daemon, of packets, or of files that describe rules."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import yaml  # type: ignore[import-untyped]  # its stubs would be one more thing to install

from stockade.cli.stockade import annotations
from stockade.cli.stockade.connection import calling_as, native
from stockade.cli.stockade.explain import explanation_lines
from stockade.cli.stockade.refusals import accepted
from stockade.cli.stockade.tables import coloured, print_json, unicode_marks
from stockade.daemon.problems import OUR_BUG, USAGE, Problem

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

    @property
    def disagreements(self) -> int:
        """Where packets did otherwise than the engine says."""
        return sum((result.get("probe") or {}).get("agrees") is False for result in self.results)


MODES = ("model", "kernel", "both")


def test(
    files: Sequence[Path],
    mode: str = "model",
    *,
    model_from: Sequence[Path] = (),
    junit: Path | None = None,
    github: bool = False,
    as_json: bool = False,
) -> int:
    """0: all hold; 1: some do not; 70: the kernel does otherwise than the engine says."""
    if mode not in MODES:
        raise Problem(f"--mode must be model, kernel or both, not {mode!r}", code=USAGE)
    if model_from and mode != "model":
        raise Problem("--model-from has no kernel: there is nothing to send packets to", code=USAGE)
    paths = list(files) or sorted(Path.cwd().glob(PATTERN))
    if not paths:
        raise Problem(f"there is no {PATTERN} here", attempt="stockade test FILE", code=USAGE)
    documents = [(path, read(path)) for path in paths]
    ask = _of_files(model_from) if model_from else _of_daemon(mode)
    found = [FileResults(path, ask(document)["results"]) for path, document in documents]
    failed = sum(file.failed for file in found)
    if junit is not None:
        _write(junit, junit_document(found))
    if as_json:
        files_told = [{"path": str(file.path), "failed": file.failed, "results": file.results} for file in found]
        print_json({"mode": mode, "failed": failed, "files": files_told})
    else:
        for file in found:
            print("\n".join(lines_of(file, unicode_marks(sys.stdout))))
        print(f"{sum(len(file.results) for file in found) - failed} pass, {failed} fail ({_asked(found, mode)})")
    if github:
        annotations.tell(found, to_stderr=as_json)
    return OUR_BUG if any(file.disagreements for file in found) else 1 if failed else 0


def _of_daemon(mode: str) -> Callable[[Any], dict[str, Any]]:
    caller = calling_as()

    def ask(document: Any) -> dict[str, Any]:
        asked = {**document, "mode": mode} if isinstance(document, dict) else document
        return accepted(native(caller, "POST", "test", asked, timeout_s=300)).document

    return ask


def _of_files(paths: Sequence[Path]) -> Callable[[Any], dict[str, Any]]:
    """No daemon and no root: the engine runs here, over the rules that the files describe."""
    from stockade.daemon import offline  # noqa: PLC0415 - the engine, which asking a daemon does not need

    state = offline.described([(path.name, _json_of(path)) for path in paths])
    return lambda document: offline.test(state, document)


def _json_of(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError) as err:
        raise Problem(f"cannot read {path}", why=str(err), code=USAGE) from err


def _asked(found: Sequence[FileResults], mode: str) -> str:
    """Who said so."""
    if mode == "model":
        return "asked of the engine"
    probes = [result["probe"] for file in found for result in file.results if result["probe"]]
    by_model = sum(result["by"] == "model" for file in found for result in file.results)
    said = f"{sum(probe['sent'] for probe in probes)} packets sent"
    return said + (f"; {by_model} only asked of the engine, for want of two instances" if by_model else "")


def _write(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except OSError as err:
        raise Problem(f"cannot write {path}", why=err.strerror or str(err), code=USAGE) from err


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
        lines.append(f"  {mark} {result['test']}: {said(result)}")
        if not result["ok"]:
            lines += [f"      {line}" for line in explanation_of(result, unicode)]
    return lines


def junit_document(found: Sequence[FileResults]) -> bytes:
    """What CI systems read."""
    root = ElementTree.Element("testsuites")
    for file in found:
        counts = {"tests": str(len(file.results)), "failures": str(file.failed), "errors": "0"}
        suite = ElementTree.SubElement(root, "testsuite", {"name": str(file.path), **counts})
        for result in file.results:
            case = ElementTree.SubElement(suite, "testcase", classname=result["test"], name=said(result))
            if not result["ok"]:
                message = f"expected {result['expected']}, found {result['verdict']}"
                failure = ElementTree.SubElement(case, "failure", message=message)
                failure.text = "\n".join(explanation_of(result, unicode=False))
    document: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return document


def explanation_of(result: Mapping[str, Any], unicode: bool) -> list[str]:
    """Why it does not hold: what the engine says, and what packets did."""
    return explanation_lines(result["answer"] | {"probe": result.get("probe")}, unicode)


def said(result: dict[str, Any]) -> str:
    return f"{result['expected']} {result['source']} to {result['destination']} {result['traffic']}"
