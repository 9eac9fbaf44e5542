"""`./dev bench datapath`: what a connection, a request and a packet cost between two instances of one host.

The measure is operations per second of CPU time of client and server together, both pinned to CPU 0, in
slices of 0.1 s; all contestants take turns within a round and are compared within it. Wall-clock throughput on
a machine that does other things too says little: its ratios were found to range over a factor of three.
`datapath_paths.py` has the peers, `datapath_stockade.py` ours, `load.c` the load.
"""

import subprocess
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

from bench.datapath_paths import Contestant, make_peers
from bench.datapath_stockade import make_growing, make_stockade
from bench.harness import Options, Report, Rounds, interleaved, run

METRICS = ("crr", "udp_rr", "tcp_rr", "pps", "stream")
METRICS6 = ("crr", "udp_rr", "tcp_rr", "pps")
FLAT = ("crr", "udp_rr", "pps")
BASE, FLOOR, OURS = "routed", "floor", "stockade"
PROMISED = {"crr": 1.03, "udp_rr": 1.03, "tcp_rr": 1.03, "pps": 1.08}
PROMISED6 = dict.fromkeys(METRICS6, 1.0)
PROMISED_OF_FLOOR = {"crr": 0.92, "udp_rr": 0.95, "tcp_rr": 0.95, "pps": 0.95}
FLATNESS = {"full": 0.93, "full_warm": 0.97}
SLICE_S = 0.1
LOAD_SOURCE = Path(__file__).with_name("load.c")


class Load:
    """One client and one server that wait for their turn."""

    def __init__(self, program: Path, metric: str, way: Contestant, port: int) -> None:
        metric, address = (metric[:-1], way.address6) if metric.endswith("6") else (metric, way.address)
        sources = map(str, way.sources or ())
        self._process = subprocess.Popen(
            [str(program), metric, way.client, way.server, address, str(port), *sources],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._orders, self._answers = self._process.stdin, self._process.stdout
        if self._answers.readline() != "ready\n":
            raise RuntimeError(f"no load: {metric} over {way}")

    def per_cpu_second(self) -> float:
        """Operations in one slice, by the CPU time they took."""
        self._orders.write(f"{SLICE_S}\n")
        self._orders.flush()
        operations, nanoseconds = (int(word) for word in self._answers.readline().split())
        return operations * 1e9 / nanoseconds

    def close(self) -> None:
        self._orders.close()
        self._process.wait()
        self._answers.close()


def measure(options: Options) -> Report:
    count = options.rounds(full=31, quick=3)
    report = Report(count)
    with ExitStack() as opened:
        program = Path(opened.enter_context(tempfile.TemporaryDirectory())) / "load"
        subprocess.run(["cc", "-O2", "-o", str(program), str(LOAD_SOURCE)], check=True)
        with ExitStack() as present:
            contestants = {**make_peers(present), OURS: make_stockade(present)}
            for port, metric in enumerate((*METRICS, *(f"{name}6" for name in METRICS6)), start=5001):
                add(report, metric, rounds_of(program, metric, contestants, port, count))
        with ExitStack() as present:
            growing = make_growing(present)
            for port, metric in enumerate(FLAT, start=5021):
                add_flatness(report, metric, rounds_of(program, metric, growing, port, count))
    return report


def rounds_of(program: Path, metric: str, contestants: Mapping[str, Contestant], port: int, count: int) -> Rounds:
    """Every contestant in every round, one slice each."""
    with ExitStack() as opened:
        turns: dict[str, Callable[[], float]] = {}
        for name, way in contestants.items():
            load = Load(program, metric, way, port)
            opened.callback(load.close)
            turns[name] = load.per_cpu_second
        return interleaved(count, turns, metric)


def add(report: Report, metric: str, rounds: Rounds) -> None:
    names = list(rounds.results[0])
    for name in names:
        report.spread(f"{metric}.{name}", rounds.of(name))
    promised = PROMISED6.get(metric[:-1]) if metric.endswith("6") else PROMISED.get(metric)
    for name in names:
        if name != BASE:
            limit = promised if name == OURS else None
            report.spread(f"{metric}.{name}/{BASE}", rounds.ratio(name, BASE), at_least=limit)
    of_floor = PROMISED_OF_FLOOR.get(metric)
    report.spread(f"{metric}.{OURS}/{FLOOR}", rounds.ratio(OURS, FLOOR), at_least=of_floor)


def add_flatness(report: Report, metric: str, rounds: Rounds) -> None:
    """How much is left of the speed with empty tables; every connection, request and packet is a new flow."""
    for name in ("empty", *FLATNESS):
        report.spread(f"{metric}.{name}", rounds.of(name))
    for name, limit in FLATNESS.items():
        report.spread(f"{metric}.{name}/empty", rounds.ratio(name, "empty"), at_least=limit)


if __name__ == "__main__":
    run("datapath", measure)
