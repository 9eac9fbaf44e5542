"""`./dev bench datapath`: what a connection, a request and a packet cost between two instances of one host.

The measure is operations per second of CPU time of client and server together, both pinned to CPU 0, in
slices of 0.1 s; all contestants take turns within a round and are compared within it. Wall-clock throughput on
a machine that does other things too says little: its ratios were found to range over a factor of three.
`datapath_paths.py` has the contestants, `load.c` the load.
"""

import subprocess
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

from bench.datapath_paths import Contestant, make_contestants
from bench.harness import Options, Report, Rounds, interleaved, run

METRICS = ("crr", "udp_rr", "tcp_rr", "pps", "stream")
PROMISED = ("crr", "udp_rr", "tcp_rr", "pps")
BASE = "routed"
OURS = "stockade"
SLICE_S = 0.1
LOAD_SOURCE = Path(__file__).with_name("load.c")


class Load:
    """One client and one server that wait for their turn."""

    def __init__(self, program: Path, metric: str, way: Contestant, port: int) -> None:
        self._process = subprocess.Popen(
            [str(program), metric, way.client, way.server, way.address, str(port)],
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
    count = options.rounds(full=25, quick=3)
    report = Report(count)
    with ExitStack() as opened:
        program = Path(opened.enter_context(tempfile.TemporaryDirectory())) / "load"
        subprocess.run(["cc", "-O2", "-o", str(program), str(LOAD_SOURCE)], check=True)
        contestants = make_contestants(opened)
        for port, metric in enumerate(METRICS, start=5001):
            add(report, metric, rounds_of(program, metric, contestants, port, count))
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
    for name in names:
        if name != BASE:
            promised = 1.0 if name == OURS and metric in PROMISED else None
            report.spread(f"{metric}.{name}/{BASE}", rounds.ratio(name, BASE), at_least=promised)


if __name__ == "__main__":
    run("datapath", measure)
