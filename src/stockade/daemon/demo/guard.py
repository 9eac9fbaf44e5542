"""Takes a demo's Stockade away when the demo could not: `python -m stockade.daemon.demo.guard SITE SCRATCH`.

It runs on the demo's host, in a session of its own, and reads from the demo. A line means that the demo has cleaned
up itself; an end without one means that it was killed, and its site, state and scratch files are removed here.
"""

import shutil
import subprocess
import sys
from pathlib import Path


def main(site: str, scratch: Path) -> int:
    """Waits as long as the demo lives."""
    if sys.stdin.readline():
        return 0
    for words in (["down"], ["down", "--force"]):
        if (Path("/run") / site).exists():
            stockade = [sys.executable, "-m", "stockade", *words, "--config", str(configuration(scratch))]
            subprocess.run(stockade, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    shutil.rmtree(state_directory(site), ignore_errors=True)
    shutil.rmtree(scratch, ignore_errors=True)
    return 0


def configuration(scratch: Path) -> Path:
    """The settings of the demo's site."""
    return scratch / "demo.toml"


def state_directory(site: str) -> Path:
    """Where the demo's site keeps its state; images are only linked from there."""
    return Path("/var/lib") / site


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
