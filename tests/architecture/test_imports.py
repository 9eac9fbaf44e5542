"""Which way imports go: the table of ARCHITECTURE.md as data, and the purity of the functional core.

The most specific row that a module falls under holds for it. A row lists every package (or single
module) of ours that may be imported; a package may always import itself, and anybody the version in
`stockade`. Imports for the type checker count: a name is a dependency too.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src"


@dataclass(frozen=True, slots=True)
class Row:
    package: str
    may_import: tuple[str, ...]
    because: str


LEVELS = (
    Row("model", (), "the nouns stand on the standard library alone, so that everything can stand on them"),
    Row("linux", (), "raw netlink and namespaces know system calls, not what they are used for"),
    Row("policy", ("model",), "a verdict depends on resources alone: no stores, sockets, time or byte layouts"),
    Row("store", ("model",), "a store keeps records; who calls it and what they are for is not its business"),
    Row("datapath", ("policy", "model"), "a datapath enforces entries; EC2, accounts and the store end above it"),
    Row("datapath.ebpf", ("datapath", "policy", "model", "linux"), "the Linux datapath attaches to devices"),
    Row("instances", ("model", "linux"), "a driver runs instances; security groups and policy are not its business"),
    Row("service", ("store.contract", "policy", "model"), "use cases know neither wire names nor which store they use"),
    Row("feed", ("store.contract", "model"), "the feed streams views; what a host does with them is its own business"),
    Row("api", ("service", "model"), "front doors ask services; the store and the datapath are below them"),
    Row("api.aws.wire", (), "bytes and plain values only: the domain is not seen on the wire"),
    Row("console", ("service", "model"), "pages ask services, as every front door does"),
    Row(
        "agent",
        ("feed.contract", "policy", "datapath.contract", "instances.contract", "model", "linux"),
        "the agent is handed its drivers; it must not know which they are",
    ),
    Row(
        "daemon",
        (
            *("model", "linux", "policy", "store", "datapath", "instances"),
            *("service", "feed", "api", "console", "agent"),
        ),
        "the composition root knows everything but the command lines",
    ),
    Row("cli", (), "a command line is a client"),
    Row("cli.ec2", (), "the classic tools know the public API alone and start in 60 ms"),
    Row("cli.stockade", ("cli", "daemon", "policy", "model"), "the command line starts the daemon and asks policy"),
    Row("__main__", ("cli.stockade",), "python -m stockade is the command line"),
    Row("pytest_plugin", (), "fixtures for other people's tests know the public API alone"),
)

DRIVERS = (
    *("stockade.store.memory", "stockade.store.sqlite", "stockade.datapath.ebpf", "stockade.datapath.simulated"),
    *("stockade.instances.container", "stockade.instances.namespace"),
)
PURE = ("stockade.model", "stockade.policy", "stockade.datapath.plan", "stockade.api.aws.wire")
IMPURE_MODULES = frozenset(
    {
        *("asyncio", "concurrent", "ctypes", "fcntl", "glob", "http", "io", "logging", "mmap", "multiprocessing"),
        *("os", "pathlib", "random", "secrets", "select", "selectors", "shutil", "signal", "socket", "socketserver"),
        *("sqlite3", "ssl", "subprocess", "sys", "tempfile", "threading", "time", "urllib.request", "uuid"),
    }
)
IMPURE_CALLS = frozenset({"open", "print", "input", "now", "utcnow", "today"})


def modules() -> Iterator[tuple[str, Path]]:
    """Every module of ours with its dotted name."""
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imports_of(tree: ast.Module, module: str, path: Path) -> Iterator[tuple[int, str]]:
    """Line and full dotted name of everything the module imports, `from a import b` as a.b."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def is_under(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def row_of(module: str) -> Row | None:
    """The most specific row for a module of ours; None for the root package itself."""
    rows = [row for row in LEVELS if is_under(module, f"stockade.{row.package}")]
    return max(rows, key=lambda row: len(row.package), default=None)


def offences(module: str, path: Path) -> Iterator[str]:
    """Each import of ours that the module's row does not allow, with the reason it does not."""
    row = row_of(module)
    for line, name in imports_of(tree_of(path), module, path):
        if not is_under(name, "stockade") or name in ("stockade", "stockade.__version__"):
            continue
        if row is None:
            yield f"{path}:{line}: {module} imports {name}: the root package imports nothing of ours"
        elif not any(is_under(name, f"stockade.{allowed}") for allowed in (row.package, *row.may_import)):
            yield f"{path}:{line}: {row.package} must not import {name}: {row.because}"


def test_every_package_has_a_row() -> None:
    without = [module for module, _ in modules() if module != "stockade" and row_of(module) is None]
    assert without == [], "which station of ARCHITECTURE.md is this? Add its row, with the reason"


def test_imports_go_down_never_up_never_sideways() -> None:
    found = [offence for module, path in modules() for offence in offences(module, path)]
    assert found == [], "\n" + "\n".join(found)


def test_only_wiring_names_a_concrete_driver() -> None:
    found = [
        f"{path}:{line}: {module} names {name}: be handed the object and know its contract"
        for module, path in modules()
        for line, name in imports_of(tree_of(path), module, path)
        for driver in DRIVERS
        if is_under(name, driver) and not is_under(module, driver) and not module.startswith("stockade.daemon.wiring")
    ]
    assert found == [], "\n" + "\n".join(found)


@pytest.mark.parametrize("pure", PURE)
def test_the_core_does_no_io_reads_no_clock_and_draws_no_numbers(pure: str) -> None:
    found = []
    for module, path in modules():
        if not is_under(module, pure):
            continue
        tree = tree_of(path)
        found += [
            f"{path}:{line}: {name} in a pure module"
            for line, name in imports_of(tree, module, path)
            if any(is_under(name, impure) for impure in IMPURE_MODULES)
        ]
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                called = node.func
                name = called.id if isinstance(called, ast.Name) else getattr(called, "attr", "")
                if name in IMPURE_CALLS:
                    found.append(f"{path}:{node.lineno}: a call of {name} in a pure module")
    assert found == [], "\n" + "\n".join(found)


@pytest.mark.parametrize(
    ("module", "imported"),
    [
        ("stockade.policy.compile", "from stockade.store.contract import Store"),
        ("stockade.model.rule", "import stockade.policy"),
        ("stockade.agent.agent", "from stockade.datapath.ebpf.datapath import EbpfDatapath"),
        ("stockade.cli.ec2.main", "from stockade import model"),
        ("stockade.service.rules", "from ..store.sqlite import store"),
    ],
)
def test_a_forbidden_import_is_seen(module: str, imported: str, tmp_path: Path) -> None:
    planted = tmp_path / "planted.py"
    planted.write_text(imported)
    assert len(list(offences(module, planted))) == 1
