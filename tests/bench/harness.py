"""The form every benchmark and fuzz run shares.

A benchmark is a module of this package that ends in

    def measure(options: Options) -> Report: ...

    if __name__ == "__main__":
        run("datapath", measure)

and is started by `./dev bench NAME [--quick] [--json] [--rounds N]`. Contestants take turns within a round
(`interleaved`), and two are compared round by round (`Rounds.ratio`), so a machine that is slow for a while is
slow for both. What a metric is called: `what`, `what.who` or `what.who/peer`, as `crr.stockade/routed`.

    rounds = interleaved(options.rounds(full=25, quick=5), {"routed": routed, "stockade": stockade})
    report.spread("crr.stockade", rounds.of("stockade"))
    report.spread("crr.stockade/routed", rounds.ratio("stockade", "routed"), at_least=1.0)
    report.figure("idle.stockade", 96.0, "MiB")
"""

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NoReturn


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line asked for."""

    quick: bool
    json: bool
    rounds_asked: int | None = None

    def rounds(self, full: int, quick: int) -> int:
        """How many rounds to run: what --rounds says, else one of these two."""
        if self.rounds_asked is not None:
            return self.rounds_asked
        return quick if self.quick else full


@dataclass(frozen=True, slots=True)
class Spread:
    """A metric measured in several rounds; units are the metric's own, a ratio has none."""

    min: float
    median: float
    max: float

    @classmethod
    def over(cls, values: Sequence[float]) -> "Spread":
        return cls(min(values), statistics.median(values), max(values))


@dataclass(frozen=True, slots=True)
class Figure:
    """A metric that is one number."""

    value: float
    unit: str


@dataclass(frozen=True, slots=True)
class Limit:
    """What the project promised for a metric's median or value."""

    at_least: float | None = None
    at_most: float | None = None

    def holds(self, value: float) -> bool:
        return (self.at_least is None or value >= self.at_least) and (self.at_most is None or value <= self.at_most)

    def __str__(self) -> str:
        parts = []
        if self.at_least is not None:
            parts.append(f">= {self.at_least:g}")
        if self.at_most is not None:
            parts.append(f"<= {self.at_most:g}")
        return " and ".join(parts)


@dataclass(frozen=True, slots=True)
class Rounds:
    """One number for each contestant in each round."""

    results: tuple[Mapping[str, float], ...]

    def of(self, who: str) -> list[float]:
        return [result[who] for result in self.results]

    def ratio(self, who: str, peer: str) -> list[float]:
        """who / peer, each within its own round: never the ratio of two medians."""
        return [result[who] / result[peer] for result in self.results]


def interleaved(count: int, contestants: Mapping[str, Callable[[], float]], what: str = "") -> Rounds:
    """Run every contestant once a round; the order is rotated by one each round, so nobody is always first."""
    names = list(contestants)
    results = []
    for number in range(count):
        shift = number % len(names)
        order = names[shift:] + names[:shift]
        results.append({name: contestants[name]() for name in order})
        progress(f"{what} round {number + 1}/{count}".strip())
    return Rounds(tuple(results))


@dataclass(slots=True)
class Report:
    """The metrics of one benchmark, in the order they were added."""

    rounds: int
    metrics: dict[str, Spread | Figure] = field(default_factory=dict)
    limits: dict[str, Limit] = field(default_factory=dict)

    def spread(
        self, name: str, values: Sequence[float], *, at_least: float | None = None, at_most: float | None = None
    ) -> None:
        self._add(name, Spread.over(values), Limit(at_least, at_most))

    def figure(
        self, name: str, value: float, unit: str, *, at_least: float | None = None, at_most: float | None = None
    ) -> None:
        self._add(name, Figure(value, unit), Limit(at_least, at_most))

    def missed(self) -> list[str]:
        """The metrics that break their limit."""
        return [name for name, limit in self.limits.items() if not limit.holds(_deciding(self.metrics[name]))]

    def _add(self, name: str, metric: Spread | Figure, limit: Limit) -> None:
        self.metrics[name] = metric
        if limit != Limit():
            self.limits[name] = limit


def run(name: str, measure: Callable[[Options], Report]) -> NoReturn:
    """Parse the command line, measure, print; exit 1 only with --check and a limit that was missed."""
    parser = argparse.ArgumentParser(prog=f"./dev bench {name}")
    parser.add_argument("--quick", action="store_true", help="few rounds: a check that it runs, not a figure")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.add_argument("--rounds", type=int, help="number of rounds, instead of the benchmark's own")
    parser.add_argument("--check", action="store_true", help="exit 1 when a promised limit is missed")
    arguments = parser.parse_args()
    options = Options(arguments.quick, arguments.json, arguments.rounds)
    report = measure(options)
    if options.json:
        print(json.dumps(as_document(name, report)))
    else:
        print_table(name, report)
    sys.exit(1 if arguments.check and report.missed() else 0)


def as_document(name: str, report: Report) -> dict[str, object]:
    metrics = {key: asdict(metric) for key, metric in report.metrics.items()}
    return {"bench": name, "machine": machine(), "rounds": report.rounds, "metrics": metrics}


def print_table(name: str, report: Report) -> None:
    facts = machine()
    print(f"{name}: {report.rounds} rounds on {facts['cpu']}, {facts['cores']} cores, kernel {facts['kernel']}")
    width = max((len(key) for key in report.metrics), default=0)
    for key, metric in report.metrics.items():
        print(f"  {key:<{width}}  {_shown(metric)}{_judged(report, key)}")


def fuzz_document(name: str, judgements: int, disagreements: int, seed: int) -> dict[str, object]:
    """What a fuzz run prints with --json."""
    return {"fuzz": name, "judgements": judgements, "disagreements": disagreements, "seed": seed}


def machine() -> dict[str, object]:
    """What a reader needs to judge a figure, without anything that names this very machine."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count() or 1,
        "memory_mib": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // (1 << 20),
        "kernel": platform.release(),
        "system": _system_name(),
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 2),
    }


def progress(text: str) -> None:
    """A line for the person who waits; standard output belongs to the report."""
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)


def _deciding(metric: Spread | Figure) -> float:
    return metric.median if isinstance(metric, Spread) else metric.value


def _shown(metric: Spread | Figure) -> str:
    if isinstance(metric, Spread):
        return f"{metric.min:12.4g} {metric.median:12.4g} {metric.max:12.4g}  (min median max)"
    return f"{metric.value:12.4g} {metric.unit}"


def _judged(report: Report, key: str) -> str:
    limit = report.limits.get(key)
    if limit is None:
        return ""
    verdict = "ok" if limit.holds(_deciding(report.metrics[key])) else "MISSED"
    return f"  {verdict}: promised {limit}"


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _system_name() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.system()
