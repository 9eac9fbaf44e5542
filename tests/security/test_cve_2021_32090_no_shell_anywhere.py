"""LocalStack, CVE-2021-32090: a web page could run commands through the dashboard, which put a parameter into a shell
line. Neutron (CVE-2021-40085) let a line end into the DHCP server's configuration.

There is no shell to inject into: nothing of ours starts one, every program is started with its words apart, and no
program that is started reads rules from text that a tenant wrote.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src" / "stockade"
STARTERS = {"run", "Popen", "call", "check_call", "check_output", "create_subprocess_exec"}
FORBIDDEN = {"system", "popen", "getoutput", "getstatusoutput", "create_subprocess_shell", "eval", "exec"}
SHELLS = {"sh", "bash", "dash", "ash", "zsh", "busybox", "cmd", "powershell"}
INTERPRETED = {"nft", "iptables", "ip6tables", "iptables-restore", "ebtables", "dnsmasq"}


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """Every call with the last word of what is called."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = node.func
            yield (called.id if isinstance(called, ast.Name) else getattr(called, "attr", "")), node


def words_of(call: ast.Call) -> list[str]:
    """The literal words among the first argument's."""
    first = call.args[0] if call.args else None
    items = first.elts if isinstance(first, ast.List | ast.Tuple) else [first] if first is not None else []
    return [item.value for item in items if isinstance(item, ast.Constant) and isinstance(item.value, str)]


def offences(path: Path) -> Iterator[str]:
    for name, call in calls(ast.parse(path.read_text(encoding="utf-8"))):
        where = f"{path.name}:{call.lineno}"
        if name in FORBIDDEN and owner_of(call) in ("os", "subprocess", "asyncio", ""):
            yield f"{where}: {name}"
        if name not in STARTERS or owner_of(call) not in ("subprocess", "asyncio"):
            continue
        if any(keyword.arg == "shell" for keyword in call.keywords):
            yield f"{where}: {name} with a shell"
        first = (words_of(call) or [""])[0].rpartition("/")[2]
        if name != "create_subprocess_exec" and isinstance(call.args[0], ast.Constant | ast.JoinedStr):
            yield f"{where}: {name} of one line"
        if first in SHELLS | INTERPRETED:
            yield f"{where}: {name} of {first}"


def owner_of(call: ast.Call) -> str:
    """The module in `module.function()`; nothing for a bare name."""
    return getattr(call.func.value, "id", "?") if isinstance(call.func, ast.Attribute) else ""


def test_nothing_of_ours_starts_a_shell_or_writes_rules_as_text() -> None:
    assert [offence for path in sorted(SOURCE.rglob("*.py")) for offence in offences(path)] == []


def test_a_shell_would_be_seen(tmp_path: Path) -> None:
    planted = tmp_path / "planted.py"
    planted.write_text(
        "import os, subprocess\n"
        "os.system('ls ' + name)\n"
        "subprocess.run('ls', shell=True)\n"
        "subprocess.run(f'ls {name}')\n"
        "subprocess.run(['sh', '-c', name])\n"
        "subprocess.run(['nft', '-f', '-'], input=name)\n",
        encoding="utf-8",
    )
    assert {line.split(":")[1] for line in offences(planted)} == {"2", "3", "4", "5", "6"}
