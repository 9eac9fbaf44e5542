"""Who gives the commands of a story to the service: today the ec2-* tools signing Query requests."""

import shlex
from dataclasses import dataclass
from typing import Protocol

from stockade.daemon.demo.world import Place


@dataclass(frozen=True, slots=True)
class Account:
    """An account that plays a story, and its key."""

    number: str
    access_key: str
    secret_key: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command printed and how it ended."""

    status: int
    out: str
    err: str


class Transport(Protocol):
    """Carries a classic command line to the service as an account and prints records as the tools do."""

    def run(self, account: Account, command: str) -> Answer:
        """Give the command; it has ended when this returns."""


class QueryTools:
    """The real tools, on the host, with an access key."""

    def __init__(self, place: Place, endpoint: str, directory: str) -> None:
        self._place = place
        self._environment = {"EC2_URL": endpoint, "PATH": f"{directory}:/usr/local/bin:/usr/bin:/bin"}

    def run(self, account: Account, command: str) -> Answer:
        keys = {"AWS_ACCESS_KEY_ID": account.access_key, "AWS_SECRET_ACCESS_KEY": account.secret_key}
        done = self._place.run(shlex.split(command), environment={**self._environment, **keys}, timeout_s=90)
        return Answer(done.returncode, done.stdout, done.stderr)
