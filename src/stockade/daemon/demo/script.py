"""The vocabulary of the stories: a step is an id and what is done in it; what must come of it stands beside.

Text may hold variables in braces. Those in expected records are bound when first seen and must then stay the
same; `expectation.py` says which they are.
"""

from dataclasses import dataclass
from typing import TypeAlias

WORKSTATION, NEIGHBOUR = "workstation", "neighbour"
OPEN, CLOSED, FILTERED = "open", "closed", "filtered"


@dataclass(frozen=True, slots=True)
class Tool:
    """A classic tool on the host. Status 0 and exactly these records; or `refused`: how standard error begins."""

    command: str
    prints: tuple[str, ...] = ()
    refused: str = ""
    account: str = ""  # whose keys; the story's own when empty


@dataclass(frozen=True, slots=True)
class Running:
    """Wait until these instances run and have names; each must then listen on its port, as seen from inside it."""

    instances: tuple[str, ...]
    port: int
    account: str = ""


@dataclass(frozen=True, slots=True)
class Count:
    """So many instances of the account run now."""

    running: int


@dataclass(frozen=True, slots=True)
class Scan:
    """`nmap -P0 -pPORTS HOST` from a place outside: these ports open, every other filtered."""

    place: str
    target: str
    open: tuple[str, ...] = ()  # as nmap words it: "22/tcp ssh"
    ports: str = "1-100"


@dataclass(frozen=True, slots=True)
class Together:
    """Scans at the same time."""

    scans: tuple[Scan, ...]


@dataclass(frozen=True, slots=True)
class Telnet:
    """`telnet HOST PORT` connects to this address; from the workstation, or on an instance it logs in to by ssh."""

    target: str
    port: int
    address: str
    inside: str = ""


@dataclass(frozen=True, slots=True)
class LoginTimesOut:
    """A new ssh from the workstation gets no answer."""

    target: str


@dataclass(frozen=True, slots=True)
class Way:
    """One attempt: from an instance (or place outside) to an instance's port, and the verdict it must get.

    The target is met at its private address, from outside at its public one.
    """

    source: str
    target: str
    what: str  # tcp/22, udp/4000, icmp
    verdict: str
    public: bool = False  # an instance that uses the target's public address


@dataclass(frozen=True, slots=True)
class Ways:
    """Attempts at the same time, each a check of its own."""

    ways: tuple[Way, ...]


@dataclass(frozen=True, slots=True)
class Inside:
    """A command that root of an instance gives on it; it must succeed."""

    instance: str
    command: str


@dataclass(frozen=True, slots=True)
class Spoof:
    """Root of an instance sends a SYN with another's source address; the target sees none, and it is counted."""

    sender: str
    pretends: str
    target: str
    port: int


Action: TypeAlias = Tool | Running | Count | Scan | Together | Telnet | LoginTimesOut | Ways | Inside | Spoof


@dataclass(frozen=True, slots=True)
class Step:
    """A step of the walk-through, with its id there."""

    id: str
    title: str
    actions: tuple[Action, ...]


@dataclass(frozen=True, slots=True)
class Story:
    """Steps in order, and the account that plays them. `recipes` are the images it needs."""

    name: str
    title: str
    account: str
    recipes: tuple[str, ...]
    steps: tuple[Step, ...]


def launch(
    command: str, reservation: str, instances: tuple[str, ...], image: str, group: str, account: str = ""
) -> Tool:
    """A launch: the reservation, and its pending instances, with launch index 0 and up."""
    lines = [f"RESERVATION | {{{reservation}}} | {{ACCT}} | {group}"]
    lines += [
        f"INSTANCE | {{{name}}} | {image} | ∅ | ∅ | pending | ∅ | {index} | ∅ | m1.small | {{T}} | {{ZONE}}"
        for index, name in enumerate(instances)
    ]
    return Tool(command, tuple(lines), account=account)


def names(prefix: str, count: int) -> tuple[str, ...]:
    """W1, W2, ..."""
    return tuple(f"{prefix}{number}" for number in range(1, count + 1))


def ways(*rows: str) -> Ways:
    """Attempts written as `W1 > APP1 tcp/8080 open`; `W1 > public APP1 ...` for the public address."""
    found = []
    for row in rows:
        source, _, rest = row.partition(" > ")
        target, what, verdict = rest.removeprefix("public ").split()
        found.append(Way(source, target, what, verdict, public=rest.startswith("public ")))
    return Ways(tuple(found))
