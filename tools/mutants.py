"""Plants the small faults of tests/mutants.toml one by one, each in a copy of this checkout, and runs the tests that
must catch it: `./dev mutants [--json] [--only NAME] [--sample N] [--seed N] [--list FILE] [--at-a-time N]`.

A fault is caught when each of its `tests` fails with it and passes without it. A run that hangs, a copy that does
not import or compile, a program that the verifier refuses: none of these is a catch, because no test has looked at
the fault. Exit code 1 when anything planted was not caught.
"""

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from queue import SimpleQueue

ROOT = Path(__file__).resolve().parents[1]
LIST = ROOT / "tests" / "mutants.toml"
OBJECTS = Path("src/stockade/datapath/ebpf/objects")
LEFT_OUT = {".git", ".venv", ".stockade", "build", "dist", "__pycache__", ".hypothesis", ".mypy_cache", ".ruff_cache"}
AT_A_TIME = 2
DEADLINE_S = 300
CAUGHT, SURVIVED, HUNG = "caught", "survived", "hung"
DOES_NOT_APPLY, DOES_NOT_RUN, NOT_PROVEN = "does not apply", "does not run", "not proven"


@dataclass(frozen=True, slots=True)
class Fault:
    """`old` stands exactly once in `file`; with `new` in its place something is wrong, and `why` says what."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    why: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a fault. `detail`: which tests caught it, or what was seen instead."""

    name: str
    state: str
    detail: str
    took_s: float


class NotCaught(Exception):
    """A state other than CAUGHT, and what was seen."""

    def __init__(self, state: str, detail: str) -> None:
        super().__init__(detail)
        self.state = state


def listed(path: Path = LIST) -> list[Fault]:
    """Every fault, in the order of the list."""
    entries = tomllib.loads(path.read_text(encoding="utf-8"))["mutant"]
    return [Fault(**(entry | {"tests": tuple(entry["tests"])})) for entry in entries]


def chosen(faults: Sequence[Fault], only: Sequence[str], sample: int | None, seed: int) -> list[Fault]:
    """Those of these names; or so many, another few each day."""
    picked = [fault for fault in faults if fault.name in only] if only else list(faults)
    return picked if sample is None else random.Random(seed).sample(picked, min(sample, len(picked)))


class Proven:
    """Tests that have passed on a sound copy, so that their failing says something."""

    def __init__(self) -> None:
        self._passed: set[str] = set()
        self._lock = threading.Lock()

    def check(self, place: Path, tests: Iterable[str]) -> None:
        for test in tests:
            with self._lock:
                if test in self._passed:
                    continue
            code, said = run_tests(place, [test])
            if code != 0 or not re.search(r"\d+ passed", said):
                raise NotCaught(NOT_PROVEN, f"{test} does not pass without the fault:\n{said[-2000:]}")
            with self._lock:
                self._passed.add(test)


def run_tests(place: Path, tests: Iterable[str]) -> tuple[int, str]:
    """pytest's exit code and what it said. Raises NotCaught when it does not come to an end."""
    options = ["-q", "-rfE", "--tb=line", "-p", "no:cacheprovider", "-o", "timeout=0"]
    options.append("--hypothesis-profile=one-failure")
    paths = f"{place / 'src'}:{place / 'tests'}"
    environment = os.environ | {"PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "400"}
    for name in [name for name in environment if name.startswith("PYTEST_")]:
        del environment[name]  # the sample is itself run by pytest
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", *options, *tests],
        cwd=place,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        said, _ = process.communicate(timeout=DEADLINE_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise NotCaught(HUNG, f"no end after {DEADLINE_S} s") from None
    return process.returncode, said


def plant(fault: Fault, place: Path, proven: Proven) -> str:
    """Breaks the copy, runs the tests, mends it; which tests caught the fault. Raises NotCaught."""
    file = place / fault.file
    sound = file.read_text(encoding="utf-8") if file.exists() else ""
    if sound.count(fault.old) != 1:
        raise NotCaught(DOES_NOT_APPLY, f"its text stands {sound.count(fault.old)} times in {fault.file}")
    proven.check(place, fault.tests)
    compiled = {path: path.read_bytes() for path in (place / OBJECTS).glob("*.o")}
    try:
        file.write_text(sound.replace(fault.old, fault.new), encoding="utf-8")
        if fault.file.startswith("bpf/"):
            compile_programs(place)
        return caught_by(fault, place)
    finally:
        file.write_text(sound, encoding="utf-8")
        for path, content in compiled.items():
            path.write_bytes(content)


def compile_programs(place: Path) -> None:
    built = subprocess.run(["sh", "bpf/build.sh", OBJECTS], cwd=place, capture_output=True, text=True, check=False)
    if built.returncode != 0:
        raise NotCaught(DOES_NOT_RUN, built.stderr[-2000:])


def caught_by(fault: Fault, place: Path) -> str:
    code, said = run_tests(place, fault.tests)
    if code not in (0, 1):
        raise NotCaught(DOES_NOT_RUN, f"pytest ended with {code}:\n{said[-2000:]}")
    if "Failed: Timeout" in said:
        raise NotCaught(HUNG, "a test met its own limit of time")
    if "ProgramRejected" in said:
        raise NotCaught(DOES_NOT_RUN, f"the verifier refuses it:\n{said[-2000:]}")
    failed = re.findall(r"^(?:FAILED|ERROR) (.*)$", said, flags=re.MULTILINE)
    quiet = [
        test for test in fault.tests if not any(re.match(re.escape(test) + r"(::|\[| |$)", each) for each in failed)
    ]
    if quiet:
        raise NotCaught(SURVIVED, "passed with it: " + ", ".join(quiet))
    return f"{len(failed)} failed, first {failed[0].partition(' - ')[0]}"


def try_all(faults: Sequence[Fault], at_a_time: int) -> list[Outcome]:
    """What becomes of each; told on standard error as it becomes known."""
    proven, copies = Proven(), SimpleQueue[Path]()

    def outcome_of(fault: Fault) -> Outcome:
        place, began = copies.get(), time.monotonic()
        try:
            state, detail = CAUGHT, plant(fault, place, proven)
        except NotCaught as seen:
            state, detail = seen.state, str(seen)
        finally:
            copies.put(place)
        outcome = Outcome(fault.name, state, detail, round(time.monotonic() - began, 1))
        print(f"{outcome.state:<15}{outcome.name} ({outcome.took_s} s): {outcome.detail}", file=sys.stderr, flush=True)
        return outcome

    with tempfile.TemporaryDirectory(prefix="stockade-mutants-") as folder:
        for number in range(min(at_a_time, len(faults))):
            place = Path(folder, f"copy{number}")
            shutil.copytree(ROOT, place, symlinks=True, ignore=lambda _, names: LEFT_OUT & set(names))
            copies.put(place)
        with ThreadPoolExecutor(max_workers=at_a_time) as pool:
            return list(pool.map(outcome_of, faults))


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="./dev mutants", description="Plant small faults; the tests must catch each.")
    parser.add_argument("--json", action="store_true", help="the outcome on standard output as JSON")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="this fault; may be repeated")
    parser.add_argument("--sample", type=int, metavar="N", help="only so many, chosen by the seed")
    parser.add_argument("--seed", type=int, default=date.today().toordinal(), help="the day, if not given")
    parser.add_argument("--list", type=Path, default=LIST, metavar="FILE", help="another list of faults")
    parser.add_argument("--at-a-time", type=int, default=AT_A_TIME, metavar="N", help="copies of the checkout")
    options = parser.parse_args(arguments)
    faults = chosen(listed(options.list), options.only, options.sample, options.seed)
    if not faults:
        parser.error(f"no such fault in {options.list}")
    outcomes = try_all(faults, options.at_a_time)
    caught = sum(outcome.state == CAUGHT for outcome in outcomes)
    if options.json:
        print(json.dumps({"planted": len(outcomes), "caught": caught, "mutants": [asdict(each) for each in outcomes]}))
    else:
        print(f"{len(outcomes)} planted, {caught} caught")
    return 0 if caught == len(outcomes) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
