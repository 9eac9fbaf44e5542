"""`./dev demo [albert|mary] [--break antispoof|ingress|wait]`: the walk-throughs for real."""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from stockade.daemon.demo.mary import STRANGER
from stockade.daemon.demo.player import Player, Tally, say_plainly
from stockade.daemon.demo.probes import SSH_CONFIGURATION
from stockade.daemon.demo.region import ENDPOINT, TOOLS, Region, ensure_images
from stockade.daemon.demo.script import Story
from stockade.daemon.demo.stories import STORIES, stories
from stockade.daemon.demo.transport import QueryTools
from stockade.daemon.demo.world import World, programs_missing
from stockade.daemon.problems import CANNOT, INTERRUPTED, Problem
from stockade.instances.images.build import ImageUnavailable

PROGRAMS = ("ip", "nmap", "telnet", "ssh", "ssh-keygen", "nsenter")
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
FAULTS = ("antispoof", "ingress", "wait")

Say = Callable[[str], None]


def play(chosen: Sequence[Story], fault: str = "", say: Say = say_plainly) -> Tally:
    """Build the world, start Stockade in it, play the stories, take all of it away. Raises Problem."""
    check_machine()
    try:
        ensure_images(sorted({recipe for one in chosen for recipe in one.recipes}), say)
    except ImageUnavailable as err:
        raise Problem("an image of the demo cannot be built", why=str(err)) from err
    with ExitStack() as stack:
        be_deaf = stack.enter_context(_handlers_kept())
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="stockade-demo-")))
        key = _key_pair(scratch)
        ssh = scratch / "ssh_config"
        ssh.write_text(SSH_CONFIGURATION.format(key=key), encoding="ascii")
        world = stack.enter_context(World())
        region = Region(world.host, scratch, fault)
        stack.callback(region.stop, say)
        stack.callback(be_deaf)  # called first: what was made is removed whole, whoever is impatient
        region.start(say)
        public = key.with_suffix(".pub")
        accounts = {one.account: region.create_account(one.account, public) for one in chosen}
        accounts["stranger"] = region.create_account("stranger", public, STRANGER)
        player = Player(world, region, QueryTools(world.host, ENDPOINT, str(TOOLS)), accounts, str(ssh), say)
        for one in chosen:
            player.play(one)
        return player.tally


def check_machine() -> None:
    """Raises Problem when this machine or user cannot play."""
    if os.geteuid() != 0:
        raise Problem(
            "the demo makes network namespaces and loads kernel programs",
            why=f"running as uid {os.geteuid()}",
            attempt="sudo ./dev demo",
            code=CANNOT,
        )
    missing = programs_missing(PROGRAMS)
    if missing:
        raise Problem(f"the demo needs {', '.join(missing)}", attempt="sudo ./dev demo installs them", code=CANNOT)


def main(words: list[str]) -> int:
    """The exit code: 0 passed, 1 failed, 5 this machine cannot, 130 interrupted."""
    parser = argparse.ArgumentParser(prog="./dev demo", description="Play EC2's two classic walk-throughs for real.")
    parser.add_argument("story", nargs="?", choices=sorted(STORIES), help="only this one")
    parser.add_argument("--break", dest="fault", choices=FAULTS, default="", help="with a build that has this fault")
    parser.add_argument("-y", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args(words)
    for number in SIGNALS:
        signal.signal(number, signal.default_int_handler)
    began = time.monotonic()
    try:
        tally = play(stories(chosen.story), chosen.fault)
    except Problem as problem:
        print("\n".join(problem.lines()), file=sys.stderr)
        return problem.code
    except KeyboardInterrupt:
        print("\ndemo interrupted; what it made is removed", file=sys.stderr)
        return INTERRUPTED
    say_plainly(f"\n{tally.checks} checks in {time.monotonic() - began:.0f} s")
    say_plainly(tally.last_line)
    return 1 if tally.failed else 0


@contextmanager
def _handlers_kept() -> Iterator[Callable[[], None]]:
    """Gives a function that makes us deaf to signals; at the end they are heard as before."""
    former = {number: signal.getsignal(number) for number in SIGNALS}

    def be_deaf() -> None:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)

    try:
        yield be_deaf
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _key_pair(directory: Path) -> Path:
    key = directory / "key"
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "stockade demo", "-f", str(key)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return key


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
