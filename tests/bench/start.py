"""`./dev bench start`: from the command to the first answer, and memory at rest, against moto's server.

`stockade up` counts until it is ready, which it says only after a packet has passed and one was dropped through the
real programs; moto counts until it answers its first DescribeRegions. Memory is the proportional set size of every
process of each, two seconds after that.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.harness import Options, Report, interleaved, run
from bench.moto_server import answers, running
from netns.site import TestSite, build_micro

_SETTLE_S = 2.0


def measure(options: Options) -> Report:
    """Start each in turn, `rounds` times."""
    build_micro()
    memory: dict[str, list[float]] = {"stockade": [], "moto": []}

    def stockade() -> float:
        with _site() as site:
            began = time.perf_counter()
            site.up()
            took = time.perf_counter() - began
            time.sleep(_SETTLE_S)
            memory["stockade"].append(sum(map(_pss_mib, _family(site.agent().pid))))
        return took

    def moto() -> float:
        with _site() as host:
            began = time.perf_counter()
            with running(host) as process:
                answers(host)
                took = time.perf_counter() - began
                time.sleep(_SETTLE_S)
                memory["moto"].append(sum(map(_pss_mib, _family(process.pid))))
        return took

    rounds = interleaved(options.rounds(full=11, quick=2), {"stockade": stockade, "moto": moto}, "start")
    report = Report(len(rounds.results))
    report.spread("ready.stockade", rounds.of("stockade"))
    report.spread("ready.moto", rounds.of("moto"))
    report.spread("ready.stockade/moto", rounds.ratio("stockade", "moto"), at_most=1.5)
    report.spread("idle.stockade", memory["stockade"], at_most=150)
    report.spread("idle.moto", memory["moto"])
    ratios = [ours / theirs for ours, theirs in zip(memory["stockade"], memory["moto"], strict=True)]
    report.spread("idle.stockade/moto", ratios, at_most=1.5)
    return report


@contextmanager
def _site() -> Iterator[TestSite]:
    site = TestSite()
    try:
        yield site
        site.stockade("down")
    finally:
        site.end()


def _family(pid: int) -> list[int]:
    """The process and all that descend from it."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    return [pid, *(one for child in children for one in _family(int(child)))]


def _pss_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return 0.0


if __name__ == "__main__":
    run("start", measure)
