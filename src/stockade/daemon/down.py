"""Ending a site from outside: by asking its agent, or, when there is none to ask, from the journal."""

import contextlib
import signal
from collections.abc import Callable
from dataclasses import dataclass

from stockade.agent.journal import FileJournal, read_journal
from stockade.agent.undo import Failure, Own, undo
from stockade.daemon.problems import Problem
from stockade.daemon.site import Site
from stockade.daemon.wiring.names import prefix
from stockade.model.journal import HostObject

_WITHIN_S = 120.0  # a thousand instances take a minute


@dataclass(frozen=True, slots=True)
class Ended:
    """What was done. `removed` counts by kind what the journal told to remove; empty when the agent did it."""

    was_running: bool
    removed: tuple[HostObject, ...] = ()
    left: tuple[Failure, ...] = ()


def end(site: Site, keep: bool, told: Callable[[HostObject], None] = lambda _thing: None) -> Ended:
    """`keep`: instances and rules stay. Raises Problem when the agent does not end."""
    agent = site.agent()
    if agent is not None:
        agent.signal(signal.SIGUSR1 if keep else signal.SIGTERM)
        if not agent.wait(_WITHIN_S):
            raise Problem(
                f"the agent (process {agent.pid}) did not end within {_WITHIN_S:.0f} s",
                attempt="stockade down --force",
            )
    if keep:
        return Ended(agent is not None)
    with site.alone():
        removed, left = _from_journal(site, told)
    return Ended(agent is not None, removed, left)


def force(site: Site, told: Callable[[HostObject], None] = lambda _thing: None) -> Ended:
    """Kill whoever runs, then undo what the journal says."""
    agent = site.agent()
    if agent is not None:
        agent.end(grace_s=0)
    with site.alone():
        removed, left = _from_journal(site, told)
    return Ended(agent is not None, removed, left)


def own_of(site: Site) -> Own:
    """What of this host can be the site's."""
    return Own(site.name, prefix(site.name), site.directory)


def _from_journal(site: Site, told: Callable[[HostObject], None]) -> tuple[tuple[HostObject, ...], tuple[Failure, ...]]:
    if not read_journal(site.journal):
        site.forget()
        return (), ()
    journal = FileJournal(site.journal)
    removed: list[HostObject] = []

    def tell(thing: HostObject) -> None:
        removed.append(thing)
        told(thing)

    with contextlib.closing(journal):
        left = undo(journal, journal.present, tell, own_of(site))
    site.forget(keep=bool(left))
    return tuple(removed), tuple(left)
