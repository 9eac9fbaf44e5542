"""`./dev bench start`: from the command to the first answer, and memory at rest, against moto's server.

`stockade up` counts until it is ready, which it says only after a packet has passed and one was dropped through the
real programs; moto counts until it answers its first DescribeRegions. Memory is the proportional set size of every
process of each, two seconds after that.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.error import URLError
from urllib.request import ProxyHandler, Request, build_opener

from bench.harness import Options, Report, interleaved, run
from netns.site import TestSite, build_micro

_SETTLE_S = 2.0
_MOTO_PORT = 5000
_DEADLINE_S = 60.0


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
            with _moto(host) as process:
                _answers(host)
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


@contextmanager
def _moto(host: TestSite) -> Iterator["subprocess.Popen[bytes]"]:
    """moto's server as its users start it, in the same host namespace."""
    program = Path(sys.executable).with_name("moto_server")
    with subprocess.Popen(
        ["nsenter", f"--net=/run/netns/{host.netns}", str(program), "-H", "127.0.0.1", "-p", str(_MOTO_PORT)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def _answers(host: TestSite) -> None:
    """Return when moto has answered one EC2 call."""
    opener = build_opener(ProxyHandler({}))
    query = b"Action=DescribeRegions&Version=2016-11-15"
    headers = {"Authorization": "AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/ec2/aws4_request, Signature=x"}

    def ask() -> bool:
        request = Request(f"http://127.0.0.1:{_MOTO_PORT}/", query, headers)
        with suppress(URLError, ConnectionError), opener.open(request, timeout=30) as answer:
            return bool(answer.status == 200)
        return False

    deadline = time.monotonic() + _DEADLINE_S
    while not host.inside(ask):
        if time.monotonic() > deadline:
            raise TimeoutError("moto did not answer")
        time.sleep(0.01)


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
