"""The daemon with a feed that is late: `python -m bench.late_daemon SECONDS`; prints `ready` when it serves."""

import sys

from stockade.daemon import log, run, settings
from stockade.daemon.demo.faulty import HeldBack


def main(late_s: float) -> int:
    """The exit code, once it has ended."""
    log.set_up("agent", None)
    build = run.Build(between=lambda agent: HeldBack(agent, late_s))
    return run.live(settings.load(), lambda _step, _took_s: None, lambda: print("ready", flush=True), build)


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1])))
