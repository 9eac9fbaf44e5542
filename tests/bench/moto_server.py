"""moto's server, the peer of the benchmarks that speak to an API."""

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

from netns.site import TestSite

PORT = 5000
_DEADLINE_S = 60.0


@contextmanager
def running(host: TestSite) -> Iterator["subprocess.Popen[bytes]"]:
    """moto's server as its users start it, in the same host namespace."""
    program = Path(sys.executable).with_name("moto_server")
    with subprocess.Popen(
        ["nsenter", f"--net=/run/netns/{host.netns}", str(program), "-H", "127.0.0.1", "-p", str(PORT)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def answers(host: TestSite) -> None:
    """Return when moto has answered one EC2 call."""
    opener = build_opener(ProxyHandler({}))
    query = b"Action=DescribeRegions&Version=2016-11-15"
    headers = {"Authorization": "AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/ec2/aws4_request, Signature=x"}

    def ask() -> bool:
        request = Request(f"http://127.0.0.1:{PORT}/", query, headers)
        with suppress(URLError, ConnectionError), opener.open(request, timeout=30) as answer:
            return bool(answer.status == 200)
        return False

    deadline = time.monotonic() + _DEADLINE_S
    while not host.inside(ask):
        if time.monotonic() > deadline:
            raise TimeoutError("moto did not answer")
        time.sleep(0.01)
