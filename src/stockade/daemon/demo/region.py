"""Stockade on the demo's host, driven as its user would: `stockade up`, `account`, `down`, and the metrics page.

The site's name is the demo's own, so nothing of a Stockade that runs on this machine is touched. Images are kept
where the default site keeps them: whoever ran the demo has built them.
"""

import json
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.request import ProxyHandler, build_opener

from stockade.daemon.demo.guard import configuration, state_directory
from stockade.daemon.demo.transport import Account
from stockade.daemon.demo.world import HOST_ADDRESS, UPLINK, Place
from stockade.daemon.problems import CANNOT, Problem
from stockade.instances.images.build import Images
from stockade.linux.namespaces import open_netns
from stockade.model.journal import NoJournal

ENDPOINT = "http://127.0.0.1:8773"
IMAGES = Path("/var/lib/stockade/images")
PACKAGE = Path(__file__).parents[2]
TOOLS = PACKAGE / "cli" / "ec2" / "bin"

CONFIGURATION = """\
[site]
name = "{site}"
[network]
devices = ["{uplink}"]
resolver = ["127.0.0.153", "{host}"]
[images]
path = "{images}"
"""


class Region:
    """The site of one demo run."""

    def __init__(self, host: Place, scratch: Path, fault: str = "") -> None:
        self.site = f"demo-{secrets.token_hex(3)}"
        self._host = host
        self._fault = fault
        self._scratch = scratch
        self._state = state_directory(self.site)
        self._run = Path("/run") / self.site
        self._configuration = configuration(scratch)
        self._networks: dict[str, int] = {}
        self._faulty: subprocess.Popen[str] | None = None
        self._guard: subprocess.Popen[str] | None = None

    def start(self, tell: Callable[[str], None]) -> None:
        """`stockade up -d`; returns when it enforces. Raises Problem when it does not."""
        self._guard = self._host.popen(
            [sys.executable, "-m", "stockade.daemon.demo.guard", self.site, str(self._scratch)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            text=True,
        )
        self._state.mkdir(mode=0o755)
        IMAGES.mkdir(parents=True, exist_ok=True)
        self._configuration.write_text(
            CONFIGURATION.format(site=self.site, uplink=UPLINK, host=HOST_ADDRESS, images=IMAGES), encoding="ascii"
        )
        if self._fault:
            self._start_faulty(tell)
            return
        done = self._command(["up", "-d", "--wait", "60s"])
        for line in done.stderr.splitlines():
            tell(line)
        if done.returncode:
            raise Problem("the demo's Stockade did not start", why=_last_lines(done.stderr), code=CANNOT)

    def _start_faulty(self, tell: Callable[[str], None]) -> None:
        """The same daemon with a fault, which no user could start."""
        tell(f"starting a Stockade with a fault: {self._fault}")
        command = [sys.executable, "-m", "stockade.daemon.demo.faulty", self._fault, str(self._configuration)]
        process = self._host.popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        self._faulty = process
        assert process.stdout is not None
        with process.stdout:
            first = process.stdout.readline()
        if first != "ready\n":
            raise Problem("the demo's faulty Stockade did not start", code=CANNOT)

    def stop(self, tell: Callable[[str], None]) -> None:
        """Everything of this site goes, its state too."""
        while self._networks:
            os.close(self._networks.popitem()[1])
        if self._run.exists():
            done = self._command(["down"], timeout_s=150)
            if done.returncode or self._run.exists():
                done = self._command(["down", "--force"], timeout_s=150)
                for line in done.stderr.splitlines():
                    tell(line)
        if self._faulty is not None:
            self._faulty.wait(timeout=30)
        shutil.rmtree(self._state, ignore_errors=True)
        if self._guard is not None:
            self._guard.communicate("done\n")

    def create_account(self, name: str, public_key: Path, number: str = "") -> Account:
        """A classic account whose instances let that key in."""
        words = ["account", "create", "--name", name, "--platform", "classic", "--key", str(public_key), "--json"]
        done = self._command([*words, *(["--id", number] if number else [])])
        if done.returncode:
            raise Problem(f"the account {name} could not be created", why=_last_lines(done.stderr))
        made = json.loads(done.stdout)
        return Account(made["account_id"], made["access_key_id"], made["secret_access_key"])

    def drops(self, reason: str) -> int:
        """How many packets were dropped for that reason, from the metrics page."""
        opener = build_opener(ProxyHandler({}))
        page = self._host.inside(lambda: opener.open(f"{ENDPOINT}/_stockade/metrics", timeout=10).read().decode())
        wanted = f'stockade_drops_total{{reason="{reason}"}} '
        return sum(int(line.removeprefix(wanted)) for line in page.splitlines() if line.startswith(wanted))

    def first_process(self, instance: str) -> int:
        """The instance's process 1, as this machine numbers it. LookupError when it does not run."""
        try:
            record = json.loads((self._state / "instances" / instance / "record.json").read_text(encoding="utf-8"))
            return int(record["process"][0])
        except (OSError, ValueError, KeyError, TypeError) as err:
            raise LookupError(f"{instance} does not run") from err

    def network(self, instance: str) -> int:
        """A descriptor of the instance's network namespace, ours to close."""
        if instance not in self._networks:
            self._networks[instance] = open_netns(self.first_process(instance))
        return self._networks[instance]

    def _command(self, words: Sequence[str], timeout_s: float = 90) -> subprocess.CompletedProcess[str]:
        environment = {"STOCKADE_CONFIG": str(self._configuration), "NO_COLOR": "1"}
        return self._host.run([sys.executable, "-m", "stockade", *words], environment, timeout_s)


def ensure_images(recipes: Sequence[str], tell: Callable[[str], None]) -> None:
    """Build what these recipes need and is not there yet. Raises ImageUnavailable."""
    images = Images(IMAGES, NoJournal())  # a build cleans up after itself; no site is there yet to note it for
    for layer in images.missing(list(recipes)):
        tell(f"building the {layer.name} image: {layer.takes}, {layer.disk_mb} MB while building")
        images.ensure(layer, tell)


def _last_lines(text: str) -> str:
    return "\n".join(text.strip().splitlines()[-8:])
